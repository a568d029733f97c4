//! Capture threads: one per camera.
//!
//! In: a [`Camera`]. Out: its frames in its slot. A thread opens the camera, hands over its frames, and opens it again
//! after each failure, with a growing delay. `camera.lost` and `camera.found` are published once per change.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;

use super::context::RunContext;
use super::drop_reason::DropReason;
use super::motion_gate::MotionGate;
use super::open::Camera;
use super::registry::CameraEntry;
use crate::backoff::Backoff;
use crate::camera::{Capture, Delivery, Source};
use crate::error::{Error, Kind, Result};
use crate::frame::{Frame, Image, Put, Turn};
use crate::message::{CameraState, EventName};
use crate::metrics::{self, ReasonLabels};
use crate::rate_limit::LogLimit;

/// Delays between two attempts to open a camera.
struct ReopenDelay {
    first: Duration,
    longest: Duration,
}

const REOPEN_DELAY: ReopenDelay = ReopenDelay { first: Duration::from_secs(1), longest: Duration::from_secs(30) };

/// Shortest time between two messages about pictures that cannot be decoded.
const CORRUPT_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Shortest time between two messages about pictures of another size.
const SIZE_LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Interval at which the thread of a disabled lossless camera checks for its re-enabling.
const ENABLE_CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// Adds a camera to the run and starts its thread. `predecessor` is the entry of the same camera that it replaces: the
/// new thread waits until the old one has closed the device.
///
/// # Errors
///
/// [`Kind::Unavailable`] if the thread cannot be started.
pub fn start(context: &RunContext, camera: Camera, predecessor: Option<&CameraEntry>) -> Result<()> {
    let index = context.slots.add();
    let entry = context.cameras.add(&camera.name, camera.rules.clone(), predecessor);
    context.health.add_camera(&camera.name, camera.rules.stall_timeout, context.clock.monotonic_ns());
    let old_thread = predecessor.and_then(CameraEntry::stop);
    let capture = CaptureThread::new(context.clone(), index, entry.clone(), camera.turn);
    let work = move || {
        if let Some(old_thread) = old_thread {
            let _ = old_thread.join();
        }
        capture.run(camera);
    };
    let thread = std::thread::Builder::new()
        .name(format!("camera-{}", entry.name))
        .spawn(work)
        .map_err(|error| Error::new(Kind::Unavailable, "cannot start a camera's thread").because(error))?;
    entry.set_thread(thread);
    Ok(())
}

/// Removes a camera from the run, without waiting for its thread.
pub fn remove(context: &RunContext, name: &str) {
    if let Some((index, entry)) = context.cameras.find(name) {
        context.close_slot(index, &entry);
        entry.stop();
        context.health.remove_camera(name);
    }
}

/// Regular end of a stream.
enum StreamEnd {
    /// The source has no more frames.
    Ended,
    /// The camera or the service was stopped.
    Stopped,
}

/// Details of `camera.lost`.
#[derive(Serialize)]
struct CameraLost {
    error: String,
}

/// A capture thread. States of its camera: Connecting, then Streaming; Stalled if no frame comes; Backoff after an
/// error, until it is opened again. Each change is logged once and written to the health table.
struct CaptureThread {
    context: RunContext,
    index: usize,
    entry: Arc<CameraEntry>,
    name: String,
    turn: Turn,
    sequence: u64,
    gate: MotionGate,
    state: CameraState,
    /// Start of the current state, nanoseconds of monotonic time.
    since_ns: u64,
    /// Delay before the last attempt to open the camera.
    delay: Duration,
    backoff: Backoff,
    corrupt_log: LogLimit,
    /// Columns and rows of the latest picture.
    size: Option<(usize, usize)>,
    size_log: LogLimit,
}

impl CaptureThread {
    fn new(context: RunContext, index: usize, entry: Arc<CameraEntry>, turn: Turn) -> Self {
        let (name, sequence) = (entry.name.clone(), entry.sequence.load(Ordering::Relaxed));
        Self {
            since_ns: context.clock.monotonic_ns(),
            context,
            index,
            entry,
            name,
            turn,
            sequence,
            gate: MotionGate::default(),
            state: CameraState::Connecting,
            delay: Duration::ZERO,
            backoff: Backoff::new(REOPEN_DELAY.first, REOPEN_DELAY.longest),
            corrupt_log: LogLimit::new(1, CORRUPT_LOG_INTERVAL),
            size: None,
            size_log: LogLimit::new(1, SIZE_LOG_INTERVAL),
        }
    }

    /// Captures until the source ends or the camera is stopped.
    fn run(mut self, mut camera: Camera) {
        loop {
            match (camera.open)().and_then(|mut source| self.stream(source.as_mut())) {
                Ok(StreamEnd::Stopped) => break,
                Ok(StreamEnd::Ended) => {
                    self.enter(CameraState::Ended, self.now_ns());
                    break;
                }
                Err(error) => {
                    self.report_lost(&error);
                    if self.context.clock.wait(self.delay, &self.entry.stop).is_err() {
                        break;
                    }
                }
            }
        }
        self.set_up_metric(false);
        self.context.slots.close(self.index);
    }

    /// Hands over the frames of an open source until it ends, fails, or stalls for too long.
    fn stream(&mut self, source: &mut dyn Source) -> Result<StreamEnd> {
        let lossless = source.delivery() == Delivery::Every;
        if lossless {
            self.entry.set_lossless();
        }
        let mut last_usable_ns = self.now_ns();
        loop {
            if self.entry.stop.is_stopped() {
                return Ok(StreamEnd::Stopped);
            }
            let capture = source.next(&self.entry.stop)?;
            // Frames that the source skipped get numbers too: a gap in the sequence is always a counted drop.
            self.count_skipped(source.skipped());
            match capture {
                Capture::Image { image, monotonic_ns } => {
                    if lossless && !self.wait_until_requested() {
                        return Ok(StreamEnd::Stopped);
                    }
                    self.count(1);
                    last_usable_ns = self.now_ns();
                    self.report_frame(last_usable_ns);
                    self.report_size(&image, last_usable_ns);
                    if !self.hand_over(image, monotonic_ns, last_usable_ns) {
                        return Ok(StreamEnd::Stopped);
                    }
                }
                Capture::Nothing => self.check_stall(last_usable_ns)?,
                Capture::Corrupt(error) => {
                    self.count(1);
                    self.drop_frame(DropReason::Corrupt);
                    self.set_error(&error);
                    // Each broken file of a recording matters; a broken camera would fill the log.
                    let suppressed = if lossless { Some(0) } else { self.corrupt_log.allow(self.now_ns()) };
                    if let Some(suppressed) = suppressed {
                        let error = error.chain();
                        tracing::warn!(camera = self.name, error, suppressed, "a picture cannot be decoded");
                    }
                    self.check_stall(last_usable_ns)?;
                }
                Capture::Ended => return Ok(StreamEnd::Ended),
                Capture::Stopped => return Ok(StreamEnd::Stopped),
            }
        }
    }

    /// Puts a picture into the camera's slot if the rules let it pass; `false` if the slot is closed.
    fn hand_over(&mut self, mut image: Image, monotonic_ns: Option<u64>, now_ns: u64) -> bool {
        if self.context.health.is_disabled(&self.name) {
            self.drop_frame(DropReason::Disabled);
            return true;
        }
        let (rules, boot_ns) = (self.entry.rules.load().gate, self.context.clock.boot_ns());
        // Nothing of the service has seen the frame yet: its private regions never leave this thread.
        image.blacken(&self.entry.rules.load().private, self.turn);
        if let Some(reason) = self.gate.check(&rules, &image, now_ns, boot_ns) {
            self.drop_frame(reason);
            return true;
        }
        // Drivers stamp frames with monotonic time; the wall time of capture follows from the frame's age.
        let captured_ns = monotonic_ns.unwrap_or(now_ns).min(now_ns);
        let age = jiff::SignedDuration::from_nanos((now_ns - captured_ns) as i64);
        let wall = self.context.clock.wall();
        let frame = Frame {
            image: image.turned(self.turn),
            sequence: self.sequence,
            captured_at: wall.checked_sub(age).unwrap_or(wall),
            captured_monotonic_ns: captured_ns,
        };
        self.context.health.frame_waiting(&self.name, now_ns);
        match self.context.slots.put(self.index, frame) {
            Put::Accepted => {}
            Put::Replaced(_) if self.context.health.throttle_level() > 0 => self.drop_frame(DropReason::Hot),
            Put::Replaced(_) => self.drop_frame(DropReason::Busy),
            Put::Stopped => {
                self.drop_frame(DropReason::Stopped);
                return false;
            }
        }
        true
    }

    /// Waits until camera, rate cap and detector allow another frame of a lossless source; `false` if stopped.
    fn wait_until_requested(&self) -> bool {
        while self.context.health.is_disabled(&self.name) {
            // Keeps the camera from counting as stalled while it is disabled.
            self.context.health.frame_captured(&self.name, self.now_ns());
            if self.context.clock.wait(ENABLE_CHECK_INTERVAL, &self.entry.stop).is_err() {
                return false;
            }
        }
        let wait = self.gate.time_until_due(&self.entry.rules.load().gate, self.now_ns());
        let waited = wait.is_zero() || self.context.clock.wait(wait, &self.entry.stop).is_ok();
        waited && self.context.slots.wait_until_requested(self.index)
    }

    fn now_ns(&self) -> u64 {
        self.context.clock.monotonic_ns()
    }

    /// Adds `frames` to the number of captured frames.
    fn count(&mut self, frames: u64) {
        self.sequence += frames;
        self.entry.sequence.store(self.sequence, Ordering::Relaxed);
        let camera = metrics::CameraLabel { camera: self.name.clone() };
        self.context.metrics.frames_captured.get_or_create(&camera).inc_by(frames);
    }

    /// Counts frames that the source skipped because it had a newer one.
    fn count_skipped(&mut self, frames: u64) {
        if frames > 0 {
            self.count(frames);
            (0..frames).for_each(|_| self.drop_frame(DropReason::Stale));
        }
    }

    fn drop_frame(&self, reason: DropReason) {
        self.context.drop_frame(&self.name, reason);
    }

    /// Enters a state; `true` if it is another one than before.
    fn enter(&mut self, state: CameraState, now_ns: u64) -> bool {
        let before = std::mem::replace(&mut self.state, state);
        if before == state {
            return false;
        }
        self.since_ns = now_ns;
        self.context.health.set_camera_state(&self.name, state, now_ns);
        self.set_up_metric(state == CameraState::Streaming);
        tracing::info!(camera = self.name, frames = self.sequence, "camera is {}, was {}", state.name(), before.name());
        true
    }

    fn set_error(&self, error: &Error) {
        self.context.health.set_camera_error(&self.name, &error.chain(), self.context.clock.wall());
    }

    fn set_up_metric(&self, up: bool) {
        let camera = metrics::CameraLabel { camera: self.name.clone() };
        self.context.metrics.camera_up.get_or_create(&camera).set(i64::from(up));
    }

    /// Records that a usable frame came.
    fn report_frame(&mut self, now_ns: u64) {
        // No `camera.lost` was published for a stalled camera.
        let was_stalled = self.state == CameraState::Stalled;
        if self.enter(CameraState::Streaming, now_ns) && !was_stalled {
            self.context.publisher.event(EventName::CameraFound, Some(&self.name), &());
        }
        // The delay starts anew only after the camera streamed for as long as the last delay. Otherwise a camera that
        // fails after a few frames would be opened more often.
        if now_ns.saturating_sub(self.since_ns) >= self.delay.as_nanos() as u64 {
            self.backoff.reset();
        }
        self.context.health.frame_captured(&self.name, now_ns);
    }

    /// Logs a change of the picture's size. Regions are relative to the picture, and tracks are rescaled.
    fn report_size(&mut self, image: &Image, now_ns: u64) {
        let size = (image.width(), image.height());
        let Some((width, height)) = self.size.replace(size).filter(|before| *before != size) else { return };
        // A folder of pictures may have another size each time.
        let Some(suppressed) = self.size_log.allow(now_ns) else { return };
        let (before, now) = (format!("{width}×{height}"), format!("{}×{}", size.0, size.1));
        tracing::info!(camera = self.name, before, now, suppressed, "the size of the pictures has changed");
    }

    /// Checks how long the camera has given nothing usable; the last usable frame, or the opening, was at
    /// `last_usable_ns`. After its stall timeout the camera is stalled; half as long later it is opened anew.
    fn check_stall(&mut self, last_usable_ns: u64) -> Result<()> {
        let now_ns = self.now_ns();
        let timeout = self.entry.rules.load().stall_timeout;
        let elapsed = Duration::from_nanos(now_ns.saturating_sub(last_usable_ns));
        if elapsed > timeout + timeout / 2 {
            let text = format!("stalled: no usable picture for {} s", elapsed.as_secs());
            return Err(Error::new(Kind::Unavailable, text));
        }
        // A lost camera stays in Backoff until a usable frame comes.
        if elapsed > timeout && self.state != CameraState::Backoff {
            self.enter(CameraState::Stalled, now_ns);
        }
        Ok(())
    }

    /// Records a failure and chooses the delay before the next attempt.
    fn report_lost(&mut self, error: &Error) {
        let was_up = matches!(self.state, CameraState::Streaming | CameraState::Stalled);
        let reason = if was_up { "failed" } else { "absent" };
        let why = ReasonLabels { camera: self.name.clone(), reason };
        self.context.metrics.camera_reconnects.get_or_create(&why).inc();
        self.delay = self.backoff.delay();
        self.set_error(error);
        let now_ns = self.now_ns();
        let retry_in_s = self.delay.as_secs_f64();
        // Published at the first failure only, not at every attempt.
        if self.enter(CameraState::Backoff, now_ns) {
            tracing::warn!(camera = self.name, error = error.chain(), retry_in_s, "camera lost");
            let details = CameraLost { error: error.chain() };
            self.context.publisher.event(EventName::CameraLost, Some(&self.name), &details);
        } else {
            tracing::debug!(camera = self.name, error = error.chain(), retry_in_s, "camera still lost");
        }
        let retry_ns = now_ns.saturating_add(self.delay.as_nanos() as u64);
        self.context.health.set_camera_backoff(&self.name, now_ns, retry_ns);
    }
}
