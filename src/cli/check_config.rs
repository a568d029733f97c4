//! `lookout check-config`: exit 0 if the configuration is right, 78 and where it is wrong if not.

use std::path::PathBuf;

use super::console;
use crate::config::{self, Inputs};
use crate::error::{Error, Kind, Result};

/// Arguments of `check-config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File to check, with the drop-ins in conf.d beside it [default: /etc/lookout/lookout.toml, where it exists]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Set one configuration key, as `run --set` would
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Reads the configuration as `run` would, says everything that is wrong with it, a line each, and stops there.
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
        console::note(format_args!("lookout: {complaint}"));
    }
    Err(Error::new(Kind::Config, last.to_string()))
}
