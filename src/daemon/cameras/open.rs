//! Cameras of the configuration, prepared for their capture threads.

use std::sync::Arc;
use std::time::Duration;

use super::filter::Filter;
use super::motion_gate::GateRules;
use super::pattern::{PatternControl, PatternSettings};
use super::registry::CameraRules;
use crate::camera::ffmpeg::{self, Ffmpeg};
use crate::camera::v4l2::{self, formats::FormatRequest};
use crate::camera::{Open, Replay, Source};
use crate::clock::{Clock, SystemClock};
use crate::config::document::Flip;
use crate::config::{CameraKind, CameraSettings, SupervisionSettings};
use crate::error::{Error, Result};
use crate::frame::Turn;
use crate::rules::RuleSettings;

/// Frames of a slow camera that may be missing before it counts as stalled.
const SLOW_CAMERA_FRAMES: f64 = 3.0;

/// A camera that can be opened.
pub struct Camera {
    /// Its name.
    pub name: String,
    /// Rotation and flip that turn its pictures upright.
    pub turn: Turn,
    /// Gate, filter and stall timeout.
    pub rules: CameraRules,
    /// Opens its source.
    pub open: Open,
}

impl Camera {
    /// A camera called `name`, upright, with the default rules.
    pub fn new(name: &str, open: impl FnMut() -> Result<Box<dyn Source>> + Send + 'static) -> Self {
        Self { name: name.to_owned(), turn: Turn::NONE, rules: CameraRules::default(), open: Box::new(open) }
    }
}

/// The rules of a camera, from its settings.
pub fn rules(camera: &CameraSettings, supervision: &SupervisionSettings) -> CameraRules {
    let (gate, filter) = (GateRules::new(camera), Filter::new(camera));
    CameraRules {
        gate,
        filter,
        rules: RuleSettings::from(camera),
        private: camera.private.clone(),
        stall_timeout: stall_timeout(camera, supervision),
    }
}

/// The configured stall timeout, or the time of [`SLOW_CAMERA_FRAMES`] frames if that is longer.
fn stall_timeout(camera: &CameraSettings, supervision: &SupervisionSettings) -> Duration {
    let rate = match camera.kind {
        CameraKind::Replay { rate, .. } => rate,
        CameraKind::V4l2 { fps, .. } => fps.filter(|&fps| fps > 0.0),
        CameraKind::Pattern { fps, .. } => Some(fps),
        CameraKind::Ffmpeg { .. } => None,
    };
    let seconds = |rate: f64| (SLOW_CAMERA_FRAMES / rate.max(1e-6)).min(1e9);
    let slow = rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(seconds(rate)));
    supervision.stall_timeout.max(slow)
}

/// Opens a camera outside of the service, to try it.
///
/// # Errors
///
/// Those of a camera that cannot be prepared, and of the source.
pub fn open_source(camera: &CameraSettings, supervision: &SupervisionSettings) -> Result<Box<dyn Source>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    (prepare(camera, supervision, &clock, &PatternControl::default())?.open)()
}

/// Prepares a camera. A folder to replay is checked now: unlike a device it does not appear later, so a wrong path is
/// an error at once.
///
/// # Errors
///
/// As [`Replay::open`]; [`Kind::Usage`](crate::error::Kind::Usage) for an unknown weather in a timetable.
pub fn prepare(
    camera: &CameraSettings,
    supervision: &SupervisionSettings,
    clock: &Arc<dyn Clock>,
    pattern: &PatternControl,
) -> Result<Camera> {
    let rules = rules(camera, supervision);
    let (name, max_pixels) = (camera.name.clone(), camera.max_pixels);
    let turn = Turn::new(camera.rotate / 90, camera.flip == Flip::Horizontal, camera.flip == Flip::Vertical);
    let open = match &camera.kind {
        CameraKind::Replay { path, rate, repeat } => {
            let (path, rate, repeat, clock) = (path.clone(), *rate, *repeat, clock.clone());
            let replay = move || {
                let replay = Replay::open(&path, rate, repeat, clock.clone())?;
                Ok::<_, Error>(replay.with_max_pixels(max_pixels))
            };
            replay().map_err(|error| error.at(format!("camera {name}")))?;
            Box::new(move || Ok(Box::new(replay()?) as Box<dyn Source>))
        }
        CameraKind::Pattern { seed, size, fps, timetable } => {
            pattern.add(&name, &PatternSettings { seed: *seed, size: *size, fps: *fps, timetable }, clock)?
        }
        CameraKind::V4l2 { device, width, height, format, fps, controls } => {
            let request = FormatRequest { width: *width, height: *height, format: format.clone(), fps: *fps };
            let device = device.to_string_lossy().into_owned();
            v4l2::opener(&name, v4l2::V4l2Config { device, request, controls: controls.clone(), max_pixels })
        }
        CameraKind::Ffmpeg { input } => {
            let config = ffmpeg::FfmpegConfig { program: "ffmpeg".into(), input: input.clone(), max_pixels };
            Ffmpeg::opener(config, supervision.stall_timeout)
        }
    };
    Ok(Camera { name, turn, rules, open })
}
