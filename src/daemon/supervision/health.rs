//! How everything is: one table that capture and detection write, and that every report of health is read from: the
//! published status, systemd's status line, readiness and the watchdog.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

use super::thermal::Heat;
use crate::clock::Clock;
use crate::message::{CameraState, CameraStatus, Message, Model, Moment, Schema, State, Status, Throttle};
use crate::sync::IgnorePoison;

/// The table.
#[derive(Debug)]
pub struct Health {
    device: String,
    began_boot_ns: u64,
    pub(in crate::daemon) table: Mutex<Table>,
    changed: Notify,
}

#[derive(Debug, Default)]
pub(in crate::daemon) struct Table {
    stopping: bool,
    model: Option<Model>,
    pub(in crate::daemon) cameras: BTreeMap<String, Entry>,
    /// Cameras that an order switched off.
    pub(in crate::daemon) off: BTreeSet<String>,
    /// What is wrong beside cameras, by who says so.
    reasons: BTreeMap<&'static str, String>,
    heat: Option<Heat>,
    drift: Option<serde_json::Value>,
    pub(in crate::daemon) work: Work,
    /// Time from taking a frame to its report, in nanoseconds, smoothed; `None` before the first.
    pub(in crate::daemon) frame_ns: Option<f64>,
}

/// What the detector thread does, since when, in nanoseconds of monotonic time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Waits for a frame.
    Waiting(u64),
    /// Looks at one.
    Busy(u64),
    /// Hands over a report of which none may be lost.
    Delivering(u64),
    /// Rests until then, because it is hot.
    Resting(u64),
}

impl Default for Work {
    fn default() -> Self {
        Self::Waiting(0)
    }
}

#[derive(Debug)]
pub(in crate::daemon) struct Entry {
    pub(in crate::daemon) state: CameraState,
    dropped: BTreeMap<String, u64>,
    /// When its state began or it gave its last frame, nanoseconds of monotonic time.
    pub(in crate::daemon) alive_ns: u64,
    /// When it will be opened again, for one that is lost.
    pub(in crate::daemon) retry_ns: u64,
    /// Since when a frame of it waits for the detector.
    pub(in crate::daemon) waiting_ns: Option<u64>,
    /// Silent for longer, it is stalled.
    pub(in crate::daemon) patience: Duration,
    /// Time between frames, in seconds, smoothed; `None` before the second frame.
    interval_s: Option<f64>,
}

/// Weight of the newest interval in a smoothed one.
const SMOOTHING: f64 = 0.2;

impl Entry {
    /// The state, with silence taken into account.
    pub(in crate::daemon) fn state(&self, now_ns: u64) -> CameraState {
        let silent = now_ns.saturating_sub(self.alive_ns) > self.patience.as_nanos() as u64;
        match self.state {
            CameraState::Streaming | CameraState::Connecting if silent => CameraState::Stalled,
            state => state,
        }
    }
}

impl Health {
    /// A table without cameras.
    pub fn new(device: &str, clock: &dyn Clock) -> Self {
        let (began_boot_ns, table) = (clock.boot_ns(), Mutex::default());
        Self { device: device.to_owned(), began_boot_ns, table, changed: Notify::new() }
    }

    pub(in crate::daemon) fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().ignore_poison()
    }

    /// Tells whoever waits that a state has changed.
    pub(in crate::daemon) fn wake(&self) {
        self.changed.notify_one();
    }

    /// Completes when a state has changed since it completed last.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.lock().stopping = true;
    }

    /// `model` detects.
    pub fn model(&self, model: Model) {
        self.lock().model = Some(model);
        self.changed.notify_one();
    }

    /// What `who` has to complain of, or that it has nothing: a reason why the device is degraded.
    pub fn complain(&self, who: &'static str, reason: Option<String>) {
        let before = match reason {
            Some(reason) => self.lock().reasons.insert(who, reason.clone()).is_none_or(|before| before != reason),
            None => self.lock().reasons.remove(who).is_some(),
        };
        if before {
            self.changed.notify_one();
        }
    }

    /// How far the network is from its calibration, as the status shows it.
    pub fn drift(&self, drift: Option<serde_json::Value>) {
        self.lock().drift = drift;
    }

    /// How hot it is.
    pub fn heat(&self, heat: Heat) {
        self.lock().heat = Some(heat);
    }

    /// How much less is done because of heat: 0 to 4.
    pub fn throttle_level(&self) -> u8 {
        self.lock().heat.as_ref().map_or(0, |heat| heat.level)
    }

    /// A camera is being opened for the first time. Silent for longer than `patience` it counts as stalled.
    pub fn add(&self, name: &str, patience: Duration, now_ns: u64) {
        let mut table = self.lock();
        let entry = Entry {
            state: CameraState::Connecting,
            // One that is opened anew under its name goes on counting.
            dropped: table.cameras.remove(name).map(|entry| entry.dropped).unwrap_or_default(),
            alive_ns: now_ns,
            retry_ns: 0,
            waiting_ns: None,
            patience,
            interval_s: None,
        };
        table.cameras.insert(name.to_owned(), entry);
        drop(table);
        self.changed.notify_one();
    }

    /// A camera is no longer ours.
    pub fn remove(&self, name: &str) {
        self.lock().cameras.remove(name);
        self.changed.notify_one();
    }

    /// A camera may be silent for so long from now on.
    pub fn patience(&self, name: &str, patience: Duration) {
        self.with(name, |entry| entry.patience = patience);
    }

    /// A camera is in another state.
    pub fn camera(&self, name: &str, state: CameraState, now_ns: u64) {
        self.with(name, |entry| {
            entry.state = state;
            entry.alive_ns = now_ns;
            entry.interval_s = None;
        });
        self.changed.notify_one();
    }

    /// A camera is lost and will be opened again at `retry_ns`.
    pub fn backoff(&self, name: &str, now_ns: u64, retry_ns: u64) {
        self.with(name, |entry| entry.retry_ns = retry_ns);
        self.camera(name, CameraState::Backoff, now_ns);
    }

    /// A camera gave a frame.
    pub fn frame(&self, name: &str, now_ns: u64) {
        self.with(name, |entry| {
            if entry.state == CameraState::Streaming {
                let interval = now_ns.saturating_sub(entry.alive_ns) as f64 * 1e-9;
                let smooth = entry.interval_s.map_or(interval, |before| before + SMOOTHING * (interval - before));
                entry.interval_s = Some(smooth);
            }
            entry.state = CameraState::Streaming;
            entry.alive_ns = now_ns;
        });
    }

    /// A frame of a camera waits for the detector.
    pub fn waits(&self, name: &str, now_ns: u64) {
        self.with(name, |entry| entry.waiting_ns = entry.waiting_ns.or(Some(now_ns)));
    }

    /// The detector took the frame of a camera.
    pub fn taken(&self, name: &str, now_ns: u64) {
        self.with(name, |entry| entry.waiting_ns = None);
        self.lock().work = Work::Busy(now_ns);
    }

    /// The detector thread does something else. Leaving a frame that was looked at tells how long that takes.
    pub fn work(&self, work: Work) {
        let mut table = self.lock();
        let now_ns = match work {
            Work::Waiting(ns) | Work::Busy(ns) | Work::Delivering(ns) => Some(ns),
            Work::Resting(_) => None,
        };
        if let (Work::Busy(since), Some(now_ns)) = (table.work, now_ns) {
            let took = now_ns.saturating_sub(since) as f64;
            table.frame_ns = Some(table.frame_ns.map_or(took, |before| before + SMOOTHING * (took - before)));
        }
        table.work = work;
    }

    /// A frame of a camera was dropped.
    pub fn dropped(&self, name: &str, reason: &str) {
        self.with(name, |entry| *entry.dropped.entry(reason.to_owned()).or_default() += 1);
    }

    fn with(&self, name: &str, change: impl FnOnce(&mut Entry)) {
        self.lock().cameras.get_mut(name).map(change);
    }

    /// Whether every camera that was to be opened is open, or known not to be there.
    pub fn settled(&self, now_ns: u64) -> bool {
        let table = self.lock();
        table.model.is_some() && table.cameras.values().all(|entry| entry.state(now_ns) != CameraState::Connecting)
    }

    /// The table as a message.
    pub fn status(&self, clock: &dyn Clock) -> Status {
        let now_ns = clock.monotonic_ns();
        let table = self.lock();
        let mut reasons: Vec<String> = table.reasons.values().cloned().collect();
        let throttle = table.heat.as_ref().map(|heat| Throttle {
            level: heat.level,
            zone: heat.hottest().map(|(zone, _)| zone.clone()),
            celsius: heat.hottest().map(|(_, celsius)| *celsius),
        });
        if let Some(Throttle { level: 1.., celsius: Some(celsius), .. }) = throttle {
            reasons.push(format!("less is done at {celsius:.0} °C"));
        }
        let mut starting = table.model.is_none();
        let mut cameras = BTreeMap::new();
        for (name, entry) in &table.cameras {
            let state = if table.off.contains(name) { CameraState::Disabled } else { entry.state(now_ns) };
            match state {
                CameraState::Connecting => starting = true,
                CameraState::Stalled => reasons.push(format!("camera {name} gives no frames")),
                CameraState::Backoff => reasons.push(format!("camera {name} is lost")),
                CameraState::Streaming | CameraState::Disabled | CameraState::Ended => {}
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
            uptime_s: clock.boot_ns().saturating_sub(self.began_boot_ns) / 1_000_000_000,
            state,
            reasons,
            cameras,
            model: table.model.clone(),
            throttle,
            drift: table.drift.clone(),
        }
    }

    /// The same as JSON, as the verb `status` answers.
    ///
    /// # Errors
    ///
    /// [`Kind::Internal`](crate::error::Kind::Internal) if it has no JSON form, which no status lacks.
    pub fn json(&self, clock: &dyn Clock) -> crate::error::Result<serde_json::Value> {
        serde_json::to_value(Message::Status(self.status(clock))).map_err(|error| {
            crate::error::Error::new(crate::error::Kind::Internal, "the status has no JSON form").because(error)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::status_line::{differs, line};
    use super::*;
    use crate::clock::SimulatedClock;
    use crate::message::Precision;

    #[test]
    fn health_follows_the_last_frame() {
        let clock = SimulatedClock::default();
        let health = Health::new("d", &clock);
        for name in ["a", "b"] {
            health.add(name, Duration::from_secs(10), 0);
        }
        assert_eq!(health.status(&clock).state, State::Starting);
        let precision = Precision::Fp32;
        health.model(Model { name: "m".into(), precision, generation: 0, sha256: String::new() });
        assert!(!health.settled(0));
        for _ in 0..5 {
            clock.advance(Duration::from_millis(250));
            health.frame("a", clock.monotonic_ns());
            health.frame("b", clock.monotonic_ns());
        }
        let before = health.status(&clock);
        assert_eq!((before.state, before.cameras["a"].fps), (State::Ok, 4.0));
        assert_eq!(line(&before), "ok; 2 of 2 cameras; m (fp32, generation 0)");

        clock.advance(Duration::from_secs(11));
        health.frame("b", clock.monotonic_ns());
        health.dropped("b", "busy");
        let after = health.status(&clock);
        assert_eq!((after.state, after.cameras["a"].state), (State::Degraded, CameraState::Stalled));
        assert_eq!(after.reasons, ["camera a gives no frames"]);
        assert_eq!(line(&after), "degraded: camera a gives no frames; 1 of 2 cameras; m (fp32, generation 0)");
        assert_eq!((after.cameras["b"].dropped["busy"], after.uptime_s), (1, 12));
        assert!(differs(&before, &after) && health.settled(clock.monotonic_ns()));

        health.complain("config", Some("the new configuration is wrong".into()));
        assert!(health.status(&clock).reasons[0].contains("configuration"));
        health.complain("config", None);
        health.heat(Heat { zones: vec![("cpu".into(), 81.6)], level: 2 });
        let hot = health.status(&clock);
        assert_eq!(hot.reasons, ["less is done at 82 °C", "camera a gives no frames"]);
        assert_eq!(hot.throttle.unwrap().level, 2);
        health.remove("a");
        assert_eq!(health.status(&clock).cameras.len(), 1);

        health.stopping();
        assert_eq!(health.status(&clock).state, State::Stopping);
    }

    #[test]
    fn a_camera_that_never_opens_is_stalled_and_keeps_nobody_waiting() {
        let clock = SimulatedClock::default();
        let health = Health::new("d", &clock);
        health.add("a", Duration::from_secs(10), 0);
        health.model(Model { name: "m".into(), precision: Precision::Int8, generation: 0, sha256: String::new() });
        clock.advance(Duration::from_secs(11));
        assert!(health.settled(clock.monotonic_ns()));
        assert_eq!(health.status(&clock).state, State::Degraded);
    }
}
