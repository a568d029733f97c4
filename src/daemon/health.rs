//! How everything is: one table that capture and detection write and every report of health is read from.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::message::{CameraState, CameraStatus, Model, Moment, Schema, State, Status};

/// The table.
#[derive(Debug)]
pub struct Health {
    device: String,
    stall_timeout: Duration,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    stopping: bool,
    model: Option<Model>,
    drift: Option<serde_json::Value>,
    /// What does not work, by who says so.
    wrong: BTreeMap<&'static str, String>,
    cameras: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    state: CameraState,
    dropped: BTreeMap<String, u64>,
    /// When it was opened or gave its last frame, nanoseconds of monotonic time.
    alive_ns: u64,
    /// Time between frames, in seconds, smoothed; `None` before the second frame.
    interval_s: Option<f64>,
}

/// Weight of the newest interval in the smoothed one.
const SMOOTHING: f64 = 0.2;

impl Health {
    /// A table in which every camera is being opened.
    pub fn new<'a>(device: &str, cameras: impl Iterator<Item = &'a str>, stall_timeout: Duration) -> Self {
        let entry =
            || Entry { state: CameraState::Connecting, dropped: BTreeMap::new(), alive_ns: 0, interval_s: None };
        let cameras = cameras.map(|name| (name.to_owned(), entry())).collect();
        let table = Mutex::new(Table { stopping: false, model: None, drift: None, wrong: BTreeMap::new(), cameras });
        Self { device: device.to_owned(), stall_timeout, table }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.lock().stopping = true;
    }

    /// `model` detects.
    pub fn model(&self, model: Model) {
        self.lock().model = Some(model);
    }

    /// How far the network's error is from its calibration.
    pub fn drift(&self, drift: serde_json::Value) {
        self.lock().drift = Some(drift);
    }

    /// Something of `part` does not work, for this reason, or works again.
    pub fn wrong(&self, part: &'static str, reason: Option<String>) {
        let mut table = self.lock();
        match reason {
            Some(reason) => drop(table.wrong.insert(part, reason)),
            None => drop(table.wrong.remove(part)),
        }
    }

    /// A camera is in another state.
    pub fn camera(&self, name: &str, state: CameraState, now_ns: u64) {
        if let Some(entry) = self.lock().cameras.get_mut(name) {
            entry.state = state;
            entry.alive_ns = now_ns;
            entry.interval_s = None;
        }
    }

    /// A camera gave a frame.
    pub fn frame(&self, name: &str, now_ns: u64) {
        if let Some(entry) = self.lock().cameras.get_mut(name) {
            if entry.state == CameraState::Streaming {
                let interval = now_ns.saturating_sub(entry.alive_ns) as f64 * 1e-9;
                let smooth = entry.interval_s.map_or(interval, |before| before + SMOOTHING * (interval - before));
                entry.interval_s = Some(smooth);
            }
            entry.state = CameraState::Streaming;
            entry.alive_ns = now_ns;
        }
    }

    /// A frame of a camera was dropped.
    pub fn dropped(&self, name: &str, reason: &str) {
        if let Some(entry) = self.lock().cameras.get_mut(name) {
            *entry.dropped.entry(reason.to_owned()).or_default() += 1;
        }
    }

    /// The table as a message.
    pub fn status(&self, clock: &dyn Clock) -> Status {
        let now_ns = clock.monotonic_ns();
        let stall_ns = self.stall_timeout.as_nanos() as u64;
        let table = self.lock();
        let mut reasons: Vec<String> = table.wrong.values().cloned().collect();
        let mut starting = table.model.is_none();
        let mut cameras = BTreeMap::new();
        for (name, entry) in &table.cameras {
            let silent = now_ns.saturating_sub(entry.alive_ns) > stall_ns;
            let state =
                if entry.state == CameraState::Streaming && silent { CameraState::Stalled } else { entry.state };
            match state {
                CameraState::Connecting => starting = true,
                CameraState::Stalled => reasons.push(format!("camera {name} gives no frames")),
                CameraState::Backoff => reasons.push(format!("camera {name} is lost")),
                CameraState::Streaming | CameraState::Ended => {}
            }
            let moving = state == CameraState::Streaming;
            let fps =
                entry.interval_s.filter(|&interval| moving && interval > 0.0).map_or(0.0, |interval| 1.0 / interval);
            let fps = (fps * 100.0).round() / 100.0;
            cameras.insert(name.clone(), CameraStatus { state, fps, dropped: entry.dropped.clone() });
        }
        let state = match () {
            () if table.stopping => State::Stopping,
            () if !reasons.is_empty() => State::Degraded,
            () if starting => State::Starting,
            () => State::Ok,
        };
        Status {
            schema: Schema::V1,
            device: self.device.clone(),
            at: Moment(clock.wall()),
            state,
            reasons,
            cameras,
            model: table.model.clone(),
            drift: table.drift.clone(),
        }
    }
}

/// Whether two statuses differ in more than numbers that always move: worth telling at once.
pub fn differs(one: &Status, other: &Status) -> bool {
    let states = |status: &Status| -> Vec<CameraState> { status.cameras.values().map(|camera| camera.state).collect() };
    one.state != other.state || one.reasons != other.reasons || one.model != other.model || states(one) != states(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SimulatedClock;
    use crate::message::Precision;

    #[test]
    fn health_follows_the_last_frame() {
        let clock = SimulatedClock::default();
        let health = Health::new("d", ["a", "b"].into_iter(), Duration::from_secs(10));
        assert_eq!(health.status(&clock).state, State::Starting);
        let precision = Precision::Fp32;
        health.model(Model { name: "m".into(), precision, generation: 0, sha256: String::new() });
        for _ in 0..5 {
            clock.advance(Duration::from_millis(250));
            health.frame("a", clock.monotonic_ns());
            health.frame("b", clock.monotonic_ns());
        }
        let before = health.status(&clock);
        assert_eq!((before.state, before.cameras["a"].fps), (State::Ok, 4.0));

        clock.advance(Duration::from_secs(11));
        health.frame("b", clock.monotonic_ns());
        health.dropped("b", "busy");
        let after = health.status(&clock);
        assert_eq!((after.state, after.cameras["a"].state), (State::Degraded, CameraState::Stalled));
        assert_eq!(after.reasons, ["camera a gives no frames"]);
        assert_eq!(after.cameras["b"].dropped["busy"], 1);
        assert!(differs(&before, &after));

        health.stopping();
        assert_eq!(health.status(&clock).state, State::Stopping);
    }
}
