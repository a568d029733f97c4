//! The service process: signals, the control socket, and one run after another.
//!
//! In: the configuration. Out: runs, until a signal ends the process, every camera has ended, or an error occurs that a
//! retry cannot remedy. A run is repeated after a temporary failure. Another run follows if a reload changed a part
//! that the run was built around. If it cannot be built, the previous one is built again, and then tried until it can.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;

use super::components::{Components, PageTask};
use super::identity::Identity;
use super::output::console::Console;
use super::reload::requests::ReloadRequests;
use super::run::{register_status, run_once};
use super::settings_check::check_settings;
use super::supervision::health::{FaultSource, Health};
use super::supervision::signals;
use super::{paths, runtime, socket};
use crate::backoff::Backoff;
use crate::clock::{Clock, SystemClock};
use crate::config::{Inputs, Settings};
use crate::control::Control;
use crate::error::{Error, Kind, Result};
use crate::stop::{self, Stop};
use crate::tensor::atomic_file;
use crate::tensor::mapped::map_large_tensors;

/// Delays between two attempts to run.
struct RetryDelay {
    first: Duration,
    longest: Duration,
}

const RETRY_DELAY: RetryDelay = RetryDelay { first: Duration::from_secs(1), longest: Duration::from_secs(60) };

/// Runs the service. `settings` are the present content of `inputs`; a reload reads `inputs` again. `console` selects
/// the output for a person at the terminal.
///
/// # Errors
///
/// [`Kind::Config`] if no camera or no model is configured; [`Kind::Unavailable`] if the system starts no thread;
/// otherwise the error that ended the last run.
pub fn run(inputs: &Inputs, settings: Settings, console: Console) -> Result<()> {
    check_settings(&settings)?;
    if let Ok(state) = paths::state_folder(&settings.device) {
        atomic_file::remove_leftovers(&state);
    }
    map_large_tensors();
    let runtime = runtime::start()?;
    let (trigger, stop) = stop::pair();
    let control = Control::default();
    let requests = ReloadRequests::new(inputs.clone(), &settings, stop.clone());
    let outcome = {
        let _inside = runtime.enter();
        let starting = Arc::new(AtomicBool::new(true));
        // Both verbs are there before anybody can ask.
        requests.register(&control);
        new_health(&settings, &control);
        signals::watch(trigger, control.clone(), starting.clone())?;
        let socket = socket::open(&paths::runtime_folder(&settings.device))?;
        let serving = socket.map(|socket| tokio::spawn(socket.serve(control.clone())));
        let service =
            Service { runtime: &runtime, console, control: &control, requests, starting: &starting, stop: &stop };
        let outcome = service.run_until_stopped(settings);
        if let Some(serving) = serving {
            // Waiting for the end of the task removes the socket's file.
            serving.abort();
            let _ = runtime.block_on(serving);
        }
        outcome
    };
    // Without waiting: a write that hangs must not keep the process from ending.
    runtime.shutdown_background();
    outcome
}

/// A health table for the next run. The verb `status` answers from it from now on.
fn new_health(settings: &Settings, control: &Control) -> Arc<Health> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let identity = Identity::of_machine(settings.device.id.as_deref());
    let health = Arc::new(Health::new(&identity.device, clock.as_ref()));
    register_status(control, &health, &clock);
    health
}

/// The parts of the process that outlast a run.
struct Service<'a> {
    runtime: &'a Runtime,
    console: Console,
    control: &'a Control,
    requests: ReloadRequests,
    /// True while components are built: a signal then ends the process at once.
    starting: &'a AtomicBool,
    stop: &'a Stop,
}

impl Service<'_> {
    /// Runs the service until it is stopped, every camera has ended, or a retry cannot help.
    fn run_until_stopped(&self, mut settings: Settings) -> Result<()> {
        let requests = &self.requests;
        let mut backoff = Backoff::new(RETRY_DELAY.first, RETRY_DELAY.longest);
        // Settings to return to if the components of a new configuration cannot be built, and the error if so.
        let mut previous: Option<Settings> = None;
        let mut refused: Option<String> = None;
        // True once a run was in force. What cannot be built after it is tried again: a file may be missing or incomplete
        // only while somebody replaces it.
        let mut has_run = false;
        let mut page = PageTask::default();
        loop {
            requests.begin_attempt(&settings, refused.clone());
            let health = new_health(&settings, self.control);
            // Building may take minutes, if a model is quantized: requests are stored meanwhile.
            self.starting.store(true, Ordering::SeqCst);
            let components = Components::build(&settings, &health, &mut page, self.control, self.console);
            self.starting.store(false, Ordering::SeqCst);
            // A request from meanwhile replaces the settings that were just tried.
            if let Some(requested) = requests.take_next() {
                (settings, refused) = (requested, None);
                continue;
            }
            let (outcome, is_built) = match (components, previous.take()) {
                (Err(error), Some(working)) => {
                    refused = Some(error.chain());
                    settings = working;
                    continue;
                }
                (Err(error), None) => (Err(error), false),
                (Ok(mut components), _) => {
                    components.reload = Some(requests.clone());
                    (has_run, refused) = (true, None);
                    (run_once(self.runtime, components, self.stop), true)
                }
            };
            if self.stop.is_stopped() {
                return outcome;
            }
            let ended = requests.end_run();
            settings = ended.settings;
            let is_retried = |error: &Error| is_temporary(error) || has_run && !is_built;
            match (outcome, ended.next) {
                (Ok(()), Some(next)) => {
                    tracing::info!("starting a new run with the new configuration");
                    previous = Some(std::mem::replace(&mut settings, next));
                    backoff.reset();
                }
                (Err(error), Some(next)) if is_retried(&error) => {
                    tracing::warn!(error = error.chain(), "run failed; trying the new configuration");
                    (settings, refused) = (next, None);
                    backoff.reset();
                }
                (Err(error), None) if is_retried(&error) => {
                    let delay = backoff.delay();
                    tracing::warn!(error = error.chain(), retry_in_s = delay.as_secs_f64(), "run failed; trying again");
                    let reason = format!("the last run failed and is tried again: {}", error.chain());
                    new_health(&settings, self.control).set_fault(FaultSource::Run, Some(reason));
                    // A corrected configuration ends the wait.
                    match requests.wait(delay) {
                        Ok(None) => {}
                        Ok(Some(requested)) => {
                            (settings, refused) = (requested, None);
                            backoff.reset();
                        }
                        Err(stop::Stopped) => return Ok(()),
                    }
                }
                (outcome, _) => return outcome,
            }
        }
    }
}

/// True if a retry may succeed: a device or service is missing or busy.
fn is_temporary(error: &Error) -> bool {
    error.kind() == Kind::Unavailable
}
