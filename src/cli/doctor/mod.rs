//! `lookout doctor`: check that this machine can run the configuration.
//!
//! In: the configuration and the machine. Out: a list of findings, each good, doubtful or bad. A bad finding means that
//! `run` would fail or differ from the configuration: exit code 69.

pub(super) mod findings;

use serde::Serialize;

use super::{ConfigArgs, console};
use crate::error::{Error, Kind, Result};

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Grade of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Grade {
    /// Works.
    Good,
    /// Works, but may need attention.
    Doubtful,
    /// Does not work.
    Bad,
}

/// Result of one check.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Finding {
    /// Subject of the check.
    #[serde(rename = "what")]
    pub subject: &'static str,
    /// Grade.
    pub grade: Grade,
    /// Description, with advice if the grade is not good.
    pub text: String,
}

impl Finding {
    fn new(subject: &'static str, grade: Grade, text: impl Into<String>) -> Self {
        Self { subject, grade, text: text.into() }
    }
}

#[derive(Debug, Serialize)]
struct DoctorReport<'a> {
    fit: bool,
    findings: &'a [Finding],
}

/// Runs every check and prints the findings.
pub fn execute(args: Args) -> Result<()> {
    let findings = findings::all(&args.config);
    let fit = findings.iter().all(|finding| finding.grade < Grade::Bad);
    if args.json {
        console::print(console::json(&DoctorReport { fit, findings: &findings })?)?;
    } else {
        console::print_lines(findings.iter().map(|Finding { subject, grade, text }| {
            let grade = match grade {
                Grade::Good => "good",
                Grade::Doubtful => "doubtful",
                Grade::Bad => "BAD",
            };
            format!("{grade:8}  {subject}: {text}")
        }))?;
    }
    let bad = findings.iter().filter(|finding| finding.grade == Grade::Bad).map(|finding| finding.subject);
    let bad: Vec<&str> = bad.collect();
    if fit { Ok(()) } else { Err(Error::new(Kind::Unavailable, format!("not fit: {}", bad.join(", ")))) }
}
