//! Every counter and gauge, counted from the first frame on, whoever serves them.
//!
//! Names follow Prometheus' rules: prefix `lookout_`, base units, `_total` on counters (added by the encoder), few and
//! bounded labels.

pub mod monitor;

use std::fmt::Debug;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::error::{Error, Kind, Result};

/// Label of what belongs to one camera.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Camera {
    /// Its name.
    pub camera: String,
}

/// Labels of what a camera does for a reason.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Why {
    /// The camera's name.
    pub camera: String,
    /// One word.
    pub reason: &'static str,
}

/// Label of a thermal zone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Zone {
    /// Its type, as the kernel names it.
    pub zone: String,
}

/// Labels of detections.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Seen {
    /// The camera's name.
    pub camera: String,
    /// Name of the class.
    pub label: String,
}

/// Label of a stage of the work on a frame.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Stage {
    /// `convert`, `detect` or `total`.
    pub stage: &'static str,
}

/// Labels of what was said.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Said {
    /// The sink.
    pub sink: String,
    /// `ok`, `failed` or `dropped`.
    pub result: &'static str,
}

/// Label of what belongs to one sink.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Sink {
    /// Its name.
    pub sink: String,
}

/// Labels of what became of messages that must arrive.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Spooled {
    /// The sink.
    pub sink: String,
    /// `produced`, `delivered`, or why it was dropped: `size`, `age`, `disk`, `damaged`, `refused`.
    pub result: &'static str,
}

/// Labels of the model that detects.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Serving {
    /// Its name.
    pub name: String,
    /// `fp32`, `int8` or `mixed`.
    pub precision: &'static str,
    /// SHA-256 of its file.
    pub sha256: String,
}

type Float = Gauge<f64, AtomicU64>;

/// All of them, and the registry that writes them out.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// 1 for the model that detects.
    model: Family<Serving, Gauge>,
    /// 1 while a camera gives frames, else 0.
    pub camera_up: Family<Camera, Gauge>,
    /// Openings after a failure, by what had failed.
    pub camera_reconnects: Family<Why, Counter>,
    /// Frames that cameras gave, the dropped ones included.
    pub frames_captured: Family<Camera, Counter>,
    /// Frames that nobody looked at, by reason.
    pub frames_dropped: Family<Why, Counter>,
    /// From capture to the detector's first look, in seconds.
    pub frame_age: Histogram,
    /// Wall time of the last finished frame, in seconds since 1970.
    pub last_inference: Family<Camera, Float>,
    /// How long a stage takes, in seconds.
    pub stage_duration: Family<Stage, Histogram>,
    /// Objects reported.
    pub detections: Family<Seen, Counter>,
    /// Detections that a camera's rules removed, by the kind of rule.
    pub detections_removed: Family<Why, Counter>,
    /// Temperatures in °C.
    pub temperature: Family<Zone, Float>,
    /// How much less is done because of heat: 0 to 4.
    pub throttle_level: Gauge,
    /// 1 if the configuration in force is the one last asked for, 0 if that one was refused.
    pub reload_successful: Gauge,
    /// Wall time of the last successful reading of the configuration, in seconds since 1970.
    pub reload_time: Float,
    /// Messages handed to sinks, by what became of them.
    pub publish: Family<Said, Counter>,
    /// 1 while a broker has us, else 0.
    pub mqtt_connected: Family<Sink, Gauge>,
    /// Messages of a spool since it was made, by what became of them.
    pub spool: Family<Spooled, Counter>,
    /// Messages that wait in a spool.
    pub spool_entries: Family<Sink, Gauge>,
    /// What they take.
    pub spool_bytes: Family<Sink, Gauge>,
    /// What the monitor counts.
    pub monitor: monitor::MonitorMetrics,
}

/// Upper ends of the buckets for durations, in seconds: 1 ms to 33 s, each twice the one before.
fn durations() -> Histogram {
    Histogram::new((0..16).map(|power| 0.001 * f64::from(1u32 << power)))
}

impl Metrics {
    /// All at zero, with what this build is.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("lookout");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION")), ("arch", std::env::consts::ARCH)]);
        registry.register("build", "What this build is", build);
        let metrics = Self {
            model: Family::default(),
            camera_up: Family::default(),
            camera_reconnects: Family::default(),
            frames_captured: Family::default(),
            frames_dropped: Family::default(),
            frame_age: durations(),
            last_inference: Family::default(),
            stage_duration: Family::new_with_constructor(durations),
            detections: Family::default(),
            detections_removed: Family::default(),
            temperature: Family::default(),
            throttle_level: Gauge::default(),
            reload_successful: Gauge::default(),
            reload_time: Float::default(),
            publish: Family::default(),
            mqtt_connected: Family::default(),
            spool: Family::default(),
            spool_entries: Family::default(),
            spool_bytes: Family::default(),
            monitor: monitor::MonitorMetrics::new(&mut registry),
            registry: Registry::default(),
        };
        registry.register("model_info", "What detects", metrics.model.clone());
        registry.register("camera_up", "Whether a camera gives frames", metrics.camera_up.clone());
        registry.register("camera_reconnects", "Openings after a failure", metrics.camera_reconnects.clone());
        registry.register("frames_captured", "Frames that cameras gave", metrics.frames_captured.clone());
        registry.register("frames_dropped", "Frames that nobody looked at", metrics.frames_dropped.clone());
        let age = metrics.frame_age.clone();
        registry.register_with_unit("frame_age", "From capture to the detector's first look", Unit::Seconds, age);
        let last = metrics.last_inference.clone();
        registry.register_with_unit("last_inference_timestamp", "When a frame was finished last", Unit::Seconds, last);
        let stages = metrics.stage_duration.clone();
        registry.register_with_unit("stage_duration", "How long a stage takes", Unit::Seconds, stages);
        registry.register("detections", "Objects reported", metrics.detections.clone());
        let removed = metrics.detections_removed.clone();
        registry.register("detections_removed", "Objects found and removed by a camera's rules", removed);
        let temperature = metrics.temperature.clone();
        registry.register_with_unit("soc_temperature", "Temperatures", Unit::Celsius, temperature);
        registry.register("throttle_level", "How much less is done because of heat", metrics.throttle_level.clone());
        let reloaded = metrics.reload_successful.clone();
        registry.register(
            "config_last_reload_successful",
            "Whether the configuration last asked for is in force",
            reloaded,
        );
        let time = metrics.reload_time.clone();
        registry.register_with_unit("config_last_reload_success_timestamp", "When it was read", Unit::Seconds, time);
        registry.register("publish", "Messages handed to sinks", metrics.publish.clone());
        registry.register("mqtt_connected", "Whether a broker has us", metrics.mqtt_connected.clone());
        registry.register("spool_messages", "Messages of a spool since it was made", metrics.spool.clone());
        registry.register("spool_entries", "Messages that wait in a spool", metrics.spool_entries.clone());
        let bytes = metrics.spool_bytes.clone();
        registry.register_with_unit("spool", "What waiting messages take", Unit::Bytes, bytes);
        Self { registry, ..metrics }
    }

    /// Tells which model detects from now on.
    pub fn model(&self, name: &str, precision: &'static str, sha256: &str) {
        self.model.clear();
        self.model.get_or_create(&Serving { name: name.to_owned(), precision, sha256: sha256.to_owned() }).set(1);
    }

    /// The state of all of them in the OpenMetrics text format.
    ///
    /// # Errors
    ///
    /// [`Kind::Internal`] if a value cannot be written, which no value here can cause.
    pub fn encode(&self) -> Result<String> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .map_err(|error| Error::new(Kind::Internal, "cannot encode the metrics").because(error))?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_prefix_and_unit() {
        let metrics = Metrics::new();
        metrics.model("city", "fp32", "ff");
        metrics.model("road", "fp32", "00");
        metrics.frames_dropped.get_or_create(&Why { camera: "front".into(), reason: "busy" }).inc();
        metrics.stage_duration.get_or_create(&Stage { stage: "detect" }).observe(0.3);
        metrics.last_inference.get_or_create(&Camera { camera: "front".into() }).set(1.5);
        let text = metrics.encode().unwrap();
        for line in [
            "lookout_frames_dropped_total{camera=\"front\",reason=\"busy\"} 1",
            "lookout_stage_duration_seconds_count{stage=\"detect\"} 1",
            "lookout_last_inference_timestamp_seconds{camera=\"front\"} 1.5",
            "lookout_model_info{name=\"road\",precision=\"fp32\",sha256=\"00\"} 1",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line}\nnot in\n{text}");
        }
        assert!(!text.contains("city"), "only one model detects:\n{text}");
    }
}
