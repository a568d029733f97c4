//! `lookout config show`: print the effective configuration, every key with its value and its origin.

use serde::Serialize;

use super::{ConfigArgs, console};
use crate::config::{self, Inputs, Shown};
use crate::error::Result;

/// Arguments of `config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ConfigCommand {
    /// Print every key with its value
    Show(ShowArgs),
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// Print the origin of each value: file and line, environment, --set or built-in
    #[arg(long)]
    origin: bool,
    /// Print one JSON object with key, value and origin
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Serialize)]
struct ShownKeys<'a> {
    keys: &'a [Shown],
}

/// Prints the merged configuration; passwords are redacted.
pub fn execute(args: Args) -> Result<()> {
    let ConfigCommand::Show(show) = args.command;
    let shown = config::show(&Inputs::of_process(show.config.config, show.config.set))?;
    if show.json {
        return console::print(console::json(&ShownKeys { keys: &shown })?).map(drop);
    }
    let width = shown.iter().map(|shown| shown.key.len() + 3 + shown.text().len()).max().unwrap_or_default().min(60);
    console::print_lines(shown.iter().map(|shown| {
        let line = format!("{} = {}", shown.key, shown.text());
        if show.origin { format!("{line:width$}  # {}", shown.origin) } else { line }
    }))
}
