//! Detections become objects: boxes of successive frames that belong together get one id.
//!
//! In: the detections of one camera's frame, already filtered, and when it was captured. Out: the same with their track
//! filled in, and what began or ended by it. Matching goes by overlap with where a constant velocity would have taken
//! each object, confident detections first and doubtful ones second (Zhang et al., ByteTrack, 2022), so that an object
//! half hidden keeps its id. Time is real time: dropped frames only make the step longer. One class never becomes
//! another, and nothing here depends on the order of detections but for equal overlaps.

mod assign;
mod motion;
mod tracker;

pub use assign::{assign, iou};
pub use tracker::{Change, Object, Tracker};

use std::time::Duration;

/// When objects begin and end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// Lowest score with which an object begins, 0 to 1; below it a detection can only continue one.
    pub begin_score: f32,
    /// Frames in which it must have been seen before it is told of, at least 1.
    pub confirm: u32,
    /// How long it may be out of sight and still be the same.
    pub patience: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self { begin_score: 0.5, confirm: 2, patience: Duration::from_secs(2) }
    }
}
