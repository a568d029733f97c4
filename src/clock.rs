//! Time, behind a trait, so that tests of rates, ages and back-off need not sleep.
//!
//! Two times matter. Wall time goes into messages and may jump when the board finds a time server; monotonic time
//! (`CLOCK_MONOTONIC`, the one V4L2 stamps its buffers with) measures every duration and never jumps.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use crate::stop::{Stop, Stopped};

/// Where the time comes from.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Wall time.
    fn wall(&self) -> Timestamp;

    /// Nanoseconds of `CLOCK_MONOTONIC`.
    fn monotonic_ns(&self) -> u64;

    /// Blocks this thread for `duration`.
    ///
    /// # Errors
    ///
    /// [`Stopped`] if it was stopped before the time was over.
    fn wait(&self, duration: Duration, stop: &Stop) -> Result<(), Stopped>;
}

/// The time of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic_ns(&self) -> u64 {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        // The kernel counts up from boot: neither part can be negative.
        now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
    }

    fn wait(&self, duration: Duration, stop: &Stop) -> Result<(), Stopped> {
        stop.wait_for(duration)
    }
}

/// A time that only waiting and [`SimulatedClock::advance`] move: a wait is over at once and has taken as long as it
/// should.
#[derive(Debug, Default)]
pub struct SimulatedClock {
    elapsed_ns: AtomicU64,
}

impl SimulatedClock {
    /// Wall time at the beginning: 2026-01-01T00:00:00Z, in seconds since 1970.
    const EPOCH_S: i64 = 1_767_225_600;

    /// Moves the time on.
    pub fn advance(&self, duration: Duration) {
        self.elapsed_ns.fetch_add(duration.as_nanos() as u64, Ordering::SeqCst);
    }
}

impl Clock for SimulatedClock {
    fn wall(&self) -> Timestamp {
        let elapsed = self.monotonic_ns();
        let seconds = Self::EPOCH_S.saturating_add_unsigned(elapsed / 1_000_000_000);
        Timestamp::new(seconds, (elapsed % 1_000_000_000) as i32).unwrap_or(Timestamp::MAX)
    }

    fn monotonic_ns(&self) -> u64 {
        self.elapsed_ns.load(Ordering::SeqCst)
    }

    fn wait(&self, duration: Duration, stop: &Stop) -> Result<(), Stopped> {
        stop.check()?;
        self.advance(duration);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulated_wait_takes_its_time_at_once() {
        let (trigger, stop) = crate::stop::pair();
        let clock = SimulatedClock::default();
        clock.wait(Duration::from_secs(3600), &stop).unwrap();
        assert_eq!(clock.monotonic_ns(), 3_600_000_000_000);
        assert_eq!(clock.wall().to_string(), "2026-01-01T01:00:00Z");
        trigger.stop();
        assert_eq!(clock.wait(Duration::from_secs(1), &stop), Err(Stopped));
    }

    #[test]
    fn monotonic_time_does_not_go_back() {
        let before = SystemClock.monotonic_ns();
        assert!(SystemClock.monotonic_ns() >= before && before > 0);
    }
}
