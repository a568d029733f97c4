//! Service task: publishes the status, notifies systemd, and reads the temperatures.
//!
//! In: the health table, read once a second and whenever a state changes. Out: a status message after each change and
//! at least once a minute; READY once every camera is open or known to be absent; WATCHDOG unless a thread is stuck. The
//! task takes part in no other work. It therefore notices a stuck detector, and systemd notices a stuck process.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::health::Health;
use super::thermal::{self, ThermalThrottle};
use super::{status_line, systemd, watchdog};
use crate::clock::Clock;
use crate::config::SupervisionSettings;
use crate::daemon::identity;
use crate::message::{CameraState, Message, Status};
use crate::metrics::{Metrics, ZoneLabel};
use crate::publish::Outbox;

/// Intervals of the task.
struct Intervals {
    /// Checks of the health table. Shorter if the watchdog's timeout requires it.
    check: Duration,
    /// Longest time between two status messages.
    publish: Duration,
    /// Readings of the thermal zones; some sensors are slow.
    thermal: Duration,
}

const INTERVALS: Intervals =
    Intervals { check: Duration::from_secs(1), publish: Duration::from_secs(60), thermal: Duration::from_secs(5) };

/// Inputs and outputs of the task.
pub struct ServiceTask {
    /// The health table.
    pub health: Arc<Health>,
    /// Source of time.
    pub clock: Arc<dyn Clock>,
    /// Counters and gauges.
    pub metrics: Arc<Metrics>,
    /// Takes the status messages.
    pub outbox: Outbox,
    /// The supervision settings in force.
    pub limits: watch::Receiver<Arc<SupervisionSettings>>,
}

/// The last reports of the task.
struct Reported {
    /// The published status, and when it was published.
    status: Option<(Status, Instant)>,
    /// systemd's status line.
    line: String,
    ready: bool,
    stuck: bool,
}

impl ServiceTask {
    /// Runs until it is aborted.
    pub async fn run(mut self) {
        let mut throttle = ThermalThrottle::new(thermal::ZONES.as_ref(), &self.limits.borrow_and_update().clone());
        if let Some(celsius) = throttle.throttle_celsius() {
            tracing::info!(celsius, "detection is throttled above this temperature");
        }
        // Four notifications per timeout, so that a late one does no harm.
        let check = systemd::watchdog_timeout().map_or(INTERVALS.check, |timeout| INTERVALS.check.min(timeout / 4));
        let mut interval = tokio::time::interval(check);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut thermal_at = None::<Instant>;
        let mut reported = Reported { status: None, line: String::new(), ready: false, stuck: false };
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                () = self.health.changed() => {}
            }
            // A reload may have changed the limits.
            if self.limits.has_changed().unwrap_or(false) {
                throttle.set_limits(&self.limits.borrow_and_update().clone());
            }
            if thermal_at.is_none_or(|at| at.elapsed() >= INTERVALS.thermal) {
                thermal_at = Some(Instant::now());
                self.update_thermal(&mut throttle);
            }
            self.report(&mut reported);
        }
    }

    /// Publishes the status and notifies systemd.
    fn report(&self, reported: &mut Reported) {
        let status = self.health.status(self.clock.as_ref());
        let state = status.state;
        let line = status_line::line(&status);
        if line != reported.line {
            systemd::status(&line);
            reported.line = line;
        }
        let is_due = reported.status.as_ref().is_none_or(|(published, at)| {
            at.elapsed() >= INTERVALS.publish || status_line::differs(published, &status)
        });
        for (camera, _) in status.cameras.iter().filter(|(_, camera)| camera.state != CameraState::Streaming) {
            self.metrics.no_objects(camera);
        }
        if is_due {
            self.outbox.offer(Message::Status(status.clone()));
            reported.status = Some((status, Instant::now()));
        }
        let now_ns = self.clock.monotonic_ns();
        self.metrics.health(state, self.health.fault_sources(now_ns));
        if !reported.ready && self.health.is_settled(now_ns) {
            reported.ready = true;
            systemd::ready(&reported.line);
            let since_start_ms = identity::process_age().map(|age| age.as_millis() as u64);
            tracing::info!(since_start_ms, status = reported.line, "ready");
        }
        match watchdog::check(&self.health, now_ns) {
            Ok(()) => {
                reported.stuck = false;
                systemd::feed_watchdog();
            }
            // Logged once, not at every check.
            Err(reason) if !std::mem::replace(&mut reported.stuck, true) => {
                tracing::error!(reason, "a thread is stuck; the watchdog is not fed");
            }
            Err(_) => {}
        }
    }

    /// Reads the temperatures, and logs a change of the throttle level.
    fn update_thermal(&self, throttle: &mut ThermalThrottle) {
        let before = self.health.throttle_level();
        let state = throttle.update(self.clock.monotonic_ns());
        for zone in &state.zones {
            let label = ZoneLabel { zone: zone.zone.clone() };
            self.metrics.temperature.get_or_create(&label).set(f64::from(zone.celsius));
        }
        self.metrics.throttle_level.set(i64::from(state.level));
        if state.level != before {
            let celsius = state.hottest().map(|hottest| hottest.celsius);
            tracing::warn!(level = state.level, celsius, "throttle level changed");
        }
        self.health.set_thermal(state);
    }
}
