//! Time, behind a trait, so that tests of rates, ages and back-off need not sleep.
//!
//! Two times matter. Wall time goes into messages and may jump when the board finds a time server; monotonic time
//! (`CLOCK_MONOTONIC`, the one V4L2 stamps its buffers with) measures every duration and never jumps.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use crate::stop::{Stop, Stopped};

/// Where the time comes from.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Wall time.
    fn wall(&self) -> Timestamp;

    /// Nanoseconds of `CLOCK_MONOTONIC`.
    fn monotonic_ns(&self) -> u64;

    /// Nanoseconds of `CLOCK_BOOTTIME`, which goes on while the board sleeps: for what is due by the hour.
    fn boot_ns(&self) -> u64 {
        self.monotonic_ns()
    }

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
        since_boot(rustix::time::ClockId::Monotonic)
    }

    fn boot_ns(&self) -> u64 {
        since_boot(rustix::time::ClockId::Boottime)
    }

    fn wait(&self, duration: Duration, stop: &Stop) -> Result<(), Stopped> {
        stop.wait_for(duration)
    }
}

fn since_boot(clock: rustix::time::ClockId) -> u64 {
    let now = rustix::time::clock_gettime(clock);
    // The kernel counts up from boot: neither part can be negative.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// A time that only waiting and [`SimulatedClock::advance`] move: a wait is over at once and has taken as long as it
/// should.
#[derive(Debug, Default)]
pub struct SimulatedClock {
    elapsed_ns: AtomicU64,
    asleep_ns: AtomicU64,
    /// What wall time differs by from [`SimulatedClock::EPOCH_S`] and the time elapsed.
    wall_step_ns: AtomicI64,
}

impl SimulatedClock {
    /// Wall time at the beginning: 2026-01-01T00:00:00Z, in seconds since 1970.
    const EPOCH_S: i64 = 1_767_225_600;

    /// Moves the time on.
    pub fn advance(&self, duration: Duration) {
        self.elapsed_ns.fetch_add(duration.as_nanos() as u64, Ordering::SeqCst);
    }

    /// The board sleeps: boot time and wall time go on, monotonic time stands still.
    pub fn sleep(&self, duration: Duration) {
        self.asleep_ns.fetch_add(duration.as_nanos() as u64, Ordering::SeqCst);
    }

    /// Somebody sets the wall clock to `wall`.
    pub fn set_wall(&self, wall: Timestamp) {
        let step = wall.as_nanosecond() - self.wall().as_nanosecond();
        self.wall_step_ns.fetch_add(i64::try_from(step).unwrap_or_default(), Ordering::SeqCst);
    }
}

impl Clock for SimulatedClock {
    fn wall(&self) -> Timestamp {
        let step = i128::from(self.wall_step_ns.load(Ordering::SeqCst));
        let wall = i128::from(Self::EPOCH_S) * 1_000_000_000 + i128::from(self.boot_ns()) + step;
        Timestamp::from_nanosecond(wall).unwrap_or(Timestamp::MAX)
    }

    fn boot_ns(&self) -> u64 {
        self.monotonic_ns() + self.asleep_ns.load(Ordering::SeqCst)
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
    fn sleep_and_the_wall_clock_do_not_move_monotonic_time() {
        let clock = SimulatedClock::default();
        clock.sleep(Duration::from_secs(60));
        assert_eq!((clock.monotonic_ns(), clock.boot_ns()), (0, 60_000_000_000));
        assert_eq!(clock.wall().to_string(), "2026-01-01T00:01:00Z");
        clock.set_wall(Timestamp::UNIX_EPOCH);
        clock.advance(Duration::from_secs(1));
        assert_eq!((clock.wall().as_second(), clock.monotonic_ns()), (1, 1_000_000_000));
    }

    #[test]
    fn monotonic_time_does_not_go_back() {
        let before = SystemClock.monotonic_ns();
        assert!(SystemClock.monotonic_ns() >= before && before > 0);
        assert!(SystemClock.boot_ns() >= before, "boot time has the sleep beside");
    }
}
