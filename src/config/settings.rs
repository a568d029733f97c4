//! The configuration resolved: nothing optional that has a default, nothing that could still be wrong.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::document::{Flip, Limits, LogFormat, Polygon, WeatherName};
use crate::kernel::isa::IsaName;
use crate::message::MessageKind;

/// What `run` and every command that runs a model goes by.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// This device and its log.
    pub device: DeviceSettings,
    /// What detects.
    pub model: ModelSettings,
    /// How it detects.
    pub detector: DetectorSettings,
    /// What is watched.
    pub cameras: Vec<CameraSettings>,
    /// Objects followed from frame to frame.
    pub track: TrackSettings,
    /// Who is told; never empty.
    pub sinks: Vec<SinkSettings>,
    /// Int8 beside full precision.
    pub monitor: MonitorSettings,
    /// Events kept.
    pub history: HistorySettings,
    /// HTTP.
    pub web: WebSettings,
    /// Limits of patience.
    pub supervision: SupervisionSettings,
}

/// This device and its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSettings {
    /// Its name, where the owner gave one.
    pub id: Option<String>,
    /// Where state is kept, where the owner said so.
    pub state_dir: Option<PathBuf>,
    /// Where the control socket stands, where the owner said so.
    pub runtime_dir: Option<PathBuf>,
    /// Tracing directives.
    pub log_level: String,
    /// How the log is written.
    pub log_format: LogFormat,
}

/// What detects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSettings {
    /// Where the model comes from.
    pub source: ModelSource,
    /// Full-precision model for the monitor.
    pub reference: Option<PathBuf>,
}

/// Where the model comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// Nobody said.
    None,
    /// `artifact/1`, int8.
    Artifact(PathBuf),
    /// `checkpoint/1`, fp32.
    Checkpoint(PathBuf),
    /// `checkpoint/1`, quantized at start with `count` pictures of a folder, chosen as `lookout quantize` does.
    Quantize {
        /// The checkpoint.
        checkpoint: PathBuf,
        /// The folder.
        pictures: PathBuf,
        /// How many.
        count: u32,
    },
    /// `checkpoint/1`, quantized once the cameras gave `count` fit frames.
    Live {
        /// The checkpoint.
        checkpoint: PathBuf,
        /// How many.
        count: u32,
    },
}

/// How it detects.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectorSettings {
    /// Threads a frame is spread over; `None`: one a core.
    pub threads: Option<usize>,
    /// Instruction set; `None`: the best there is.
    pub kernel: Option<IsaName>,
    /// Lowest score reported; `None`: the model's.
    pub score: Option<f64>,
    /// Proposals; `None`: the model's.
    pub proposals: Option<usize>,
    /// Most detections; `None`: the model's.
    pub max_detections: Option<usize>,
}

/// One camera.
#[derive(Debug, Clone, PartialEq)]
pub struct CameraSettings {
    /// Its name, unique.
    pub name: String,
    /// What it is.
    pub kind: CameraKind,
    /// Clockwise turn: 0, 90, 180, 270 degrees.
    pub rotate: u32,
    /// Mirroring after it.
    pub flip: Flip,
    /// Most frames a second that are looked at; `None`: no limit.
    pub max_fps: Option<f64>,
    /// Share of pixels that must have changed; 0: every frame is looked at.
    pub motion_gate: f32,
    /// With it, one frame in this time is looked at though nothing moved.
    pub motion_interval: Duration,
    /// Named polygons.
    pub zones: BTreeMap<String, Polygon>,
    /// Polygons outside of which nothing is reported, if there are any.
    pub include: Vec<Polygon>,
    /// Polygons in which nothing is reported.
    pub masks: Vec<Polygon>,
    /// By label, or "*" for every other: what a detection must have.
    pub limits: BTreeMap<String, Limits>,
    /// Reports tell what these rules removed.
    pub explain: bool,
}

/// What a camera is, with what that needs.
#[derive(Clone, PartialEq)]
pub enum CameraKind {
    /// Pictures in a folder.
    Replay {
        /// The folder.
        path: PathBuf,
        /// Pictures a second; `None`: the next when the detector is free.
        rate: Option<f64>,
        /// Begin again after the last.
        repeat: bool,
    },
    /// A V4L2 device.
    V4l2 {
        /// Its node.
        device: PathBuf,
        /// Columns wanted.
        width: Option<u32>,
        /// Rows wanted.
        height: Option<u32>,
        /// Pixel format wanted.
        format: Option<String>,
        /// Frames a second wanted.
        fps: Option<f64>,
        /// Controls by name.
        controls: BTreeMap<String, i64>,
    },
    /// What ffmpeg reads.
    Ffmpeg {
        /// Its input; may hold a password.
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
        /// When the weather changes, in the order of the times.
        timetable: Vec<WeatherLine>,
    },
}

impl std::fmt::Debug for CameraKind {
    /// Without what may hold a password.
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

/// One change of a pattern's weather.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WeatherLine {
    /// From the camera's start.
    pub at: Duration,
    /// What it becomes.
    pub weather: WeatherName,
    /// How long the change takes.
    pub over: Duration,
}

/// Objects followed from frame to frame.
#[derive(Debug, Clone, PartialEq)]
pub struct TrackSettings {
    /// Follow them at all.
    pub enabled: bool,
    /// Lowest score with which one begins.
    pub begin_score: f32,
    /// Frames in which it must have been seen before it is told of.
    pub confirm: u32,
    /// How long it may be out of sight.
    pub patience: Duration,
}

/// One sink.
#[derive(Debug, Clone, PartialEq)]
pub struct SinkSettings {
    /// What it is.
    pub kind: SinkKind,
    /// What it takes.
    pub messages: Vec<MessageKind>,
}

/// What a sink is, with what that needs.
#[derive(Debug, Clone, PartialEq)]
pub enum SinkKind {
    /// JSON lines on stdout.
    Stdout,
    /// JSON lines in files.
    File {
        /// The newest one.
        path: PathBuf,
        /// Size in bytes at which a new one is begun.
        max_size: u64,
        /// How many are kept.
        max_files: u32,
    },
    /// JSON lines for whoever connects.
    Unix {
        /// The socket.
        path: PathBuf,
    },
    /// An MQTT broker.
    Mqtt(Box<MqttSettings>),
}

/// An MQTT broker; secrets are in files and only named here.
#[derive(Debug, Clone, PartialEq)]
pub struct MqttSettings {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// 4 or 5.
    pub protocol: u8,
    /// Encrypt.
    pub tls: bool,
    /// Certificates that sign the broker's.
    pub ca_file: Option<PathBuf>,
    /// Our certificate and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// User to log in as.
    pub username: Option<String>,
    /// File with the password.
    pub password_file: Option<PathBuf>,
    /// Time between signs of life.
    pub keep_alive: Duration,
    /// Home Assistant's prefix.
    pub discovery: Option<String>,
    /// Labels that are counted; none: all of the model's.
    pub labels: Vec<String>,
    /// Publish pictures.
    pub pictures: bool,
    /// Bytes that waiting events may take.
    pub spool_size: u64,
    /// Age at which they are given up.
    pub spool_age: Duration,
    /// Bytes of disk left free.
    pub spool_free: u64,
}

/// Int8 beside full precision.
#[derive(Debug, Clone, PartialEq)]
pub struct MonitorSettings {
    /// Compare at all.
    pub enabled: bool,
    /// Share of one core.
    pub share: f32,
    /// Time between samples.
    pub sample_interval: Duration,
    /// Longest time between two passes.
    pub max_interval: Duration,
    /// Bytes of frames in memory.
    pub reservoir: u64,
    /// Allow frames on disk.
    pub keep_frames: bool,
    /// Most bytes of frames on disk.
    pub keep_max_size: u64,
    /// Frames on disk go when they are older.
    pub keep_max_age: Duration,
    /// Raise drift above, clear it below, in spreads.
    pub thresholds: (f32, f32),
    /// When to recalibrate.
    pub recalibrate: Recalibrate,
    /// Models kept.
    pub keep_generations: u32,
}

/// When to recalibrate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recalibrate {
    /// Not by itself.
    Never,
    /// When drift is raised.
    OnDrift,
    /// Once in this time.
    Every(Duration),
}

/// Events kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistorySettings {
    /// Keep any.
    pub enabled: bool,
    /// Where, if the owner said so.
    pub path: Option<PathBuf>,
    /// Older events go.
    pub max_age: Duration,
    /// Above this many bytes the oldest go.
    pub max_size: u64,
}

/// HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSettings {
    /// Serve at all.
    pub enabled: bool,
    /// Where.
    pub listen: SocketAddr,
    /// File with the token.
    pub token_file: Option<PathBuf>,
    /// Allow live pictures.
    pub pictures: bool,
}

/// Limits of patience.
#[derive(Debug, Clone, PartialEq)]
pub struct SupervisionSettings {
    /// A camera silent for so long is stalled.
    pub stall_timeout: Duration,
    /// Longest that stopping may take.
    pub grace_period: Duration,
    /// Do less above this many °C; `None`: a little below where the kernel would.
    pub throttle_celsius: Option<f32>,
    /// Pause above this many °C.
    pub pause_celsius: Option<f32>,
}
