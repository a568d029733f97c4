//! Health table: state of the cameras, the model and the detector, written by capture and detection.
//!
//! All reports of health read it: the published status, systemd's status line, readiness and the watchdog.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

use super::thermal::ThermalState;
use crate::clock::Clock;
use crate::fault::FaultReporter;
use crate::message::{CameraError, CameraState, CameraStatus, Model, Moment, Schema, State, Status, Throttle};
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
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultSource {
    /// The monitor, about the pictures of the cameras.
    Cameras,
    /// The reload of the configuration.
    Config,
    /// The service, about a run that failed and is tried again.
    Run,
    /// The monitor, about the model or itself.
    Monitor,
    /// A sink, the connection of a broker, a store, or the page, by name.
    Output(String),
}

impl FaultSource {
    /// Name of the source in the metrics.
    fn name(&self) -> String {
        match self {
            Self::Cameras => "pictures".to_owned(),
            Self::Config => "configuration".to_owned(),
            Self::Run => "run".to_owned(),
            Self::Monitor => "monitor".to_owned(),
            Self::Output(name) => format!("output {name}"),
        }
    }
}

/// Delivery of a report after which it counts as a fault.
const SLOW_DELIVERY: Duration = Duration::from_secs(10);

/// A reason for the state `degraded`.
struct Fault {
    /// What has the fault, for the metrics.
    source: String,
    /// What is wrong, for people.
    reason: String,
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
    /// When the last analysis ended.
    analysed_ns: Option<u64>,
    /// Time between analysed frames, in seconds.
    analysed_interval_s: Ewma,
    /// Time from capture to report, in milliseconds.
    latency_ms: Ewma,
    last_error: Option<CameraError>,
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

    /// Captured frames per second, to the hundredth; 0 unless `state` is streaming.
    fn fps(&self, state: CameraState) -> f64 {
        rate(self.interval_s.mean().filter(|_| state == CameraState::Streaming))
    }

    /// Analysed frames per second, to the hundredth. A rate that ends falls with the time since the last frame.
    fn analysed_fps(&self, state: CameraState, now_ns: u64) -> f64 {
        let since_s = |analysed_ns| now_ns.saturating_sub(analysed_ns) as f64 * 1e-9;
        let interval = self.analysed_interval_s.mean().filter(|_| state == CameraState::Streaming);
        rate(interval.map(|interval| interval.max(self.analysed_ns.map_or(0.0, since_s) / 2.0)))
    }

    fn status(&self, state: CameraState, now_ns: u64) -> CameraStatus {
        let analysed_fps = self.analysed_fps(state, now_ns);
        CameraStatus {
            state,
            fps: self.fps(state),
            analysed_fps,
            latency_ms: self.latency_ms.mean().filter(|_| analysed_fps > 0.0).map(to_hundredth),
            dropped: self.dropped.clone(),
            last_error: self.last_error.clone(),
        }
    }
}

/// Events per second, to the hundredth, for the time between them in seconds.
fn rate(interval_s: Option<f64>) -> f64 {
    to_hundredth(interval_s.filter(|&interval| interval > 0.0).map_or(0.0, |interval| 1.0 / interval))
}

fn to_hundredth(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

impl HealthState {
    fn camera_state(&self, name: &str, camera: &CameraHealth, now_ns: u64) -> CameraState {
        if self.disabled.contains(name) { CameraState::Disabled } else { camera.state(now_ns) }
    }

    fn throttle(&self) -> Option<Throttle> {
        self.thermal.as_ref().map(|thermal| Throttle {
            level: thermal.level,
            zone: thermal.hottest().map(|hottest| hottest.zone.clone()),
            celsius: thermal.hottest().map(|hottest| hottest.celsius),
        })
    }

    /// All reasons for the state `degraded`.
    fn faults(&self, now_ns: u64) -> Vec<Fault> {
        let reported = self.faults.iter().map(|(source, reason)| (source.name(), reason.clone()));
        let hot = match self.throttle() {
            Some(Throttle { level: 1.., celsius: Some(celsius), .. }) => {
                Some(("temperature".to_owned(), format!("less is done at {celsius:.0} °C")))
            }
            _ => None,
        };
        let waiting_ns = match self.activity {
            DetectorActivity::Delivering { since_ns } => now_ns.saturating_sub(since_ns),
            _ => 0,
        };
        let delivery = (waiting_ns > SLOW_DELIVERY.as_nanos() as u64).then(|| {
            let text = "a report waits for an output that takes none; detection waits with it";
            ("delivery".to_owned(), text.to_owned())
        });
        let cameras = self.cameras.iter().filter_map(|(name, camera)| {
            let what = match self.camera_state(name, camera, now_ns) {
                CameraState::Stalled => "gives no frames",
                CameraState::Backoff => "is lost",
                CameraState::Disabled => "is disabled by request",
                CameraState::Connecting | CameraState::Streaming | CameraState::Ended => return None,
            };
            Some((format!("camera {name}"), format!("camera {name} {what}")))
        });
        reported.chain(hot).chain(delivery).chain(cameras).map(|(source, reason)| Fault { source, reason }).collect()
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

    /// A reporter of faults under `source`.
    pub fn fault_reporter(self: &Arc<Self>, source: FaultSource) -> FaultReporter {
        let health = self.clone();
        FaultReporter::new(move |reason| health.set_fault(source.clone(), reason))
    }

    /// Sources of the present faults, for the metrics.
    pub fn fault_sources(&self, now_ns: u64) -> BTreeSet<String> {
        self.lock().faults(now_ns).into_iter().map(|fault| fault.source).collect()
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
        // A camera that is opened anew under its name continues its counts.
        let before = table.cameras.remove(name).map(|camera| (camera.dropped, camera.last_error));
        let (dropped, last_error) = before.unwrap_or_default();
        let camera = CameraHealth {
            state: CameraState::Connecting,
            dropped,
            alive_ns: now_ns,
            retry_ns: 0,
            waiting_ns: None,
            stall_timeout,
            interval_s: Ewma::default(),
            analysed_ns: None,
            analysed_interval_s: Ewma::default(),
            latency_ms: Ewma::default(),
            last_error,
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

    /// Records that the report of a frame is complete, `latency_ms` after its capture.
    pub fn frame_analysed(&self, name: &str, now_ns: u64, latency_ms: f64) {
        self.with(name, |camera| {
            if let Some(before_ns) = camera.analysed_ns.replace(now_ns) {
                camera.analysed_interval_s.update(now_ns.saturating_sub(before_ns) as f64 * 1e-9);
            }
            camera.latency_ms.update(latency_ms);
        });
    }

    /// Records an error of a camera, in words without secrets.
    pub fn set_camera_error(&self, name: &str, error: &str, at: jiff::Timestamp) {
        let error = crate::redact::redact(error);
        self.with(name, |camera| camera.last_error = Some(CameraError { error, at: Moment(at) }));
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
        let reasons: Vec<String> = table.faults(now_ns).into_iter().map(|fault| fault.reason).collect();
        let throttle = table.throttle();
        let mut starting = table.model.is_none();
        let mut cameras = BTreeMap::new();
        for (name, camera) in &table.cameras {
            let state = table.camera_state(name, camera, now_ns);
            starting |= state == CameraState::Connecting;
            cameras.insert(name.clone(), camera.status(state, now_ns));
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
        let health = Arc::new(Health::new("d", &clock));
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
        let output = health.fault_reporter(FaultSource::Output("file".into()));
        output.set("output file: the disk is full");
        assert_eq!(health.status(&clock).reasons[0], "output file: the disk is full");
        let sources = ["camera a", "output file", "temperature"].map(str::to_owned);
        assert_eq!(health.fault_sources(clock.monotonic_ns()), sources.into());
        output.clear();
        health.remove_camera("a");
        assert_eq!(health.status(&clock).cameras.len(), 1);

        health.set_activity(DetectorActivity::Delivering { since_ns: clock.monotonic_ns() });
        clock.advance(Duration::from_secs(11));
        assert!(health.status(&clock).reasons.iter().any(|reason| reason.contains("waits for an output")));

        health.set_stopping();
        assert_eq!(health.status(&clock).state, State::Stopping);
    }

    #[test]
    fn rates_latency_and_the_last_error_of_a_camera_are_told() {
        let clock = Arc::new(SimulatedClock::default());
        let health = Arc::new(Health::new("d", clock.as_ref()));
        health.add_camera("a", Duration::from_secs(10), 0);
        let camera = || health.status(clock.as_ref()).cameras["a"].clone();
        assert_eq!((camera().analysed_fps, camera().latency_ms, camera().last_error), (0.0, None, None));
        // Every second frame is analysed.
        for frame in 0..20 {
            clock.advance(Duration::from_millis(100));
            health.frame_captured("a", clock.monotonic_ns());
            if frame % 2 == 0 {
                health.frame_analysed("a", clock.monotonic_ns(), 80.0);
            }
        }
        assert_eq!((camera().fps, camera().analysed_fps, camera().latency_ms), (10.0, 5.0, Some(80.0)));
        // Nothing is analysed any more, although the camera goes on.
        clock.advance(Duration::from_secs(9));
        health.frame_captured("a", clock.monotonic_ns());
        assert!(camera().analysed_fps < 0.3, "{}", camera().analysed_fps);
        health.set_camera_error("a", "unplugged", jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(camera().last_error.unwrap().error, "unplugged");
        health.add_camera("a", Duration::from_secs(10), clock.monotonic_ns());
        assert!(camera().last_error.is_some(), "opened anew, it keeps its last error");
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
