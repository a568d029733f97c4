//! Rules over tracks: zones that objects enter and leave, lines that they cross, and the paths of objects.
//!
//! In: the tracked objects of one camera's frame with its capture time. Out: [`RuleEvent`]s, and the occupancy of each
//! zone. The rules are pure: they read no clock and keep nothing but [`RuleState`], so equal input has equal output.
//!
//! The position of an object is the middle of the lower edge of its box, where it touches the ground. A change counts
//! after `inertia` frames in a row in which the object was seen, and only once its position is away from the border by a
//! share of the box's size. An object that stands on a border is so never counted again and again. The time of an event
//! is that of the first frame after the change. A path between two frames is a straight line, also over frames in which
//! the object was hidden.

mod crowd;
pub mod geometry;
mod line;
mod path;
mod state;
mod zone;

pub use path::{Path, PathPoint};
pub use state::{FrameShape, ObjectHistory, RuleState, Visit, ZoneOccupancy};

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::{CameraSettings, LineSettings, ZoneSettings};
use geometry::Point;

/// Share of a box's size, the root of its area, by which a position must be away from a border for a change to count.
const MARGIN: f32 = 0.05;
/// Multiple of `inertia` after which a change counts near a border, too.
const NEAR_BORDER: u32 = 4;

/// Rules of one camera.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleSettings {
    /// Zones by name.
    pub zones: BTreeMap<String, ZoneSettings>,
    /// Lines by name.
    pub lines: BTreeMap<String, LineSettings>,
    /// Frames in a row after which a change counts, at least 1.
    pub inertia: u32,
}

impl Default for RuleSettings {
    fn default() -> Self {
        Self { zones: BTreeMap::new(), lines: BTreeMap::new(), inertia: 1 }
    }
}

impl From<&CameraSettings> for RuleSettings {
    fn from(camera: &CameraSettings) -> Self {
        Self { zones: camera.zones.clone(), lines: camera.lines.clone(), inertia: camera.inertia }
    }
}

/// Direction in the picture in which an object moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heading {
    /// To the left.
    Left,
    /// To the right.
    Right,
    /// Up.
    Up,
    /// Down.
    Down,
}

impl Heading {
    /// Name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
            Self::Up => "up",
            Self::Down => "down",
        }
    }

    /// The direction from `from` to `to`, in pixels; `None` if they are the same.
    fn between(from: Point, to: Point) -> Option<Self> {
        let (x, y) = (to[0] - from[0], to[1] - from[1]);
        match () {
            () if x == 0.0 && y == 0.0 => None,
            () if x.abs() >= y.abs() => Some(if x < 0.0 { Self::Left } else { Self::Right }),
            () => Some(if y < 0.0 { Self::Up } else { Self::Down }),
        }
    }
}

/// Something that happened to an object or in a zone.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleEvent {
    /// Time at which it happened, nanoseconds of monotonic time. It was decided up to a few frames later.
    pub at_ns: u64,
    /// Name of the class.
    pub label: String,
    /// What happened.
    pub change: Change,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// An object is in a zone.
    Entered {
        /// Track of the object.
        track: u64,
        /// Name of the zone.
        zone: String,
        /// Direction in which it came; `None` if it was first seen there.
        heading: Option<Heading>,
    },
    /// An object is no longer in a zone.
    Left {
        /// Track of the object.
        track: u64,
        /// Name of the zone.
        zone: String,
        /// Direction in which it went; `None` if it was last seen there.
        heading: Option<Heading>,
        /// Time of its entry.
        entered_ns: u64,
    },
    /// An object is in a zone for `loitering`.
    Loitering {
        /// Track of the object.
        track: u64,
        /// Name of the zone.
        zone: String,
        /// Time of its entry.
        entered_ns: u64,
    },
    /// There are too many objects of a label in a zone, and have been for some time.
    Crowded {
        /// Name of the zone.
        zone: String,
        /// Number of objects.
        count: u32,
        /// Largest number that is no crowd.
        limit: u32,
    },
    /// A crowd is over, and has been for some time.
    Cleared {
        /// Name of the zone.
        zone: String,
        /// Number of objects.
        count: u32,
        /// Largest number that is no crowd.
        limit: u32,
        /// Time at which the crowd began.
        since_ns: u64,
    },
    /// An object crossed a line.
    Crossed {
        /// Track of the object.
        track: u64,
        /// Name of the line.
        line: String,
        /// Name of the direction.
        direction: String,
    },
}

impl Change {
    /// Track of the object, for changes of one object.
    pub fn track(&self) -> Option<u64> {
        match self {
            Self::Entered { track, .. }
            | Self::Left { track, .. }
            | Self::Loitering { track, .. }
            | Self::Crossed { track, .. } => Some(*track),
            Self::Crowded { .. } | Self::Cleared { .. } => None,
        }
    }
}

/// Nanoseconds of a duration.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
