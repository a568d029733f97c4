//! Events of objects, zones and lines, as they are published.

use serde::{Serialize, Serializer};

use crate::message::{Detection, EventName, Moment};

/// An event of an object, a zone or a line.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ObjectEvent {
    /// `object.new`
    New(NewObject),
    /// `object.update`
    Updated(UpdatedObject),
    /// `object.end`
    Ended(Box<EndedObject>),
    /// `zone.entered`, `zone.left`, `zone.loitering`
    Zone(ZoneEvent),
    /// `zone.crowded`, `zone.cleared`
    Crowd(CrowdEvent),
    /// `line.crossed`
    Line(LineEvent),
}

impl ObjectEvent {
    /// Its name.
    pub fn name(&self) -> EventName {
        match self {
            Self::New(_) => EventName::ObjectNew,
            Self::Updated(_) => EventName::ObjectUpdate,
            Self::Ended(_) => EventName::ObjectEnd,
            Self::Zone(event) => event.name,
            Self::Crowd(event) => event.name,
            Self::Line(_) => EventName::LineCrossed,
        }
    }
}

/// Fields of all events of an object.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ObjectIdentity {
    /// The same in all events of an object, and unique among all runs of the service.
    pub object: String,
    /// Track in reports.
    pub track: u64,
    /// Name of the class.
    pub label: String,
    /// Number of the class.
    pub class_id: u32,
    /// Time of its first detection.
    pub first_at: Moment,
    /// Zones that it was in, in order of entry.
    pub zones: Vec<String>,
    /// True if it stands still.
    pub stationary: bool,
}

/// A detection of an object, with the frame in which it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sighting {
    /// Number of the frame.
    pub sequence: u64,
    /// Score of the detection.
    pub score: Decimal,
    /// Box of the detection, in pixels of the frame.
    #[serde(rename = "box")]
    pub bbox: [Decimal; 4],
    /// Columns of the frame.
    pub width: usize,
    /// Rows of the frame.
    pub height: usize,
}

impl Sighting {
    /// `found` in frame `sequence` of this size.
    pub fn new(sequence: u64, found: &Detection, (width, height): (usize, usize)) -> Self {
        Self { sequence, score: Decimal(found.score), bbox: found.bbox.map(Decimal), width, height }
    }
}

/// Details of `object.new`.
#[derive(Debug, PartialEq, Serialize)]
pub struct NewObject {
    #[serde(flatten)]
    pub identity: ObjectIdentity,
    #[serde(flatten)]
    pub sighting: Sighting,
}

/// Reason of an `object.update`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UpdateReason {
    /// This frame shows it better than those before.
    Picture,
    /// It was in another zone.
    Zone,
    /// It began or ceased to stand still.
    Motion,
}

/// Details of `object.update`.
#[derive(Debug, PartialEq, Serialize)]
pub struct UpdatedObject {
    #[serde(flatten)]
    pub identity: ObjectIdentity,
    #[serde(flatten)]
    pub sighting: Sighting,
    /// What is new, at least one.
    pub reasons: Vec<UpdateReason>,
}

/// A stay in a zone.
#[derive(Debug, PartialEq, Serialize)]
pub struct VisitDetails {
    pub zone: String,
    pub entered_at: Moment,
    pub left_at: Moment,
    pub dwell_s: f64,
}

/// The crossing of a line.
#[derive(Debug, PartialEq, Serialize)]
pub struct CrossingDetails {
    pub line: String,
    pub direction: String,
    pub crossed_at: Moment,
}

/// Details of `object.end`.
#[derive(Debug, PartialEq, Serialize)]
pub struct EndedObject {
    #[serde(flatten)]
    pub identity: ObjectIdentity,
    pub last_at: Moment,
    pub duration_s: f64,
    pub frames: u64,
    pub best_score: Decimal,
    pub best_box: [Decimal; 4],
    /// Columns of the frames, to which `best_box` and `path` belong.
    pub width: usize,
    pub height: usize,
    /// Positions, the middle of the box's lower edge: seconds since `first_at`, x and y in pixels. At most 97 points.
    pub path: Vec<[f64; 3]>,
    /// Its stays in zones, the first 64.
    pub visits: Vec<VisitDetails>,
    /// The lines that it crossed, the first 64 crossings.
    pub crossings: Vec<CrossingDetails>,
}

/// Details of `zone.entered`, `zone.left` and `zone.loitering`.
#[derive(Debug, PartialEq, Serialize)]
pub struct ZoneEvent {
    #[serde(skip)]
    pub name: EventName,
    #[serde(flatten)]
    pub identity: ObjectIdentity,
    pub zone: String,
    /// Direction in the picture: `left`, `right`, `up`, `down`. None if the object was first or last seen in the zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<&'static str>,
    pub entered_at: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_at: Option<Moment>,
    /// Seconds in the zone; of `zone.left` and `zone.loitering`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dwell_s: Option<f64>,
    #[serde(flatten)]
    pub sighting: Sighting,
}

/// Details of `zone.crowded` and `zone.cleared`.
#[derive(Debug, PartialEq, Serialize)]
pub struct CrowdEvent {
    #[serde(skip)]
    pub name: EventName,
    pub zone: String,
    pub label: String,
    /// Objects in the zone.
    pub count: u32,
    /// Most objects that are no crowd.
    pub limit: u32,
    /// Begin of the crowd.
    pub since: Moment,
    /// Seconds from its begin to its end; of `zone.cleared`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<f64>,
    pub sequence: u64,
}

/// Details of `line.crossed`.
#[derive(Debug, PartialEq, Serialize)]
pub struct LineEvent {
    #[serde(flatten)]
    pub identity: ObjectIdentity,
    pub line: String,
    /// Name of the direction: `left` or `right` of the line from its first point to its second, or the configured name.
    pub direction: String,
    pub crossed_at: Moment,
    /// Crossings of this line in this direction by this label since the last reset, with this one.
    pub count: u64,
    #[serde(flatten)]
    pub sighting: Sighting,
}

/// An f32 with the digits that reports have: the fewest that identify it. As a JSON *value* an f32 would become an f64
/// with up to 17 digits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decimal(pub f32);

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.to_string().parse().unwrap_or(f64::from(self.0)))
    }
}

/// Seconds between two monotonic times in nanoseconds, rounded to the millisecond.
pub fn seconds(from_ns: u64, to_ns: u64) -> f64 {
    (to_ns.saturating_sub(from_ns) as f64 * 1e-6).round() / 1e3
}
