//! When the monitor recalibrates, and what comes of it.
//!
//! In: passes, the schedule, the owner's wish. Out: at most one attempt at a time, each told as an event with its numbers:
//! what was on trial, what was accepted, what was refused and why. A refusal is not tried again at once: the waiting time
//! doubles with each one.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::attempt::{Attempt, Candidate, Ground, attempt};
use crate::error::Result;
use crate::message::EventName;
use crate::monitor::drift::pass::YieldPoint;
use crate::monitor::frames::holdout::MIN_FRAMES;
use crate::monitor::generations::ledger::Entry;
use crate::monitor::host::details;
use crate::monitor::monitor::{Monitor, rounded};
use crate::monitor::options::RecalibrationPolicy;
use crate::tensor::digest::sha256;

/// Passes with drift before it is answered: the new light must be among the frames, in both sets.
const SETTLED: u32 = 10;
/// Waiting time after the first refusal, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1800), Duration::from_secs(48 * 3600));

/// What is planned.
#[derive(Debug, Clone, Default)]
pub struct Plans {
    /// Passes in a row with drift.
    drifting: u32,
    refusals: u32,
    /// Not before this, by itself; nanoseconds of monotonic time.
    not_before_ns: u64,
    /// When the schedule began or was last served.
    scheduled_ns: Option<u64>,
    /// Swinging: not by itself any more.
    halted: bool,
}

impl Plans {
    /// A pass was made.
    pub(in crate::monitor) fn passed(&mut self, drifting: bool, now_ns: u64) {
        self.drifting = if drifting { self.drifting + 1 } else { 0 };
        self.scheduled_ns.get_or_insert(now_ns);
    }

    /// An attempt came to nothing.
    pub(in crate::monitor) fn failed(&mut self, now_ns: u64) {
        let wait = BACK_OFF.0.saturating_mul(1 << self.refusals.min(16)).min(BACK_OFF.1);
        self.refusals += 1;
        self.not_before_ns = now_ns.saturating_add(wait.as_nanos() as u64);
    }

    fn due(&self, when: RecalibrationPolicy, now_ns: u64) -> Option<&'static str> {
        if self.halted || now_ns < self.not_before_ns {
            return None;
        }
        match when {
            RecalibrationPolicy::Never => None,
            RecalibrationPolicy::OnDrift => (self.drifting >= SETTLED).then_some("drift"),
            RecalibrationPolicy::Every(interval) => {
                let since = now_ns.saturating_sub(self.scheduled_ns?);
                (u128::from(since) >= interval.as_nanos()).then_some("schedule")
            }
        }
    }
}

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Whether another generation serves now.
    pub accepted: bool,
    /// Why not.
    pub reasons: Vec<String>,
    /// The generation that serves.
    pub generation: u32,
}

impl Monitor {
    pub(in crate::monitor) fn recalibrate_if_due(&mut self, between: YieldPoint<'_>) -> Result<()> {
        let due = self.plans.due(self.setup.options.recalibrate, self.now_ns);
        let Some(why) = due.filter(|_| self.trial.is_none()) else { return Ok(()) };
        // Soon there will be enough to learn from; a refusal would be waited out for longer.
        let few = self.reservoir.frames().len() < MIN_FRAMES;
        if few || self.setup.models.generations().pinned().is_some() {
            return Ok(());
        }
        self.recalibrate(why, between).map(drop)
    }

    /// Recalibrates now, for the reason `why`: `drift`, `schedule` or `asked`.
    ///
    /// # Errors
    /// What the models return, what writing returns and what `between` returns. What served goes on serving.
    pub fn recalibrate(&mut self, why: &'static str, between: YieldPoint<'_>) -> Result<Outcome> {
        let ground = self.served.generation;
        self.plans.scheduled_ns = Some(self.now_ns);
        let (first, serving, generation) = {
            let generations = self.setup.models.generations();
            (generations.load(0)?, generations.load(ground)?, generations.next())
        };
        let model = self.served.model.clone();
        let parts = Ground { first: &first, serving: &serving, model: &model, generation };
        self.looker.forget_buffers();
        let attempt = attempt(&parts, self.reservoir.frames(), &mut self.looker, between);
        self.looker.forget_buffers();
        match attempt {
            Ok(Attempt::Unfit(reason)) => Ok(self.refuse(why, vec![reason], Value::Null)),
            Ok(Attempt::Made(candidate)) => self.decide(why, ground, generation, *candidate),
            Err(error) => {
                self.plans.failed(self.now_ns);
                self.setup.metrics.monitor.calibrated("failed");
                Err(error)
            }
        }
    }

    fn decide(&mut self, why: &'static str, ground: u32, generation: u32, candidate: Candidate) -> Result<Outcome> {
        let Candidate { bytes, model, decision, frames, extent } = candidate;
        let mut numbers = serde_json::to_value(&decision).unwrap_or(Value::Null);
        round_all(&mut numbers);
        if let Value::Object(fields) = &mut numbers {
            fields.insert("frames".into(), json!({ "calibrating": frames[0], "judging": frames[1] }));
            fields.insert("extent".into(), extent.into());
            fields.insert("reference".into(), self.looker.has_reference().into());
        }
        let about = details([
            ("generation", generation.into()),
            ("parent", ground.into()),
            ("why", why.into()),
            ("numbers", numbers.clone()),
        ]);
        self.setup.host.event(EventName::CalibrationCandidate, about);
        let now = self.setup.host.now();
        if decision.accepted && why != "asked" && self.setup.models.would_swing(&model, &now)? {
            self.plans.halted = true;
            let reason = format!(
                "it would take back what generation {ground} brought: two kinds of frames take turns, so nothing is \
                 recalibrated any more unless asked for"
            );
            return Ok(self.refuse(why, vec![reason], numbers));
        }
        if !decision.accepted {
            return Ok(self.refuse(why, decision.reasons, numbers));
        }
        let entry = Entry {
            generation,
            sha256: sha256(&bytes),
            at: now,
            why: why.to_owned(),
            rolled_back: None,
            numbers: numbers.clone(),
        };
        if let Err(error) = self.setup.models.accept(ground, &bytes, model, entry) {
            self.plans.failed(self.now_ns);
            self.setup.metrics.monitor.calibrated("failed");
            return Err(error);
        }
        self.plans = Plans { scheduled_ns: Some(self.now_ns), ..Plans::default() };
        self.setup.metrics.monitor.calibrated("accepted");
        tracing::info!(generation, why, gain_db = rounded(decision.gain_db), "recalibrated");
        let about = details([
            ("generation", generation.into()),
            ("parent", ground.into()),
            ("why", why.into()),
            ("numbers", numbers),
        ]);
        self.setup.host.event(EventName::CalibrationAccepted, about);
        self.follow()?;
        Ok(Outcome { accepted: true, reasons: Vec::new(), generation })
    }

    fn refuse(&mut self, why: &'static str, reasons: Vec<String>, numbers: Value) -> Outcome {
        self.plans.failed(self.now_ns);
        self.setup.metrics.monitor.calibrated("rejected");
        tracing::info!(why, reasons = reasons.join("; "), "recalibration refused");
        let about: BTreeMap<String, Value> = details([
            ("generation", self.served.generation.into()),
            ("why", why.into()),
            ("reasons", json!(reasons)),
            ("numbers", numbers),
        ]);
        self.setup.host.event(EventName::CalibrationRefused, about);
        Outcome { accepted: false, reasons, generation: self.served.generation }
    }
}

/// Rounds every number in `value`: people read these.
fn round_all(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(float) = number.as_f64().filter(|_| number.is_f64()) {
                *value = json!(rounded(float));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(round_all),
        Value::Object(fields) => fields.values_mut().for_each(round_all),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn drift_must_settle_and_refusals_wait_longer_each_time() {
        let mut plans = Plans::default();
        for _ in 0..SETTLED - 1 {
            plans.passed(true, 0);
        }
        assert_eq!(plans.due(RecalibrationPolicy::OnDrift, 0), None);
        plans.passed(true, 0);
        assert_eq!(
            (plans.due(RecalibrationPolicy::OnDrift, 0), plans.due(RecalibrationPolicy::Never, 0)),
            (Some("drift"), None)
        );
        plans.failed(0);
        assert_eq!(plans.due(RecalibrationPolicy::OnDrift, 1799 * SECOND), None);
        assert_eq!(plans.due(RecalibrationPolicy::OnDrift, 1800 * SECOND), Some("drift"));
        plans.failed(1800 * SECOND);
        assert_eq!(plans.due(RecalibrationPolicy::OnDrift, 5399 * SECOND), None);
        (0..40).for_each(|_| plans.failed(0));
        assert_eq!(plans.due(RecalibrationPolicy::OnDrift, 48 * 3600 * SECOND), Some("drift"));
        plans.halted = true;
        assert_eq!(plans.due(RecalibrationPolicy::OnDrift, u64::MAX), None);
    }

    #[test]
    fn the_schedule_counts_from_the_first_pass() {
        let mut plans = Plans::default();
        let daily = RecalibrationPolicy::Every(Duration::from_secs(86_400));
        assert_eq!(plans.due(daily, u64::MAX), None);
        plans.passed(false, 7 * SECOND);
        assert_eq!(plans.due(daily, 86_406 * SECOND), None);
        assert_eq!(plans.due(daily, 86_407 * SECOND), Some("schedule"));
    }
}
