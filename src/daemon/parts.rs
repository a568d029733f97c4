//! What one life of the service is made of, built from the configuration; tests put their own in.

use std::sync::Arc;
use std::time::Duration;

use super::engine::Engine;
use super::identity::Identity;
use super::load::load;
use super::monitoring::Monitoring;
use super::recent::Recent;
use super::sinks::Ground;
use super::swap::Swap;
use super::watch::Watcher;
use super::weather::Skies;
use crate::camera::{Replay, Source};
use crate::clock::{Clock, SystemClock};
use crate::config::document::Flip;
use crate::config::{CameraKind, CameraSettings, ModelSource, Settings, TrackSettings};
use crate::control::Control;
use crate::error::{Error, Kind, Result};
use crate::frame::Turn;
use crate::metrics::Metrics;
use crate::publish::Outlet;
use crate::track::Rules;

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
    /// Who watches its error, if anybody.
    pub monitoring: Option<Monitoring>,
    /// Through which another engine may come.
    pub swap: Swap,
    /// Who sees each frame with its report.
    pub watchers: Vec<Box<dyn Watcher>>,
    /// Who is told.
    pub outlets: Vec<Outlet>,
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
        let identity = Identity::of_machine(settings.device.id.as_deref());
        let (engine, monitoring) = load(settings, &identity)?;
        let metrics = Arc::new(Metrics::new());
        let recent = Recent::new(settings.cameras.iter().map(|camera| camera.name.clone()));
        let model = engine.info();
        let ground = Ground {
            settings,
            identity: &identity,
            model: &model,
            recent: &recent,
            control,
            clock: &clock,
            metrics: &metrics,
        };
        let outlets = ground.outlets()?;
        let mut watchers: Vec<Box<dyn Watcher>> = Vec::new();
        if Ground::wants_frames(settings) {
            watchers.push(Box::new(recent.clone()));
        }
        Ok(Self {
            identity,
            cameras,
            engine: Box::new(engine),
            monitoring,
            swap: Swap::default(),
            watchers,
            outlets,
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
