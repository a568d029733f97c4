//! `[[camera]]` in TOML: the keys of all kinds in one table, all optional.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

words! {
    /// Kind of a camera.
    CameraKind {
        /// A V4L2 device.
        V4l2 = "v4l2",
        /// Pictures in a folder.
        Replay = "replay",
        /// Any input of a child process of ffmpeg.
        Ffmpeg = "ffmpeg",
        /// A synthetic street.
        Pattern = "pattern",
    }
}

words! {
    /// Mirroring, after rotation.
    Flip {
        /// None.
        None = "none",
        /// Left and right exchanged.
        Horizontal = "horizontal",
        /// Top and bottom exchanged.
        Vertical = "vertical",
    }
}

words! {
    /// Weather of the synthetic street.
    WeatherName {
        /// A clear day.
        Day = "day",
        /// Night with streetlights.
        Night = "night",
        /// Rain.
        Rain = "rain",
        /// Fog.
        Fog = "fog",
        /// Covered lens.
        Cap = "cap",
    }
}

table! {
    /// Entry of a pattern's `timetable`.
    WeatherChange {
        /// Time after the camera's start at which the change begins.
        at: String,
        /// Weather after the change.
        weather: WeatherName,
        /// Duration of the change; empty: immediate.
        over: String,
    }
}

/// Entry of `masks`: a polygon, or a table with more about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Mask {
    /// A polygon in which nothing is reported.
    Polygon(Polygon),
    /// A polygon that may be private.
    Region(MaskRegion),
}

table! {
    /// Entry of `masks` as a table.
    MaskRegion {
        /// Corners of the region.
        polygon: Polygon,
        /// True if the region is black in every picture that is shown or kept.
        private: bool,
    }
}

/// Corners of a polygon, x and y as fractions of the picture's width and height.
pub type Polygon = Vec<[f32; 2]>;

/// Entry of `zones`: a polygon, or a table with more about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Zone {
    /// A polygon.
    Polygon(Polygon),
    /// A polygon with rules.
    Region(ZoneRegion),
}

table! {
    /// Entry of `zones` as a table.
    ZoneRegion {
        /// Corners of the zone.
        polygon: Polygon,
        /// Time in the zone after which an object loiters; empty: never.
        loitering: String,
        /// Most objects of a label that are no crowd; unset: there is no crowd.
        #[schemars(range(min = 0, max = 10_000))]
        crowd: u32,
        /// Time after which a crowd begins or ends.
        crowd_time: String,
    }
}

/// Entry of `lines`: its two points, or a table with more about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Line {
    /// First and second point.
    Points(Polygon),
    /// Two points with names of the directions.
    Named(NamedLine),
}

table! {
    /// Entry of `lines` as a table.
    NamedLine {
        /// First and second point.
        points: Polygon,
        /// Name of the direction to the left, seen from the first point to the second.
        left: String,
        /// Name of the direction to the right.
        right: String,
    }
}

table! {
    /// `[[camera]]`
    Camera {
        /// Name in messages: any text without `/`; unique.
        name: String,
        /// Kind.
        kind: CameraKind,
        /// replay: folder of pictures, read in order of their names.
        path: String,
        /// replay: pictures a second; 0: lossless, at the rate of the detector.
        #[schemars(range(min = 0.0, max = 1000.0))]
        rate: f64,
        /// replay: loop; otherwise the camera ends after the last picture.
        r#loop: bool,
        /// v4l2: /dev/v4l/by-id/…, /dev/v4l/by-path/… or /dev/videoN.
        device: String,
        /// pattern: columns; v4l2: requested columns, of which the device's nearest are used.
        #[schemars(range(min = 1, max = 65_535))]
        width: u32,
        /// pattern: rows; v4l2: requested rows.
        #[schemars(range(min = 1, max = 65_535))]
        height: u32,
        /// v4l2: requested pixel format, as its four-character code.
        format: String,
        /// pattern: frames a second; v4l2: requested frames a second.
        #[schemars(range(min = 0.0, max = 1000.0))]
        fps: f64,
        /// v4l2: controls by name, set after each opening.
        controls: BTreeMap<String, i64>,
        /// ffmpeg: the input.
        input: String,
        /// v4l2, ffmpeg, replay: most pixels of a picture; unset: four times those negotiated, or those of the first picture.
        #[schemars(range(min = 1, max = 67_108_864))]
        max_pixels: u32,
        /// pattern: seed of the scene.
        #[schemars(range(min = 0))]
        seed: i64,
        /// pattern: changes of the weather in order of time; a clear day before the first.
        timetable: Vec<WeatherChange>,
        /// Clockwise rotation in degrees: 0, 90, 180 or 270.
        rotate: u32,
        /// Mirroring, after the rotation.
        flip: Flip,
        /// Limit of analysed frames a second; 0: none.
        #[schemars(range(min = 0.0, max = 1000.0))]
        max_fps: f64,
        /// Share of pixels that must change for a frame to be analysed; 0: all frames are.
        #[schemars(range(min = 0.0, max = 1.0))]
        motion_gate: f32,
        /// With motion_gate: longest time between analysed frames of a still scene.
        motion_interval: String,
        /// Named polygons that objects enter and leave, or tables with polygon, loitering, crowd and crowd_time.
        zones: BTreeMap<String, Zone>,
        /// Named lines that objects cross: two points, or tables with points, left and right.
        lines: BTreeMap<String, Line>,
        /// Frames in a row after which the entry or exit of a zone, or the crossing of a line counts.
        #[schemars(range(min = 1, max = 1000))]
        inertia: u32,
        /// Polygons outside of which nothing is reported; empty: the whole frame counts.
        include: Vec<Polygon>,
        /// Regions in which nothing is reported: polygons, or tables with polygon and private.
        masks: Vec<Mask>,
        /// Limits by label, or "*" for all other labels, for a detection to be reported.
        limits: BTreeMap<String, Limits>,
        /// True if reports list detections that these rules removed.
        explain: bool,
    }
}

table! {
    /// `[camera.limits.LABEL]`
    Limits {
        /// Smallest score.
        #[schemars(range(min = 0.0, max = 1.0))]
        min_score: f32,
        /// Smallest area, as a fraction of the frame's.
        #[schemars(range(min = 0.0, max = 1.0))]
        min_area: f32,
        /// Largest area, as a fraction of the frame's.
        #[schemars(range(min = 0.0, max = 1.0))]
        max_area: f32,
        /// Smallest ratio of width to height, in pixels.
        #[schemars(range(min = 0.0))]
        min_aspect: f32,
        /// Largest ratio of width to height, in pixels.
        #[schemars(range(min = 0.0))]
        max_aspect: f32,
    }
}
