//! Messages of the device, format `lookout/1`.
//!
//! | type | published |
//! |---|---|
//! | [`Report`] | for every analysed frame |
//! | [`Event`] | when an object, a camera, drift, a calibration or the configuration changes |
//! | [`Status`] | when the health of the device changes, and periodically |
//!
//! A message is one JSON object with `"schema": "lookout/1"` and its `"type"`. Within a schema version fields are only
//! added, so a reader must ignore unknown ones. Times are RFC 3339 in UTC; boxes are in pixels of the frame. `lookout schema
//! message` prints the JSON Schema.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod status;

pub use status::{CameraError, CameraState, CameraStatus, State, Status, Throttle};

/// A published message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Message {
    /// Detections of one frame.
    Report(Report),
    /// A change of an object, a camera, drift, a calibration or the configuration.
    Event(Event),
    /// Health of the device.
    Status(Status),
}

/// Type of a [`Message`], by which a sink's configuration selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MessageKind {
    /// [`Report`]
    Report,
    /// [`Event`]
    Event,
    /// [`Status`]
    Status,
}

impl Message {
    /// Type of the message.
    pub fn kind(&self) -> MessageKind {
        match self {
            Self::Report(_) => MessageKind::Report,
            Self::Event(_) => MessageKind::Event,
            Self::Status(_) => MessageKind::Status,
        }
    }
}

/// Version of the message format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Schema {
    /// `lookout/1`
    #[default]
    #[serde(rename = "lookout/1")]
    V1,
}

/// Wall time, in JSON as RFC 3339 in UTC with microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Moment(pub Timestamp);

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.0.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
    }
}

impl TryFrom<String> for Moment {
    type Error = jiff::Error;

    fn try_from(text: String) -> Result<Self, jiff::Error> {
        text.parse().map(Self)
    }
}

impl JsonSchema for Moment {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Moment".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "format": "date-time",
            "description": "RFC 3339, UTC, microseconds",
        })
    }
}

/// Detections of one frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Version of the format.
    pub schema: Schema,
    /// Name of the device.
    pub device: String,
    /// Name of the camera.
    pub camera: String,
    /// Number among the camera's captured frames. A gap is a dropped frame.
    pub sequence: u64,
    /// Wall time of capture.
    pub captured_at: Moment,
    /// Time of capture, nanoseconds of `CLOCK_MONOTONIC`, comparable within one `boot_id`.
    pub captured_monotonic_ns: u64,
    /// Boot identifier of the kernel.
    pub boot_id: String,
    /// True if the system clock was synchronized when `captured_at` was taken.
    pub clock_synchronized: bool,
    /// Columns of the frame.
    pub width: usize,
    /// Rows of the frame.
    pub height: usize,
    /// Model that made the detections.
    pub model: Model,
    /// Durations of the stages.
    pub timing_ms: Timing,
    /// Detections, highest score first.
    pub detections: Vec<Detection>,
    /// Objects in this frame by label: detections of confirmed tracks; without tracking, detections with a score of at
    /// least `track.begin_score`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub objects: BTreeMap<String, u32>,
    /// Labels of which there was an object within the last `track.patience`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub occupied: Vec<String>,
    /// Zones with objects, by name. A hidden object is in its zone until its track ends.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub zones: BTreeMap<String, ZoneCount>,
    /// Detections removed by the camera's filter, if the configuration requests them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<Removed>,
}

/// Objects in a zone of a [`Report`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ZoneCount {
    /// Tracked objects by label.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub objects: BTreeMap<String, u32>,
    /// Labels of which there was an object within the last `track.patience`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub occupied: Vec<String>,
    /// Labels of which there is a crowd.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crowded: Vec<String>,
}

/// The model behind a [`Report`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Model {
    /// Name: the file name without folder and extension.
    pub name: String,
    /// Arithmetic of the model.
    pub precision: ModelPrecision,
    /// Generation: number of accepted recalibrations.
    pub generation: u32,
    /// SHA-256 of its file, in hexadecimal.
    pub sha256: String,
}

/// Arithmetic of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Precision")]
pub enum ModelPrecision {
    /// All steps in 32-bit floating point.
    Fp32,
    /// All steps in 8-bit integers.
    Int8,
    /// 8-bit integers, with some steps in floating point.
    Mixed,
}

impl ModelPrecision {
    /// Name in messages and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Int8 => "int8",
            Self::Mixed => "mixed",
        }
    }
}

/// Durations of a frame's stages, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Timing {
    /// From capture to the start of detection.
    pub age: f64,
    /// Resizing and normalizing.
    pub convert: f64,
    /// The network.
    pub detect: f64,
    /// From capture to this report.
    pub total: f64,
}

/// A detection in a [`Report`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Detection {
    /// Name of the class.
    pub label: String,
    /// Number of the class in the model. 0 is the background and never reported.
    pub class_id: u32,
    /// Score, 0 to 1.
    pub score: f32,
    /// x0, y0, x1, y1 in pixels of the frame.
    #[serde(rename = "box")]
    pub bbox: [f32; 4],
    /// Track id, if tracking is enabled and the detection belongs to a track.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub track: Option<u64>,
    /// Zones that contain the detection.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<String>,
}

/// A detection removed by a camera's filter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Removed {
    /// Name of the class.
    pub label: String,
    /// Number of the class in the model.
    pub class_id: u32,
    /// Score, 0 to 1.
    pub score: f32,
    /// x0, y0, x1, y1 in pixels of the frame.
    #[serde(rename = "box")]
    pub bbox: [f32; 4],
    /// Key of the rule in the camera's configuration: `masks[0]`, `include`, `limits.Vehicle.min_score`.
    pub rule: String,
}

/// A change of an object, a camera, drift, a calibration or the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Version of the format.
    pub schema: Schema,
    /// Name of the device.
    pub device: String,
    /// Name of the event.
    pub event: EventName,
    /// Unique identifier.
    pub id: String,
    /// Wall time of the event.
    pub at: Moment,
    /// Name of the camera, for events of a camera.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera: Option<String>,
    /// Further fields, which depend on the event.
    #[serde(flatten)]
    pub details: BTreeMap<String, serde_json::Value>,
}

/// Name of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EventName {
    /// A tracked object was confirmed.
    #[serde(rename = "object.new")]
    ObjectNew,
    /// A tracked object has a better picture, another zone, or began or ceased to stand still. Not stored.
    #[serde(rename = "object.update")]
    ObjectUpdate,
    /// A tracked object ended.
    #[serde(rename = "object.end")]
    ObjectEnd,
    /// A tracked object is in a zone.
    #[serde(rename = "zone.entered")]
    ZoneEntered,
    /// A tracked object is no longer in a zone.
    #[serde(rename = "zone.left")]
    ZoneLeft,
    /// A tracked object is in a zone for its `loitering`.
    #[serde(rename = "zone.loitering")]
    ZoneLoitering,
    /// More objects of a label than `crowd` are in a zone for `crowd_time`.
    #[serde(rename = "zone.crowded")]
    ZoneCrowded,
    /// A crowd is over for `crowd_time`.
    #[serde(rename = "zone.cleared")]
    ZoneCleared,
    /// A tracked object crossed a line.
    #[serde(rename = "line.crossed")]
    LineCrossed,
    /// The deviation of the int8 network exceeds `monitor.thresholds.raise`.
    #[serde(rename = "drift.raised")]
    DriftRaised,
    /// The deviation is below `monitor.thresholds.clear` again.
    #[serde(rename = "drift.cleared")]
    DriftCleared,
    /// A recalibration made a candidate, before the decision.
    #[serde(rename = "calibration.candidate")]
    CalibrationCandidate,
    /// The candidate was accepted and serves.
    #[serde(rename = "calibration.accepted")]
    CalibrationAccepted,
    /// The recalibration was refused.
    #[serde(rename = "calibration.refused")]
    CalibrationRefused,
    /// The previous generation serves again.
    #[serde(rename = "calibration.rolled_back")]
    CalibrationRolledBack,
    /// A camera stopped delivering frames.
    #[serde(rename = "camera.lost")]
    CameraLost,
    /// A camera delivers frames.
    #[serde(rename = "camera.found")]
    CameraFound,
    /// A new configuration is invalid; the previous one stays in force.
    #[serde(rename = "config.refused")]
    ConfigRefused,
}

impl EventName {
    /// True for events of objects, which are many. Others tell about the device.
    pub const fn is_of_objects(self) -> bool {
        matches!(
            self,
            Self::ObjectNew
                | Self::ObjectUpdate
                | Self::ObjectEnd
                | Self::ZoneEntered
                | Self::ZoneLeft
                | Self::ZoneLoitering
                | Self::ZoneCrowded
                | Self::ZoneCleared
                | Self::LineCrossed
        )
    }

    /// True for events that are of use only at once: they are neither stored nor kept for a broker.
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::ObjectUpdate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            schema: Schema::V1,
            device: "d".into(),
            camera: "front".into(),
            sequence: 1042,
            captured_at: Moment("2026-11-23T10:00:00Z".parse().unwrap()),
            captured_monotonic_ns: 81_234_567_890,
            boot_id: "b".into(),
            clock_synchronized: true,
            width: 1920,
            height: 1080,
            model: Model { name: "m".into(), precision: ModelPrecision::Int8, generation: 3, sha256: "00".into() },
            timing_ms: Timing::default(),
            detections: vec![Detection {
                label: "Vehicle".into(),
                class_id: 3,
                score: 0.93,
                bbox: [612.1, 180.4, 710.0, 240.9],
                track: None,
                zones: Vec::new(),
            }],
            objects: BTreeMap::new(),
            occupied: Vec::new(),
            zones: BTreeMap::new(),
            removed: Vec::new(),
        }
    }

    #[test]
    fn a_report_reads_as_documented() {
        let value = serde_json::to_value(Message::Report(report())).unwrap();
        assert_eq!(value["schema"], "lookout/1");
        assert_eq!(value["type"], "report");
        assert_eq!(value["captured_at"], "2026-11-23T10:00:00.000000Z");
        assert_eq!(value["model"]["precision"], "int8");
        assert_eq!(value["detections"][0]["class_id"], 3);
        assert!(value["detections"][0].get("track").is_none());
        let text = serde_json::to_string(&Message::Report(report())).unwrap();
        assert!(text.contains("\"score\":0.93,\"box\":[612.1,180.4,710.0,240.9]"), "{text}");
        assert_eq!(serde_json::from_str::<Message>(&text).unwrap(), Message::Report(report()));
    }

    #[test]
    fn an_event_carries_its_numbers_beside_its_name() {
        let event = Event {
            schema: Schema::V1,
            device: "d".into(),
            event: EventName::CameraLost,
            id: "1".into(),
            at: Moment(Timestamp::UNIX_EPOCH),
            camera: Some("front".into()),
            details: BTreeMap::from([("retry_in_s".to_owned(), 2.into())]),
        };
        let value = serde_json::to_value(Message::Event(event)).unwrap();
        assert_eq!(value["event"], "camera.lost");
        assert_eq!(value["retry_in_s"], 2);
    }
}
