//! Exponential back-off with jitter. The jitter keeps cameras that failed together from retrying together.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// State of a sequence of retries.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    limit: Duration,
    attempts: u32,
    random: RandomState,
}

impl Backoff {
    /// Delays grow from `first` to `limit`.
    pub fn new(first: Duration, limit: Duration) -> Self {
        Self { first, limit, attempts: 0, random: RandomState::new() }
    }

    /// Next delay: min(`first` · 2ⁿ, `limit`), reduced by a random share of up to one quarter.
    pub fn delay(&mut self) -> Duration {
        let full = self.first.saturating_mul(2u32.saturating_pow(self.attempts)).min(self.limit);
        let share = (self.random.hash_one(self.attempts) >> 48) as u32;
        self.attempts = self.attempts.saturating_add(1);
        full - full / 4 * share / (1 << 16)
    }

    /// Resets the delay to `first`, after a success.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_limit() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        for full in [1, 2, 4, 8, 16, 30, 30] {
            let delay = backoff.delay();
            let full = Duration::from_secs(full);
            assert!(delay <= full && delay >= full * 3 / 4, "{delay:?} of {full:?}");
        }
        for _ in 0..100 {
            assert!(backoff.delay() <= Duration::from_secs(30));
        }
        backoff.reset();
        assert!(backoff.delay() <= Duration::from_secs(1));
    }
}
