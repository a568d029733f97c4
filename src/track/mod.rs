//! Multi-object tracker: detections of successive frames that show one object get one track id.
//!
//! In: the filtered detections of one camera's frame and its capture time. Out: the same detections with track ids, and
//! [`TrackEvent`]s for objects that started or ended. The method is ByteTrack (Zhang et al., 2022). A Kalman filter
//! predicts each object's box; high-score detections are matched to predictions first, low-score ones second. An object
//! that is half occluded so keeps its id. Time is monotonic time: a dropped frame only makes the step longer. An object
//! never changes its class. An object that stands still keeps its place: it is found there again after something stood in
//! front of it. The result depends on the order of detections only where overlaps are equal.

mod assign;
mod motion;
mod rest;
mod tracker;

pub use assign::assign;
pub use tracker::{Object, TrackEvent, Tracker};

use std::time::Duration;

/// Thresholds for the start and end of a track.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrackerSettings {
    /// Lowest score that starts a track, 0 to 1. A detection below it can only continue one.
    pub begin_score: f32,
    /// Frames with such a score before the track is confirmed and reported, at least 1.
    pub confirm: u32,
    /// Longest time without a detection before the track ends.
    pub max_unseen: Duration,
    /// The same for an object that stands still: something may stand in front of it for a while.
    pub max_unseen_stationary: Duration,
}

impl Default for TrackerSettings {
    fn default() -> Self {
        Self {
            begin_score: 0.5,
            confirm: 2,
            max_unseen: Duration::from_secs(2),
            max_unseen_stationary: Duration::from_secs(60),
        }
    }
}
