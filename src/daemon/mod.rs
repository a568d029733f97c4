//! The service: builds the stages from the configuration, owns their threads, and stops them in order.
//!
//! In: [`Settings`]. Out: messages on the sinks, until stopped or until every camera has ended. One thread a camera
//! captures, one detects, tokio carries the rest. [`run`] retries what may get better; [`run_once`] is one straight
//! life from the first frame to the last flush, built from [`Parts`] that tests can replace.

mod capture;
mod detect;
mod engine;
mod health;
mod identity;
pub mod logging;
mod objects;
mod parts;
mod places;
mod recent;
mod service;
mod signals;
mod sinks;
mod socket;
mod swap;
mod watch;
mod weather;
mod web;

pub use crate::backoff::Backoff;
pub use engine::{Engine, EngineOutput, LocalEngine, ModelInfo, detector_options};
pub use identity::Identity;
pub use parts::{Camera, Open, Parts};
pub use places::runtime_folders;
pub use service::run_once;
pub use socket::NAME as CONTROL_SOCKET;
pub use swap::Swap;
pub use watch::Watcher;

use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::control::Control;
use crate::error::{Error, Kind, Result};
use crate::stop;

/// Runs the service until a signal ends it, every camera has ended, or something is wrong that will not get better by
/// itself.
///
/// # Errors
///
/// [`Kind::Config`] if no camera or no model is configured; otherwise whatever ended it.
pub fn run(settings: &Settings) -> Result<()> {
    parts::check(settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("io")
        .enable_all()
        .build()
        .map_err(|error| Error::new(Kind::Unavailable, "cannot start the runtime").because(error))?;
    let (trigger, stop) = stop::pair();
    let control = Control::default();
    let outcome = {
        let _inside = runtime.enter();
        signals::watch(trigger)?;
        let socket = socket::open(&places::runtime_folder(&settings.device))?;
        let serving = socket.map(|socket| tokio::spawn(socket.serve(control.clone())));
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let outcome = loop {
            let outcome = Parts::build(settings, &control).and_then(|parts| run_once(&runtime, parts, &stop));
            match outcome {
                Err(error) if may_get_better(&error) && !stop.is_stopped() => {
                    let delay = backoff.delay();
                    tracing::warn!(error = error.chain(), retry_in_s = delay.as_secs_f64(), "trying again");
                    if SystemClock.wait(delay, &stop).is_err() {
                        break Ok(());
                    }
                }
                outcome => break outcome,
            }
        };
        if let Some(serving) = serving {
            // Waited for: the socket's file goes with it.
            serving.abort();
            let _ = runtime.block_on(serving);
        }
        outcome
    };
    // A write that hangs must not keep the process from ending.
    runtime.shutdown_background();
    outcome
}

/// Whether trying again can help: something is missing or busy that may come back.
fn may_get_better(error: &Error) -> bool {
    error.kind() == Kind::Unavailable
}
