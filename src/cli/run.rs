//! `lookout run`: the service.

use super::ConfigArgs;
use crate::config::{self, Inputs};
use crate::daemon::{self, logging};
use crate::detector::demo;
use crate::error::Result;

/// What `--demo` sets, over any file: a synthetic street whose weather changes, the built-in model, reports on stdout.
const DEMO: &str = include_str!("demo.toml");

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Show everything without a camera: a synthetic street and the model that is built in, reports on stdout
    #[arg(long)]
    demo: bool,
}

/// Watches the configured cameras until a signal stops it or every replay has ended.
pub fn execute(args: Args) -> Result<()> {
    let mut inputs = Inputs::of_process(args.config.config, args.config.set);
    if args.demo {
        if demo::artifact().is_none() {
            return Err(demo::missing());
        }
        inputs.built_in = Some(("--demo", DEMO));
    }
    let settings = config::load(&inputs)?;
    logging::start(&settings.device)?;
    daemon::run(&inputs, settings)
}
