//! Cameras as the configuration has them, ready to be opened by their threads.

use std::sync::Arc;
use std::time::Duration;

use super::filter::Filter;
use super::motion_gate::GateRules;
use super::pattern::Skies;
use super::registry::Rules;
use crate::camera::ffmpeg::{self, Ffmpeg};
use crate::camera::v4l2::{self, formats::Wanted};
use crate::camera::{Replay, Source};
use crate::clock::Clock;
use crate::config::document::Flip;
use crate::config::{CameraKind, CameraSettings, SupervisionSettings};
use crate::error::Result;
use crate::frame::Turn;

/// Opens a camera: called on its thread, at the start and after each failure.
pub type Open = Box<dyn FnMut() -> Result<Box<dyn Source>> + Send>;

/// A camera to be opened.
pub struct Camera {
    /// Its name.
    pub name: String,
    /// How it hangs: turns its pictures upright.
    pub turn: Turn,
    /// Which of its frames are looked at, what is reported, and how long it may be silent.
    pub rules: Rules,
    /// How to open it.
    pub open: Open,
}

impl Camera {
    /// A camera called `name`, upright, without rules, stalled after ten seconds.
    pub fn new(name: &str, open: impl FnMut() -> Result<Box<dyn Source>> + Send + 'static) -> Self {
        Self { name: name.to_owned(), turn: Turn::NONE, rules: Rules::default(), open: Box::new(open) }
    }
}

/// What of a camera can be changed while it runs.
pub fn rules(camera: &CameraSettings, supervision: &SupervisionSettings) -> Rules {
    Rules { gate: GateRules::new(camera), filter: Filter::new(camera), patience: patience(camera, supervision) }
}

/// How long a camera may be silent: as configured, but a slow one is given the time of a few pictures.
fn patience(camera: &CameraSettings, supervision: &SupervisionSettings) -> Duration {
    let rate = match camera.kind {
        CameraKind::Replay { rate, .. } => rate,
        CameraKind::V4l2 { fps, .. } => fps.filter(|&fps| fps > 0.0),
        CameraKind::Pattern { fps, .. } => Some(fps),
        CameraKind::Ffmpeg { .. } => None,
    };
    let slow = rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64((3.0 / rate.max(1e-6)).min(1e9)));
    supervision.stall_timeout.max(slow)
}

/// A camera that can be opened. A folder to be replayed is looked at now: unlike a device it does not come back by
/// itself, so a wrong path is told at once.
///
/// # Errors
///
/// Whatever is wrong with a folder to be replayed.
pub fn open(
    camera: &CameraSettings,
    supervision: &SupervisionSettings,
    clock: &Arc<dyn Clock>,
    skies: &Skies,
) -> Result<Camera> {
    let rules = rules(camera, supervision);
    let name = camera.name.clone();
    let turn = Turn::new(camera.rotate / 90, camera.flip == Flip::Horizontal, camera.flip == Flip::Vertical);
    match &camera.kind {
        CameraKind::Replay { path, rate, repeat } => {
            let (path, rate, repeat, clock) = (path.clone(), *rate, *repeat, clock.clone());
            let replay = move || Replay::open(&path, rate, repeat, clock.clone());
            replay().map_err(|error| error.at(format!("camera {name}")))?;
            Ok(Camera { name, turn, rules, open: Box::new(move || Ok(Box::new(replay()?))) })
        }
        CameraKind::Pattern { seed, size, fps, timetable } => {
            let open = skies.camera(&name, (*seed, *size, *fps), timetable, clock)?;
            Ok(Camera { name, turn, rules, open })
        }
        CameraKind::V4l2 { device, width, height, format, fps, controls } => {
            let wanted = Wanted { width: *width, height: *height, format: format.clone(), fps: *fps };
            let device = device.to_string_lossy().into_owned();
            let open = v4l2::opener(&name, v4l2::Setup { device, wanted, controls: controls.clone() });
            Ok(Camera { name, turn, rules, open })
        }
        CameraKind::Ffmpeg { input } => {
            let setup = ffmpeg::Setup { program: "ffmpeg".into(), input: input.clone() };
            Ok(Camera { name, turn, rules, open: Ffmpeg::opener(setup, supervision.stall_timeout) })
        }
    }
}
