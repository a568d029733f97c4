//! Reload requests: accepted from the start of the process to its end, whatever the service is doing.
//!
//! In: SIGHUP and the verb `reload`. Out: the sections that changed; or an error, and the configuration stays as it was. One
//! request after the other reads the configuration. A run in force takes it, see [`Reloader`]. While a run is built, ends
//! or waits for another attempt, the settings are stored for the next one.

use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use serde_json::Value;

use super::changes::{ModelFiles, ReloadAnswer, changed_sections, model_changed};
use super::reloader::{Applied, ReloadState, Reloader};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Inputs, Settings};
use crate::control::{Control, answer};
use crate::daemon::settings_check::check_settings;
use crate::daemon::supervision::systemd;
use crate::error::{Error, Kind, Result};
use crate::stop::{Stop, Stopped};
use crate::sync::IgnorePoison;

/// Interval of the checks for a request, and for the end of one.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// The requests of a process; clones share them.
#[derive(Clone)]
pub struct ReloadRequests {
    inputs: Inputs,
    stop: Stop,
    state: Arc<Mutex<RequestState>>,
}

/// State of the service for requests. The lock admits one request at a time.
struct RequestState {
    phase: Phase,
    /// Settings of the run, or of the attempt to build it, and the model's files as they were before it was loaded.
    current: ReloadState,
    /// Settings requested since, for the next run.
    next: Option<Settings>,
    /// Reason why the settings requested last are not in force, if their run could not be built.
    refused: Option<String>,
}

/// Phase of the service.
enum Phase {
    /// Components are being built, or a run ends.
    Building,
    /// A run is in force.
    Running(Arc<Reloader>),
    /// A failed run waits for another attempt.
    Waiting,
}

/// The end of a run.
pub struct EndedRun {
    /// The settings that were in force.
    pub settings: Settings,
    /// The settings for the next run, if some were requested.
    pub next: Option<Settings>,
}

impl ReloadRequests {
    /// Requests to read `inputs` again, whose present content is `settings`. None is accepted after `stop`.
    pub fn new(inputs: Inputs, settings: &Settings, stop: Stop) -> Self {
        let current = ReloadState::new(settings);
        let state = RequestState { phase: Phase::Building, current, next: None, refused: None };
        Self { inputs, stop, state: Arc::new(Mutex::new(state)) }
    }

    /// Registers the verb `reload` for the life of the process.
    pub fn register(&self, control: &Control) {
        let requests = self.clone();
        control.register("reload", move |_| requests.reload());
    }

    /// Handles a request.
    fn reload(&self) -> Result<Value> {
        let mut state = self.state.lock().ignore_poison();
        if self.stop.is_stopped() {
            return Err(Error::new(Kind::Unavailable, "the service is stopping"));
        }
        systemd::reloading();
        let outcome = self.load().and_then(|next| state.apply(next));
        if let Phase::Running(run) = &state.phase {
            match &outcome {
                Ok(changed) => run.report_applied(changed),
                Err(error) => run.report_refused(&error.chain()),
            }
        }
        // Otherwise the next run is the end of this reload.
        if state.next.is_none() && !matches!(state.phase, Phase::Building) {
            systemd::reloaded();
        }
        answer(&ReloadAnswer { changed: outcome? })
    }

    fn load(&self) -> Result<Settings> {
        let next = config::load(&self.inputs)?;
        check_settings(&next)?;
        Ok(next)
    }

    /// Begins an attempt to build a run with `settings`. `refused` is the reason if others were requested and could not be
    /// used.
    pub fn begin_attempt(&self, settings: &Settings, refused: Option<String>) {
        let mut state = self.state.lock().ignore_poison();
        state.phase = Phase::Building;
        // Before the model is loaded: a file that is replaced meanwhile is another one.
        state.current = ReloadState::new(settings);
        state.refused = refused;
    }

    /// Takes the settings that were requested since, if there are any.
    pub fn take_next(&self) -> Option<Settings> {
        self.state.lock().ignore_poison().next.take()
    }

    /// A run is in force: `reloader` applies further requests to it. One from before, which came too late to be built, is
    /// handled on another thread of the current runtime.
    pub fn begin_run(&self, reloader: Reloader) {
        let mut state = self.state.lock().ignore_poison();
        match state.refused.take() {
            Some(reason) => reloader.report_refused(&reason),
            None => reloader.report_successful(),
        }
        state.phase = Phase::Running(Arc::new(reloader));
        if state.next.take().is_some() {
            let requests = self.clone();
            tokio::task::spawn_blocking(move || requests.reload());
        }
    }

    /// A run has ended. Waits for a request that is being applied to it, and feeds the watchdog meanwhile.
    pub fn end_run(&self) -> EndedRun {
        let mut state = loop {
            match self.state.try_lock() {
                Ok(state) => break state,
                Err(TryLockError::Poisoned(state)) => break state.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    systemd::feed_watchdog();
                    std::thread::sleep(check_interval());
                }
            }
        };
        state.phase = Phase::Building;
        EndedRun { settings: state.current.settings.clone(), next: state.next.take() }
    }

    /// Waits for a request, at most for `delay`. Feeds the watchdog meanwhile.
    ///
    /// # Errors
    ///
    /// [`Stopped`] if `stop` comes first.
    pub fn wait(&self, delay: Duration) -> Result<Option<Settings>, Stopped> {
        self.state.lock().ignore_poison().phase = Phase::Waiting;
        systemd::reloaded();
        let interval = check_interval();
        let mut left = delay;
        while !left.is_zero() {
            if let Some(requested) = self.take_next() {
                return Ok(Some(requested));
            }
            systemd::feed_watchdog();
            SystemClock.wait(left.min(interval), &self.stop)?;
            left = left.saturating_sub(interval);
        }
        Ok(self.take_next())
    }
}

/// Interval of checks that leaves the watchdog time enough.
fn check_interval() -> Duration {
    let interval = systemd::watchdog_timeout().map_or(CHECK_INTERVAL, |timeout| CHECK_INTERVAL.min(timeout / 4));
    interval.max(Duration::from_millis(10))
}

impl RequestState {
    /// Applies `next` to the run in force, or stores it for the next run. Returns the sections that changed.
    fn apply(&mut self, next: Settings) -> Result<Vec<&'static str>> {
        if let Phase::Running(run) = &self.phase
            && self.next.is_none()
            && !run.is_ending()
        {
            return match run.apply(&mut self.current, &next)? {
                Applied::InForce(changed) => Ok(changed),
                Applied::NewRun(changed) => {
                    self.next = Some(next);
                    Ok(changed)
                }
            };
        }
        let (before, files_changed) = match &self.next {
            Some(before) => (before, false),
            None => (&self.current.settings, ModelFiles::of(&next.model.source) != self.current.model_files),
        };
        let changed = changed_sections(before, &next, files_changed || model_changed(before, &next));
        // The same settings ask for nothing, unless they are to be tried again without waiting.
        if !changed.is_empty() || matches!(self.phase, Phase::Waiting) {
            self.next = Some(next);
        }
        Ok(changed)
    }
}
