//! `[monitor]` and its tables.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

table! {
    /// `[monitor]`
    Monitor {
        /// True if enabled.
        enabled: bool,
        /// Share of one core that it may use.
        #[schemars(range(min = 0.0, max = 1.0))]
        share: f32,
        /// Interval between compared frames.
        sample_interval: String,
        /// Longest interval between compared frames, whatever the share.
        max_interval: String,
        /// Memory limit of the frames kept for recalibration.
        reservoir: String,
        /// True if frames may be stored on disk.
        keep_frames: bool,
        /// Size limit of frames on disk.
        keep_max_size: String,
        /// Age limit of frames on disk.
        keep_max_age: String,
        /// Thresholds of drift.
        thresholds: Thresholds,
        /// "never", "on-drift" or an interval.
        recalibrate: String,
        /// Number of generations kept for roll-back.
        #[schemars(range(min = 1, max = 1000))]
        keep_generations: u32,
    }
}

table! {
    /// `[monitor.thresholds]`, in standard deviations of the calibration baseline.
    Thresholds {
        /// Threshold above which drift is raised.
        #[schemars(range(min = 0.0))]
        raise: f32,
        /// Threshold below which drift is cleared.
        #[schemars(range(min = 0.0))]
        clear: f32,
    }
}
