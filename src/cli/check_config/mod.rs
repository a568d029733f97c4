//! `lookout check-config`: check the configuration and what it names. Exit code 0 if it is valid, 78 with every error if not.

pub(super) mod findings;

use std::path::PathBuf;

use super::{ConfigArgs, console, environment_names};
use crate::config::{self, ConfigProblem, Inputs};
use crate::error::{Error, Kind, Result};
use findings::{Finding, Severity};

/// Arguments of `check-config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File to check, with the drop-ins in its conf.d folder [default: /etc/lookout/lookout.toml, if it exists]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Set one configuration key, as in `run --set`
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Check the text alone: models, devices, folders and ports may be those of another machine
    #[arg(long)]
    offline: bool,
}

/// Loads the configuration as `run` does, opens what it names, and prints every warning and every error, one a line.
pub fn execute(args: Args) -> Result<()> {
    let inputs = Inputs::of_process(args.file.clone(), args.set.clone());
    for hint in config::environment_hints(environment_names()) {
        console::print_warning(hint);
    }
    check(&inputs, &ConfigArgs { config: args.file, set: args.set }, args.offline)
}

/// Checks the configuration of `inputs`, whose file and settings `args` names, and prints every warning and every error but
/// the last. With `is_offline` what it names is not opened.
///
/// # Errors
/// [`Kind::Config`] with the last error.
pub(super) fn check(inputs: &Inputs, args: &ConfigArgs, is_offline: bool) -> Result<()> {
    let errors = match config::load(inputs) {
        Err(refusal) => refusal.0,
        Ok(_) if is_offline => Vec::new(),
        Ok(settings) => {
            let found = findings::all(&settings, args);
            let (errors, warnings): (Vec<Finding>, _) =
                found.into_iter().partition(|finding| finding.severity == Severity::Error);
            let located = |findings: Vec<Finding>| {
                config::problems(inputs, findings.into_iter().map(|finding| finding.value).collect())
            };
            for warning in located(warnings) {
                console::print_warning(text(&warning));
            }
            located(errors)
        }
    };
    let Some((last, others)) = errors.split_last() else { return Ok(()) };
    for problem in others {
        console::print_note(format_args!("lookout: {}", text(problem)));
    }
    Err(Error::new(Kind::Config, text(last)))
}

/// A problem. One without a key has no place in a file either.
fn text(problem: &ConfigProblem) -> String {
    if problem.key.is_empty() && problem.origin == "built-in" { problem.text.clone() } else { problem.to_string() }
}
