//! The capture thread: one a camera. Opens it, puts its frames into its slot, and opens it again, for ever, when it
//! fails. A camera that is lost is told once, and once when it is found again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::motion_gate::Gate;
use super::open::Camera;
use super::registry::{Lane, Lanes};
use crate::backoff::Backoff;
use crate::camera::{Capture, Delivery, Source};
use crate::clock::Clock;
use crate::daemon::output::publisher::Voice;
use crate::daemon::supervision::health::Health;
use crate::error::{Error, Kind, Result};
use crate::frame::{Frame, Image, Put, Slots, Turn};
use crate::message::{CameraState, EventName};
use crate::metrics::{self, Metrics, Why};
use crate::precedence::Precedence;
use crate::stop::Stop;

/// First and longest delay before a lost camera is opened again.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Time between two looks of a source that loses no frame whether it was switched on again.
const SWITCHED: Duration = Duration::from_millis(200);

/// What the threads of one life share.
#[derive(Clone)]
pub struct Shared {
    pub slots: Arc<Slots>,
    pub lanes: Arc<Lanes>,
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
    pub clock: Arc<dyn Clock>,
    pub voice: Voice,
    /// Taken while a frame is in the detector.
    pub precedence: Arc<Precedence>,
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
        self.health.add(&camera.name, camera.rules.patience, self.clock.monotonic_ns());
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

/// One camera on its thread: Connecting, then Streaming; Stalled where no frame comes; Backoff after an error, and from
/// there opened again, for ever. Each change is told once, in the log and in the table of health.
struct Capturer {
    shared: Shared,
    index: usize,
    lane: Arc<Lane>,
    name: String,
    turn: Turn,
    sequence: u64,
    gate: Gate,
    state: CameraState,
    /// When its state began, nanoseconds of monotonic time.
    since_ns: u64,
    /// The delay before it was opened last.
    delay: Duration,
    backoff: Backoff,
    grumble: Grumble,
}

impl Capturer {
    /// The camera whose slot is number `index`.
    fn new(shared: Shared, index: usize, lane: Arc<Lane>, turn: Turn) -> Self {
        let (name, sequence) = (lane.name.clone(), lane.sequence.load(Ordering::Relaxed));
        Self {
            since_ns: shared.clock.monotonic_ns(),
            shared,
            index,
            lane,
            name,
            turn,
            sequence,
            gate: Gate::default(),
            state: CameraState::Connecting,
            delay: Duration::ZERO,
            backoff: Backoff::new(BACKOFF.0, BACKOFF.1),
            grumble: Grumble::default(),
        }
    }

    /// Captures until the camera ends in order or is to stop.
    fn run(mut self, mut camera: Camera) {
        loop {
            match (camera.open)().and_then(|mut source| self.stream(source.as_mut())) {
                Ok(End::Stopped) => break,
                Ok(End::Ended) => {
                    self.enter(CameraState::Ended, self.now_ns());
                    break;
                }
                Err(error) => {
                    self.lost(&error);
                    if self.shared.clock.wait(self.delay, &self.lane.stop).is_err() {
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
        let mut seen_ns = self.now_ns();
        loop {
            if self.lane.stop.is_stopped() {
                return Ok(End::Stopped);
            }
            let capture = source.next(&self.lane.stop)?;
            self.pass_over(source.passed_over());
            match capture {
                Capture::Image { image, monotonic_ns } => {
                    if every && !self.wait_until_wanted() {
                        return Ok(End::Stopped);
                    }
                    self.count(1);
                    seen_ns = self.now_ns();
                    self.found(seen_ns);
                    if !self.hand_over(image, monotonic_ns, seen_ns) {
                        return Ok(End::Stopped);
                    }
                }
                Capture::Nothing => self.miss(seen_ns)?,
                Capture::Corrupt(error) => {
                    self.count(1);
                    self.dropped("corrupt");
                    // Each of a recording's counts; those of a camera that has gone mad would fill the log.
                    let unsaid = if every { Some(0) } else { self.grumble.may_speak(self.now_ns()) };
                    if let Some(unsaid) = unsaid {
                        let error = error.chain();
                        tracing::warn!(camera = self.name, error, unsaid, "a picture cannot be decoded");
                    }
                    self.miss(seen_ns)?;
                }
                Capture::Ended => return Ok(End::Ended),
                Capture::Stopped => return Ok(End::Stopped),
            }
        }
    }

    /// Puts a picture where the detector takes it, if its rules let it through; `false` if nobody takes any more.
    fn hand_over(&mut self, image: Image, monotonic_ns: Option<u64>, now_ns: u64) -> bool {
        if self.shared.health.is_off(&self.name) {
            self.dropped("disabled");
            return true;
        }
        let (rules, boot_ns) = (self.lane.rules.load().gate, self.shared.clock.boot_ns());
        if let Some(reason) = self.gate.judge(&rules, &image, now_ns, boot_ns) {
            self.dropped(reason);
            return true;
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
                return false;
            }
        }
        true
    }

    /// Waits until the rate cap and the detector allow for another frame of a source that loses none.
    fn wait_until_wanted(&self) -> bool {
        while self.shared.health.is_off(&self.name) {
            // It is in order, and waits for an order.
            self.shared.health.frame(&self.name, self.now_ns());
            if self.shared.clock.wait(SWITCHED, &self.lane.stop).is_err() {
                return false;
            }
        }
        let early = self.gate.early(&self.lane.rules.load().gate, self.now_ns());
        let waited = early.is_zero() || self.shared.clock.wait(early, &self.lane.stop).is_ok();
        waited && self.shared.slots.wait_until_wanted(self.index)
    }

    fn now_ns(&self) -> u64 {
        self.shared.clock.monotonic_ns()
    }

    /// So many more frames that the camera gave, whatever becomes of them.
    fn count(&mut self, frames: u64) {
        self.sequence += frames;
        self.lane.sequence.store(self.sequence, Ordering::Relaxed);
        self.shared
            .metrics
            .frames_captured
            .get_or_create(&metrics::Camera { camera: self.name.clone() })
            .inc_by(frames);
    }

    /// Frames that the source let go because it had a newer one.
    fn pass_over(&mut self, frames: u64) {
        if frames > 0 {
            self.count(frames);
            (0..frames).for_each(|_| self.dropped("stale"));
        }
    }

    fn dropped(&self, reason: &'static str) {
        drop_frame(&self.shared.metrics, &self.shared.health, &self.name, reason);
    }

    /// Enters a state; says whether it was another before.
    fn enter(&mut self, state: CameraState, now_ns: u64) -> bool {
        let before = std::mem::replace(&mut self.state, state);
        if before == state {
            return false;
        }
        self.since_ns = now_ns;
        self.shared.health.camera(&self.name, state, now_ns);
        self.up_metric(state == CameraState::Streaming);
        tracing::info!(camera = self.name, frames = self.sequence, "camera is {}, was {}", state.name(), before.name());
        true
    }

    fn up_metric(&self, up: bool) {
        let camera = metrics::Camera { camera: self.name.clone() };
        self.shared.metrics.camera_up.get_or_create(&camera).set(i64::from(up));
    }

    fn found(&mut self, now_ns: u64) {
        let told = self.state == CameraState::Stalled;
        if self.enter(CameraState::Streaming, now_ns) && !told {
            self.shared.voice.event(EventName::CameraFound, Some(&self.name), BTreeMap::new());
        }
        // A camera that gives one frame and fails is not back: it is asked ever more seldom.
        if now_ns.saturating_sub(self.since_ns) >= self.delay.as_nanos() as u64 {
            self.backoff.reset();
        }
        self.shared.health.frame(&self.name, now_ns);
    }

    /// Nothing usable came; the last that was, or the opening, was at `seen_ns`. After the camera's patience it is
    /// stalled, and somewhat later it is given up, to be opened again.
    fn miss(&mut self, seen_ns: u64) -> Result<()> {
        let now_ns = self.now_ns();
        let patience = self.lane.rules.load().patience;
        let silent = Duration::from_nanos(now_ns.saturating_sub(seen_ns));
        if silent > patience * 3 / 2 {
            let text = format!("stalled: no usable picture for {} s", silent.as_secs());
            return Err(Error::new(Kind::Unavailable, text));
        }
        // One that was lost stays so until a picture comes.
        if silent > patience && self.state != CameraState::Backoff {
            self.enter(CameraState::Stalled, now_ns);
        }
        Ok(())
    }

    fn lost(&mut self, error: &Error) {
        let was_up = matches!(self.state, CameraState::Streaming | CameraState::Stalled);
        let reason = if was_up { "failed" } else { "absent" };
        let why = Why { camera: self.name.clone(), reason };
        self.shared.metrics.camera_reconnects.get_or_create(&why).inc();
        self.delay = self.backoff.delay();
        let now_ns = self.now_ns();
        let retry_in_s = self.delay.as_secs_f64();
        // Told when it is lost, and when it was never there; not at every attempt.
        if self.enter(CameraState::Backoff, now_ns) {
            tracing::warn!(camera = self.name, error = error.chain(), retry_in_s, "camera lost");
            let details = BTreeMap::from([("error".to_owned(), error.chain().into())]);
            self.shared.voice.event(EventName::CameraLost, Some(&self.name), details);
        } else {
            tracing::debug!(camera = self.name, error = error.chain(), retry_in_s, "camera still lost");
        }
        self.shared.health.backoff(&self.name, now_ns, now_ns.saturating_add(self.delay.as_nanos() as u64));
    }
}

/// Keeps a complaint that comes again and again from filling the log.
#[derive(Debug, Default)]
struct Grumble {
    spoken_ns: Option<u64>,
    unsaid: u64,
}

impl Grumble {
    /// Between two complaints.
    const PAUSE: Duration = Duration::from_secs(60);

    /// Whether to complain now, and how often that was kept back since the last time.
    fn may_speak(&mut self, now_ns: u64) -> Option<u64> {
        let early = |spoken: u64| now_ns.saturating_sub(spoken) < Self::PAUSE.as_nanos() as u64;
        if self.spoken_ns.is_some_and(early) {
            self.unsaid += 1;
            return None;
        }
        self.spoken_ns = Some(now_ns);
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// Counts a frame that nobody will look at.
pub fn drop_frame(metrics: &Metrics, health: &Health, camera: &str, reason: &'static str) {
    metrics.frames_dropped.get_or_create(&Why { camera: camera.to_owned(), reason }).inc();
    health.dropped(camera, reason);
}
