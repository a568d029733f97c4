//! The capture thread: one a camera. Opens it, puts its frames into its slot, and opens it again, for ever, when it
//! fails. A camera that is lost is told once, and once when it is found again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::health::Health;
use super::parts::Camera;
use super::service::Voice;
use crate::backoff::Backoff;
use crate::camera::{Capture, Delivery, Source};
use crate::clock::Clock;
use crate::error::Result;
use crate::frame::{Frame, Put, Slots, Turn};
use crate::message::{CameraState, EventName};
use crate::metrics::{self, Metrics, Why};
use crate::stop::Stop;

/// First and longest delay before a lost camera is opened again.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What a capture thread shares with the others.
#[derive(Clone)]
pub struct Shared {
    pub slots: Arc<Slots>,
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
    pub clock: Arc<dyn Clock>,
    pub voice: Voice,
    pub stop: Stop,
}

/// How a source came to its end.
enum End {
    Ended,
    Stopped,
}

/// One camera on its thread.
pub struct Capturer {
    shared: Shared,
    index: usize,
    name: String,
    turn: Turn,
    sequence: u64,
    /// Frames come; told so.
    up: bool,
    backoff: Backoff,
}

impl Capturer {
    /// The camera whose slot is number `index`.
    pub fn new(shared: Shared, index: usize, camera: &Camera) -> Self {
        let backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        Self { shared, index, name: camera.name.clone(), turn: camera.turn, sequence: 0, up: false, backoff }
    }

    /// Captures until the camera ends in order or the service stops.
    pub fn run(mut self, mut camera: Camera) {
        loop {
            match (camera.open)().and_then(|mut source| self.stream(source.as_mut())) {
                Ok(End::Stopped) => break,
                Ok(End::Ended) => {
                    tracing::info!(camera = self.name, frames = self.sequence, "camera ended");
                    self.state(CameraState::Ended);
                    break;
                }
                Err(error) => {
                    let delay = self.backoff.delay();
                    self.lost(&error, delay);
                    if self.shared.clock.wait(delay, &self.shared.stop).is_err() {
                        break;
                    }
                }
            }
        }
        self.shared.slots.close(self.index);
    }

    fn stream(&mut self, source: &mut dyn Source) -> Result<End> {
        let every = source.delivery() == Delivery::Every;
        if every {
            self.shared.voice.be_patient(self.index);
        }
        loop {
            if self.shared.stop.is_stopped() {
                return Ok(End::Stopped);
            }
            match source.next(&self.shared.stop)? {
                Capture::Image { image, monotonic_ns } => {
                    if every && !self.shared.slots.wait_until_wanted(self.index) {
                        return Ok(End::Stopped);
                    }
                    self.count();
                    let now_ns = self.shared.clock.monotonic_ns();
                    let taken_ns = monotonic_ns.unwrap_or(now_ns).min(now_ns);
                    let age = jiff::SignedDuration::from_nanos((now_ns - taken_ns) as i64);
                    let wall = self.shared.clock.wall();
                    let frame = Frame {
                        image: image.turned(self.turn),
                        sequence: self.sequence,
                        captured_at: wall.checked_sub(age).unwrap_or(wall),
                        captured_monotonic_ns: taken_ns,
                    };
                    self.found(now_ns);
                    match self.shared.slots.put(self.index, frame) {
                        Put::Accepted => {}
                        Put::Replaced(_) => self.dropped("busy"),
                        Put::Shut => {
                            self.dropped("stopped");
                            return Ok(End::Stopped);
                        }
                    }
                }
                Capture::Corrupt(error) => {
                    self.count();
                    self.dropped("corrupt");
                    tracing::warn!(camera = self.name, error = error.chain(), "a picture cannot be decoded");
                }
                Capture::Ended => return Ok(End::Ended),
                Capture::Stopped => return Ok(End::Stopped),
            }
        }
    }

    /// One more frame that the camera gave, whatever becomes of it.
    fn count(&mut self) {
        self.sequence += 1;
        self.shared.metrics.frames_captured.get_or_create(&metrics::Camera { camera: self.name.clone() }).inc();
    }

    fn dropped(&self, reason: &'static str) {
        drop_frame(&self.shared.metrics, &self.shared.health, &self.name, reason);
    }

    fn state(&self, state: CameraState) {
        self.shared.health.camera(&self.name, state, self.shared.clock.monotonic_ns());
        let up = self.shared.metrics.camera_up.get_or_create(&metrics::Camera { camera: self.name.clone() }).clone();
        up.set(i64::from(state == CameraState::Streaming));
    }

    fn found(&mut self, now_ns: u64) {
        if !std::mem::replace(&mut self.up, true) {
            self.state(CameraState::Streaming);
            self.backoff.reset();
            tracing::info!(camera = self.name, "camera gives frames");
            self.shared.voice.event(EventName::CameraFound, Some(&self.name), BTreeMap::new());
        }
        self.shared.health.frame(&self.name, now_ns);
    }

    fn lost(&mut self, error: &crate::error::Error, delay: Duration) {
        let reason = if self.up { "failed" } else { "absent" };
        let why = Why { camera: self.name.clone(), reason };
        let attempts = self.shared.metrics.camera_reconnects.get_or_create(&why).inc();
        // Told when it is lost, and when it was never there; not at every attempt.
        if std::mem::replace(&mut self.up, false) || self.sequence == 0 && attempts == 0 {
            let retry_in_s = delay.as_secs_f64();
            tracing::warn!(camera = self.name, error = error.chain(), retry_in_s, "camera lost");
            let details = BTreeMap::from([("error".to_owned(), error.chain().into())]);
            self.shared.voice.event(EventName::CameraLost, Some(&self.name), details);
        } else {
            tracing::debug!(camera = self.name, error = error.chain(), "camera still lost");
        }
        self.state(CameraState::Backoff);
    }
}

/// Counts a frame that nobody will look at.
pub fn drop_frame(metrics: &Metrics, health: &Health, camera: &str, reason: &'static str) {
    metrics.frames_dropped.get_or_create(&Why { camera: camera.to_owned(), reason }).inc();
    health.dropped(camera, reason);
}
