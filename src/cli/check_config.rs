//! `lookout check-config`: exit 0 if the configuration is right, 78 and where it is wrong if not.

use std::path::PathBuf;

use crate::error::{Error, Kind, Result};

/// Arguments of `check-config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File to check [default: /etc/lookout/lookout.toml]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Set one configuration key, as `run --set` would
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Reads the file as `run` would and stops there.
pub fn execute(args: Args) -> Result<()> {
    let _ = (args.file, args.set);
    Err(Error::new(Kind::Unavailable, "check-config is not in this build yet"))
}
