//! Resolved configuration: defaults applied, all values valid.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::document::{Flip, Limits, LogFormat, Order, Polygon, WeatherName};
use crate::kernel::isa::IsaName;
use crate::message::MessageKind;

/// Settings of `run` and of all commands that run a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Device and log.
    pub device: DeviceSettings,
    /// Model.
    pub model: ModelSettings,
    /// Detector.
    pub detector: DetectorSettings,
    /// Cameras.
    pub cameras: Vec<CameraSettings>,
    /// Tracking of objects.
    pub track: TrackSettings,
    /// Sinks; never empty.
    pub sinks: Vec<SinkSettings>,
    /// Monitor: int8 compared with fp32.
    pub monitor: MonitorSettings,
    /// History of events.
    pub history: HistorySettings,
    /// Web server.
    pub web: WebSettings,
    /// Timeouts and thermal limits.
    pub supervision: SupervisionSettings,
}

/// Device and log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSettings {
    /// Name of the device, if configured.
    pub id: Option<String>,
    /// State directory, if configured.
    pub state_dir: Option<PathBuf>,
    /// Directory of the control socket, if configured.
    pub runtime_dir: Option<PathBuf>,
    /// Tracing directives.
    pub log_level: String,
    /// Log format.
    pub log_format: LogFormat,
}

/// Model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSettings {
    /// Source of the model.
    pub source: ModelSource,
    /// fp32 model for the monitor.
    pub reference: Option<PathBuf>,
}

/// Source of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// Not configured.
    None,
    /// An artifact, int8.
    Artifact(PathBuf),
    /// A checkpoint, fp32.
    Checkpoint(PathBuf),
    /// A checkpoint, quantized at start with `count` pictures of a folder, selected as by `lookout quantize`.
    Quantize {
        /// The checkpoint.
        checkpoint: PathBuf,
        /// The folder.
        pictures: PathBuf,
        /// Number of pictures.
        count: u32,
    },
    /// A checkpoint, quantized once the cameras have delivered `count` usable frames.
    Live {
        /// The checkpoint.
        checkpoint: PathBuf,
        /// Number of pictures.
        count: u32,
    },
}

/// Detector.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectorSettings {
    /// Threads for one frame; `None`: one a core.
    pub threads: Option<usize>,
    /// Instruction set; `None`: the best available.
    pub kernel: Option<IsaName>,
    /// Score threshold; `None`: the model's.
    pub score: Option<f64>,
    /// Number of proposals after NMS; `None`: the model's.
    pub proposals: Option<usize>,
    /// Detections per image; `None`: the model's.
    pub max_detections: Option<usize>,
}

/// A camera.
#[derive(Debug, Clone, PartialEq)]
pub struct CameraSettings {
    /// Its name, unique.
    pub name: String,
    /// Kind.
    pub kind: CameraKind,
    /// Most pixels of a picture; `None`: four times those negotiated, or those of the first picture.
    pub max_pixels: Option<u64>,
    /// Clockwise rotation: 0, 90, 180 or 270 degrees.
    pub rotate: u32,
    /// Mirroring after the rotation.
    pub flip: Flip,
    /// Limit of analysed frames a second; `None`: none.
    pub max_fps: Option<f64>,
    /// Share of pixels that must change for a frame to be analysed; 0: all frames are.
    pub motion_gate: f32,
    /// Longest time between analysed frames of a still scene, with `motion_gate`.
    pub motion_interval: Duration,
    /// Zones by name.
    pub zones: BTreeMap<String, ZoneSettings>,
    /// Lines by name.
    pub lines: BTreeMap<String, LineSettings>,
    /// Frames in a row after which the entry or exit of a zone, or the crossing of a line counts.
    pub inertia: u32,
    /// Polygons outside of which nothing is reported; empty: the whole frame counts.
    pub include: Vec<Polygon>,
    /// Polygons in which nothing is reported.
    pub masks: Vec<Polygon>,
    /// Those of them that are black in every picture.
    pub private: Vec<Polygon>,
    /// Limits by label, or "*" for all other labels.
    pub limits: BTreeMap<String, Limits>,
    /// True if reports list detections that these rules removed.
    pub explain: bool,
}

/// A zone of a camera.
#[derive(Debug, Clone, PartialEq)]
pub struct ZoneSettings {
    /// Its corners.
    pub polygon: Polygon,
    /// Time after which an object loiters; `None`: never.
    pub loitering: Option<Duration>,
    /// Rule for crowds; `None`: there is no crowd.
    pub crowd: Option<CrowdSettings>,
}

/// Rule for a crowd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrowdSettings {
    /// Largest number of objects of a label that is no crowd.
    pub limit: u32,
    /// Time after which a crowd begins or ends.
    pub time: Duration,
}

/// A line of a camera.
#[derive(Debug, Clone, PartialEq)]
pub struct LineSettings {
    /// First and second point, as fractions of the picture.
    pub points: [[f32; 2]; 2],
    /// Name of the direction to the left, seen from the first point to the second.
    pub left: String,
    /// Name of the direction to the right.
    pub right: String,
}

impl LineSettings {
    /// Name of a direction.
    pub fn direction(&self, to_right: bool) -> &str {
        if to_right { &self.right } else { &self.left }
    }
}

/// Kind of a camera with its settings.
#[derive(Clone, PartialEq)]
pub enum CameraKind {
    /// Pictures in a folder.
    Replay {
        /// The folder.
        path: PathBuf,
        /// Pictures a second; `None`: lossless, at the rate of the detector.
        rate: Option<f64>,
        /// True if it loops.
        repeat: bool,
    },
    /// A V4L2 device.
    V4l2 {
        /// Device path.
        device: PathBuf,
        /// Requested columns.
        width: Option<u32>,
        /// Requested rows.
        height: Option<u32>,
        /// Requested pixel format.
        format: Option<String>,
        /// Requested frames a second.
        fps: Option<f64>,
        /// Controls by name.
        controls: BTreeMap<String, i64>,
    },
    /// An input of ffmpeg.
    Ffmpeg {
        /// The input; it may contain a password.
        input: String,
    },
    /// A synthetic street.
    Pattern {
        /// Seed of the scene.
        seed: i64,
        /// Columns and rows.
        size: [u32; 2],
        /// Frames a second.
        fps: f64,
        /// Changes of the weather, in order of time.
        timetable: Vec<WeatherLine>,
    },
}

impl std::fmt::Debug for CameraKind {
    /// Omits the input, which may contain a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Replay { path, rate, repeat } => {
                f.debug_struct("Replay").field("path", path).field("rate", rate).field("repeat", repeat).finish()
            }
            Self::V4l2 { device, .. } => f.debug_struct("V4l2").field("device", device).finish_non_exhaustive(),
            Self::Ffmpeg { .. } => f.debug_struct("Ffmpeg").finish_non_exhaustive(),
            Self::Pattern { seed, .. } => f.debug_struct("Pattern").field("seed", seed).finish_non_exhaustive(),
        }
    }
}

/// A change of a pattern's weather.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WeatherLine {
    /// Time after the camera's start.
    pub at: Duration,
    /// Weather after the change.
    pub weather: WeatherName,
    /// Duration of the change.
    pub over: Duration,
}

/// Tracking of objects.
#[derive(Debug, Clone, PartialEq)]
pub struct TrackSettings {
    /// True if enabled.
    pub enabled: bool,
    /// Lowest score that starts a track.
    pub begin_score: f32,
    /// Frames with such a score before the start of an object is reported.
    pub confirm: u32,
    /// Longest time without a detection before a track ends.
    pub patience: Duration,
    /// The same for an object that stands still.
    pub stationary_patience: Duration,
}

/// A sink.
#[derive(Debug, Clone, PartialEq)]
pub struct SinkSettings {
    /// Kind.
    pub kind: SinkKind,
    /// Types of messages.
    pub messages: Vec<MessageKind>,
}

/// Kind of a sink with its settings.
#[derive(Debug, Clone, PartialEq)]
pub enum SinkKind {
    /// JSON lines on stdout.
    Stdout,
    /// JSON lines in files.
    File {
        /// Path of the current file.
        path: PathBuf,
        /// Size in bytes at which the file is rotated.
        max_size: u64,
        /// Number of files kept.
        max_files: u32,
    },
    /// JSON lines for clients of a unix socket.
    Unix {
        /// The socket.
        path: PathBuf,
        /// Users that may connect.
        access: SocketAccessSettings,
    },
    /// An MQTT broker.
    Mqtt(Box<MqttSettings>),
}

/// Users that may connect to a unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketAccessSettings {
    /// Permission bits.
    pub mode: u32,
    /// Group, by name or number; `None`: that of the service.
    pub group: Option<String>,
}

/// An MQTT broker. Secrets are in files; these are their paths.
#[derive(Debug, Clone, PartialEq)]
pub struct MqttSettings {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Protocol version: 4 or 5.
    pub protocol: u8,
    /// True for TLS.
    pub tls: bool,
    /// CA certificates for the broker's certificate.
    pub ca_file: Option<PathBuf>,
    /// Client certificate and key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// User name.
    pub username: Option<String>,
    /// File with the password.
    pub password_file: Option<PathBuf>,
    /// Keep-alive interval.
    pub keep_alive: Duration,
    /// Discovery prefix of Home Assistant.
    pub discovery: Option<String>,
    /// First levels of every topic of the device.
    pub topic_prefix: String,
    /// Labels that are counted; empty: all labels of the model.
    pub labels: Vec<String>,
    /// True if pictures are published.
    pub pictures: bool,
    /// Orders that the broker may give.
    pub orders: Vec<Order>,
    /// Size limit of waiting events, in bytes.
    pub spool_size: u64,
    /// Age limit of waiting events.
    pub spool_age: Duration,
    /// Disk space to leave free, in bytes.
    pub spool_free: u64,
}

/// Monitor: int8 compared with fp32.
#[derive(Debug, Clone, PartialEq)]
pub struct MonitorSettings {
    /// True if enabled.
    pub enabled: bool,
    /// Share of one core.
    pub share: f32,
    /// Interval between samples.
    pub sample_interval: Duration,
    /// Longest interval between passes.
    pub max_interval: Duration,
    /// Size limit of frames in memory, in bytes.
    pub reservoir: u64,
    /// True if frames may be stored on disk.
    pub keep_frames: bool,
    /// Size limit of frames on disk.
    pub keep_max_size: u64,
    /// Age limit of frames on disk.
    pub keep_max_age: Duration,
    /// Thresholds that raise and clear drift, in standard deviations.
    pub thresholds: (f32, f32),
    /// Trigger of recalibrations.
    pub recalibrate: Recalibrate,
    /// Number of generations kept.
    pub keep_generations: u32,
}

/// Trigger of recalibrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recalibrate {
    /// Only on request.
    Never,
    /// When drift is raised.
    OnDrift,
    /// At this interval.
    Every(Duration),
}

/// History of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistorySettings {
    /// True if enabled.
    pub enabled: bool,
    /// Directory, if configured.
    pub path: Option<PathBuf>,
    /// Age limit of events.
    pub max_age: Duration,
    /// Size limit in bytes; the oldest events are deleted.
    pub max_size: u64,
}

/// Web server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSettings {
    /// True if enabled.
    pub enabled: bool,
    /// Address and port.
    pub listen: SocketAddr,
    /// File with the access token.
    pub token_file: Option<PathBuf>,
    /// Address of the page as browsers know it.
    pub public_url: Option<String>,
    /// Networks of trusted proxies: address and length of the prefix in bits.
    pub trusted_proxies: Vec<(std::net::IpAddr, u8)>,
    /// Origins whose pages may embed the page.
    pub embed_origins: Vec<String>,
    /// True if live pictures are served.
    pub pictures: bool,
}

/// Timeouts and thermal limits.
#[derive(Debug, Clone, PartialEq)]
pub struct SupervisionSettings {
    /// Time without a frame after which a camera is stalled.
    pub stall_timeout: Duration,
    /// Time limit of a shutdown.
    pub grace_period: Duration,
    /// Temperature in °C above which detection is throttled; `None`: slightly below the kernel's own threshold.
    pub throttle_celsius: Option<f32>,
    /// Temperature in °C above which detection pauses.
    pub pause_celsius: Option<f32>,
}
