//! What the device says, whoever says it: a [`Report`] a frame, an [`Event`] when something begins, changes or ends, a
//! [`Status`] for its health. Every sink takes a [`Message`]; on the wire each is one JSON object that carries
//! `"schema": "lookout/1"` and its `"type"`. Fields are only ever added within one schema version.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod status;

pub use status::{CameraState, CameraStatus, State, Status, Throttle};

/// A message to the world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Message {
    /// What was seen in one frame.
    Report(Report),
    /// Something began, changed or ended.
    Event(Event),
    /// How the device is.
    Status(Status),
}

/// The sorts of [`Message`], as a sink's configuration chooses among them.
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
    /// Which sort it is.
    pub fn kind(&self) -> MessageKind {
        match self {
            Self::Report(_) => MessageKind::Report,
            Self::Event(_) => MessageKind::Event,
            Self::Status(_) => MessageKind::Status,
        }
    }
}

/// The version of these shapes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Schema {
    /// `lookout/1`
    #[default]
    #[serde(rename = "lookout/1")]
    V1,
}

/// A moment of wall time: RFC 3339 in UTC with microseconds.
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

/// What was seen in one frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Version of the shape.
    pub schema: Schema,
    /// Which device.
    pub device: String,
    /// Which of its cameras.
    pub camera: String,
    /// Number among the camera's captured frames; a gap is a frame that was dropped and counted.
    pub sequence: u64,
    /// When the frame was captured.
    pub captured_at: Moment,
    /// When it was captured, nanoseconds of `CLOCK_MONOTONIC`, comparable within one `boot_id`.
    pub captured_monotonic_ns: u64,
    /// Which run of the kernel.
    pub boot_id: String,
    /// Whether `captured_at` comes from a clock known to be right.
    pub clock_synchronized: bool,
    /// Columns of the frame.
    pub width: usize,
    /// Rows of the frame.
    pub height: usize,
    /// What detected.
    pub model: Model,
    /// Where the time went.
    pub timing_ms: Timing,
    /// What was found, best first.
    pub detections: Vec<Detection>,
    /// What the camera's rules removed, and which: only where the owner asked to see it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<Removed>,
}

/// The model behind a [`Report`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Model {
    /// Its name: the file's, without folder and ending.
    pub name: String,
    /// How it calculates.
    pub precision: Precision,
    /// How many recalibrations it has behind it.
    pub generation: u32,
    /// SHA-256 of its file, in hexadecimal.
    pub sha256: String,
}

/// How a model calculates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Every step in 32-bit floating point.
    Fp32,
    /// Every step in 8-bit integers.
    Int8,
    /// 8-bit integers with some steps kept in floating point.
    Mixed,
}

impl Precision {
    /// The word that messages and metrics use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Int8 => "int8",
            Self::Mixed => "mixed",
        }
    }
}

/// Where the time of a frame went, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Timing {
    /// From capture to the detector's first look.
    pub age: f64,
    /// Resizing and normalizing.
    pub convert: f64,
    /// The network.
    pub detect: f64,
    /// From capture to this report.
    pub total: f64,
}

/// One object in a [`Report`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Detection {
    /// Name of its class.
    pub label: String,
    /// Number of its class in the model; 0 is the background and never reported.
    pub class_id: u32,
    /// 0 to 1.
    pub score: f32,
    /// x0, y0, x1, y1 in pixels of the frame.
    #[serde(rename = "box")]
    pub bbox: [f32; 4],
    /// The object it belongs to, where objects are followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub track: Option<u64>,
    /// The zones it stands in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<String>,
}

/// A detection that a rule removed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Removed {
    /// Name of its class.
    pub label: String,
    /// Number of its class in the model.
    pub class_id: u32,
    /// 0 to 1.
    pub score: f32,
    /// x0, y0, x1, y1 in pixels of the frame.
    #[serde(rename = "box")]
    pub bbox: [f32; 4],
    /// The rule, as the camera's configuration names it: `masks[0]`, `include`, `limits.Vehicle.min_score`.
    pub rule: String,
}

/// Something began, changed or ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Version of the shape.
    pub schema: Schema,
    /// Which device.
    pub device: String,
    /// What happened.
    pub event: EventName,
    /// Unique to this happening.
    pub id: String,
    /// When.
    pub at: Moment,
    /// Which camera, where one is concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera: Option<String>,
    /// The numbers behind it.
    #[serde(flatten)]
    pub details: BTreeMap<String, serde_json::Value>,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EventName {
    /// An object came.
    #[serde(rename = "object.new")]
    ObjectNew,
    /// An object left.
    #[serde(rename = "object.end")]
    ObjectEnd,
    /// The network's error has left its calibrated range.
    #[serde(rename = "drift.raised")]
    DriftRaised,
    /// It is back.
    #[serde(rename = "drift.cleared")]
    DriftCleared,
    /// A recalibrated model is on trial.
    #[serde(rename = "calibration.candidate")]
    CalibrationCandidate,
    /// It serves now.
    #[serde(rename = "calibration.accepted")]
    CalibrationAccepted,
    /// It was no better.
    #[serde(rename = "calibration.refused")]
    CalibrationRefused,
    /// The model before it serves again.
    #[serde(rename = "calibration.rolled_back")]
    CalibrationRolledBack,
    /// A camera stopped giving frames.
    #[serde(rename = "camera.lost")]
    CameraLost,
    /// A camera gives frames.
    #[serde(rename = "camera.found")]
    CameraFound,
    /// A new configuration is wrong; the old one goes on.
    #[serde(rename = "config.refused")]
    ConfigRefused,
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
            model: Model { name: "m".into(), precision: Precision::Int8, generation: 3, sha256: "00".into() },
            timing_ms: Timing::default(),
            detections: vec![Detection {
                label: "Vehicle".into(),
                class_id: 3,
                score: 0.93,
                bbox: [612.1, 180.4, 710.0, 240.9],
                track: None,
                zones: Vec::new(),
            }],
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
