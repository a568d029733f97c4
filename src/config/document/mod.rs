//! What the TOML may say, as it stands there: every key optional, no other key allowed, nothing interpreted yet.
//!
//! The JSON Schema derived from these types is what files, environment and `--set` are checked against, key by key;
//! the ranges stand here for that reason. Empty text means "not set" everywhere.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::message::MessageKind;

/// Declares a table of the configuration: public optional fields, no others.
macro_rules! table {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $($(#[$field_meta])* #[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<$type>,)*
        }
    };
}

/// Declares a choice among words.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$word_meta:meta])* $word:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub enum $name { $($(#[$word_meta])* #[serde(rename = $text)] $word,)* }

        impl $name {
            /// The word as the configuration writes it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$word => $text,)* }
            }
        }
    };
}

mod monitor;

pub use monitor::{Monitor, Thresholds};

/// The whole configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Document {
    /// This device and its log.
    pub device: Device,
    /// What detects.
    pub model: Model,
    /// How it detects.
    pub detector: Detector,
    /// What is watched.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub camera: Vec<Camera>,
    /// Objects followed from frame to frame.
    pub track: Track,
    /// Who is told; nobody named means stdout.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<Publish>,
    /// The int8 network compared with the full-precision one on live frames.
    pub monitor: Monitor,
    /// Events kept on the device.
    pub history: History,
    /// Live page, API, metrics and health over HTTP.
    pub web: Web,
    /// When something counts as stuck, and how long stopping may take.
    pub supervision: Supervision,
}

table! {
    /// `[device]`
    Device {
        /// Name of this device in messages; empty: twelve hexadecimal digits made from /etc/machine-id.
        id: String,
        /// Directory for what must survive a restart; empty: $STATE_DIRECTORY, else /var/lib/lookout.
        state_dir: String,
        /// Directory for the control socket; empty: $RUNTIME_DIRECTORY, else $XDG_RUNTIME_DIR/lookout, else /run/lookout.
        runtime_dir: String,
        /// error, warn, info, debug, trace; or tracing directives such as "info,lookout::daemon=debug".
        log_level: String,
        /// How the log is written.
        log_format: LogFormat,
    }
}

words! {
    /// How the log is written.
    LogFormat {
        /// To the journal if it started us, else as text.
        Auto = "auto",
        /// Lines on stderr.
        Text = "text",
        /// JSON lines on stderr.
        Json = "json",
        /// Native journal entries.
        Journald = "journald",
    }
}

table! {
    /// `[model]`
    Model {
        /// Quantized model (artifact/1): runs in int8. Not together with `checkpoint`.
        artifact: String,
        /// Full-precision model (checkpoint/1): runs in fp32, or in int8 if `calibration` says from what.
        checkpoint: String,
        /// Folder of pictures to quantize the checkpoint with at start, or "live": with the cameras' first frames.
        calibration: String,
        /// Pictures that calibration takes.
        #[schemars(range(min = 1))]
        calibration_count: u32,
        /// Full-precision model that the monitor compares with.
        reference: String,
    }
}

table! {
    /// `[detector]`
    Detector {
        /// Threads that one frame is spread over; 0: one a core.
        #[schemars(range(min = 0, max = 1024))]
        threads: u32,
        /// Instruction set of the kernels, or "auto" for the best this CPU has.
        kernel: String,
        /// Lowest score that is reported; unset: the model's own.
        #[schemars(range(min = 0.0, max = 1.0))]
        score: f64,
        /// Proposals that the second stage looks at; unset: the model's own.
        #[schemars(range(min = 1, max = 10_000))]
        proposals: u32,
        /// Most detections in one frame; unset: the model's own.
        #[schemars(range(min = 1, max = 10_000))]
        max_detections: u32,
    }
}

mod camera;

pub use camera::{Camera, CameraKind, Flip, Limits, Polygon, WeatherChange, WeatherName};

table! {
    /// `[track]`
    Track {
        /// Follow objects: their ids in reports, and events when they come and go.
        enabled: bool,
        /// Lowest score with which an object begins.
        #[schemars(range(min = 0.0, max = 1.0))]
        begin_score: f32,
        /// Frames in which it must have been seen before it is told of.
        #[schemars(range(min = 1, max = 1000))]
        confirm: u32,
        /// How long it may be out of sight and still be the same.
        patience: String,
    }
}

words! {
    /// What a sink is.
    PublishKind {
        /// JSON lines on stdout.
        Stdout = "stdout",
        /// JSON lines in a file.
        File = "file",
        /// JSON lines for whoever connects to a unix socket.
        Unix = "unix",
        /// An MQTT broker.
        Mqtt = "mqtt",
    }
}

table! {
    /// `[[publish]]`
    Publish {
        /// What it is.
        kind: PublishKind,
        /// Which messages it takes.
        messages: Vec<MessageKind>,
        /// file, unix: where.
        path: String,
        /// file: size at which a new one is begun.
        max_size: String,
        /// file: how many are kept.
        #[schemars(range(min = 1, max = 10_000))]
        max_files: u32,
        /// mqtt: the broker.
        host: String,
        /// mqtt: its port.
        #[schemars(range(min = 1, max = 65_535))]
        port: u32,
        /// mqtt: 4 (MQTT 3.1.1) or 5.
        #[schemars(range(min = 4, max = 5))]
        protocol: u32,
        /// mqtt: encrypt.
        tls: bool,
        /// mqtt: certificates that sign the broker's; empty: the system's.
        ca_file: String,
        /// mqtt: certificate that says who we are.
        certificate_file: String,
        /// mqtt: its private key.
        key_file: String,
        /// mqtt: user to log in as.
        username: String,
        /// mqtt: file that holds the password.
        password_file: String,
        /// mqtt: time between signs of life; a broker silent for two and a half of them is given up.
        keep_alive: String,
        /// mqtt: topic below which Home Assistant looks for devices; empty: it is told nothing.
        discovery: String,
        /// mqtt: labels that are counted; none: all of the model's.
        labels: Vec<String>,
        /// mqtt: publish the last picture in which an object began.
        pictures: bool,
        /// mqtt: most that waiting events may take on disk.
        spool_size: String,
        /// mqtt: older events are given up.
        spool_age: String,
        /// mqtt: disk space that waiting events leave free.
        spool_free: String,
    }
}

table! {
    /// `[history]`
    History {
        /// Keep events at all.
        enabled: bool,
        /// Directory; empty: history below the state directory.
        path: String,
        /// Older events go.
        max_age: String,
        /// The oldest events go above this size.
        max_size: String,
    }
}

table! {
    /// `[web]`
    Web {
        /// Serve at all.
        enabled: bool,
        /// Address and port.
        listen: String,
        /// File that holds the token; needed where `listen` is not a loopback address.
        token_file: String,
        /// Allow live pictures.
        pictures: bool,
    }
}

table! {
    /// `[supervision]`
    Supervision {
        /// A camera without a frame for so long counts as stalled.
        stall_timeout: String,
        /// Longest that stopping may take.
        grace_period: String,
        /// Temperature in °C above which less is done; unset: 5 below the lowest at which the kernel itself would.
        #[schemars(range(min = 0.0, max = 200.0))]
        throttle_celsius: f32,
        /// Temperature in °C above which detection pauses; unset: never.
        #[schemars(range(min = 0.0, max = 200.0))]
        pause_celsius: f32,
    }
}
