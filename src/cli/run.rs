//! `lookout run`: the service.

use std::io::IsTerminal;

use super::{ConfigArgs, environment_names};
use crate::config::{self, Inputs};
use crate::daemon::{self, Console, logging};
use crate::detector::demo;
use crate::error::Result;

/// Settings of `--demo`, over any file: a synthetic street with changing weather, the built-in model, stdout and the
/// live page.
const DEMO: &str = include_str!("demo.toml");

/// Defaults of `--demo` on a terminal, below any file: only warnings, so that the log does not bury the summary.
const DEMO_ON_TERMINAL: &str = "[device]\nlog_level = \"warn\"\n";

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Run without a camera: a synthetic street, the built-in model and the live page on this machine
    #[arg(long)]
    demo: bool,
    /// Print JSON lines on a terminal too, instead of a summary line a second
    #[arg(long, requires = "demo")]
    json: bool,
}

/// Runs the service on the configured cameras until a signal arrives or every replay has ended.
pub fn execute(args: Args) -> Result<()> {
    let mut inputs = Inputs::of_process(args.config.config, args.config.set);
    let mut console = Console::default();
    if args.demo {
        if demo::artifact().is_none() {
            return Err(demo::missing());
        }
        inputs.built_in = Some(("--demo", DEMO));
        let on_terminal = std::io::stdout().is_terminal();
        if on_terminal {
            inputs.defaults = Some(("--demo on a terminal", DEMO_ON_TERMINAL));
        }
        console = Console { page_address: true, summary: on_terminal && !args.json };
    }
    let settings = config::load(&inputs)?;
    logging::start(&settings.device)?;
    for hint in config::environment_hints(environment_names()) {
        tracing::warn!("{hint}");
    }
    daemon::run(&inputs, settings, console)
}
