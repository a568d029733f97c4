//! Sampler: selects the frames that the monitor examines.
//!
//! In: every frame, on the detector thread. Out: one frame of each camera a period, with the frame that followed it: a
//! flash shows only against its neighbour. Sending never blocks: while the monitor is busy, frames are skipped.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use crate::frame::Frame;

/// A full channel is tried again after this part of the period.
const RETRY_DIVISOR: u64 = 8;

/// A sampled frame.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Number of its camera.
    pub camera: usize,
    /// The frame.
    pub frame: Arc<Frame>,
    /// The camera's next frame.
    pub next: Option<Arc<Frame>>,
}

/// Selects frames by time, camera by camera.
#[derive(Debug)]
pub struct Sampler {
    samples: SyncSender<Sample>,
    /// Time between two samples of one camera, in nanoseconds.
    period_ns: u64,
    cameras: Vec<CameraSchedule>,
}

/// The next sample of one camera.
#[derive(Debug, Default)]
struct CameraSchedule {
    /// Monotonic time from which the next frame is selected, in nanoseconds; unknown before the first frame.
    due_ns: Option<u64>,
    /// The selected frame, until its successor arrives.
    selected: Option<Arc<Frame>>,
}

impl Sampler {
    /// Sends one frame per `interval` to `samples`, from each of the cameras in turn.
    pub fn new(cameras: usize, interval: Duration, samples: SyncSender<Sample>) -> Self {
        let period_ns = (interval.as_nanos() as u64).saturating_mul(cameras.max(1) as u64);
        Self { samples, period_ns, cameras: (0..cameras).map(|_| CameraSchedule::default()).collect() }
    }

    /// Takes a frame of camera number `camera`: selects it if one is due, and sends the frame selected before.
    pub fn observe(&mut self, camera: usize, frame: &Arc<Frame>) {
        let count = self.cameras.len() as u64;
        let Some(schedule) = self.cameras.get_mut(camera) else { return };
        let now = frame.captured_monotonic_ns;
        if let Some(selected) = schedule.selected.take() {
            let sample = Sample { camera, frame: selected, next: Some(Arc::clone(frame)) };
            match self.samples.try_send(sample) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => {}
                // Not with the next frame: each retry keeps a frame alive, and its buffer must be replaced.
                Err(TrySendError::Full(_)) => schedule.due_ns = Some(now + self.period_ns / RETRY_DIVISOR),
            }
        }
        // Cameras that start together are spread over the period.
        let due = *schedule.due_ns.get_or_insert(now + self.period_ns / count.max(1) * camera as u64);
        if now >= due {
            schedule.selected = Some(Arc::clone(frame));
            schedule.due_ns = Some(now + self.period_ns);
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
    fn cameras_take_turns_and_each_sample_has_its_successor() {
        let (sender, samples) = sync_channel(100);
        let mut sampler = Sampler::new(2, Duration::from_secs(10), sender);
        for second in 0..60 {
            for camera in [0, 1] {
                sampler.observe(camera, &frame(second, second));
            }
        }
        let samples: Vec<(usize, u64, u64)> = samples
            .try_iter()
            .map(|sample| (sample.camera, sample.frame.sequence, sample.next.unwrap().sequence))
            .collect();
        assert_eq!(samples, [(0, 0, 1), (1, 10, 11), (0, 20, 21), (1, 30, 31), (0, 40, 41), (1, 50, 51)]);
    }

    #[test]
    fn a_busy_monitor_does_not_block_the_detector() {
        let (sender, samples) = sync_channel(1);
        let mut sampler = Sampler::new(1, Duration::from_secs(8), sender);
        (0..30).for_each(|second| sampler.observe(0, &frame(second, second)));
        assert_eq!(samples.try_iter().count(), 1);
        (30..40).for_each(|second| sampler.observe(0, &frame(second, second)));
        assert_eq!(samples.try_iter().count(), 1, "sent again");
        drop(samples);
        (40..60).for_each(|second| sampler.observe(0, &frame(second, second)));
    }
}
