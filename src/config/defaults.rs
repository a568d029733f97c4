//! Defaults of the configuration.
//!
//! [`document`] is the lowest layer, below all files. Entries of [`Camera`](camera) and [`Publish`](publish) have no layer
//! below them, so their defaults are constants that the resolution uses. `config/lookout.toml` documents the same values; a
//! test compares the two.

use super::document::{
    Detector, Device, Document, History, LogFormat, Model, Monitor, Supervision, Thresholds, Track, Web,
};

/// The configuration file that is read if none is named.
pub const FILE: &str = "/etc/lookout/lookout.toml";

/// The default configuration.
pub fn document() -> Document {
    let unset = || Some(String::new());
    let text = |text: &str| Some(text.to_owned());
    Document {
        device: Device {
            id: unset(),
            state_dir: unset(),
            runtime_dir: unset(),
            log_level: text("info"),
            log_format: Some(LogFormat::Auto),
        },
        model: Model {
            artifact: unset(),
            checkpoint: unset(),
            calibration: unset(),
            calibration_count: Some(64),
            reference: unset(),
        },
        detector: Detector {
            threads: Some(0),
            kernel: text("auto"),
            // Unset: the model's own value applies.
            score: None,
            proposals: None,
            max_detections: None,
        },
        camera: Vec::new(),
        track: Track {
            enabled: Some(true),
            begin_score: Some(0.5),
            confirm: Some(2),
            patience: text("2s"),
            stationary_patience: text("1m"),
        },
        publish: Vec::new(),
        monitor: Monitor {
            enabled: Some(false),
            share: Some(0.1),
            sample_interval: text("30s"),
            max_interval: text("5m"),
            reservoir: text("32MiB"),
            keep_frames: Some(false),
            keep_max_size: text("256MiB"),
            keep_max_age: text("7d"),
            thresholds: Some(Thresholds { raise: Some(4.0), clear: Some(2.0) }),
            recalibrate: text("never"),
            keep_generations: Some(5),
        },
        history: History { enabled: Some(false), path: unset(), max_age: text("30d"), max_size: text("256MiB") },
        web: Web {
            enabled: Some(false),
            listen: text("127.0.0.1:8480"),
            token_file: unset(),
            pictures: Some(true),
            public_url: unset(),
            trusted_proxies: Some(Vec::new()),
            embed_origins: Some(Vec::new()),
        },
        supervision: Supervision {
            stall_timeout: text("10s"),
            grace_period: text("10s"),
            throttle_celsius: None,
            pause_celsius: None,
        },
    }
}

/// Defaults of a `[[camera]]`.
pub mod camera {
    use crate::config::document::Flip;

    /// Pictures a second of a replay; most recordings from vehicles have this rate.
    pub const RATE: f64 = 10.0;
    /// True if a replay loops.
    pub const LOOP: bool = false;
    /// Supported pixel formats of V4L2 devices by their four-character codes, preferred ones first.
    pub const FORMATS: &[&str] = &[
        "YUYV", "UYVY", "NV12", "NV21", "NM12", "NM21", "YU12", "YM12", "422P", "RGB3", "BGR3", "MJPG", "JPEG", "GREY",
    ];
    /// Seed of the pattern.
    pub const SEED: i64 = 1;
    /// Columns and rows of the pattern, the size on which the demo model was trained.
    pub const PATTERN_SIZE: [u32; 2] = [640, 360];
    /// Frames a second of the pattern.
    pub const PATTERN_FPS: f64 = 15.0;
    /// Clockwise rotation, in degrees.
    pub const ROTATE: u32 = 0;
    /// Mirroring.
    pub const FLIP: Flip = Flip::None;
    /// Rate limit, in frames a second; 0: none.
    pub const MAX_FPS: f64 = 0.0;
    /// Share of pixels that must change for a frame to be analysed.
    pub const MOTION_GATE: f32 = 0.0;
    /// Longest time between analysed frames of a still scene.
    pub const MOTION_INTERVAL: &str = "10s";
    /// True if reports list removed detections.
    pub const EXPLAIN: bool = false;
    /// Frames in a row after which a change counts.
    pub const INERTIA: u32 = 2;
    /// Time after which a crowd begins or ends.
    pub const CROWD_TIME: &str = "10s";
    /// Names of the directions over a line, seen from its first point to its second.
    pub const DIRECTIONS: [&str; 2] = ["left", "right"];
}

/// Defaults of a `[[publish]]`.
pub mod publish {
    use crate::message::MessageKind;

    /// Messages of line outputs: detections.
    pub const LINE_MESSAGES: &[MessageKind] = &[MessageKind::Report];
    /// Messages of a unix socket: all, since readers select by type.
    pub const ALL_MESSAGES: &[MessageKind] = &[MessageKind::Report, MessageKind::Event, MessageKind::Status];
    /// Messages of a broker: no reports, since one for every frame would load most links too much.
    pub const BROKER_MESSAGES: &[MessageKind] = &[MessageKind::Event, MessageKind::Status];
    /// Size at which a file is rotated.
    pub const MAX_SIZE: &str = "64MiB";
    /// Files kept.
    pub const MAX_FILES: u32 = 4;
    /// Permission bits of a unix socket: its owner alone.
    pub const SOCKET_MODE: &str = "0600";
    /// MQTT without TLS.
    pub const PORT: u32 = 1883;
    /// MQTT with TLS.
    pub const PORT_TLS: u32 = 8883;
    /// Protocol version.
    pub const PROTOCOL: u32 = 5;
    /// Keep-alive interval of a broker.
    pub const KEEP_ALIVE: &str = "20s";
    /// Home Assistant's default discovery prefix.
    pub const DISCOVERY: &str = "homeassistant";
    /// First level of every topic.
    pub const TOPIC_PREFIX: &str = "lookout";
    /// Size limit of waiting events.
    pub const SPOOL_SIZE: &str = "64MiB";
    /// Age limit of waiting events.
    pub const SPOOL_AGE: &str = "7d";
    /// Disk space to leave free.
    pub const SPOOL_FREE: &str = "64MiB";
}
