//! `lookout doctor`: is this board fit for what the configuration asks of it.
//!
//! In: the configuration and the machine. Out: a list of findings, each good, doubtful or bad. A bad one means that
//! `run` would not work, or not as asked: exit 69.

mod findings;
mod machine;

use serde::Serialize;

use super::{ConfigArgs, console};
use crate::error::{Error, Kind, Result};

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The findings as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// How a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Grade {
    /// As it should be.
    Good,
    /// Works, and yet somebody should look at it.
    Doubtful,
    /// Will not work.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// How it is.
    pub grade: Grade,
    /// In words, with what to do where it is not good.
    pub text: String,
}

impl Finding {
    fn new(what: &'static str, grade: Grade, text: impl Into<String>) -> Self {
        Self { what, grade, text: text.into() }
    }
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    fit: bool,
    findings: &'a [Finding],
}

/// Looks at everything and prints what was found.
pub fn execute(args: Args) -> Result<()> {
    let findings = findings::all(&args.config);
    let fit = findings.iter().all(|finding| finding.grade < Grade::Bad);
    if args.json {
        let text = serde_json::to_string(&Report { fit, findings: &findings })
            .map_err(|source| Error::new(Kind::Internal, "the findings have no JSON form").because(source))?;
        console::print(text)?;
    } else {
        for Finding { what, grade, text } in &findings {
            let mark = match grade {
                Grade::Good => "good",
                Grade::Doubtful => "doubtful",
                Grade::Bad => "BAD",
            };
            if !console::print(format_args!("{mark:8}  {what}: {text}"))? {
                break;
            }
        }
    }
    let bad = findings.iter().filter(|finding| finding.grade == Grade::Bad).map(|finding| finding.what);
    let bad: Vec<&str> = bad.collect();
    if fit { Ok(()) } else { Err(Error::new(Kind::Unavailable, format!("not fit: {}", bad.join(", ")))) }
}
