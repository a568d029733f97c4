//! Reloader: applies another configuration to the current run.
//!
//! Everything that can fail is built first: new and changed cameras, and the model if it changed. Then it is put into
//! service; the model is exchanged between two frames. Cameras that did not change keep running, and a camera of which
//! only the rules changed is not opened again. A change of a part that the run is built around ends the run, and the
//! service starts the next run with the new settings.

use std::sync::{Arc, Mutex};

use serde::Serialize;
use tokio::sync::watch;

use super::changes::{ModelFiles, changed_sections, model_changed, needs_new_run, needs_opening};
use crate::config::{CameraSettings, Settings, SupervisionSettings};
use crate::daemon::cameras::capture;
use crate::daemon::cameras::context::RunContext;
use crate::daemon::cameras::open::{self, Camera};
use crate::daemon::cameras::pattern::PatternControl;
use crate::daemon::logging;
use crate::daemon::model::engine::Engine;
use crate::daemon::model::load;
use crate::daemon::model::swap::EngineSwap;
use crate::daemon::settings_check::check_labels;
use crate::daemon::supervision::health::FaultSource;
use crate::error::Result;
use crate::message::EventName;
use crate::stop::StopTrigger;
use crate::sync::IgnorePoison;

/// Applies configurations to one run.
pub struct Reloader {
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
}

/// A configuration in force.
pub struct ReloadState {
    pub settings: Settings,
    pub model_files: ModelFiles,
}

impl ReloadState {
    /// `settings`, with the model's files as they are now.
    pub fn new(settings: &Settings) -> Self {
        Self { settings: settings.clone(), model_files: ModelFiles::of(&settings.model.source) }
    }
}

/// A configuration that was accepted, with the sections that changed.
pub enum Applied {
    /// It is in force.
    InForce(Vec<&'static str>),
    /// The run ends for a new one, which needs it.
    NewRun(Vec<&'static str>),
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
    /// True once the run stops: it takes no configuration any more.
    pub fn is_ending(&self) -> bool {
        self.run.stop.is_stopped()
    }

    /// Reports that `changed` sections were applied.
    pub fn report_applied(&self, changed: &[&str]) {
        self.report_successful();
        self.run.metrics.reload_time.set(self.run.clock.wall().as_microsecond() as f64 * 1e-6);
        self.run.health.set_fault(FaultSource::Config, None);
        tracing::info!(changed = changed.join(", "), "configuration applied");
    }

    /// Sets the metric of the last reload.
    pub fn report_successful(&self) {
        self.run.metrics.reload_successful.set(1);
    }

    /// Reports a refused configuration: metric, status, log and event.
    pub fn report_refused(&self, reason: &str) {
        self.run.metrics.reload_successful.set(0);
        let fault = format!("the new configuration is refused: {reason}");
        self.run.health.set_fault(FaultSource::Config, Some(fault));
        tracing::error!(reason, "configuration refused; the previous one stays in force");
        self.run.publisher.event(EventName::ConfigRefused, None, &ConfigRefused { error: reason });
    }

    /// Applies `next` in place of `current`, or ends the run if only a new one can.
    ///
    /// # Errors
    ///
    /// A part of `next` cannot be built; `current` stays in force.
    pub fn apply(&self, current: &mut ReloadState, next: &Settings) -> Result<Applied> {
        check_labels(next)?;
        let model_files = ModelFiles::of(&next.model.source);
        let model_changed = model_changed(&current.settings, next) || model_files != current.model_files;
        let changed = changed_sections(&current.settings, next, model_changed);
        if needs_new_run(&current.settings, next, model_changed) {
            // The next run loads the model. A file that is damaged, or still being copied, must not end this one.
            load::check_files(next)?;
            // Dropping the trigger ends the run.
            drop(self.new_run.lock().ignore_poison().take());
            return Ok(Applied::NewRun(changed));
        }
        let prepared = self.prepare(&current.settings, next, model_changed)?;
        self.put_into_service(&current.settings, next, prepared);
        *current = ReloadState { settings: next.clone(), model_files };
        Ok(Applied::InForce(changed))
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
    fn put_into_service(&self, current: &Settings, next: &Settings, prepared: Prepared) {
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
        for camera in &current.cameras {
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
