//! What one life of the service is made of, built from the configuration; tests put their own in.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::engine::{Engine, LocalEngine, detector_options};
use super::identity::Identity;
use super::places::state_folder;
use super::recent::Recent;
use super::sinks;
use super::swap::Swap;
use super::watch::Watcher;
use super::weather::Skies;
use super::web;
use crate::calibrate::{Options, quantize_cached};
use crate::camera::{Replay, Source};
use crate::clock::{Clock, SystemClock};
use crate::config::document::Flip;
use crate::config::{CameraKind, CameraSettings, ModelSource, Settings, TrackSettings};
use crate::control::Control;
use crate::detector::checkpoint::Checkpoint;
use crate::detector::{Detector, DetectorOptions, thread_pool};
use crate::error::{Error, Kind, Result};
use crate::frame::Turn;
use crate::metrics::Metrics;
use crate::publish::Outlet;
use crate::track::Rules;
use crate::web::Server;

/// Opens a camera: called on its thread, at the start and after each failure.
pub type Open = Box<dyn FnMut() -> Result<Box<dyn Source>> + Send>;

/// A camera to be opened.
pub struct Camera {
    /// Its name.
    pub name: String,
    /// How it hangs: turns its pictures upright.
    pub turn: Turn,
    /// How to open it.
    pub open: Open,
}

/// Everything that one life of the service needs.
pub struct Parts {
    /// Who we are.
    pub identity: Identity,
    /// What is watched.
    pub cameras: Vec<Camera>,
    /// What detects.
    pub engine: Box<dyn Engine>,
    /// Through which another engine may come.
    pub swap: Swap,
    /// Who sees each frame with its report.
    pub watchers: Vec<Box<dyn Watcher>>,
    /// Who is told.
    pub outlets: Vec<Outlet>,
    /// What serves the page and the API, if anything does.
    pub server: Option<Server>,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// The verbs that the daemon obeys; who can do something registers it here.
    pub control: Control,
    /// Where things are counted.
    pub metrics: Arc<Metrics>,
    /// How objects are followed, if they are.
    pub track: Option<Rules>,
    /// A camera silent for so long is stalled.
    pub stall_timeout: Duration,
    /// Longest that stopping may take.
    pub grace_period: Duration,
}

/// Refuses what is right by itself and yet not enough to run.
///
/// # Errors
///
/// [`Kind::Config`], naming the section.
pub fn check(settings: &Settings) -> Result<()> {
    let refuse = |text: &str| Err(Error::new(Kind::Config, text));
    if settings.cameras.is_empty() {
        return refuse("there is no camera to watch: add a [[camera]] to the configuration");
    }
    if settings.model.source == ModelSource::None {
        return refuse("there is no model to detect with: name a checkpoint as model.checkpoint in the configuration");
    }
    Ok(())
}

impl Parts {
    /// The parts that `settings` ask for, the model loaded; what they can do is registered with `control`.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with the model or with a folder to be replayed.
    pub fn build(settings: &Settings, control: &Control) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let mut skies = Skies::default();
        let cameras = settings.cameras.iter().map(|camera| open(camera, &clock, &mut skies)).collect::<Result<_>>()?;
        skies.register(control);
        let engine = load(settings)?;
        let metrics = Arc::new(Metrics::new());
        let identity = Identity::of_machine(settings.device.id.as_deref());
        let recent = Recent::new(settings.cameras.iter().map(|camera| camera.name.clone()));
        let model = engine.info();
        let ground = sinks::Ground {
            settings,
            identity: &identity,
            model: &model,
            recent: &recent,
            control,
            clock: &clock,
            metrics: &metrics,
        };
        let mut outlets = ground.outlets()?;
        let ground = web::Ground { settings, recent: &recent, control, clock: &clock, metrics: &metrics };
        let web::Built { outlets: more, server } = ground.build()?;
        outlets.extend(more);
        let mut watchers: Vec<Box<dyn Watcher>> = Vec::new();
        if sinks::Ground::wants_frames(settings) || web::Ground::wants_frames(settings) {
            watchers.push(Box::new(recent.clone()));
        }
        Ok(Self {
            identity,
            cameras,
            engine: Box::new(engine),
            swap: Swap::default(),
            watchers,
            outlets,
            server,
            clock,
            control: control.clone(),
            metrics,
            track: rules(&settings.track),
            stall_timeout: settings.supervision.stall_timeout,
            grace_period: settings.supervision.grace_period,
        })
    }
}

fn rules(track: &TrackSettings) -> Option<Rules> {
    let TrackSettings { enabled, begin_score, confirm, patience } = *track;
    enabled.then_some(Rules { begin_score, confirm, patience })
}

fn load(settings: &Settings) -> Result<LocalEngine> {
    let options = detector_options(&settings.detector)?;
    crate::kernel::self_test(options.isa)?;
    let engine = match &settings.model.source {
        ModelSource::Checkpoint(path) => load_as(path, "checkpoint", &options)?,
        ModelSource::Artifact(path) => load_as(path, "artifact", &options)?,
        ModelSource::Quantize { checkpoint, pictures, count } => {
            let state = state_folder(&settings.device)?;
            quantized(checkpoint, pictures, *count, &state, &options)?
        }
        ModelSource::Live { .. } | ModelSource::None => {
            return Err(Error::new(Kind::Config, "this kind of [model] is not in this build yet"));
        }
    };
    let detector = engine.detector();
    let summary = detector.summary();
    tracing::info!(
        model = summary.name,
        precision = summary.precision,
        sha256 = summary.sha256,
        kernel = detector.kernel(),
        threads = detector.threads(),
        "model loaded"
    );
    Ok(engine)
}

/// The model at `path`, which the configuration names as `wanted`: a checkpoint or an artifact.
fn load_as(path: &Path, wanted: &str, options: &DetectorOptions) -> Result<LocalEngine> {
    let engine = LocalEngine::load(path, options)?;
    if (engine.detector().summary().precision == "fp32") == (wanted == "artifact") {
        let text = format!("model.{wanted} is {}, which is no {wanted}", path.display());
        return Err(Error::new(Kind::Config, text));
    }
    Ok(engine)
}

/// The checkpoint at `path`, quantized on `pictures`: made once, then taken from the state folder.
fn quantized(path: &Path, pictures: &Path, count: u32, state: &Path, options: &DetectorOptions) -> Result<LocalEngine> {
    let checkpoint = Checkpoint::open(path)?;
    let how = Options { count: count as usize, ..Options::default() };
    let mut phase = "";
    let mut progress = |now: &'static str, _: usize, all: usize| {
        if now != phase {
            phase = now;
            tracing::info!(phase, pictures = all, "quantizing");
        }
    };
    let pool = thread_pool(options.threads)?;
    let made = pool.install(|| quantize_cached(&checkpoint, pictures, &how, options.isa, state, &mut progress))?;
    for warning in &made.warnings {
        tracing::warn!("{warning}");
    }
    tracing::info!(path = %made.path.display(), cached = made.found, "quantized");
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    LocalEngine::new(Detector::from_artifact(&made.bytes, name, options)?)
}

/// A camera that can be opened. A folder to be replayed is looked at now: unlike a device it does not come back by
/// itself, so a wrong path is told at once.
fn open(camera: &CameraSettings, clock: &Arc<dyn Clock>, skies: &mut Skies) -> Result<Camera> {
    let name = camera.name.clone();
    let turn = Turn::new(camera.rotate / 90, camera.flip == Flip::Horizontal, camera.flip == Flip::Vertical);
    match &camera.kind {
        CameraKind::Replay { path, rate, repeat } => {
            let (path, rate, repeat, clock) = (path.clone(), *rate, *repeat, clock.clone());
            let replay = move || Replay::open(&path, rate, repeat, clock.clone());
            replay().map_err(|error| error.at(format!("camera {name}")))?;
            Ok(Camera { name, turn, open: Box::new(move || Ok(Box::new(replay()?))) })
        }
        CameraKind::Pattern { seed, size, fps, timetable } => {
            let open = skies.camera(&name, (*seed, *size, *fps), timetable, clock)?;
            Ok(Camera { name, turn, open })
        }
        CameraKind::V4l2 { .. } | CameraKind::Ffmpeg { .. } => {
            Err(Error::new(Kind::Config, "this kind of [[camera]] is not in this build yet"))
        }
    }
}
