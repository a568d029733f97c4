//! Clocks behind a trait, so that tests of rates, ages and back-off need not sleep.
//!
//! Wall time goes into messages. It may jump when the board synchronizes with a time server. Monotonic time
//! (`CLOCK_MONOTONIC`, which also stamps V4L2 buffers) measures durations and never jumps.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::stop::{Stop, Stopped};
use crate::sync::IgnorePoison;

/// A source of wall and monotonic time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Wall time.
    fn wall(&self) -> Timestamp;

    /// Nanoseconds of `CLOCK_MONOTONIC`.
    fn monotonic_ns(&self) -> u64;

    /// Nanoseconds of `CLOCK_BOOTTIME`, which includes suspend: for schedules of hours.
    fn boot_ns(&self) -> u64 {
        self.monotonic_ns()
    }

    /// True if wall time is known to be synchronized with a time server. Does not block.
    fn is_synchronized(&self) -> bool;

    /// Blocks this thread for `duration`.
    ///
    /// # Errors
    ///
    /// [`Stopped`] if stopped before `duration` was over.
    fn wait(&self, duration: Duration, stop: &Stop) -> Result<(), Stopped>;
}

/// The clocks of the system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic_ns(&self) -> u64 {
        clock_ns(rustix::time::ClockId::Monotonic)
    }

    fn boot_ns(&self) -> u64 {
        clock_ns(rustix::time::ClockId::Boottime)
    }

    fn is_synchronized(&self) -> bool {
        Path::new(TIMESYNCD).exists() || KERNEL_FLAG.get()
    }

    fn wait(&self, duration: Duration, stop: &Stop) -> Result<(), Stopped> {
        stop.wait_for(duration)
    }
}

/// systemd-timesyncd creates this file once it has set the clock.
const TIMESYNCD: &str = "/run/systemd/timesync/synchronized";

/// Other time clients set a flag of the kernel. `adjtimex` cannot be called here without `unsafe`, so `timedatectl` is
/// asked now and then.
static KERNEL_FLAG: KernelFlag = KernelFlag { is_set: AtomicBool::new(false), asked_at: Mutex::new(None) };

/// The kernel's flag for a synchronized clock, as it was when it was last asked for.
struct KernelFlag {
    is_set: AtomicBool,
    asked_at: Mutex<Option<Instant>>,
}

/// Interval between two questions to `timedatectl`.
const KERNEL_FLAG_INTERVAL: Duration = Duration::from_secs(600);

/// Longest wait for its answer.
const KERNEL_FLAG_TIMEOUT: Duration = Duration::from_secs(10);

impl KernelFlag {
    /// The flag; asks for it on a thread of its own if the last answer is old.
    fn get(&'static self) -> bool {
        let mut asked_at = self.asked_at.lock().ignore_poison();
        if asked_at.is_none_or(|at| at.elapsed() >= KERNEL_FLAG_INTERVAL) {
            *asked_at = Some(Instant::now());
            // Without a thread the last answer stays.
            let _ = std::thread::Builder::new()
                .name("clock".to_owned())
                .spawn(|| self.is_set.store(kernel_synchronized(), Ordering::SeqCst));
        }
        self.is_set.load(Ordering::SeqCst)
    }
}

/// The kernel's flag for a synchronized clock. Blocks for seconds at most. False without `timedatectl`.
fn kernel_synchronized() -> bool {
    let mut command = Command::new("timedatectl");
    command.args(["show", "--property=NTPSynchronized", "--value"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let Ok(mut child) = child else { return false };
    let begin = Instant::now();
    while matches!(child.try_wait(), Ok(None)) {
        if begin.elapsed() >= KERNEL_FLAG_TIMEOUT {
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().is_ok_and(|output| output.stdout.trim_ascii() == b"yes")
}

/// True if wall time is known to be synchronized. Blocks for seconds at most.
pub fn ask_synchronized() -> bool {
    Path::new(TIMESYNCD).exists() || kernel_synchronized()
}

fn clock_ns(clock: rustix::time::ClockId) -> u64 {
    let now = rustix::time::clock_gettime(clock);
    // Both clocks count up from boot, so neither part is negative.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// A clock for tests. Only [`Clock::wait`] and [`SimulatedClock::advance`] move it; a wait returns at once.
#[derive(Debug, Default)]
pub struct SimulatedClock {
    elapsed_ns: AtomicU64,
    suspended_ns: AtomicU64,
    /// Offset of wall time from [`SimulatedClock::EPOCH_S`] plus elapsed time.
    wall_step_ns: AtomicI64,
    is_unsynchronized: AtomicBool,
}

impl SimulatedClock {
    /// Initial wall time, 2026-01-01T00:00:00Z, in seconds since 1970.
    const EPOCH_S: i64 = 1_767_225_600;

    /// Advances all clocks by `duration`.
    pub fn advance(&self, duration: Duration) {
        self.elapsed_ns.fetch_add(duration.as_nanos() as u64, Ordering::SeqCst);
    }

    /// Simulates suspend: boot time and wall time advance, monotonic time does not.
    pub fn suspend(&self, duration: Duration) {
        self.suspended_ns.fetch_add(duration.as_nanos() as u64, Ordering::SeqCst);
    }

    /// Sets whether wall time is synchronized; at first it is.
    pub fn set_synchronized(&self, is_synchronized: bool) {
        self.is_unsynchronized.store(!is_synchronized, Ordering::SeqCst);
    }

    /// Sets wall time to `wall`.
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
        self.monotonic_ns() + self.suspended_ns.load(Ordering::SeqCst)
    }

    fn monotonic_ns(&self) -> u64 {
        self.elapsed_ns.load(Ordering::SeqCst)
    }

    fn is_synchronized(&self) -> bool {
        !self.is_unsynchronized.load(Ordering::SeqCst)
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
    fn a_simulated_wait_advances_the_clock_and_returns_at_once() {
        let (trigger, stop) = crate::stop::pair();
        let clock = SimulatedClock::default();
        clock.wait(Duration::from_secs(3600), &stop).unwrap();
        assert_eq!(clock.monotonic_ns(), 3_600_000_000_000);
        assert_eq!(clock.wall().to_string(), "2026-01-01T01:00:00Z");
        trigger.stop();
        assert_eq!(clock.wait(Duration::from_secs(1), &stop), Err(Stopped));
    }

    #[test]
    fn suspend_and_wall_clock_steps_do_not_move_monotonic_time() {
        let clock = SimulatedClock::default();
        clock.suspend(Duration::from_secs(60));
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
        assert!(SystemClock.boot_ns() >= before, "boot time includes suspend");
    }
}
