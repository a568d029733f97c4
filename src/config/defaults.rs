//! Every default of the configuration, and nothing else.
//!
//! [`document`] is the lowest layer, below all files; [`Camera`](camera) and [`Publish`](publish) entries have no layer
//! below them, so their defaults are constants used where they are resolved. `config/lookout.toml` says the same for
//! people; a test holds the two together.

use super::document::{
    Detector, Device, Document, History, LogFormat, Model, Monitor, Supervision, Thresholds, Track, Web,
};

/// The configuration file that is read where none is named.
pub const FILE: &str = "/etc/lookout/lookout.toml";

/// The configuration of somebody who has said nothing.
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
            // Unset: the model brings its own.
            score: None,
            proposals: None,
            max_detections: None,
        },
        camera: Vec::new(),
        track: Track { enabled: Some(true), begin_score: Some(0.5), confirm: Some(2), patience: text("2s") },
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
        web: Web { enabled: Some(false), listen: text("127.0.0.1:8480"), token_file: unset(), pictures: Some(true) },
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

    /// Pictures a second of a replay: the rate of most recordings from vehicles.
    pub const RATE: f64 = 10.0;
    /// Whether a replay begins again.
    pub const LOOP: bool = false;
    /// Pixel formats of V4L2 devices that can be read, by their four characters; the preferred first.
    pub const FORMATS: &[&str] = &[
        "YUYV", "UYVY", "NV12", "NV21", "NM12", "NM21", "YU12", "YM12", "422P", "RGB3", "BGR3", "MJPG", "JPEG", "GREY",
    ];
    /// Seed of the pattern.
    pub const SEED: i64 = 1;
    /// Columns and rows of the pattern: what the demo model was trained on.
    pub const PATTERN_SIZE: [u32; 2] = [640, 360];
    /// Frames a second of the pattern.
    pub const PATTERN_FPS: f64 = 15.0;
    /// Degrees of the clockwise turn.
    pub const ROTATE: u32 = 0;
    /// Mirroring.
    pub const FLIP: Flip = Flip::None;
    /// Frames a second; 0 is no limit.
    pub const MAX_FPS: f64 = 0.0;
    /// Share of pixels that must have changed.
    pub const MOTION_GATE: f32 = 0.0;
    /// Longest time without a look at a still scene.
    pub const MOTION_INTERVAL: &str = "10s";
    /// Whether reports tell what rules removed.
    pub const EXPLAIN: bool = false;
}

/// Defaults of a `[[publish]]`.
pub mod publish {
    use crate::message::MessageKind;

    /// What streams of lines take: who reads them wants detections.
    pub const LINE_MESSAGES: &[MessageKind] = &[MessageKind::Report];
    /// What a socket takes: who reads chooses by type.
    pub const ALL_MESSAGES: &[MessageKind] = &[MessageKind::Report, MessageKind::Event, MessageKind::Status];
    /// What a broker takes: a message for every frame is more than most links should carry unasked.
    pub const BROKER_MESSAGES: &[MessageKind] = &[MessageKind::Event, MessageKind::Status];
    /// Size at which a new file is begun.
    pub const MAX_SIZE: &str = "64MiB";
    /// Files kept.
    pub const MAX_FILES: u32 = 4;
    /// MQTT without TLS.
    pub const PORT: u32 = 1883;
    /// MQTT with TLS.
    pub const PORT_TLS: u32 = 8883;
    /// Protocol version.
    pub const PROTOCOL: u32 = 5;
    /// Time between signs of life to a broker.
    pub const KEEP_ALIVE: &str = "20s";
    /// Where Home Assistant looks unless its owner changed it.
    pub const DISCOVERY: &str = "homeassistant";
    /// Most that waiting events may take.
    pub const SPOOL_SIZE: &str = "64MiB";
    /// Age at which a waiting event is given up.
    pub const SPOOL_AGE: &str = "7d";
    /// Disk space left free.
    pub const SPOOL_FREE: &str = "64MiB";
}
