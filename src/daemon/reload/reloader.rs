//! Reloader: applies another configuration to the current run.
//!
//! Everything that can fail is built first: new and changed cameras, and the model if it changed. Then it is put into
//! service; the model is exchanged between two frames. Cameras that did not change keep running, and a camera of which
//! only the rules changed is not opened again. A change of a part that the run is built around ends the run, and the
//! service starts the next run with the new settings.

use std::sync::{Arc, Mutex};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use super::changes::{ModelFiles, ReloadAnswer, changed_sections, model_changed, needs_new_run, needs_opening};
use super::requests::ReloadRequests;
use crate::config::{self, CameraSettings, Inputs, Settings, SupervisionSettings};
use crate::control::answer;
use crate::daemon::cameras::capture;
use crate::daemon::cameras::context::RunContext;
use crate::daemon::cameras::open::{self, Camera};
use crate::daemon::cameras::pattern::PatternControl;
use crate::daemon::logging;
use crate::daemon::model::engine::Engine;
use crate::daemon::model::load;
use crate::daemon::model::swap::EngineSwap;
use crate::daemon::settings_check::{check_labels, check_settings};
use crate::daemon::supervision::health::FaultSource;
use crate::daemon::supervision::systemd;
use crate::error::Result;
use crate::message::EventName;
use crate::stop::StopTrigger;
use crate::sync::IgnorePoison;

/// Sources of another configuration, and the outcome of earlier requests.
pub struct ReloadContext {
    /// Sources of the configuration.
    pub inputs: Inputs,
    /// The settings in force.
    pub settings: Settings,
    /// Reason why the settings requested last are not in force, if they were refused before this run.
    pub refused: Option<String>,
    /// Takes settings that need a new run.
    pub next_settings: Arc<Mutex<Option<Settings>>>,
    /// Requests from before this run could answer.
    pub requests: ReloadRequests,
}

/// Applies configurations to one run.
pub struct Reloader {
    /// Sources of another configuration.
    pub reload: ReloadContext,
    /// State shared by the threads of the run.
    pub run: RunContext,
    /// Takes another engine.
    pub swap: EngineSwap,
    /// Weather of the pattern cameras.
    pub pattern: PatternControl,
    /// The supervision settings in force.
    pub limits: watch::Sender<Arc<SupervisionSettings>>,
    /// Ends this run for a new one.
    pub new_run: Mutex<Option<StopTrigger>>,
    /// The configuration in force. The lock admits one reload at a time.
    pub state: Mutex<ReloadState>,
}

/// The configuration in force.
pub struct ReloadState {
    settings: Settings,
    model_files: ModelFiles,
}

impl ReloadState {
    /// The state at the start of a run.
    pub fn new(settings: &Settings) -> Self {
        Self { settings: settings.clone(), model_files: ModelFiles::of(&settings.model.source) }
    }
}

/// Components that are built but not yet in service.
struct Prepared {
    cameras: Vec<Camera>,
    engine: Option<Box<dyn Engine>>,
}

/// Details of `config.refused`.
#[derive(Serialize)]
struct ConfigRefused<'a> {
    error: &'a str,
}

impl Reloader {
    /// Handles the verb `reload`: reads the configuration and applies it.
    ///
    /// # Errors
    ///
    /// The configuration cannot be read or applied; the previous one stays in force.
    pub fn reload(&self) -> Result<Value> {
        systemd::reloading();
        let outcome = self.apply();
        let metrics = &self.run.metrics;
        match &outcome {
            Ok(changed) => {
                metrics.reload_successful.set(1);
                metrics.reload_time.set(self.run.clock.wall().as_microsecond() as f64 * 1e-6);
                self.run.health.set_fault(FaultSource::Config, None);
                tracing::info!(changed = changed.join(", "), "configuration applied");
            }
            Err(error) => self.report_refused(&error.chain()),
        }
        systemd::reloaded();
        answer(&ReloadAnswer { changed: outcome? })
    }

    /// Reports a refused configuration: metric, status, log and event.
    pub fn report_refused(&self, reason: &str) {
        self.run.metrics.reload_successful.set(0);
        let fault = format!("the new configuration is refused: {reason}");
        self.run.health.set_fault(FaultSource::Config, Some(fault));
        tracing::error!(reason, "configuration refused; the previous one stays in force");
        self.run.publisher.event(EventName::ConfigRefused, None, &ConfigRefused { error: reason });
    }

    /// Applies the configuration; returns the sections that changed.
    fn apply(&self) -> Result<Vec<&'static str>> {
        let mut state = self.state.lock().ignore_poison();
        let next = config::load(&self.reload.inputs)?;
        check_settings(&next)?;
        check_labels(&next)?;
        let current = &state.settings;
        let model_files = ModelFiles::of(&next.model.source);
        let model_changed = model_changed(current, &next) || model_files != state.model_files;
        let changed = changed_sections(current, &next, model_changed);
        if needs_new_run(current, &next, model_changed) {
            // The next run loads the model. A file that is damaged, or still being copied, must not end this one.
            if model_changed {
                load::check_files(&next.model.source)?;
            }
            *self.reload.next_settings.lock().ignore_poison() = Some(next);
            // Dropping the trigger ends the run.
            drop(self.new_run.lock().ignore_poison().take());
            return Ok(changed);
        }
        let prepared = self.prepare(current, &next, model_changed)?;
        self.put_into_service(&state, &next, prepared);
        state.model_files = model_files;
        state.settings = next;
        Ok(changed)
    }

    /// Builds everything that can fail.
    fn prepare(&self, current: &Settings, next: &Settings, model_changed: bool) -> Result<Prepared> {
        let is_new = |camera: &CameraSettings| {
            let before = find(&current.cameras, &camera.name);
            before.is_none_or(|before| needs_opening(before, camera))
        };
        let prepare = |camera| open::prepare(camera, &next.supervision, &self.run.clock, &self.pattern);
        if next.device.log_level != current.device.log_level {
            logging::set_level(&next.device.log_level)?;
        }
        Ok(Prepared {
            cameras: next.cameras.iter().filter(|camera| is_new(camera)).map(prepare).collect::<Result<_>>()?,
            engine: if model_changed { Some(Box::new(load::load(next)?)) } else { None },
        })
    }

    /// Puts the prepared components into service and removes those that are no longer configured.
    fn put_into_service(&self, state: &ReloadState, next: &Settings, prepared: Prepared) {
        let run = &self.run;
        if let Some(engine) = prepared.engine {
            // Without the receiver the detector thread frees the old engine.
            drop(self.swap.offer(engine));
        }
        // New cameras start before old ones end: without any camera the detector thread would end.
        for camera in prepared.cameras {
            let predecessor = run.cameras.find(&camera.name);
            if let Err(error) = capture::start(run, camera, predecessor.as_ref().map(|(_, entry)| entry.as_ref())) {
                tracing::error!(error = error.chain(), "camera cannot be started");
            }
            if let Some((index, entry)) = &predecessor {
                run.close_slot(*index, entry);
            }
        }
        for camera in &state.settings.cameras {
            match find(&next.cameras, &camera.name) {
                None => capture::remove(run, &camera.name),
                Some(camera) => {
                    let rules = open::rules(camera, &next.supervision);
                    run.health.set_stall_timeout(&camera.name, rules.stall_timeout);
                    if let Some((_, entry)) = run.cameras.find(&camera.name) {
                        entry.rules.store(Arc::new(rules));
                    }
                }
            }
        }
        self.limits.send_replace(Arc::new(next.supervision.clone()));
    }
}

fn find<'a>(cameras: &'a [CameraSettings], name: &str) -> Option<&'a CameraSettings> {
    cameras.iter().find(|camera| camera.name == name)
}
