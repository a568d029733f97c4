//! What the owner decides about the monitor.

use std::path::PathBuf;
use std::time::Duration;

/// How the monitor works.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Share of one core that it may take, above 0, at most 1.
    pub share: f64,
    /// Time between two frames that are sampled.
    pub sample_interval: Duration,
    /// A pass starts at least this often, whatever the share says.
    pub max_interval: Duration,
    /// Most bytes of frames in memory.
    pub reservoir_bytes: usize,
    /// Frames on disk, where the owner allows them.
    pub keep_frames: Option<KeepFrames>,
    /// Drift is raised above so many spreads of the evidence.
    pub raise: f64,
    /// Drift is cleared below so many.
    pub clear: f64,
    /// When to recalibrate.
    pub recalibrate: When,
    /// Generations kept, the first and the serving one included.
    pub keep_generations: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            share: 0.1,
            sample_interval: Duration::from_secs(30),
            max_interval: Duration::from_secs(300),
            reservoir_bytes: 32 << 20,
            keep_frames: None,
            raise: 4.0,
            clear: 2.0,
            recalibrate: When::Never,
            keep_generations: 5,
        }
    }
}

/// When the monitor recalibrates by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Never.
    Never,
    /// When drift is raised.
    OnDrift,
    /// Once in this time.
    Every(Duration),
}

/// Where frames are kept on disk, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeepFrames {
    /// The folder.
    pub folder: PathBuf,
    /// Most bytes of all of them.
    pub bytes: u64,
    /// Older ones go.
    pub age: Duration,
}
