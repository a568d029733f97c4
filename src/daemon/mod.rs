//! The service: builds the stages from the configuration, owns their threads, and stops them in order.
//!
//! In: [`Settings`]. Out: messages on the sinks, until stopped or until every camera has ended. One thread a camera
//! captures, one detects, tokio carries the rest. [`run`] retries what may get better; [`run_once`] is one straight
//! life from the first frame to the last flush, built from [`Parts`] that tests can replace.

mod between;
mod cameras;
mod components;
mod detect;
mod identity;
pub mod logging;
mod model;
mod monitoring;
mod output;
mod paths;
mod reload;
mod service;
mod socket;
mod supervision;

pub use crate::backoff::Backoff;
pub use between::Asked;
pub use cameras::filter::Filter;
pub use cameras::motion_gate::GateRules;
pub use cameras::open::{Camera, Open};
pub use cameras::registry::Rules;
pub use components::{Parts, check};
pub use identity::{Identity, clock_synchronized};
pub use model::engine::{Engine, EngineOutput, LocalEngine, ModelInfo, detector_options};
pub use model::swap::Swap;
pub use monitoring::Monitoring;
pub use output::observer::Watcher;
pub use paths::{runtime_folders, state_folder};
pub use reload::Reload;
pub use service::run_once;
pub use socket::NAME as CONTROL_SOCKET;
pub use supervision::health::{Health, Work};
pub use supervision::thermal::{Heat, Thermal, ZONES as THERMAL_ZONES};

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::config::{Inputs, Settings};
use crate::control::Control;
use crate::error::{Error, Kind, Result};
use crate::stop::{self, Stop};
use crate::sync::IgnorePoison;
use crate::tensor::mapped::map_large_tensors;

/// Runs the service until a signal ends it, every camera has ended, or something is wrong that will not get better by
/// itself. `settings` is what `inputs` say now; they are read again when that is asked for.
///
/// # Errors
///
/// [`Kind::Config`] if no camera or no model is configured; otherwise whatever ended it.
pub fn run(inputs: &Inputs, settings: Settings) -> Result<()> {
    components::check(&settings)?;
    map_large_tensors();
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
        let starting = Arc::new(AtomicBool::new(true));
        supervision::signals::watch(trigger, control.clone(), starting.clone())?;
        let socket = socket::open(&paths::runtime_folder(&settings.device))?;
        let serving = socket.map(|socket| tokio::spawn(socket.serve(control.clone())));
        let outcome = live_on(&runtime, inputs, settings, (&control, &starting), &stop);
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

/// Life after life: after a failure that may get better, and after a change of what a life is built around.
fn live_on(
    runtime: &tokio::runtime::Runtime,
    inputs: &Inputs,
    mut settings: Settings,
    (control, starting): (&Control, &AtomicBool),
    stop: &Stop,
) -> Result<()> {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
    // What to go back to where a new configuration turns out not to work, and why it did not.
    let mut before: Option<Settings> = None;
    let mut refused = None;
    let asked = Asked::default();
    loop {
        asked.answer(control, inputs, &settings);
        let next = Arc::new(Mutex::new(None));
        starting.store(true, Ordering::SeqCst);
        let parts = Parts::build(&settings, control);
        starting.store(false, Ordering::SeqCst);
        if let Some(wanted) = asked.take() {
            (settings, refused) = (wanted, None);
            continue;
        }
        let outcome = match (parts, before.take()) {
            (Err(error), Some(working)) => {
                refused = Some(error.chain());
                settings = working;
                continue;
            }
            (Err(error), None) => Err(error),
            (Ok(mut parts), _) => {
                parts.reload = Some(Reload {
                    inputs: inputs.clone(),
                    settings: settings.clone(),
                    refused: refused.take(),
                    next: next.clone(),
                    asked: asked.clone(),
                });
                run_once(runtime, parts, stop)
            }
        };
        let wanted = next.lock().ignore_poison().take();
        match (outcome, wanted) {
            (Ok(()), Some(wanted)) if !stop.is_stopped() => {
                tracing::info!("a new life by the new configuration");
                before = Some(std::mem::replace(&mut settings, wanted));
                backoff.reset();
            }
            (Err(error), _) if may_get_better(&error) && !stop.is_stopped() => {
                let delay = backoff.delay();
                tracing::warn!(error = error.chain(), retry_in_s = delay.as_secs_f64(), "trying again");
                asked.answer(control, inputs, &settings);
                match asked.wait(delay, stop) {
                    Ok(None) => {}
                    Ok(Some(wanted)) => {
                        (settings, refused) = (wanted, None);
                        backoff.reset();
                    }
                    Err(stop::Stopped) => return Ok(()),
                }
            }
            (outcome, _) => return outcome,
        }
    }
}

/// Whether trying again can help: something is missing or busy that may come back.
fn may_get_better(error: &Error) -> bool {
    error.kind() == Kind::Unavailable
}
