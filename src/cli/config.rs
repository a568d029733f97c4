//! `lookout config show`: the configuration in force, every key with its value, and where that was written.

use serde::Serialize;

use super::{ConfigArgs, console};
use crate::config::{self, Inputs, Shown};
use crate::error::{Error, Kind, Result};

/// Arguments of `config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print every key with its value
    Show(Show),
}

#[derive(Debug, clap::Args)]
struct Show {
    /// Say where each value was written
    #[arg(long)]
    origin: bool,
    /// One JSON object: key, value, origin
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Serialize)]
struct Listed<'a> {
    keys: &'a [Shown],
}

/// Prints the merged configuration; what may hold a password is shown without it.
pub fn execute(args: Args) -> Result<()> {
    let Command::Show(show) = args.command;
    let shown = config::show(&Inputs::of_process(show.config.config, show.config.set))?;
    if show.json {
        let text = serde_json::to_string(&Listed { keys: &shown })
            .map_err(|source| Error::new(Kind::Internal, "the configuration has no JSON form").because(source))?;
        return console::print(text).map(drop);
    }
    let width = shown.iter().map(|shown| shown.key.len() + 3 + shown.text().len()).max().unwrap_or_default().min(60);
    for shown in &shown {
        let line = format!("{} = {}", shown.key, shown.text());
        let line = if show.origin { format!("{line:width$}  # {}", shown.origin) } else { line };
        if !console::print(line)? {
            break;
        }
    }
    Ok(())
}
