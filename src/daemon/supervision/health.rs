//! Health table: state of the cameras, the model and the detector, written by capture and detection.
//!
//! All reports of health read it: the published status, systemd's status line, readiness and the watchdog.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

use super::thermal::ThermalState;
use crate::clock::Clock;
use crate::message::{CameraState, CameraStatus, Model, Moment, Schema, State, Status, Throttle};
use crate::sync::IgnorePoison;

/// Health of the service, shared by its threads.
#[derive(Debug)]
pub struct Health {
    device: String,
    started_boot_ns: u64,
    table: Mutex<HealthState>,
    changed: Notify,
}

/// State behind the lock. Times are nanoseconds of monotonic time.
#[derive(Debug, Default)]
pub(super) struct HealthState {
    stopping: bool,
    model: Option<Model>,
    pub(super) cameras: BTreeMap<String, CameraHealth>,
    /// Cameras disabled by request.
    disabled: BTreeSet<String>,
    /// Reasons for the state `degraded` that no camera's state shows.
    faults: BTreeMap<FaultSource, String>,
    thermal: Option<ThermalState>,
    drift: Option<serde_json::Value>,
    pub(super) activity: DetectorActivity,
    /// Time from taking a frame to its report, in nanoseconds.
    pub(super) frame_time_ns: Ewma,
}

/// Part of the service that reports a fault; the order is that of the published reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultSource {
    /// The monitor, about the pictures of the cameras.
    Cameras,
    /// The reload of the configuration.
    Config,
    /// The monitor, about the model or itself.
    Monitor,
}

/// Activity of the detector thread. Times are nanoseconds of monotonic time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DetectorActivity {
    /// Waits for a frame.
    Waiting {
        /// Start.
        since_ns: u64,
    },
    /// Processes a frame.
    Detecting {
        /// Start.
        since_ns: u64,
    },
    /// Waits for room in the sinks' queues for a report that must not be lost.
    Delivering {
        /// Start.
        since_ns: u64,
    },
    /// Rests because of the temperature.
    Resting {
        /// End.
        until_ns: u64,
    },
}

impl Default for DetectorActivity {
    fn default() -> Self {
        Self::Waiting { since_ns: 0 }
    }
}

/// Health of one camera. Times are nanoseconds of monotonic time.
#[derive(Debug)]
pub(super) struct CameraHealth {
    pub(super) state: CameraState,
    /// Frames dropped, by reason.
    dropped: BTreeMap<String, u64>,
    /// Start of the state, or the last frame.
    pub(super) alive_ns: u64,
    /// Next attempt to open a lost camera.
    pub(super) retry_ns: u64,
    /// Since when a frame of the camera waits for the detector.
    pub(super) waiting_ns: Option<u64>,
    /// Time without a frame after which the camera counts as stalled.
    pub(super) stall_timeout: Duration,
    /// Time between frames, in seconds.
    interval_s: Ewma,
}

/// Exponentially weighted moving average; `None` before the first value.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ewma(Option<f64>);

impl Ewma {
    /// Weight of the newest value.
    const WEIGHT: f64 = 0.2;

    fn update(&mut self, value: f64) {
        self.0 = Some(self.0.map_or(value, |mean| mean + Self::WEIGHT * (value - mean)));
    }

    /// The average.
    pub(super) fn mean(self) -> Option<f64> {
        self.0
    }
}

impl CameraHealth {
    /// The state; a camera without frames for longer than its stall timeout is stalled.
    fn state(&self, now_ns: u64) -> CameraState {
        let is_silent = now_ns.saturating_sub(self.alive_ns) > self.stall_timeout.as_nanos() as u64;
        match self.state {
            CameraState::Streaming | CameraState::Connecting if is_silent => CameraState::Stalled,
            state => state,
        }
    }

    /// Frames per second, to the hundredth; 0 unless `state` is streaming.
    fn fps(&self, state: CameraState) -> f64 {
        let interval = self.interval_s.mean().filter(|&interval| state == CameraState::Streaming && interval > 0.0);
        (interval.map_or(0.0, |interval| 1.0 / interval) * 100.0).round() / 100.0
    }
}

impl Health {
    /// A table without cameras.
    pub fn new(device: &str, clock: &dyn Clock) -> Self {
        let (started_boot_ns, table) = (clock.boot_ns(), Mutex::default());
        Self { device: device.to_owned(), started_boot_ns, table, changed: Notify::new() }
    }

    /// Locks the table.
    pub(super) fn lock(&self) -> MutexGuard<'_, HealthState> {
        self.table.lock().ignore_poison()
    }

    /// Completes when a state has changed since the last completion.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Records that the service is stopping.
    pub fn set_stopping(&self) {
        self.lock().stopping = true;
    }

    /// Sets the model that detects.
    pub fn set_model(&self, model: Model) {
        self.lock().model = Some(model);
        self.changed.notify_one();
    }

    /// Sets or clears a fault: a reason for the state `degraded`.
    pub fn set_fault(&self, source: FaultSource, reason: Option<String>) {
        let is_new = match reason {
            Some(reason) => self.lock().faults.insert(source, reason.clone()).is_none_or(|before| before != reason),
            None => self.lock().faults.remove(&source).is_some(),
        };
        if is_new {
            self.changed.notify_one();
        }
    }

    /// Sets the monitor's part of the status.
    pub fn set_drift(&self, drift: Option<serde_json::Value>) {
        self.lock().drift = drift;
    }

    /// Sets the temperatures and the throttle level.
    pub fn set_thermal(&self, thermal: ThermalState) {
        self.lock().thermal = Some(thermal);
    }

    /// The throttle level, 0 to 4.
    pub fn throttle_level(&self) -> u8 {
        self.lock().thermal.as_ref().map_or(0, |thermal| thermal.level)
    }

    /// Adds a camera that is being opened for the first time.
    pub fn add_camera(&self, name: &str, stall_timeout: Duration, now_ns: u64) {
        let mut table = self.lock();
        let camera = CameraHealth {
            state: CameraState::Connecting,
            // A camera that is opened anew under its name continues its counts.
            dropped: table.cameras.remove(name).map(|camera| camera.dropped).unwrap_or_default(),
            alive_ns: now_ns,
            retry_ns: 0,
            waiting_ns: None,
            stall_timeout,
            interval_s: Ewma::default(),
        };
        table.cameras.insert(name.to_owned(), camera);
        drop(table);
        self.changed.notify_one();
    }

    /// Removes a camera.
    pub fn remove_camera(&self, name: &str) {
        self.lock().cameras.remove(name);
        self.changed.notify_one();
    }

    /// Changes a camera's stall timeout.
    pub fn set_stall_timeout(&self, name: &str, stall_timeout: Duration) {
        self.with(name, |camera| camera.stall_timeout = stall_timeout);
    }

    /// Sets a camera's state.
    pub fn set_camera_state(&self, name: &str, state: CameraState, now_ns: u64) {
        self.with(name, |camera| {
            camera.state = state;
            camera.alive_ns = now_ns;
            camera.interval_s = Ewma::default();
        });
        self.changed.notify_one();
    }

    /// Records that a camera is lost and will be opened again at `retry_ns`.
    pub fn set_camera_backoff(&self, name: &str, now_ns: u64, retry_ns: u64) {
        self.with(name, |camera| camera.retry_ns = retry_ns);
        self.set_camera_state(name, CameraState::Backoff, now_ns);
    }

    /// Sets the disabled cameras.
    pub fn set_disabled(&self, disabled: BTreeSet<String>) {
        self.lock().disabled = disabled;
        self.changed.notify_one();
    }

    /// The disabled cameras.
    pub fn disabled(&self) -> BTreeSet<String> {
        self.lock().disabled.clone()
    }

    /// True if camera `name` is disabled.
    pub fn is_disabled(&self, name: &str) -> bool {
        self.lock().disabled.contains(name)
    }

    /// Records a captured frame.
    pub fn frame_captured(&self, name: &str, now_ns: u64) {
        self.with(name, |camera| {
            if camera.state == CameraState::Streaming {
                camera.interval_s.update(now_ns.saturating_sub(camera.alive_ns) as f64 * 1e-9);
            }
            camera.state = CameraState::Streaming;
            camera.alive_ns = now_ns;
        });
    }

    /// Records that a frame of a camera waits for the detector.
    pub fn frame_waiting(&self, name: &str, now_ns: u64) {
        self.with(name, |camera| camera.waiting_ns = camera.waiting_ns.or(Some(now_ns)));
    }

    /// Records that the detector took the frame of a camera.
    pub fn frame_taken(&self, name: &str, now_ns: u64) {
        self.with(name, |camera| camera.waiting_ns = None);
        self.lock().activity = DetectorActivity::Detecting { since_ns: now_ns };
    }

    /// Records that a frame of a camera was dropped.
    pub fn frame_dropped(&self, name: &str, reason: &str) {
        self.with(name, |camera| *camera.dropped.entry(reason.to_owned()).or_default() += 1);
    }

    /// Sets the activity of the detector thread. The end of `Detecting` measures the frame time.
    pub fn set_activity(&self, activity: DetectorActivity) {
        let mut table = self.lock();
        let start_ns = match activity {
            DetectorActivity::Waiting { since_ns }
            | DetectorActivity::Detecting { since_ns }
            | DetectorActivity::Delivering { since_ns } => Some(since_ns),
            DetectorActivity::Resting { .. } => None,
        };
        if let (DetectorActivity::Detecting { since_ns }, Some(end_ns)) = (table.activity, start_ns) {
            table.frame_time_ns.update(end_ns.saturating_sub(since_ns) as f64);
        }
        table.activity = activity;
    }

    fn with(&self, name: &str, change: impl FnOnce(&mut CameraHealth)) {
        self.lock().cameras.get_mut(name).map(change);
    }

    /// True once a model detects and no camera is being opened for the first time.
    pub fn is_settled(&self, now_ns: u64) -> bool {
        let table = self.lock();
        table.model.is_some() && table.cameras.values().all(|camera| camera.state(now_ns) != CameraState::Connecting)
    }

    /// The table as a message.
    pub fn status(&self, clock: &dyn Clock) -> Status {
        let now_ns = clock.monotonic_ns();
        let table = self.lock();
        let mut reasons: Vec<String> = table.faults.values().cloned().collect();
        let throttle = table.thermal.as_ref().map(|thermal| Throttle {
            level: thermal.level,
            zone: thermal.hottest().map(|hottest| hottest.zone.clone()),
            celsius: thermal.hottest().map(|hottest| hottest.celsius),
        });
        if let Some(Throttle { level: 1.., celsius: Some(celsius), .. }) = throttle {
            reasons.push(format!("less is done at {celsius:.0} °C"));
        }
        let mut starting = table.model.is_none();
        let mut cameras = BTreeMap::new();
        for (name, camera) in &table.cameras {
            let state = if table.disabled.contains(name) { CameraState::Disabled } else { camera.state(now_ns) };
            match state {
                CameraState::Connecting => starting = true,
                CameraState::Stalled => reasons.push(format!("camera {name} gives no frames")),
                CameraState::Backoff => reasons.push(format!("camera {name} is lost")),
                CameraState::Disabled => reasons.push(format!("camera {name} is disabled by request")),
                CameraState::Streaming | CameraState::Ended => {}
            }
            let (fps, dropped) = (camera.fps(state), camera.dropped.clone());
            cameras.insert(name.clone(), CameraStatus { state, fps, dropped });
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
            uptime_s: clock.boot_ns().saturating_sub(self.started_boot_ns) / 1_000_000_000,
            state,
            reasons,
            cameras,
            model: table.model.clone(),
            throttle,
            drift: table.drift.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::status_line::{differs, line};
    use super::super::thermal::ZoneTemperature;
    use super::*;
    use crate::clock::SimulatedClock;
    use crate::message::ModelPrecision;

    #[test]
    fn health_follows_the_last_frame() {
        let clock = SimulatedClock::default();
        let health = Health::new("d", &clock);
        for name in ["a", "b"] {
            health.add_camera(name, Duration::from_secs(10), 0);
        }
        assert_eq!(health.status(&clock).state, State::Starting);
        let precision = ModelPrecision::Fp32;
        health.set_model(Model { name: "m".into(), precision, generation: 0, sha256: String::new() });
        assert!(!health.is_settled(0));
        for _ in 0..5 {
            clock.advance(Duration::from_millis(250));
            health.frame_captured("a", clock.monotonic_ns());
            health.frame_captured("b", clock.monotonic_ns());
        }
        let before = health.status(&clock);
        assert_eq!((before.state, before.cameras["a"].fps), (State::Ok, 4.0));
        assert_eq!(line(&before), "ok; 2 of 2 cameras; m (fp32, generation 0)");

        clock.advance(Duration::from_secs(11));
        health.frame_captured("b", clock.monotonic_ns());
        health.frame_dropped("b", "busy");
        let after = health.status(&clock);
        assert_eq!((after.state, after.cameras["a"].state), (State::Degraded, CameraState::Stalled));
        assert_eq!(after.reasons, ["camera a gives no frames"]);
        assert_eq!(line(&after), "degraded: camera a gives no frames; 1 of 2 cameras; m (fp32, generation 0)");
        assert_eq!((after.cameras["b"].dropped["busy"], after.uptime_s), (1, 12));
        assert!(differs(&before, &after) && health.is_settled(clock.monotonic_ns()));

        health.set_fault(FaultSource::Config, Some("the new configuration is wrong".into()));
        assert!(health.status(&clock).reasons[0].contains("configuration"));
        health.set_fault(FaultSource::Config, None);
        health
            .set_thermal(ThermalState { zones: vec![ZoneTemperature { zone: "cpu".into(), celsius: 81.6 }], level: 2 });
        let hot = health.status(&clock);
        assert_eq!(hot.reasons, ["less is done at 82 °C", "camera a gives no frames"]);
        assert_eq!(hot.throttle.unwrap().level, 2);
        health.remove_camera("a");
        assert_eq!(health.status(&clock).cameras.len(), 1);

        health.set_stopping();
        assert_eq!(health.status(&clock).state, State::Stopping);
    }

    #[test]
    fn a_camera_that_never_opens_is_stalled_and_does_not_delay_readiness() {
        let clock = SimulatedClock::default();
        let health = Health::new("d", &clock);
        health.add_camera("a", Duration::from_secs(10), 0);
        health.set_model(Model {
            name: "m".into(),
            precision: ModelPrecision::Int8,
            generation: 0,
            sha256: String::new(),
        });
        clock.advance(Duration::from_secs(11));
        assert!(health.is_settled(clock.monotonic_ns()));
        assert_eq!(health.status(&clock).state, State::Degraded);
    }
}
