//! `lookout run`: the service.

use super::ConfigArgs;
use crate::error::{Error, Kind, Result};

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Watches the configured cameras until stopped.
pub fn execute(args: Args) -> Result<()> {
    let _ = args.config;
    Err(Error::new(Kind::Unavailable, "run is not in this build yet"))
}
