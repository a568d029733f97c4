//! What the owner decides about the monitor.

use std::path::PathBuf;
use std::time::Duration;

/// How the monitor works.
#[derive(Debug, Clone, PartialEq)]
pub struct MonitorOptions {
    /// Share of one core that it may take, above 0, at most 1.
    pub cpu_share: f64,
    /// Time between two frames that are sampled.
    pub sample_interval: Duration,
    /// A pass starts at least this often, whatever the share says.
    pub max_interval: Duration,
    /// Most bytes of frames in memory.
    pub reservoir_bytes: usize,
    /// Frames on disk, where the owner allows them.
    pub keep_frames: Option<FrameStorage>,
    /// Drift is raised above so many spreads of the evidence.
    pub raise_threshold: f64,
    /// Drift is cleared below so many.
    pub clear_threshold: f64,
    /// When to recalibrate.
    pub recalibrate: RecalibrationPolicy,
    /// Generations kept, the first and the serving one included.
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

/// When the monitor recalibrates by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecalibrationPolicy {
    /// Never.
    Never,
    /// When drift is raised.
    OnDrift,
    /// Once in this time.
    Every(Duration),
}

/// Where frames are kept on disk, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameStorage {
    /// The folder.
    pub folder: PathBuf,
    /// Most bytes of all of them.
    pub max_bytes: u64,
    /// Older ones go.
    pub max_age: Duration,
}
