//! Options of the monitor, from the owner's configuration.

use std::path::PathBuf;
use std::time::Duration;

/// Options of the monitor.
#[derive(Debug, Clone, PartialEq)]
pub struct MonitorOptions {
    /// Share of one core, above 0, at most 1.
    pub cpu_share: f64,
    /// Time between two sampled frames.
    pub sample_interval: Duration,
    /// Longest time between two passes, whatever the share.
    pub max_interval: Duration,
    /// Most memory of the stored frames, in bytes.
    pub reservoir_bytes: usize,
    /// Storage of frames on disk; `None` without.
    pub keep_frames: Option<FrameStorage>,
    /// Drift is raised from this number of spreads of the baseline.
    pub raise_threshold: f64,
    /// Drift is cleared below this number of spreads.
    pub clear_threshold: f64,
    /// Trigger of recalibrations.
    pub recalibrate: RecalibrationPolicy,
    /// Generations kept on disk, including the first and the serving one.
    pub keep_generations: usize,
}

impl Default for MonitorOptions {
    fn default() -> Self {
        Self {
            cpu_share: 0.1,
            sample_interval: Duration::from_secs(30),
            max_interval: Duration::from_secs(300),
            reservoir_bytes: 32 << 20,
            keep_frames: None,
            raise_threshold: 4.0,
            clear_threshold: 2.0,
            recalibrate: RecalibrationPolicy::Never,
            keep_generations: 5,
        }
    }
}

/// Condition on which the monitor recalibrates without a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecalibrationPolicy {
    /// Never.
    Never,
    /// While drift is raised.
    OnDrift,
    /// Once per interval.
    Every(Duration),
}

/// A folder of frames, with its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameStorage {
    /// The folder.
    pub folder: PathBuf,
    /// Most bytes of all files.
    pub max_bytes: u64,
    /// Greatest age of a file.
    pub max_age: Duration,
}
