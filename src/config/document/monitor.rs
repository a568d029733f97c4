//! `[monitor]` and what is in it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

table! {
    /// `[monitor]`
    Monitor {
        /// Compare at all.
        enabled: bool,
        /// Share of one core it may take.
        #[schemars(range(min = 0.0, max = 1.0))]
        share: f32,
        /// Time between two frames that are compared.
        sample_interval: String,
        /// A frame is compared at least this often, whatever the share says.
        max_interval: String,
        /// Most memory of the frames that are kept to recalibrate with.
        reservoir: String,
        /// Allow frames on disk.
        keep_frames: bool,
        /// Most bytes of frames on disk.
        keep_max_size: String,
        /// Frames on disk go when they are older.
        keep_max_age: String,
        /// When drift is raised and cleared.
        thresholds: Thresholds,
        /// "never", "on-drift" or an interval.
        recalibrate: String,
        /// Models kept to go back to.
        #[schemars(range(min = 1, max = 1000))]
        keep_generations: u32,
    }
}

table! {
    /// `[monitor.thresholds]`, in spreads of the error seen while calibrating.
    Thresholds {
        /// Drift is raised above this.
        #[schemars(range(min = 0.0))]
        raise: f32,
        /// Drift is cleared below this.
        #[schemars(range(min = 0.0))]
        clear: f32,
    }
}
