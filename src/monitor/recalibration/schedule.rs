//! Schedule of recalibrations: when an attempt is due, and the wait after a failed one.
//!
//! In: the drift verdict of every pass, the failures, the owner's policy. Out: the trigger of the attempt that is due. A
//! failed attempt is not repeated at once: the wait doubles with every failure.

use std::time::Duration;

use serde::Serialize;

use crate::monitor::options::RecalibrationPolicy;

/// Limits of the schedule.
///
/// | limit | value | reason |
/// |---|---:|---|
/// | `settled_passes` | 10 | frames in drift must be among the calibration and the validation frames |
/// | `first_wait` | 30 min | enough new frames to give another result |
/// | `longest_wait` | 48 h | a season changes slowly, and every attempt takes the whole CPU budget |
struct ScheduleLimits {
    /// Consecutive passes in drift before an attempt.
    settled_passes: u32,
    /// Wait after the first failed attempt.
    first_wait: Duration,
    /// Longest wait after a failed attempt.
    longest_wait: Duration,
}

const LIMITS: ScheduleLimits = ScheduleLimits {
    settled_passes: 10,
    first_wait: Duration::from_secs(1800),
    longest_wait: Duration::from_secs(48 * 3600),
};

/// Cause of a recalibration attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// Drift is raised.
    Drift,
    /// The configured interval has passed.
    Schedule,
    /// The owner requested it.
    #[serde(rename = "asked")]
    Request,
}

impl Trigger {
    /// The name in events, logs and the ledger: `drift`, `schedule` or `asked`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Drift => "drift",
            Self::Schedule => "schedule",
            Self::Request => "asked",
        }
    }
}

/// State of the schedule. Times are nanoseconds of monotonic time.
#[derive(Debug, Clone, Default)]
pub struct Schedule {
    /// Consecutive passes in drift.
    passes_in_drift: u32,
    /// Consecutive failed attempts.
    failures: u32,
    /// No attempt before this time, except on request.
    not_before_ns: u64,
    /// Time of the first pass or of the last attempt.
    last_attempt_ns: Option<u64>,
    /// Stopped by an oscillation: no attempt any more, except on request.
    halted: bool,
}

impl Schedule {
    /// Counts a pass.
    pub fn pass(&mut self, drifting: bool, now_ns: u64) {
        self.passes_in_drift = if drifting { self.passes_in_drift + 1 } else { 0 };
        self.last_attempt_ns.get_or_insert(now_ns);
    }

    /// An attempt begins.
    pub fn begin(&mut self, now_ns: u64) {
        self.last_attempt_ns = Some(now_ns);
    }

    /// An attempt failed, was refused, or its generation was rolled back.
    pub fn fail(&mut self, now_ns: u64) {
        let wait = LIMITS.first_wait.saturating_mul(1 << self.failures.min(16)).min(LIMITS.longest_wait);
        self.failures += 1;
        self.not_before_ns = now_ns.saturating_add(wait.as_nanos() as u64);
    }

    /// An attempt was accepted: everything starts over.
    pub fn succeed(&mut self, now_ns: u64) {
        *self = Self { last_attempt_ns: Some(now_ns), ..Self::default() };
    }

    /// Stops all attempts except those on request.
    pub fn halt(&mut self) {
        self.halted = true;
    }

    /// The trigger of the attempt that is due under `policy`, if one is.
    pub fn due(&self, policy: RecalibrationPolicy, now_ns: u64) -> Option<Trigger> {
        if self.halted || now_ns < self.not_before_ns {
            return None;
        }
        match policy {
            RecalibrationPolicy::Never => None,
            RecalibrationPolicy::OnDrift => (self.passes_in_drift >= LIMITS.settled_passes).then_some(Trigger::Drift),
            RecalibrationPolicy::Every(interval) => {
                let since = now_ns.saturating_sub(self.last_attempt_ns?);
                (u128::from(since) >= interval.as_nanos()).then_some(Trigger::Schedule)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn drift_must_settle_and_refusals_wait_longer_each_time() {
        let mut schedule = Schedule::default();
        for _ in 0..LIMITS.settled_passes - 1 {
            schedule.pass(true, 0);
        }
        let due = |schedule: &Schedule, now_ns| schedule.due(RecalibrationPolicy::OnDrift, now_ns);
        assert_eq!(due(&schedule, 0), None);
        schedule.pass(true, 0);
        assert_eq!((due(&schedule, 0), schedule.due(RecalibrationPolicy::Never, 0)), (Some(Trigger::Drift), None));
        schedule.fail(0);
        assert_eq!(due(&schedule, 1799 * SECOND), None);
        assert_eq!(due(&schedule, 1800 * SECOND), Some(Trigger::Drift));
        schedule.fail(1800 * SECOND);
        assert_eq!(due(&schedule, 5399 * SECOND), None);
        (0..40).for_each(|_| schedule.fail(0));
        assert_eq!(due(&schedule, 48 * 3600 * SECOND), Some(Trigger::Drift));
        schedule.halt();
        assert_eq!(due(&schedule, u64::MAX), None);
    }

    #[test]
    fn the_schedule_counts_from_the_first_pass() {
        let mut schedule = Schedule::default();
        let daily = RecalibrationPolicy::Every(Duration::from_secs(86_400));
        assert_eq!(schedule.due(daily, u64::MAX), None);
        schedule.pass(false, 7 * SECOND);
        assert_eq!(schedule.due(daily, 86_406 * SECOND), None);
        assert_eq!(schedule.due(daily, 86_407 * SECOND), Some(Trigger::Schedule));
    }

    #[test]
    fn triggers_are_named_as_they_are_serialized() {
        for trigger in [Trigger::Drift, Trigger::Schedule, Trigger::Request] {
            assert_eq!(serde_json::to_value(trigger).unwrap(), trigger.name());
        }
    }
}
