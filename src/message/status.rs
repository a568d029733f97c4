//! Status message: health of the device and its cameras.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Model, Moment, Schema};

/// Health of the device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Version of the format.
    pub schema: Schema,
    /// Name of the device.
    pub device: String,
    /// Wall time of the status.
    pub at: Moment,
    /// Seconds since the start of the service, including suspend.
    #[serde(default)]
    pub uptime_s: u64,
    /// Overall state.
    pub state: State,
    /// Reasons why the state is not `ok`.
    pub reasons: Vec<String>,
    /// Cameras by name.
    pub cameras: BTreeMap<String, CameraStatus>,
    /// Serving model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// Thermal throttling, if temperatures are available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle: Option<Throttle>,
    /// Drift, if the monitor is enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<serde_json::Value>,
}

/// Thermal throttling in a [`Status`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Throttle {
    /// Throttle level: 0 (none) to 4 (detection paused).
    pub level: u8,
    /// Type of the hottest thermal zone.
    pub zone: Option<String>,
    /// Its temperature in °C.
    pub celsius: Option<f32>,
}

/// State of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The service is starting.
    Starting,
    /// Every camera delivers frames that are analysed.
    Ok,
    /// Something failed; the rest works.
    Degraded,
    /// The service is stopping.
    Stopping,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Starting, Self::Ok, Self::Degraded, Self::Stopping];

    /// Its name, as in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Stopping => "stopping",
        }
    }
}

/// One camera in a [`Status`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CameraStatus {
    /// State of the camera.
    pub state: CameraState,
    /// Captured frames a second, smoothed.
    pub fps: f64,
    /// Analysed frames a second, smoothed.
    #[serde(default)]
    pub analysed_fps: f64,
    /// Time from capture to report, in milliseconds, smoothed; while frames are analysed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// Frames dropped since the start, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Last error of the camera since the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<CameraError>,
}

/// Error of a camera in a [`CameraStatus`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CameraError {
    /// What happened.
    pub error: String,
    /// Wall time.
    pub at: Moment,
}

/// State of a camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CameraState {
    /// The camera is being opened for the first time.
    Connecting,
    /// The camera delivers frames.
    Streaming,
    /// The camera is open but delivers no frames.
    Stalled,
    /// The camera failed and will be opened again after a delay.
    Backoff,
    /// The camera was disabled by a command: its frames are not analysed.
    Disabled,
    /// A replay reached its end.
    Ended,
}

impl CameraState {
    /// Name in messages.
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
