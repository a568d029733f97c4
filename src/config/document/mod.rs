//! The TOML document: every key optional, unknown keys refused, values not interpreted.
//!
//! Files, environment and `--set` are checked against the JSON Schema of these types, key by key. Ranges are therefore
//! declared here. An empty text means "not set".

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

/// Declares an enum of words.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$word_meta:meta])* $word:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub enum $name { $($(#[$word_meta])* #[serde(rename = $text)] $word,)* }

        impl $name {
            /// The word in the configuration.
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
    /// Device and log.
    pub device: Device,
    /// Model.
    pub model: Model,
    /// Detector.
    pub detector: Detector,
    /// Cameras.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub camera: Vec<Camera>,
    /// Tracking of objects.
    pub track: Track,
    /// Sinks; none means stdout.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<Publish>,
    /// Monitor: the int8 network compared with fp32 on live frames.
    pub monitor: Monitor,
    /// History of events on the device.
    pub history: History,
    /// Live page, API, metrics and health over HTTP.
    pub web: Web,
    /// Timeouts and thermal limits.
    pub supervision: Supervision,
}

table! {
    /// `[device]`
    Device {
        /// Name of this device in messages; empty: twelve hexadecimal digits derived from /etc/machine-id.
        id: String,
        /// Directory of state that survives a restart; empty: $STATE_DIRECTORY, else $XDG_STATE_HOME/lookout, else ~/.local/state/lookout.
        state_dir: String,
        /// Directory of the control socket; empty: $RUNTIME_DIRECTORY, else $XDG_RUNTIME_DIR/lookout, else /run/lookout.
        runtime_dir: String,
        /// error, warn, info, debug, trace; or tracing directives such as "info,lookout::daemon=debug".
        log_level: String,
        /// Log format.
        log_format: LogFormat,
    }
}

words! {
    /// Log format.
    LogFormat {
        /// Journal entries if started by systemd, otherwise text.
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
        /// Quantized model (artifact/2 or /1), runs in int8. Excludes `checkpoint`.
        artifact: String,
        /// fp32 model (checkpoint/2 or /1), runs in fp32, or in int8 if `calibration` is set.
        checkpoint: String,
        /// Folder of pictures to quantize the checkpoint with at start, or "live" for the cameras' first frames.
        calibration: String,
        /// Number of pictures for calibration.
        #[schemars(range(min = 1))]
        calibration_count: u32,
        /// fp32 model with which the monitor compares.
        reference: String,
    }
}

table! {
    /// `[detector]`
    Detector {
        /// Threads for one frame; 0: one a core.
        #[schemars(range(min = 0, max = 1024))]
        threads: u32,
        /// Instruction set of the kernels, or "auto" for the best of this CPU.
        kernel: String,
        /// Score threshold; unset: the model's.
        #[schemars(range(min = 0.0, max = 1.0))]
        score: f64,
        /// Number of proposals after NMS; unset: the model's.
        #[schemars(range(min = 1, max = 10_000))]
        proposals: u32,
        /// Detections per image; unset: the model's.
        #[schemars(range(min = 1, max = 10_000))]
        max_detections: u32,
    }
}

mod camera;

pub use camera::{
    Camera, CameraKind, Flip, Limits, Line, Mask, NamedLine, Polygon, WeatherChange, WeatherName, Zone, ZoneRegion,
};

table! {
    /// `[track]`
    Track {
        /// Tracking: track ids in reports, and events when objects start and end.
        enabled: bool,
        /// Lowest score that starts a track.
        #[schemars(range(min = 0.0, max = 1.0))]
        begin_score: f32,
        /// Frames with such a score before the start of an object is reported.
        #[schemars(range(min = 1, max = 1000))]
        confirm: u32,
        /// Longest time without a detection before the track ends.
        patience: String,
        /// The same for an object that stands still: something may stand in front of it.
        stationary_patience: String,
    }
}

words! {
    /// Kind of a sink.
    PublishKind {
        /// JSON lines on stdout.
        Stdout = "stdout",
        /// JSON lines in a file.
        File = "file",
        /// JSON lines for clients of a unix socket.
        Unix = "unix",
        /// An MQTT broker.
        Mqtt = "mqtt",
    }
}

words! {
    /// Order that a broker may give: a command of the running service.
    Order {
        /// Enables or disables a camera.
        Camera = "camera",
        /// Requests a recalibration.
        Recalibrate = "recalibrate",
        /// Lists, compares, pins or rolls back generations.
        Generations = "generations",
        /// Changes the weather of pattern cameras.
        Pattern = "pattern",
        /// Reads the configuration again.
        Reload = "reload",
        /// Answers with the status.
        Status = "status",
        /// Answers with the monitor's table.
        Drift = "drift",
        /// Answers with events of the history.
        Events = "events",
        /// Answers with the counts of lines, or resets them.
        Counts = "counts",
    }
}

table! {
    /// `[[publish]]`
    Publish {
        /// Kind.
        kind: PublishKind,
        /// Types of messages.
        messages: Vec<MessageKind>,
        /// file, unix: path.
        path: String,
        /// unix: permission bits of the socket, in octal.
        mode: String,
        /// unix: group of the socket, by name or number; empty: that of the service.
        group: String,
        /// file: size at which the file is rotated.
        max_size: String,
        /// file: number of files kept.
        #[schemars(range(min = 1, max = 10_000))]
        max_files: u32,
        /// mqtt: host of the broker.
        host: String,
        /// mqtt: port.
        #[schemars(range(min = 1, max = 65_535))]
        port: u32,
        /// mqtt: 4 (MQTT 3.1.1) or 5.
        #[schemars(range(min = 4, max = 5))]
        protocol: u32,
        /// mqtt: TLS.
        tls: bool,
        /// mqtt: CA certificates; empty: those of the system.
        ca_file: String,
        /// mqtt: client certificate.
        certificate_file: String,
        /// mqtt: private key of the client certificate.
        key_file: String,
        /// mqtt: user name.
        username: String,
        /// mqtt: file with the password.
        password_file: String,
        /// mqtt: keep-alive interval; a broker without a sign of life for 2.5 intervals is disconnected.
        keep_alive: String,
        /// mqtt: discovery prefix of Home Assistant; empty: no discovery.
        discovery: String,
        /// mqtt: labels that are counted; empty: all labels of the model.
        labels: Vec<String>,
        /// mqtt: publish the last picture in which an object started.
        pictures: bool,
        /// mqtt: orders that are obeyed on `cmd/<verb>`; empty: none.
        orders: Vec<Order>,
        /// mqtt: first levels of every topic of the device.
        topic_prefix: String,
        /// mqtt: size limit of waiting events on disk.
        spool_size: String,
        /// mqtt: age limit of waiting events.
        spool_age: String,
        /// mqtt: disk space that waiting events leave free.
        spool_free: String,
    }
}

table! {
    /// `[history]`
    History {
        /// Enables the history.
        enabled: bool,
        /// Directory; empty: `history` in the state directory.
        path: String,
        /// Age limit of events.
        max_age: String,
        /// Size limit; the oldest events are deleted.
        max_size: String,
    }
}

table! {
    /// `[web]`
    Web {
        /// True if enabled.
        enabled: bool,
        /// Address and port.
        listen: String,
        /// File with the access token; required if `listen` is not a loopback address.
        token_file: String,
        /// True if live pictures are served.
        pictures: bool,
        /// Address of the page as browsers know it, behind a proxy.
        public_url: String,
        /// Addresses or networks of proxies whose X-Forwarded headers count.
        trusted_proxies: Vec<String>,
        /// Origins whose pages may embed the page in a frame.
        embed_origins: Vec<String>,
    }
}

table! {
    /// `[supervision]`
    Supervision {
        /// Time without a frame after which a camera is stalled.
        stall_timeout: String,
        /// Time limit of a shutdown.
        grace_period: String,
        /// Temperature in °C above which detection is throttled; unset: 5 below the kernel's lowest threshold.
        #[schemars(range(min = 0.0, max = 200.0))]
        throttle_celsius: f32,
        /// Temperature in °C above which detection pauses; unset: never.
        #[schemars(range(min = 0.0, max = 200.0))]
        pause_celsius: f32,
    }
}
