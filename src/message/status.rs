//! How the device and its cameras are.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Model, Moment, Schema};

/// How the device is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Version of the shape.
    pub schema: Schema,
    /// Which device.
    pub device: String,
    /// When this was true.
    pub at: Moment,
    /// Seconds since the service came to life, time asleep included.
    #[serde(default)]
    pub uptime_s: u64,
    /// In one word.
    pub state: State,
    /// Why it is not `ok`.
    pub reasons: Vec<String>,
    /// Each camera by its name.
    pub cameras: BTreeMap<String, CameraStatus>,
    /// What detects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// How hot it is and what that costs, where temperatures are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle: Option<Throttle>,
    /// How far the network's error is from its calibration, where that is watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<serde_json::Value>,
}

/// Heat in a [`Status`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Throttle {
    /// How much less is done: 0 (nothing) to 4 (paused).
    pub level: u8,
    /// The hottest zone, by the kernel's name.
    pub zone: Option<String>,
    /// Its temperature in °C.
    pub celsius: Option<f32>,
}

/// A device in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not everything is up yet.
    Starting,
    /// Every camera is watched.
    Ok,
    /// Something is wrong, the rest works.
    Degraded,
    /// About to end.
    Stopping,
}

/// One camera in a [`Status`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CameraStatus {
    /// In one word.
    pub state: CameraState,
    /// Frames captured a second, lately.
    pub fps: f64,
    /// Frames dropped since the start, by reason.
    pub dropped: BTreeMap<String, u64>,
}

/// A camera in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CameraState {
    /// Being opened for the first time.
    Connecting,
    /// Frames come.
    Streaming,
    /// It is open and no frame comes.
    Stalled,
    /// It failed and will be opened again.
    Backoff,
    /// It was switched off by an order: nobody looks at its frames.
    Disabled,
    /// A replay came to its end.
    Ended,
}

impl CameraState {
    /// The word itself.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Streaming => "streaming",
            Self::Disabled => "disabled",
            Self::Stalled => "stalled",
            Self::Backoff => "backoff",
            Self::Ended => "ended",
        }
    }
}
