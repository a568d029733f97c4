//! The capture thread: one a camera. Opens it, puts its frames into its slot, and opens it again, for ever, when it
//! fails. A camera that is lost is told once, and once when it is found again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::gate::Gate;
use super::health::Health;
use super::lanes::{Lane, Lanes};
use super::opening::Camera;
use super::voice::Voice;
use crate::backoff::Backoff;
use crate::camera::{Capture, Delivery, Source};
use crate::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::frame::{Frame, Put, Slots, Turn};
use crate::message::{CameraState, EventName};
use crate::metrics::{self, Metrics, Why};
use crate::stop::Stop;

/// First and longest delay before a lost camera is opened again.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What the threads of one life share.
#[derive(Clone)]
pub struct Shared {
    pub slots: Arc<Slots>,
    pub lanes: Arc<Lanes>,
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
    pub clock: Arc<dyn Clock>,
    pub voice: Voice,
    /// Ends the detector's rests; cameras have stops of their own.
    pub stop: Stop,
}

impl Shared {
    /// Adds a camera and starts its thread. `before` is the lane of the same camera that this one takes the place of:
    /// the new thread waits until the old one has let go of the device.
    ///
    /// # Errors
    ///
    /// [`Kind::Unavailable`] if the system gives no thread.
    pub fn begin(&self, camera: Camera, before: Option<&Lane>) -> Result<()> {
        let index = self.slots.add();
        let lane = self.lanes.add(&camera.name, camera.rules.clone(), before);
        self.health.add(&camera.name, camera.patience, self.clock.monotonic_ns());
        let old = before.and_then(Lane::end);
        let capturer = Capturer::new(self.clone(), index, lane.clone(), camera.turn);
        let work = move || {
            if let Some(old) = old {
                let _ = old.join();
            }
            capturer.run(camera);
        };
        let thread = std::thread::Builder::new()
            .name(format!("camera-{}", lane.name))
            .spawn(work)
            .map_err(|error| Error::new(Kind::Unavailable, "cannot start a camera's thread").because(error))?;
        lane.started(thread);
        Ok(())
    }

    /// Takes a camera away, without waiting for its thread.
    pub fn end(&self, name: &str) {
        if let Some((index, lane)) = self.lanes.find(name) {
            self.leave(index, &lane);
            lane.end();
            self.health.remove(name);
        }
    }

    /// Nothing more of the camera in slot `index` is looked at.
    pub fn leave(&self, index: usize, lane: &Lane) {
        if self.slots.remove(index) {
            drop_frame(&self.metrics, &self.health, &lane.name, "stopped");
        }
    }
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
    lane: Arc<Lane>,
    name: String,
    turn: Turn,
    sequence: u64,
    gate: Gate,
    /// Frames come; told so.
    up: bool,
    backoff: Backoff,
}

impl Capturer {
    /// The camera whose slot is number `index`.
    fn new(shared: Shared, index: usize, lane: Arc<Lane>, turn: Turn) -> Self {
        let backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        let (name, sequence) = (lane.name.clone(), lane.sequence.load(Ordering::Relaxed));
        Self { shared, index, lane, name, turn, sequence, gate: Gate::default(), up: false, backoff }
    }

    /// Captures until the camera ends in order or is to stop.
    fn run(mut self, mut camera: Camera) {
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
                    if self.shared.clock.wait(delay, &self.lane.stop).is_err() {
                        break;
                    }
                }
            }
        }
        self.up_metric(false);
        self.shared.slots.close(self.index);
    }

    fn stream(&mut self, source: &mut dyn Source) -> Result<End> {
        let every = source.delivery() == Delivery::Every;
        if every {
            self.lane.be_patient();
        }
        loop {
            if self.lane.stop.is_stopped() {
                return Ok(End::Stopped);
            }
            match source.next(&self.lane.stop)? {
                Capture::Image { image, monotonic_ns } => {
                    if every && !self.wait_until_wanted() {
                        return Ok(End::Stopped);
                    }
                    self.count();
                    let now_ns = self.shared.clock.monotonic_ns();
                    self.found(now_ns);
                    let (rules, boot_ns) = (self.lane.rules.load().gate, self.shared.clock.boot_ns());
                    if let Some(reason) = self.gate.judge(&rules, &image, now_ns, boot_ns) {
                        self.dropped(reason);
                        continue;
                    }
                    let taken_ns = monotonic_ns.unwrap_or(now_ns).min(now_ns);
                    let age = jiff::SignedDuration::from_nanos((now_ns - taken_ns) as i64);
                    let wall = self.shared.clock.wall();
                    let frame = Frame {
                        image: image.turned(self.turn),
                        sequence: self.sequence,
                        captured_at: wall.checked_sub(age).unwrap_or(wall),
                        captured_monotonic_ns: taken_ns,
                    };
                    self.shared.health.waits(&self.name, now_ns);
                    match self.shared.slots.put(self.index, frame) {
                        Put::Accepted => {}
                        Put::Replaced(_) if self.shared.health.throttle_level() > 0 => self.dropped("hot"),
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

    /// Waits until the rate cap and the detector allow for another frame of a source that loses none.
    fn wait_until_wanted(&self) -> bool {
        let early = self.gate.early(&self.lane.rules.load().gate, self.shared.clock.monotonic_ns());
        let waited = early.is_zero() || self.shared.clock.wait(early, &self.lane.stop).is_ok();
        waited && self.shared.slots.wait_until_wanted(self.index)
    }

    /// One more frame that the camera gave, whatever becomes of it.
    fn count(&mut self) {
        self.sequence += 1;
        self.lane.sequence.store(self.sequence, Ordering::Relaxed);
        self.shared.metrics.frames_captured.get_or_create(&metrics::Camera { camera: self.name.clone() }).inc();
    }

    fn dropped(&self, reason: &'static str) {
        drop_frame(&self.shared.metrics, &self.shared.health, &self.name, reason);
    }

    fn state(&self, state: CameraState) {
        self.shared.health.camera(&self.name, state, self.shared.clock.monotonic_ns());
        self.up_metric(state == CameraState::Streaming);
    }

    fn up_metric(&self, up: bool) {
        let camera = metrics::Camera { camera: self.name.clone() };
        self.shared.metrics.camera_up.get_or_create(&camera).set(i64::from(up));
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
        let now_ns = self.shared.clock.monotonic_ns();
        self.up_metric(false);
        self.shared.health.backoff(&self.name, now_ns, now_ns.saturating_add(delay.as_nanos() as u64));
    }
}

/// Counts a frame that nobody will look at.
pub fn drop_frame(metrics: &Metrics, health: &Health, camera: &str, reason: &'static str) {
    metrics.frames_dropped.get_or_create(&Why { camera: camera.to_owned(), reason }).inc();
    health.dropped(camera, reason);
}
