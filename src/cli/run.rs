//! `lookout run`: the service.

use std::fs::DirBuilder;
use std::io::IsTerminal;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use super::{ConfigArgs, environment_names};
use crate::config::{self, Inputs};
use crate::daemon::{self, Console, logging};
use crate::detector::demo;
use crate::error::{Error, Result};

/// Settings of `--demo`, over any file: a synthetic street with changing weather, the built-in model, stdout and the
/// live page.
const DEMO: &str = include_str!("demo.toml");

/// Default of `--demo` on a terminal, below any file: only warnings, so that the log does not bury the summary.
const LOG_ON_TERMINAL: &str = "device.log_level = \"warn\"\n";

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
    let mut state = None;
    if args.demo {
        if demo::artifact().is_none() {
            return Err(demo::missing());
        }
        inputs.built_in = Some(("--demo", DEMO));
        let on_terminal = std::io::stdout().is_terminal();
        let mut defaults = String::new();
        if std::env::var_os("STATE_DIRECTORY").is_none() {
            let folder = DemoState::create()?;
            defaults.push_str(&format!("device.state_dir = {:?}\n", folder.0));
            state = Some(folder);
        }
        if on_terminal {
            defaults.push_str(LOG_ON_TERMINAL);
        }
        inputs.defaults = Some(("--demo", defaults));
        console = Console { page_address: true, summary: on_terminal && !args.json };
    }
    let settings = config::load(&inputs)?;
    logging::start(&settings.device)?;
    for hint in config::environment_hints(environment_names()) {
        tracing::warn!("{hint}");
    }
    let outcome = daemon::run(&inputs, settings, console);
    drop(state);
    outcome
}

/// The state folder of one run of the demo, removed at its end: every run begins with the built-in model and an empty
/// history.
struct DemoState(PathBuf);

impl DemoState {
    fn create() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("lookout-demo-{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&path).map_err(|error| Error::writing(&path, error))?;
        Ok(Self(path))
    }
}

impl Drop for DemoState {
    fn drop(&mut self) {
        // What stays is a few files in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
