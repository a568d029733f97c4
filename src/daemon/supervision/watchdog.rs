//! The watchdog's question: has work been done lately, or is there a reason why none was due?
//!
//! In: the table of health and the time. Out: yes, or what is stuck. Every state that excuses the detector has a
//! deadline of its own; that of a frame in work grows with the time that frames have been measured to take. Deadlines
//! are counted on the monotonic clock, as systemd counts its own.

use std::time::Duration;

use super::health::{Entry, Health, Work};
use crate::message::CameraState;

/// How long one frame may take: the first one of a life; later ones so many times the smoothed time, and at least.
const FRAME: (Duration, f64, Duration) = (Duration::from_secs(120), 10.0, Duration::from_secs(10));

/// How long a report may wait for the readers of a replay that loses none.
const DELIVERY: Duration = Duration::from_secs(600);

/// How late a rest, a retry or the taking of a waiting frame may be.
const LATE: Duration = Duration::from_secs(30);

/// How long a camera may be in an opening or a reading that does not come back: so many times its patience, and at
/// least. Sources have time-outs of their own, which are shorter.
const SILENCE: (u32, Duration) = (6, Duration::from_secs(60));

impl Health {
    /// Whether the watchdog may be fed.
    ///
    /// # Errors
    ///
    /// What is stuck, in words for the log.
    pub fn verdict(&self, now_ns: u64) -> Result<(), String> {
        let table = self.lock();
        let over = |since_ns: u64, limit: Duration| {
            let passed = now_ns.saturating_sub(since_ns);
            (passed > limit.as_nanos() as u64).then(|| Duration::from_nanos(passed).as_secs())
        };
        match table.work {
            Work::Busy(since) => {
                let measured = |ns: f64| Duration::from_secs_f64(ns * 1e-9 * FRAME.1).max(FRAME.2);
                if let Some(seconds) = over(since, table.frame_ns.map_or(FRAME.0, measured)) {
                    return Err(format!("a frame has been in detection for {seconds} s"));
                }
            }
            Work::Delivering(since) => {
                if let Some(seconds) = over(since, DELIVERY) {
                    return Err(format!("a report has waited for its readers for {seconds} s"));
                }
            }
            Work::Resting(until) => {
                if let Some(seconds) = over(until, LATE) {
                    return Err(format!("the detector should have gone on {seconds} s ago"));
                }
            }
            Work::Waiting(since) => {
                let waiting = |entry: &Entry| over(entry.waiting_ns?.max(since), LATE);
                if let Some(seconds) = table.cameras.values().find_map(waiting) {
                    return Err(format!("a frame has waited for the detector for {seconds} s"));
                }
            }
        }
        for (name, entry) in &table.cameras {
            let silence = (entry.patience * SILENCE.0).max(SILENCE.1);
            let stuck = match entry.state {
                CameraState::Connecting => over(entry.alive_ns, silence).map(|s| format!("been opening for {s} s")),
                CameraState::Streaming | CameraState::Stalled => {
                    over(entry.alive_ns, silence).map(|s| format!("said nothing for {s} s, and no error either"))
                }
                CameraState::Backoff => {
                    over(entry.retry_ns.max(entry.alive_ns), silence).map(|s| format!("been opening again for {s} s"))
                }
                CameraState::Disabled | CameraState::Ended => None,
            };
            if let Some(text) = stuck {
                return Err(format!("camera {name} has {text}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SimulatedClock;

    const S: u64 = 1_000_000_000;

    fn health() -> Health {
        let health = Health::new("d", &SimulatedClock::default());
        health.add("a", Duration::from_secs(10), 0);
        health.frame("a", S);
        health
    }

    fn stuck(health: &Health, second: u64) -> String {
        health.verdict(second * S).err().unwrap_or_default()
    }

    #[test]
    fn a_frame_has_as_long_as_frames_have_taken() {
        let health = health();
        health.waits("a", S);
        health.taken("a", 2 * S);
        health.frame("a", 60 * S);
        assert_eq!(stuck(&health, 110), "", "the first one has two minutes");
        health.frame("a", 123 * S);
        assert!(stuck(&health, 123).contains("in detection for 121 s"));
        // A board on which a frame takes 5 s: 50 s are allowed.
        health.work(Work::Waiting(7 * S));
        health.taken("a", 130 * S);
        assert_eq!(stuck(&health, 180), "");
        health.frame("a", 181 * S);
        assert!(stuck(&health, 181).contains("in detection"));
        // A fast one: ten seconds at least.
        let fast = super::tests::health();
        fast.taken("a", 2 * S);
        fast.work(Work::Waiting(2 * S + S / 10));
        fast.taken("a", 3 * S);
        assert_eq!(stuck(&fast, 12), "");
        assert!(stuck(&fast, 14).contains("in detection for 11 s"));
    }

    #[test]
    fn a_frame_that_nobody_takes_is_noticed() {
        let health = health();
        health.waits("a", 5 * S);
        health.waits("a", 30 * S);
        health.frame("a", 30 * S);
        assert_eq!(stuck(&health, 34), "");
        assert!(stuck(&health, 36).contains("waited for the detector for 31 s"));
        health.taken("a", 36 * S);
        health.work(Work::Waiting(37 * S));
        assert_eq!(stuck(&health, 80), "");
    }

    #[test]
    fn cameras_that_are_lost_excuse_the_detector_while_they_are_tried() {
        let health = health();
        health.backoff("a", 2 * S, 1000 * S);
        assert_eq!(stuck(&health, 1050), "");
        assert!(stuck(&health, 1061).contains("camera a has been opening again for 61 s"));
        health.camera("a", CameraState::Ended, 3 * S);
        assert_eq!(stuck(&health, 1_000_000), "");
    }

    #[test]
    fn a_camera_that_hangs_does_not_excuse_it() {
        let health = health();
        assert_eq!(stuck(&health, 61), "");
        assert!(stuck(&health, 62).contains("camera a has said nothing for 61 s"));
        health.patience("a", Duration::from_secs(100));
        assert_eq!(stuck(&health, 600), "", "a slow replay is patient");
        let opening = Health::new("d", &SimulatedClock::default());
        opening.add("b", Duration::from_secs(10), S);
        assert!(stuck(&opening, 62).contains("camera b has been opening for 61 s"));
    }

    #[test]
    fn resting_and_delivering_have_their_ends() {
        let health = health();
        health.work(Work::Resting(10 * S));
        health.frame("a", 39 * S);
        assert_eq!(stuck(&health, 39), "");
        assert!(stuck(&health, 41).contains("should have gone on 31 s ago"));
        health.work(Work::Delivering(50 * S));
        health.frame("a", 649 * S);
        assert_eq!(stuck(&health, 649), "");
        health.frame("a", 651 * S);
        assert!(stuck(&health, 651).contains("waited for its readers"));
    }
}
