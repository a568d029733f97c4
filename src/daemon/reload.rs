//! Another configuration taken up while the service runs.
//!
//! In: a request (SIGHUP, the verb `reload`). Out: what changed, in force; or an error, and everything as it was. What
//! may fail is built first: cameras that are new or changed, the model if it is another. Then it is put in
//! its place, the model between two frames. Cameras that did not change go on untouched; a camera of which
//! only rules changed is not opened again. What a life is built around (identity, objects, sinks, monitor, history, web) takes
//! effect by a new life in the same process.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::between::Asked;
use super::model::load;
use super::supervision::systemd;
use super::{components, logging};
use crate::config::{self, CameraSettings, Inputs, ModelSource, Settings, SinkKind, SupervisionSettings};
use crate::daemon::cameras::capture::Shared;
use crate::daemon::cameras::open::{self, Camera};
use crate::daemon::cameras::pattern::Skies;
use crate::daemon::model::engine::Engine;
use crate::daemon::model::swap::Swap;
use crate::error::Result;
use crate::message::EventName;
use crate::stop::Trigger;
use crate::sync::IgnorePoison;

/// From what another configuration is read, and what a life should know of earlier attempts.
pub struct Reload {
    /// Where the configuration comes from.
    pub inputs: Inputs,
    /// What is in force.
    pub settings: Settings,
    /// Why the configuration asked for last is not.
    pub refused: Option<String>,
    /// Where to put a configuration that needs a new life.
    pub next: Arc<Mutex<Option<Settings>>>,
    /// What was asked for before this life could answer.
    pub asked: Asked,
}

/// Takes up configurations in one life.
pub struct Reloader {
    /// What the life is built from.
    pub reload: Reload,
    /// The threads' common ground.
    pub shared: Shared,
    /// Through which a model comes.
    pub swap: Swap,
    /// The weather of synthetic cameras.
    pub skies: Skies,
    /// Limits of patience and heat.
    pub limits: watch::Sender<Arc<SupervisionSettings>>,
    /// Ends this life for a new one.
    pub another: Mutex<Option<Trigger>>,
    /// What changes from one configuration to the next; one is taken up at a time.
    pub state: Mutex<State>,
}

/// What is in force.
pub struct State {
    settings: Settings,
    model: Signature,
}

/// The model's files as they were when it was loaded.
type Signature = Vec<Option<(u64, SystemTime)>>;

impl State {
    /// What `settings` began with.
    pub fn new(settings: &Settings) -> Self {
        Self { settings: settings.clone(), model: signature(&settings.model.source) }
    }
}

/// What has been built and waits to be put in its place.
struct Prepared {
    cameras: Vec<Camera>,
    engine: Option<Box<dyn Engine>>,
}

impl Reloader {
    /// Reads the configuration again and takes it up. Answers with the sections that changed.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with it; the one before goes on.
    pub fn reload(&self) -> Result<Value> {
        systemd::reloading();
        let outcome = self.take_up();
        let metrics = &self.shared.metrics;
        match &outcome {
            Ok(changed) => {
                metrics.reload_successful.set(1);
                metrics.reload_time.set(self.shared.clock.wall().as_microsecond() as f64 * 1e-6);
                self.shared.health.complain("config", None);
                tracing::info!(changed = changed.join(", "), "configuration taken up");
            }
            Err(error) => self.refuse(&error.chain()),
        }
        systemd::reloaded();
        outcome.map(|changed| json!({ "changed": changed }))
    }

    /// Tells everybody that a configuration is not taken up, and why.
    pub fn refuse(&self, reason: &str) {
        self.shared.metrics.reload_successful.set(0);
        self.shared.health.complain("config", Some(format!("the new configuration is refused: {reason}")));
        tracing::error!(reason, "configuration refused; the one before goes on");
        let details = BTreeMap::from([("error".to_owned(), reason.into())]);
        self.shared.voice.event(EventName::ConfigRefused, None, details);
    }

    fn take_up(&self) -> Result<Vec<&'static str>> {
        let mut state = self.state.lock().ignore_poison();
        let next = config::load(&self.reload.inputs)?;
        components::check(&next)?;
        let now = &state.settings;
        let signature = signature(&next.model.source);
        let model = next.model != now.model || next.detector != now.detector || signature != state.model;
        let changed = changed(now, &next, model);
        if needs_new_life(now, &next, model) {
            *self.reload.next.lock().ignore_poison() = Some(next);
            drop(self.another.lock().ignore_poison().take());
            return Ok(changed);
        }
        let prepared = self.prepare(&state, &next, model)?;
        self.put(&mut state, &next, prepared);
        state.model = signature;
        state.settings = next;
        Ok(changed)
    }

    /// Builds what may fail.
    fn prepare(&self, state: &State, next: &Settings, model: bool) -> Result<Prepared> {
        let opened = |camera: &CameraSettings| {
            let before = find(&state.settings.cameras, &camera.name);
            before.is_none_or(|before| needs_opening(before, camera))
        };
        let open = |camera| open::open(camera, &next.supervision, &self.shared.clock, &self.skies);
        if next.device.log_level != state.settings.device.log_level {
            logging::set_level(&next.device.log_level)?;
        }
        Ok(Prepared {
            cameras: next.cameras.iter().filter(|camera| opened(camera)).map(open).collect::<Result<_>>()?,
            engine: if model { Some(Box::new(load::load(next)?)) } else { None },
        })
    }

    /// Puts in its place what was built, and takes away what is no longer wanted. Cannot fail any more.
    fn put(&self, state: &mut State, next: &Settings, prepared: Prepared) {
        let shared = &self.shared;
        if let Some(engine) = prepared.engine {
            // The old one falls where it is replaced; nobody waits for it here.
            drop(self.swap.offer(engine));
        }
        // New before old: with no camera left, detection would end.
        for camera in prepared.cameras {
            let before = shared.lanes.find(&camera.name);
            if let Err(error) = shared.begin(camera, before.as_ref().map(|(_, lane)| lane.as_ref())) {
                tracing::error!(error = error.chain(), "a camera is not watched");
            }
            if let Some((index, lane)) = &before {
                shared.leave(*index, lane);
            }
        }
        for camera in &state.settings.cameras {
            match find(&next.cameras, &camera.name) {
                None => shared.end(&camera.name),
                Some(camera) => {
                    let rules = open::rules(camera, &next.supervision);
                    shared.health.patience(&camera.name, rules.patience);
                    if let Some((_, lane)) = shared.lanes.find(&camera.name) {
                        lane.rules.store(Arc::new(rules));
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

/// The sections that changed, `model` if that did.
pub fn changed(now: &Settings, next: &Settings, model: bool) -> Vec<&'static str> {
    let sections = [
        ("device", next.device != now.device),
        ("model", model),
        ("camera", next.cameras != now.cameras),
        ("track", next.track != now.track),
        ("publish", next.sinks != now.sinks),
        ("monitor", next.monitor != now.monitor),
        ("history", next.history != now.history),
        ("web", next.web != now.web),
        ("supervision", next.supervision != now.supervision),
    ];
    sections.iter().filter(|(_, changed)| *changed).map(|(name, _)| *name).collect()
}

/// Whether more than the rules of a camera changed.
fn needs_opening(before: &CameraSettings, after: &CameraSettings) -> bool {
    (&before.kind, before.rotate, before.flip) != (&after.kind, after.rotate, after.flip)
}

/// Whether what a life is built around changed. The monitor belongs to the model it watches.
fn needs_new_life(now: &Settings, next: &Settings, model: bool) -> bool {
    let names = |settings: &Settings| -> Vec<String> {
        // The page, the history, the monitor and brokers know the cameras by name from the beginning.
        let mqtt = settings.sinks.iter().any(|sink| matches!(sink.kind, SinkKind::Mqtt { .. }));
        let live = matches!(settings.model.source, ModelSource::Live { .. });
        let known = settings.web.enabled || settings.history.enabled || settings.monitor.enabled || live || mqtt;
        settings.cameras.iter().filter(|_| known).map(|camera| camera.name.clone()).collect()
    };
    let around = |settings: &Settings| {
        let device = &settings.device;
        (device.id.clone(), device.state_dir.clone(), device.runtime_dir.clone(), device.log_format)
    };
    around(now) != around(next)
        || names(now) != names(next)
        || now.track != next.track
        || now.sinks != next.sinks
        || now.monitor != next.monitor
        || now.history != next.history
        || now.web != next.web
        || model && (next.monitor.enabled || matches!(next.model.source, ModelSource::Live { .. }))
}

/// Size and time of the files that a model comes from: another file under the same name is another model.
fn signature(source: &ModelSource) -> Signature {
    let of = |path: &Path| std::fs::metadata(path).and_then(|file| Ok((file.len(), file.modified()?))).ok();
    match source {
        ModelSource::None => Vec::new(),
        ModelSource::Artifact(path) | ModelSource::Checkpoint(path) => vec![of(path)],
        ModelSource::Live { checkpoint, .. } => vec![of(checkpoint)],
        ModelSource::Quantize { checkpoint, pictures, .. } => vec![of(checkpoint), of(pictures)],
    }
}
