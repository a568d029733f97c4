//! Which of the live frames are looked at.
//!
//! In: every frame, on the detector thread. Out: one of each camera in every so many seconds, with the frame that came
//! after it (a flash shows only beside its neighbour). Never waits: while the monitor is busy, frames pass by.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use crate::frame::Frame;

/// A frame to look at.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Number of its camera.
    pub camera: usize,
    /// The frame.
    pub frame: Arc<Frame>,
    /// The camera's next frame.
    pub next: Option<Arc<Frame>>,
}

/// Chooses frames.
#[derive(Debug)]
pub struct Sampler {
    to: SyncSender<Sample>,
    period_ns: u64,
    cameras: Vec<Turn>,
}

/// Where a camera stands.
#[derive(Debug, Default)]
struct Turn {
    /// When its next frame is due, nanoseconds of monotonic time; unknown before its first.
    due_ns: Option<u64>,
    chosen: Option<Arc<Frame>>,
}

impl Sampler {
    /// Sends a frame to `to` in every `interval`, the cameras in turn.
    pub fn new(cameras: usize, interval: Duration, to: SyncSender<Sample>) -> Self {
        let period_ns = (interval.as_nanos() as u64).saturating_mul(cameras.max(1) as u64);
        Self { to, period_ns, cameras: (0..cameras).map(|_| Turn::default()).collect() }
    }

    /// Sees a frame of camera number `camera`.
    pub fn observe(&mut self, camera: usize, frame: &Arc<Frame>) {
        let count = self.cameras.len() as u64;
        let Some(turn) = self.cameras.get_mut(camera) else { return };
        let now = frame.captured_monotonic_ns;
        if let Some(chosen) = turn.chosen.take() {
            let sample = Sample { camera, frame: chosen, next: Some(Arc::clone(frame)) };
            match self.to.try_send(sample) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => {}
                // Asked again soon: not at the next frame, which would copy it in vain at every frame.
                Err(TrySendError::Full(_)) => turn.due_ns = Some(now + self.period_ns / 8),
            }
        }
        // Cameras that start together take turns within the period.
        let due = *turn.due_ns.get_or_insert(now + self.period_ns / count.max(1) * camera as u64);
        if now >= due {
            turn.chosen = Some(Arc::clone(frame));
            turn.due_ns = Some(now + self.period_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::frame::{Image, Picture};

    fn frame(sequence: u64, second: u64) -> Arc<Frame> {
        Arc::new(Frame {
            image: Image::Rgb(Picture::filled(1, 1, [0; 3])),
            sequence,
            captured_at: jiff::Timestamp::UNIX_EPOCH,
            captured_monotonic_ns: second * 1_000_000_000,
        })
    }

    #[test]
    fn cameras_take_turns_and_each_sample_has_its_neighbour() {
        let (to, from) = sync_channel(100);
        let mut sampler = Sampler::new(2, Duration::from_secs(10), to);
        for second in 0..60 {
            for camera in [0, 1] {
                sampler.observe(camera, &frame(second, second));
            }
        }
        let samples: Vec<(usize, u64, u64)> = from
            .try_iter()
            .map(|sample| (sample.camera, sample.frame.sequence, sample.next.unwrap().sequence))
            .collect();
        assert_eq!(samples, [(0, 0, 1), (1, 10, 11), (0, 20, 21), (1, 30, 31), (0, 40, 41), (1, 50, 51)]);
    }

    #[test]
    fn a_busy_monitor_holds_nobody_up() {
        let (to, from) = sync_channel(1);
        let mut sampler = Sampler::new(1, Duration::from_secs(8), to);
        (0..30).for_each(|second| sampler.observe(0, &frame(second, second)));
        assert_eq!(from.try_iter().count(), 1);
        (30..40).for_each(|second| sampler.observe(0, &frame(second, second)));
        assert_eq!(from.try_iter().count(), 1, "asked again");
        drop(from);
        (40..60).for_each(|second| sampler.observe(0, &frame(second, second)));
    }
}
