//! Prometheus metrics of the service.
//!
//! Names follow Prometheus' conventions: prefix `lookout_`, base units, `_total` on counters (added by the encoder), few
//! labels with bounded values. Counters start with the process, whether or not an endpoint is enabled.

pub mod monitor;
pub mod zones;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::error::{Error, Kind, Result};
use crate::message::State;
use crate::sync::IgnorePoison;

/// Label of a camera.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CameraLabel {
    /// Its name.
    pub camera: String,
}

/// Labels of a camera and a reason.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabels {
    /// The camera's name.
    pub camera: String,
    /// The reason, one word.
    pub reason: &'static str,
}

/// Label of a thermal zone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ZoneLabel {
    /// Its type, as named by the kernel.
    pub zone: String,
}

/// Labels of detections.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ObjectLabels {
    /// The camera's name.
    pub camera: String,
    /// Name of the class.
    pub label: String,
}

/// Label of a processing stage of a frame.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StageLabel {
    /// `convert`, `detect` or `total`.
    pub stage: &'static str,
}

/// Labels of published messages.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct MessageLabels {
    /// The sink.
    pub sink: String,
    /// `ok`, `failed` or `dropped`.
    pub result: &'static str,
}

/// Label of a sink.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SinkLabel {
    /// Its name.
    pub sink: String,
}

/// Label of a state of the device.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StateLabel {
    /// `starting`, `ok`, `degraded` or `stopping`.
    pub state: &'static str,
}

/// Label of the source of a fault.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FaultLabel {
    /// What has the fault: `camera NAME`, `output NAME`, `configuration`, `delivery`, `monitor`, `pictures`, `run` or
    /// `temperature`.
    pub source: String,
}

/// Labels of MQTT messages that were passed over because of their size.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OversizeLabels {
    /// The sink.
    pub sink: String,
    /// `received` or `sent`.
    pub direction: &'static str,
}

/// Labels of orders over MQTT.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OrderLabels {
    /// The sink.
    pub sink: String,
    /// `executed`, `failed`, `refused`, `retained` or `excess`.
    pub result: &'static str,
}

/// Labels of messages in a spool, by what became of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SpoolLabels {
    /// The sink.
    pub sink: String,
    /// `produced`, `delivered`, or the reason of a drop: `size`, `age`, `disk`, `damaged`, `refused`.
    pub result: &'static str,
}

/// Labels of the serving model.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ModelLabels {
    /// Its name.
    pub name: String,
    /// `fp32`, `int8` or `mixed`.
    pub precision: &'static str,
    /// SHA-256 of its file.
    pub sha256: String,
}

type Float = Gauge<f64, AtomicU64>;

/// All metrics, with the registry that encodes them.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// 1 for the present state of the device, 0 for the others.
    state: Family<StateLabel, Gauge>,
    /// 1 for each source of a fault.
    fault: Family<FaultLabel, Gauge>,
    /// Sources that `fault` has.
    faults: Mutex<BTreeSet<String>>,
    /// 1 for the serving model.
    model: Family<ModelLabels, Gauge>,
    /// 1 while a camera delivers frames, else 0.
    pub camera_up: Family<CameraLabel, Gauge>,
    /// Reconnections after a failure, by reason.
    pub camera_reconnects: Family<ReasonLabels, Counter>,
    /// Frames captured, including dropped ones.
    pub frames_captured: Family<CameraLabel, Counter>,
    /// Frames dropped before detection, by reason.
    pub frames_dropped: Family<ReasonLabels, Counter>,
    /// Time from capture to the start of detection, in seconds.
    pub frame_age: Histogram,
    /// Wall time of the last completed detection, in seconds since 1970.
    pub last_inference: Family<CameraLabel, Float>,
    /// Duration of a stage, in seconds.
    pub stage_duration: Family<StageLabel, Histogram>,
    /// Detections of objects, as counted by [`count_objects`](Self::count_objects).
    detections: Family<ObjectLabels, Counter>,
    /// Objects in the latest frame.
    objects: Family<ObjectLabels, Gauge>,
    /// Labels of each camera that [`count_objects`](Self::count_objects) has set.
    counted: Mutex<BTreeMap<String, BTreeSet<String>>>,
    /// Detections removed by a camera's filter, by rule.
    pub detections_removed: Family<ReasonLabels, Counter>,
    /// Temperatures in °C.
    pub temperature: Family<ZoneLabel, Float>,
    /// Thermal throttling: 0 (none) to 4 (paused).
    pub throttle_level: Gauge,
    /// 1 if the last requested configuration is in force, 0 if it was refused.
    pub reload_successful: Gauge,
    /// Wall time of the last successful reload, in seconds since 1970.
    pub reload_time: Float,
    /// Messages passed to sinks, by result.
    pub publish: Family<MessageLabels, Counter>,
    /// 1 while connected to the broker, else 0.
    pub mqtt_connected: Family<SinkLabel, Gauge>,
    /// MQTT messages that were passed over because of their size.
    pub mqtt_oversize: Family<OversizeLabels, Counter>,
    /// Orders over MQTT, by result.
    pub mqtt_orders: Family<OrderLabels, Counter>,
    /// Messages of a spool since its creation, by result.
    pub spool: Family<SpoolLabels, Counter>,
    /// Messages waiting in a spool.
    pub spool_entries: Family<SinkLabel, Gauge>,
    /// Bytes of the waiting messages.
    pub spool_bytes: Family<SinkLabel, Gauge>,
    /// Metrics of zones and lines.
    pub zones: zones::ZoneMetrics,
    /// Metrics of the monitor.
    pub monitor: monitor::MonitorMetrics,
}

/// Histogram of durations: bucket bounds from 1 ms to 33 s, each twice the one before.
fn durations() -> Histogram {
    Histogram::new((0..16).map(|power| 0.001 * f64::from(1u32 << power)))
}

impl Metrics {
    /// All metrics at zero, and the build information.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("lookout");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION")), ("arch", std::env::consts::ARCH)]);
        registry.register("build", "Version and architecture of this build", build);
        let metrics = Self {
            state: Family::default(),
            fault: Family::default(),
            faults: Mutex::default(),
            model: Family::default(),
            camera_up: Family::default(),
            camera_reconnects: Family::default(),
            frames_captured: Family::default(),
            frames_dropped: Family::default(),
            frame_age: durations(),
            last_inference: Family::default(),
            stage_duration: Family::new_with_constructor(durations),
            detections: Family::default(),
            objects: Family::default(),
            counted: Mutex::default(),
            detections_removed: Family::default(),
            temperature: Family::default(),
            throttle_level: Gauge::default(),
            reload_successful: Gauge::default(),
            reload_time: Float::default(),
            publish: Family::default(),
            mqtt_connected: Family::default(),
            mqtt_oversize: Family::default(),
            mqtt_orders: Family::default(),
            spool: Family::default(),
            spool_entries: Family::default(),
            spool_bytes: Family::default(),
            zones: zones::ZoneMetrics::new(&mut registry),
            monitor: monitor::MonitorMetrics::new(&mut registry),
            registry: Registry::default(),
        };
        registry.register("state", "1 for the present state of the device", metrics.state.clone());
        registry.register("fault", "1 for each source of a reason for the state degraded", metrics.fault.clone());
        registry.register("model_info", "Serving model", metrics.model.clone());
        registry.register("camera_up", "1 while a camera delivers frames", metrics.camera_up.clone());
        registry.register(
            "camera_reconnects",
            "Reconnections after a failure, by reason",
            metrics.camera_reconnects.clone(),
        );
        registry.register(
            "frames_captured",
            "Frames captured, including dropped ones",
            metrics.frames_captured.clone(),
        );
        registry.register(
            "frames_dropped",
            "Frames dropped before detection, by reason",
            metrics.frames_dropped.clone(),
        );
        let age = metrics.frame_age.clone();
        registry.register_with_unit("frame_age", "Time from capture to the start of detection", Unit::Seconds, age);
        let last = metrics.last_inference.clone();
        registry.register_with_unit(
            "last_inference_timestamp",
            "Time of the last completed detection",
            Unit::Seconds,
            last,
        );
        let stages = metrics.stage_duration.clone();
        registry.register_with_unit("stage_duration", "Duration of a processing stage", Unit::Seconds, stages);
        registry.register("detections", "Detections of confirmed objects", metrics.detections.clone());
        registry.register("objects", "Confirmed objects in the latest frame", metrics.objects.clone());
        let removed = metrics.detections_removed.clone();
        registry.register("detections_removed", "Detections removed by a camera's filter, by rule", removed);
        let temperature = metrics.temperature.clone();
        registry.register_with_unit("soc_temperature", "Temperatures", Unit::Celsius, temperature);
        registry.register(
            "throttle_level",
            "Thermal throttling, 0 (none) to 4 (paused)",
            metrics.throttle_level.clone(),
        );
        let reloaded = metrics.reload_successful.clone();
        registry.register(
            "config_last_reload_successful",
            "1 if the last requested configuration is in force",
            reloaded,
        );
        let time = metrics.reload_time.clone();
        registry.register_with_unit(
            "config_last_reload_success_timestamp",
            "Time of the last successful reload",
            Unit::Seconds,
            time,
        );
        registry.register("publish", "Messages passed to sinks, by result", metrics.publish.clone());
        registry.register("mqtt_connected", "1 while connected to the broker", metrics.mqtt_connected.clone());
        registry.register(
            "mqtt_oversize",
            "MQTT messages passed over because of their size, by direction",
            metrics.mqtt_oversize.clone(),
        );
        registry.register("mqtt_orders", "Orders over MQTT, by result", metrics.mqtt_orders.clone());
        registry.register("spool_messages", "Messages of a spool since its creation, by result", metrics.spool.clone());
        registry.register("spool_entries", "Messages waiting in a spool", metrics.spool_entries.clone());
        let bytes = metrics.spool_bytes.clone();
        registry.register_with_unit("spool", "Bytes of the messages waiting in a spool", Unit::Bytes, bytes);
        Self { registry, ..metrics }
    }

    /// Sets the serving model.
    pub fn model(&self, name: &str, precision: &'static str, sha256: &str) {
        self.model.clear();
        self.model.get_or_create(&ModelLabels { name: name.to_owned(), precision, sha256: sha256.to_owned() }).set(1);
    }

    /// Sets the state of the device and the sources of its faults.
    pub fn health(&self, state: State, faults: BTreeSet<String>) {
        for other in State::ALL {
            self.state.get_or_create(&StateLabel { state: other.name() }).set(i64::from(other == state));
        }
        // A scrape meanwhile finds every fault that stays.
        let mut known = self.faults.lock().ignore_poison();
        for source in known.difference(&faults) {
            self.fault.remove(&FaultLabel { source: source.clone() });
        }
        for source in faults.difference(&known) {
            self.fault.get_or_create(&FaultLabel { source: source.clone() }).set(1);
        }
        *known = faults;
    }

    /// Records the objects of a camera's frame by label: confirmed ones, as in a report. Other labels become 0.
    pub fn count_objects(&self, camera: &str, objects: &BTreeMap<String, u32>) {
        let mut counted = self.counted.lock().ignore_poison();
        let labels = counted.entry(camera.to_owned()).or_default();
        labels.extend(objects.keys().cloned());
        for label in labels.iter() {
            let count = objects.get(label).copied().unwrap_or(0);
            let object = ObjectLabels { camera: camera.to_owned(), label: label.clone() };
            self.detections.get_or_create(&object).inc_by(u64::from(count));
            self.objects.get_or_create(&object).set(i64::from(count));
        }
    }

    /// Records that a camera has no frames, and thus no objects.
    pub fn no_objects(&self, camera: &str) {
        self.count_objects(camera, &BTreeMap::new());
        self.zones.count(camera, &BTreeMap::new());
    }

    /// All metrics in the OpenMetrics text format.
    ///
    /// # Errors
    ///
    /// [`Kind::Internal`] if encoding fails, which no value here causes.
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
    fn names_have_prefix_and_unit() {
        let metrics = Metrics::new();
        metrics.model("city", "fp32", "ff");
        metrics.model("road", "fp32", "00");
        metrics.frames_dropped.get_or_create(&ReasonLabels { camera: "front".into(), reason: "busy" }).inc();
        metrics.stage_duration.get_or_create(&StageLabel { stage: "detect" }).observe(0.3);
        metrics.last_inference.get_or_create(&CameraLabel { camera: "front".into() }).set(1.5);
        metrics.count_objects("front", &BTreeMap::from([("Car".to_owned(), 3)]));
        let gate = |cars: u32| {
            let objects = BTreeMap::from([("Car".to_owned(), cars)]);
            BTreeMap::from([("gate".to_owned(), crate::message::ZoneCount { objects, ..Default::default() })])
        };
        metrics.zones.count("rear", &gate(2));
        metrics.zones.count("front", &gate(3));
        metrics.zones.entered("front", "gate", "Car");
        metrics.zones.crossed("front", "kerb", "in", "Car");
        metrics.no_objects("front");
        metrics.health(State::Degraded, ["camera front".to_owned()].into());
        metrics.health(State::Degraded, ["output file".to_owned()].into());
        let text = metrics.encode().unwrap();
        for line in [
            "lookout_state{state=\"ok\"} 0",
            "lookout_state{state=\"degraded\"} 1",
            "lookout_fault{source=\"output file\"} 1",
            "lookout_frames_dropped_total{camera=\"front\",reason=\"busy\"} 1",
            "lookout_stage_duration_seconds_count{stage=\"detect\"} 1",
            "lookout_last_inference_timestamp_seconds{camera=\"front\"} 1.5",
            "lookout_zone_objects{camera=\"rear\",zone=\"gate\",label=\"Car\"} 2",
            "lookout_zone_objects{camera=\"front\",zone=\"gate\",label=\"Car\"} 0",
            "lookout_zone_entries_total{camera=\"front\",zone=\"gate\",label=\"Car\"} 1",
            "lookout_line_crossings_total{camera=\"front\",line=\"kerb\",direction=\"in\",label=\"Car\"} 1",
            "lookout_objects{camera=\"front\",label=\"Car\"} 0",
            "lookout_detections_total{camera=\"front\",label=\"Car\"} 3",
            "lookout_model_info{name=\"road\",precision=\"fp32\",sha256=\"00\"} 1",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line}\nnot in\n{text}");
        }
        assert!(!text.contains("camera front"), "faults that are gone are not listed:\n{text}");
        assert!(!text.contains("city"), "only one model serves:\n{text}");
    }
}
