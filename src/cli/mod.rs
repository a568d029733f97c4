//! The command line: one file a command, one enum that lists them.
//!
//! In: the program's arguments. Out: a parsed [`Command`], and what running it gave. Each command's file holds its
//! arguments as a `clap` struct called `Args` and one function `execute(Args) -> Result<()>`; what a command prints
//! goes through [`console`]. A new command is a file, a variant of [`Command`] and a line in [`execute`].

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::error::{Kind, Result};

mod bench;
mod cameras;
mod check_config;
pub(crate) mod client;
mod config;
pub mod console;
mod detect;
mod doctor;
mod evaluate;
mod events;
mod generations;
mod import;
mod inspect;
mod machine;
mod pattern;
mod quantize;
mod recalibrate;
mod reload;
mod run;
mod schema;
mod status;
mod verify;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "lookout", version, about, long_about = None, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done, 64 usage, 65 bad data, 66 no input, 69 unavailable, 70 internal fault, \
                        73 cannot create, 74 I/O, 77 permission, 78 configuration.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What lookout can be told to do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Watch cameras and publish what is seen, until stopped
    Run(run::Args),
    /// Find objects in pictures and folders of pictures
    Detect(detect::Args),
    /// Turn a torchvision Faster R-CNN state dict into a lookout checkpoint
    Import(import::Args),
    /// Write pictures of the synthetic street with their labels
    Pattern(pattern::Args),
    /// Quantize a checkpoint to int8 on pictures like those the camera will see
    Quantize(quantize::Args),
    /// Say whether two models are byte-identical; if not, where they first differ
    Verify(verify::Args),
    /// Judge models on labelled pictures: accuracy, average precision, agreement, cost
    Evaluate(evaluate::Args),
    /// Show where int8 differs from fp32: maps, errors and detections of both, in pictures and tables
    Inspect(inspect::Args),
    /// Time every step of the network on this CPU
    Bench(bench::Args),
    /// List the cameras of this machine: names, formats, controls, and why one cannot be used
    Cameras(cameras::Args),
    /// Ask the running daemon how it is
    Status(status::Args),
    /// Say whether this machine is fit to run the configuration
    Doctor(doctor::Args),
    /// Have the running daemon read its configuration again
    Reload(reload::Args),
    /// Show the configuration in force
    Config(config::Args),
    /// Print the JSON Schema of messages or of the configuration
    Schema(schema::Args),
    /// What the running daemon kept in its history: objects, cameras, drift, the newest first
    Events(events::Args),
    /// Have the running daemon recalibrate its model on what the cameras saw
    Recalibrate(recalibrate::Args),
    /// The models that recalibration made: list, compare, pin, roll back
    Generations(generations::Args),
    /// Say whether a configuration is right; if not, where it is wrong
    CheckConfig(check_config::Args),
}

/// Where a command's configuration comes from; every command that runs a model takes it.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ConfigArgs {
    /// Configuration file; drop-ins are read from conf.d beside it [default: /etc/lookout/lookout.toml, where it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set one configuration key, as in --set detector.threads=2; wins over files and environment
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// The detector's options as the configuration has them.
///
/// # Errors
/// What reading the configuration gives.
pub(crate) fn detector_options(config: &ConfigArgs) -> Result<crate::detector::DetectorOptions> {
    let inputs = crate::config::Inputs::of_process(config.config.clone(), config.set.clone());
    crate::daemon::detector_options(&crate::config::load_detector(&inputs)?)
}

/// A number from 0 to 1.
fn parse_share(text: &str) -> std::result::Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("{text:?} is not a number from 0 to 1"))
}

/// Reads the arguments. Help and version go to stdout with exit code 0; anything wrong goes to stderr with 64.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> std::result::Result<Command, ExitCode> {
    Cli::try_parse_from(arguments).map(|cli| cli.command).map_err(|error| {
        // Nothing is left to do if even this cannot be written.
        let _ = error.print();
        let help = matches!(error.kind(), clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion);
        if help { ExitCode::SUCCESS } else { ExitCode::from(Kind::Usage.exit_code()) }
    })
}

/// Runs one command to its end.
///
/// # Errors
///
/// Whatever the command met; its kind is the exit code.
pub fn execute(command: Command) -> Result<()> {
    match command {
        Command::Run(args) => run::execute(args),
        Command::Detect(args) => detect::execute(args),
        Command::Import(args) => import::execute(args),
        Command::Pattern(args) => pattern::execute(args),
        Command::Quantize(args) => quantize::execute(args),
        Command::Verify(args) => verify::execute(args),
        Command::Evaluate(args) => evaluate::execute(args),
        Command::Inspect(args) => inspect::execute(args),
        Command::Bench(args) => bench::execute(args),
        Command::Cameras(args) => cameras::execute(args),
        Command::Status(args) => status::execute(args),
        Command::Doctor(args) => doctor::execute(args),
        Command::Reload(args) => reload::execute(args),
        Command::Config(args) => config::execute(args),
        Command::Schema(args) => schema::execute(args),
        Command::Events(args) => events::execute(args),
        Command::Recalibrate(args) => recalibrate::execute(args),
        Command::Generations(args) => generations::execute(args),
        Command::CheckConfig(args) => check_config::execute(args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_argument_says_what_it_is_for() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
        }
    }
}
