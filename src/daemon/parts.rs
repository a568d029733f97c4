//! What one life of the service is made of, built from the configuration; tests put their own in.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::engine::{Engine, LocalEngine, detector_options};
use super::identity::Identity;
use crate::camera::{Replay, Source};
use crate::clock::{Clock, SystemClock};
use crate::config::{CameraKind, CameraSettings, ModelSource, Settings, SinkKind};
use crate::error::{Error, Kind, Result};
use crate::message::Precision;
use crate::metrics::Metrics;
use crate::publish::{Outlet, Sink, Stdout};

/// Opens a camera: called on its thread, at the start and after each failure.
pub type Open = Box<dyn FnMut() -> Result<Box<dyn Source>> + Send>;

/// A camera to be opened.
pub struct Camera {
    /// Its name.
    pub name: String,
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
    /// Who is told.
    pub outlets: Vec<Outlet>,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where things are counted.
    pub metrics: Arc<Metrics>,
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
    /// The parts that `settings` ask for, the model loaded.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with the model or with a folder to be replayed.
    pub fn build(settings: &Settings) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let cameras = settings.cameras.iter().map(|camera| open(camera, &clock)).collect::<Result<_>>()?;
        let engine = load(settings)?;
        let mut metrics = Metrics::new();
        let info = engine.info();
        metrics.model(&info.name, info.precision.name(), &info.sha256);
        let mut outlets = Vec::new();
        for sink in &settings.sinks {
            let (name, place): (&str, Box<dyn Sink>) = match sink.kind {
                SinkKind::Stdout => ("stdout", Box::new(Stdout::new())),
                SinkKind::File { .. } | SinkKind::Unix { .. } | SinkKind::Mqtt { .. } => {
                    return Err(Error::new(Kind::Config, "this kind of [[publish]] is not in this build yet"));
                }
            };
            outlets.push(Outlet { name: name.to_owned(), messages: sink.messages.clone(), sink: place });
        }
        Ok(Self {
            identity: Identity::of_machine(settings.device.id.as_deref()),
            cameras,
            engine: Box::new(engine),
            outlets,
            clock,
            metrics: Arc::new(metrics),
            stall_timeout: settings.supervision.stall_timeout,
            grace_period: settings.supervision.grace_period,
        })
    }
}

fn load(settings: &Settings) -> Result<LocalEngine> {
    let (path, wanted): (&Path, &str) = match &settings.model.source {
        ModelSource::Checkpoint(path) => (path, "checkpoint"),
        ModelSource::Artifact(path) => (path, "artifact"),
        _ => return Err(Error::new(Kind::Config, "this kind of [model] is not in this build yet")),
    };
    let options = detector_options(&settings.detector)?;
    crate::kernel::self_test(options.isa)?;
    let engine = LocalEngine::load(path, &options)?;
    if (engine.info().precision == Precision::Fp32) == (wanted == "artifact") {
        let text = format!("model.{wanted} is {}, which is no {wanted}", path.display());
        return Err(Error::new(Kind::Config, text));
    }
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

/// A camera that can be opened. A folder to be replayed is looked at now: unlike a device it does not come back by
/// itself, so a wrong path is told at once.
fn open(camera: &CameraSettings, clock: &Arc<dyn Clock>) -> Result<Camera> {
    let name = camera.name.clone();
    match &camera.kind {
        CameraKind::Replay { path, rate, repeat } => {
            let (path, rate, repeat, clock) = (path.clone(), *rate, *repeat, clock.clone());
            let replay = move || Replay::open(&path, rate, repeat, clock.clone());
            replay().map_err(|error| error.at(format!("camera {name}")))?;
            Ok(Camera { name, open: Box::new(move || Ok(Box::new(replay()?))) })
        }
        CameraKind::V4l2 { .. } | CameraKind::Ffmpeg { .. } | CameraKind::Pattern { .. } => {
            Err(Error::new(Kind::Config, "this kind of [[camera]] is not in this build yet"))
        }
    }
}
