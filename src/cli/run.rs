//! `lookout run`: the service.

use super::ConfigArgs;
use crate::config::{self, Inputs};
use crate::daemon::{self, logging};
use crate::error::Result;

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Watches the configured cameras until a signal stops it or every replay has ended.
pub fn execute(args: Args) -> Result<()> {
    let settings = config::load(&Inputs::of_process(args.config.config, args.config.set))?;
    logging::start(&settings.device)?;
    daemon::run(&settings)
}
