//! `lookout check-config`: check the configuration. Exit code 0 if it is valid, 78 with every error if not.

use std::path::PathBuf;

use super::console;
use crate::config::{self, Inputs};
use crate::error::{Error, Kind, Result};

/// Arguments of `check-config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File to check, with the drop-ins in its conf.d folder [default: /etc/lookout/lookout.toml, if it exists]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Set one configuration key, as in `run --set`
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Loads the configuration as `run` does and prints every error, one a line.
pub fn execute(args: Args) -> Result<()> {
    let refusal = match config::load(&Inputs::of_process(args.file, args.set)) {
        Ok(_) => return Ok(()),
        Err(refusal) => refusal,
    };
    let (last, others) = match refusal.0.split_last() {
        Some(parts) => parts,
        None => return Ok(()),
    };
    for complaint in others {
        console::print_note(format_args!("lookout: {complaint}"));
    }
    Err(Error::new(Kind::Config, last.to_string()))
}
