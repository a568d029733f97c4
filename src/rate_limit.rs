//! Rates that others can drive up: log lines, and attempts.
//!
//! In: monotonic time in nanoseconds, from any origin. Out: whether one more is allowed.

use std::time::Duration;

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Rate limit of a log line: allows some lines in each window and counts the others.
#[derive(Debug)]
pub struct LogLimit {
    lines_per_window: u32,
    window_ns: u64,
    window_start_ns: Option<u64>,
    lines: u32,
    suppressed: u64,
}

impl LogLimit {
    /// Allows `lines_per_window` lines in each `window`, which begins with a line.
    pub fn new(lines_per_window: u32, window: Duration) -> Self {
        let window_ns = nanoseconds(window);
        Self { lines_per_window, window_ns, window_start_ns: None, lines: 0, suppressed: 0 }
    }

    /// The number of lines suppressed since the last one, if a line may be written at `now_ns`.
    pub fn allow(&mut self, now_ns: u64) -> Option<u64> {
        if self.window_start_ns.is_none_or(|start_ns| now_ns.saturating_sub(start_ns) >= self.window_ns) {
            self.window_start_ns = Some(now_ns);
            self.lines = 0;
        }
        if self.lines >= self.lines_per_window {
            self.suppressed += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// Attempts that are left: a burst at once, then one after every refill time.
#[derive(Debug, Clone, Copy)]
pub struct TokenBucket {
    refill_ns: u64,
    /// Time for which refills have been earned, at most that of a burst.
    credit_ns: u64,
    most_ns: u64,
    /// When the credit was computed; `None` before the first attempt.
    at_ns: Option<u64>,
}

impl TokenBucket {
    /// A full bucket of `burst` attempts, with one more after each `refill`.
    pub fn new(burst: u32, refill: Duration) -> Self {
        let refill_ns = nanoseconds(refill).max(1);
        let most_ns = refill_ns.saturating_mul(burst.into());
        Self { refill_ns, credit_ns: most_ns, most_ns, at_ns: None }
    }

    /// The credit at `now_ns`, in nanoseconds: the larger, the more attempts are left.
    pub fn credit_ns(&self, now_ns: u64) -> u64 {
        let earned = self.at_ns.map_or(0, |at_ns| now_ns.saturating_sub(at_ns));
        self.credit_ns.saturating_add(earned).min(self.most_ns)
    }

    /// True if every attempt of a burst is left at `now_ns`.
    pub fn is_full(&self, now_ns: u64) -> bool {
        self.credit_ns(now_ns) == self.most_ns
    }

    /// Time until an attempt is left; `None` if one is.
    pub fn wait(&self, now_ns: u64) -> Option<Duration> {
        let missing = self.refill_ns.saturating_sub(self.credit_ns(now_ns));
        (missing > 0).then(|| Duration::from_nanos(missing))
    }

    /// Takes an attempt at `now_ns`. False if there is none left.
    pub fn take(&mut self, now_ns: u64) -> bool {
        let credit_ns = self.credit_ns(now_ns);
        let rest = credit_ns.checked_sub(self.refill_ns);
        (self.credit_ns, self.at_ns) = (rest.unwrap_or(credit_ns), Some(now_ns));
        rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn lines_beyond_the_limit_are_counted_in_the_next_one() {
        let mut limit = LogLimit::new(2, Duration::from_secs(60));
        assert_eq!([0, 1, 2, 3].map(|second| limit.allow(second * SECOND_NS)), [Some(0), Some(0), None, None]);
        assert_eq!(limit.allow(59 * SECOND_NS), None);
        assert_eq!([60, 61, 62].map(|second| limit.allow(second * SECOND_NS)), [Some(3), Some(0), None]);
        assert_eq!(limit.allow(500 * SECOND_NS), Some(1));
    }

    #[test]
    fn a_flood_is_slowed_down_and_a_few_pass_at_once() {
        const REFILL_NS: u64 = SECOND_NS / 2;
        let mut bucket = TokenBucket::new(20, Duration::from_nanos(REFILL_NS));
        let mut taken = |count, now_ns| (0..count).filter(|_| bucket.take(now_ns)).count();
        assert_eq!(taken(1000, 0), 20);
        assert_eq!(taken(1000, REFILL_NS - 1), 0);
        assert_eq!(taken(1000, 3 * REFILL_NS + 1), 3);
        assert_eq!(taken(1, 4 * REFILL_NS), 1, "the remainder of the time counts");
        assert_eq!(taken(1000, 1000 * SECOND_NS), 20);
        assert_eq!(bucket.wait(1000 * SECOND_NS), Some(Duration::from_nanos(REFILL_NS)));
        assert!(bucket.wait(1001 * SECOND_NS).is_none() && !bucket.is_full(1001 * SECOND_NS));
        assert!(bucket.is_full(1010 * SECOND_NS));
    }
}
