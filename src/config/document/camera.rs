//! `[[camera]]` as it stands in the TOML: every key optional, those of all kinds in one table.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

words! {
    /// What a camera is.
    CameraKind {
        /// A V4L2 device.
        V4l2 = "v4l2",
        /// Pictures in a folder.
        Replay = "replay",
        /// Whatever a child process of ffmpeg can read.
        Ffmpeg = "ffmpeg",
        /// A synthetic street.
        Pattern = "pattern",
    }
}

words! {
    /// Mirroring, after rotation.
    Flip {
        /// As it is.
        None = "none",
        /// Left becomes right.
        Horizontal = "horizontal",
        /// Top becomes bottom.
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
        /// The cap on the lens.
        Cap = "cap",
    }
}

table! {
    /// One line of a pattern's `timetable`.
    WeatherChange {
        /// Time from the camera's start at which the change begins.
        at: String,
        /// What the weather becomes.
        weather: WeatherName,
        /// How long the change takes; empty: at once.
        over: String,
    }
}

/// Corners of a polygon, x and y as shares of the picture's width and height.
pub type Polygon = Vec<[f32; 2]>;

table! {
    /// `[[camera]]`
    Camera {
        /// Name in messages: letters, digits, - and _; unique.
        name: String,
        /// What it is.
        kind: CameraKind,
        /// replay: folder of pictures, shown in the order of their names.
        path: String,
        /// replay: pictures a second; 0: the next one when the detector is free, none dropped.
        #[schemars(range(min = 0.0, max = 1000.0))]
        rate: f64,
        /// replay: begin again after the last picture; otherwise the camera ends there.
        r#loop: bool,
        /// v4l2: /dev/v4l/by-id/…, /dev/v4l/by-path/… or /dev/videoN.
        device: String,
        /// pattern: columns; v4l2: columns wanted, the nearest that the device has is taken.
        #[schemars(range(min = 1, max = 65_535))]
        width: u32,
        /// pattern: rows; v4l2: rows wanted.
        #[schemars(range(min = 1, max = 65_535))]
        height: u32,
        /// v4l2: pixel format wanted, as its four characters.
        format: String,
        /// pattern: frames a second; v4l2: frames a second wanted.
        #[schemars(range(min = 0.0, max = 1000.0))]
        fps: f64,
        /// v4l2: controls by name, set after every opening.
        controls: BTreeMap<String, i64>,
        /// ffmpeg: what it shall read.
        input: String,
        /// pattern: seed of the scene.
        #[schemars(range(min = 0))]
        seed: i64,
        /// pattern: when the weather changes, in the order of the times; a clear day before the first line.
        timetable: Vec<WeatherChange>,
        /// Clockwise turn in degrees: 0, 90, 180 or 270.
        rotate: u32,
        /// Mirroring, after the turn.
        flip: Flip,
        /// Most frames a second that are looked at; 0: no limit.
        #[schemars(range(min = 0.0, max = 1000.0))]
        max_fps: f64,
        /// Share of pixels that must have changed for a frame to be looked at; 0: every frame.
        #[schemars(range(min = 0.0, max = 1.0))]
        motion_gate: f32,
        /// With motion_gate: one frame in this time is looked at though nothing moved.
        motion_interval: String,
        /// Named polygons; a detection tells in which it stands.
        zones: BTreeMap<String, Polygon>,
        /// Polygons outside of which nothing is reported; none: everywhere.
        include: Vec<Polygon>,
        /// Polygons in which nothing is reported.
        masks: Vec<Polygon>,
        /// By label, or "*" for every other: what a detection must have to be reported.
        limits: BTreeMap<String, Limits>,
        /// Reports tell what these rules removed.
        explain: bool,
    }
}

table! {
    /// `[camera.limits.LABEL]`
    Limits {
        /// Least score.
        #[schemars(range(min = 0.0, max = 1.0))]
        min_score: f32,
        /// Least area, as a share of the frame's.
        #[schemars(range(min = 0.0, max = 1.0))]
        min_area: f32,
        /// Largest area, as a share of the frame's.
        #[schemars(range(min = 0.0, max = 1.0))]
        max_area: f32,
        /// Least width over height, in pixels.
        #[schemars(range(min = 0.0))]
        min_aspect: f32,
        /// Largest width over height, in pixels.
        #[schemars(range(min = 0.0))]
        max_aspect: f32,
    }
}
