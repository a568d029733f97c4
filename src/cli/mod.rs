//! The command line: one module a command, one enum that lists them.
//!
//! In: the program's arguments. Out: a parsed [`Command`] and the result of its execution. Each command's module has a
//! `clap` struct `Args` and one function `execute(Args) -> Result<()>`; it prints through [`console`]. A new command is
//! a module, a variant of [`Command`] and a line in [`execute`].

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
mod counts;
mod detect;
mod doctor;
mod evaluate;
mod events;
mod generations;
mod import;
mod inspect;
mod machine;
mod overwrite;
mod pattern;
mod quantize;
mod recalibrate;
mod reload;
mod run;
mod schema;
mod setup;
mod status;
mod unit;
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

/// The commands.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Run the service: detect objects on the configured cameras and publish them
    Run(run::Args),
    /// Detect objects in pictures and folders of pictures
    Detect(detect::Args),
    /// Convert a torchvision Faster R-CNN state dict to a lookout checkpoint
    Import(import::Args),
    /// Write pictures of the synthetic street with KITTI labels
    Pattern(pattern::Args),
    /// Quantize a checkpoint to int8, calibrated on pictures like those of the camera
    Quantize(quantize::Args),
    /// Compare two models byte by byte and print the first difference
    Verify(verify::Args),
    /// Evaluate models on labelled pictures: accuracy, average precision, agreement, cost
    Evaluate(evaluate::Args),
    /// Write a page that shows where int8 differs from fp32: maps, errors and detections
    Inspect(inspect::Args),
    /// Measure the time of every step of the network on this CPU
    Bench(bench::Args),
    /// Set up a camera: try it, propose a model for this board, ask for the broker, write the configuration
    Setup(setup::Args),
    /// List the cameras of this machine with their names, formats and controls
    Cameras(cameras::Args),
    /// Print the status of the running daemon
    Status(status::Args),
    /// Check that this machine can run the configuration
    Doctor(doctor::Args),
    /// Make the running daemon reload its configuration
    Reload(reload::Args),
    /// Print the effective configuration
    Config(config::Args),
    /// Print the JSON Schema of the messages or of the configuration
    Schema(schema::Args),
    /// Print the history of the running daemon: objects, cameras, drift
    Events(events::Args),
    /// Print the counts of lines of the running daemon, or reset them
    Counts(counts::Args),
    /// Request a recalibration of the running daemon's model
    Recalibrate(recalibrate::Args),
    /// List, compare, pin or roll back the generations of the model
    Generations(generations::Args),
    /// Check a configuration and print every error
    CheckConfig(check_config::Args),
}

/// Configuration arguments of every command that runs a model or talks to the daemon.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ConfigArgs {
    /// Configuration file; drop-ins are read from the conf.d folder next to it [default: /etc/lookout/lookout.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set one configuration key, as in --set detector.threads=2; overrides files and environment
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// The detector's options from the configuration.
///
/// # Errors
/// As [`crate::config::load_detector`].
pub(crate) fn detector_options(config: &ConfigArgs) -> Result<crate::detector::DetectorOptions> {
    let inputs = crate::config::Inputs::of_process(config.config.clone(), config.set.clone());
    crate::daemon::detector_options(&crate::config::load_detector(&inputs)?)
}

/// Names of this process's environment variables.
fn environment_names() -> impl Iterator<Item = String> {
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())
}

/// Parses a number from 0 to 1.
fn parse_share(text: &str) -> std::result::Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("{text:?} is not a number from 0 to 1"))
}

/// Parses the arguments. Prints help and version on stdout with exit code 0, errors on stderr with exit code 64.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> std::result::Result<Command, ExitCode> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    Cli::try_parse_from(arguments.iter().cloned()).map(|cli| cli.command).map_err(|error| {
        // The message repeats arguments, and an address may hold a password.
        arguments.iter().for_each(|argument| crate::redact::learn_within(&argument.to_string_lossy()));
        let text = error.render().to_string();
        let safe = crate::redact::redact(&text);
        // A closed stderr is ignored.
        if safe == text {
            let _ = error.print();
        } else {
            console::print_note(safe.trim_end());
        }
        let help = matches!(error.kind(), clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion);
        if help { ExitCode::SUCCESS } else { ExitCode::from(Kind::Usage.exit_code()) }
    })
}

/// Executes a command.
///
/// # Errors
///
/// The command's error; its kind is the exit code.
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
        Command::Setup(args) => setup::execute(args),
        Command::Cameras(args) => cameras::execute(args),
        Command::Status(args) => status::execute(args),
        Command::Doctor(args) => doctor::execute(args),
        Command::Reload(args) => reload::execute(args),
        Command::Config(args) => config::execute(args),
        Command::Schema(args) => schema::execute(args),
        Command::Counts(args) => counts::execute(args),
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
    fn every_command_and_argument_has_help() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
        }
    }
}
