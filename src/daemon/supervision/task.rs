//! The task that looks after the service: tells its status, systemd's line and the watchdog, and reads the heat.
//!
//! In: the table of health, looked at whenever a camera's state changes and once a second. Out: Status messages when
//! something changed and once in a while, READY once every camera is open or known not to be there, WATCHDOG while work
//! is done or none is due. It only looks: a detector that is stuck is noticed because this task goes on without it, and
//! a process that is stuck because this task does not.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::thermal::{self, Thermal};
use super::{status_line, systemd};
use crate::config::SupervisionSettings;
use crate::daemon::cameras::capture::Shared;
use crate::daemon::identity;
use crate::message::Message;
use crate::metrics::Zone;
use crate::publish::Outbox;

/// How often health is looked at, and after what time it is told though nothing changed.
const STATUS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How often the thermal zones are read: reading some sensors is slow.
const HEAT: Duration = Duration::from_secs(5);

/// What this task looks at.
pub struct Vitals {
    /// The service.
    pub shared: Shared,
    /// Where status goes.
    pub outbox: Outbox,
    /// The limits of patience and heat, as they are now.
    pub limits: watch::Receiver<Arc<SupervisionSettings>>,
}

impl Vitals {
    /// Looks until it is aborted.
    pub async fn watch(mut self) {
        let mut thermal = Thermal::new(thermal::ZONES.as_ref(), &self.limits.borrow_and_update().clone());
        if let Some(celsius) = thermal.throttle_celsius() {
            tracing::info!(celsius, "less is done above this temperature");
        }
        let every = systemd::watchdog().map_or(STATUS.0, |watchdog| STATUS.0.min(watchdog / 4));
        let mut interval = tokio::time::interval(every);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut told, mut told_at, mut heat_at) = (None, Instant::now(), None::<Instant>);
        let (mut line, mut ready, mut stuck) = (String::new(), false, false);
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                () = self.shared.health.changed() => {}
            }
            if self.limits.has_changed().unwrap_or(false) {
                thermal.limit(&self.limits.borrow_and_update().clone());
            }
            if heat_at.is_none_or(|at| at.elapsed() >= HEAT) {
                heat_at = Some(Instant::now());
                self.feel(&mut thermal);
            }
            let status = self.shared.health.status(self.shared.clock.as_ref());
            let new = status_line::line(&status);
            if new != line {
                systemd::status(&new);
                line = new;
            }
            if told_at.elapsed() >= STATUS.1 || told.as_ref().is_none_or(|told| status_line::differs(told, &status)) {
                told_at = Instant::now();
                self.outbox.offer(Message::Status(status.clone()));
                told = Some(status);
            }
            let now_ns = self.shared.clock.monotonic_ns();
            if !ready && self.shared.health.settled(now_ns) {
                ready = true;
                systemd::ready(&line);
                let since_start_ms = identity::process_age().map(|age| age.as_millis() as u64);
                tracing::info!(since_start_ms, status = line, "ready");
            }
            match self.shared.health.verdict(now_ns) {
                Ok(()) => {
                    stuck = false;
                    systemd::alive();
                }
                Err(reason) if !std::mem::replace(&mut stuck, true) => {
                    tracing::error!(reason, "stuck; the watchdog is not fed");
                }
                Err(_) => {}
            }
        }
    }

    /// Reads the heat and tells when its level changes.
    fn feel(&self, thermal: &mut Thermal) {
        let before = self.shared.health.throttle_level();
        let heat = thermal.look(self.shared.clock.monotonic_ns());
        for (zone, celsius) in &heat.zones {
            let zone = Zone { zone: zone.clone() };
            self.shared.metrics.temperature.get_or_create(&zone).set(f64::from(*celsius));
        }
        self.shared.metrics.throttle_level.set(i64::from(heat.level));
        if heat.level != before {
            let celsius = heat.hottest().map(|(_, celsius)| *celsius);
            tracing::warn!(level = heat.level, celsius, "what is done changes with the heat");
        }
        self.shared.health.heat(heat);
    }
}
