//! Watchdog: checks the deadlines of detector and cameras before systemd's watchdog is fed.
//!
//! In: the health table and the time. Out: yes, or which thread is stuck. Every activity of the detector and every state
//! of a camera has a deadline. The deadline of detection grows with the measured frame time. Deadlines use the monotonic
//! clock, as systemd does.

use std::time::Duration;

use super::health::{CameraHealth, DetectorActivity, Health, HealthState};
use crate::message::CameraState;

/// Deadlines.
struct WatchdogLimits {
    /// Detection of the first frame of a run.
    first_frame: Duration,
    /// Detection of a later frame, in multiples of the mean frame time.
    frame_times: f64,
    /// Least deadline for the detection of a later frame.
    min_frame: Duration,
    /// Delivery of a report that must not be lost.
    delivery: Duration,
    /// Delay of the end of a rest, or of taking a waiting frame.
    delay: Duration,
    /// Silence of a camera without an error, in multiples of its stall timeout. Sources have shorter timeouts of their
    /// own.
    stall_timeouts: u32,
    /// Least deadline for the silence of a camera.
    min_silence: Duration,
}

const LIMITS: WatchdogLimits = WatchdogLimits {
    first_frame: Duration::from_secs(120),
    frame_times: 10.0,
    min_frame: Duration::from_secs(10),
    delivery: Duration::from_secs(600),
    delay: Duration::from_secs(30),
    stall_timeouts: 6,
    min_silence: Duration::from_secs(60),
};

/// Checks every deadline.
///
/// # Errors
///
/// A sentence for the log that names the stuck thread.
pub fn check(health: &Health, now_ns: u64) -> Result<(), String> {
    let table = health.lock();
    check_detector(&table, now_ns)?;
    table.cameras.iter().try_for_each(|(name, camera)| check_camera(name, camera, now_ns))
}

/// Seconds since `since_ns`, if that is longer than `limit`.
fn overdue(since_ns: u64, limit: Duration, now_ns: u64) -> Option<u64> {
    let passed_ns = now_ns.saturating_sub(since_ns);
    (passed_ns > limit.as_nanos() as u64).then(|| Duration::from_nanos(passed_ns).as_secs())
}

fn check_detector(table: &HealthState, now_ns: u64) -> Result<(), String> {
    let overdue = |since_ns, limit| overdue(since_ns, limit, now_ns);
    let stuck = match table.activity {
        DetectorActivity::Detecting { since_ns } => {
            let measured = |ns: f64| Duration::from_secs_f64(ns * 1e-9 * LIMITS.frame_times).max(LIMITS.min_frame);
            let limit = table.frame_time_ns.mean().map_or(LIMITS.first_frame, measured);
            overdue(since_ns, limit).map(|seconds| format!("a frame has been in detection for {seconds} s"))
        }
        DetectorActivity::Delivering { since_ns } => overdue(since_ns, LIMITS.delivery)
            .map(|seconds| format!("a report has waited for its readers for {seconds} s")),
        DetectorActivity::Resting { until_ns } => overdue(until_ns, LIMITS.delay)
            .map(|seconds| format!("the detector's rest should have ended {seconds} s ago")),
        DetectorActivity::Waiting { since_ns } => {
            let waiting = |camera: &CameraHealth| overdue(camera.waiting_ns?.max(since_ns), LIMITS.delay);
            let seconds = table.cameras.values().find_map(waiting);
            seconds.map(|seconds| format!("a frame has waited for the detector for {seconds} s"))
        }
    };
    stuck.map_or(Ok(()), Err)
}

fn check_camera(name: &str, camera: &CameraHealth, now_ns: u64) -> Result<(), String> {
    let limit = (camera.stall_timeout * LIMITS.stall_timeouts).max(LIMITS.min_silence);
    let overdue = |since_ns| overdue(since_ns, limit, now_ns);
    let stuck = match camera.state {
        CameraState::Connecting => overdue(camera.alive_ns).map(|s| format!("been opening for {s} s")),
        CameraState::Streaming | CameraState::Stalled => {
            overdue(camera.alive_ns).map(|s| format!("given neither a frame nor an error for {s} s"))
        }
        CameraState::Backoff => {
            overdue(camera.retry_ns.max(camera.alive_ns)).map(|s| format!("been opening again for {s} s"))
        }
        CameraState::Disabled | CameraState::Ended => None,
    };
    stuck.map_or(Ok(()), |text| Err(format!("camera {name} has {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SimulatedClock;

    const S: u64 = 1_000_000_000;

    fn health() -> Health {
        let health = Health::new("d", &SimulatedClock::default());
        health.add_camera("a", Duration::from_secs(10), 0);
        health.frame_captured("a", S);
        health
    }

    fn stuck(health: &Health, second: u64) -> String {
        check(health, second * S).err().unwrap_or_default()
    }

    #[test]
    fn the_deadline_of_a_frame_follows_the_measured_frame_time() {
        let health = health();
        health.frame_waiting("a", S);
        health.frame_taken("a", 2 * S);
        health.frame_captured("a", 60 * S);
        assert_eq!(stuck(&health, 110), "", "the first frame has two minutes");
        health.frame_captured("a", 123 * S);
        assert!(stuck(&health, 123).contains("in detection for 121 s"));
        // A board on which a frame takes 5 s: 50 s are allowed.
        health.set_activity(DetectorActivity::Waiting { since_ns: 7 * S });
        health.frame_taken("a", 130 * S);
        assert_eq!(stuck(&health, 180), "");
        health.frame_captured("a", 181 * S);
        assert!(stuck(&health, 181).contains("in detection"));
        // A fast board: at least ten seconds.
        let fast = self::health();
        fast.frame_taken("a", 2 * S);
        fast.set_activity(DetectorActivity::Waiting { since_ns: 2 * S + S / 10 });
        fast.frame_taken("a", 3 * S);
        assert_eq!(stuck(&fast, 12), "");
        assert!(stuck(&fast, 14).contains("in detection for 11 s"));
    }

    #[test]
    fn a_frame_that_nobody_takes_is_noticed() {
        let health = health();
        health.frame_waiting("a", 5 * S);
        health.frame_waiting("a", 30 * S);
        health.frame_captured("a", 30 * S);
        assert_eq!(stuck(&health, 34), "");
        assert!(stuck(&health, 36).contains("waited for the detector for 31 s"));
        health.frame_taken("a", 36 * S);
        health.set_activity(DetectorActivity::Waiting { since_ns: 37 * S });
        assert_eq!(stuck(&health, 80), "");
    }

    #[test]
    fn lost_cameras_are_not_stuck_until_their_retry_is_overdue() {
        let health = health();
        health.set_camera_backoff("a", 2 * S, 1000 * S);
        assert_eq!(stuck(&health, 1050), "");
        assert!(stuck(&health, 1061).contains("camera a has been opening again for 61 s"));
        health.set_camera_state("a", CameraState::Ended, 3 * S);
        assert_eq!(stuck(&health, 1_000_000), "");
    }

    #[test]
    fn a_camera_that_hangs_is_noticed() {
        let health = health();
        assert_eq!(stuck(&health, 61), "");
        assert!(stuck(&health, 62).contains("camera a has given neither a frame nor an error for 61 s"));
        health.set_stall_timeout("a", Duration::from_secs(100));
        assert_eq!(stuck(&health, 600), "", "a slow replay has a longer deadline");
        let opening = Health::new("d", &SimulatedClock::default());
        opening.add_camera("b", Duration::from_secs(10), S);
        assert!(stuck(&opening, 62).contains("camera b has been opening for 61 s"));
    }

    #[test]
    fn resting_and_delivering_have_deadlines() {
        let health = health();
        health.set_activity(DetectorActivity::Resting { until_ns: 10 * S });
        health.frame_captured("a", 39 * S);
        assert_eq!(stuck(&health, 39), "");
        assert!(stuck(&health, 41).contains("should have ended 31 s ago"));
        health.set_activity(DetectorActivity::Delivering { since_ns: 50 * S });
        health.frame_captured("a", 649 * S);
        assert_eq!(stuck(&health, 649), "");
        health.frame_captured("a", 651 * S);
        assert!(stuck(&health, 651).contains("waited for its readers"));
    }
}
