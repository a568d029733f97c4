//! Synthetic street: a rendered scene with ground truth, for tests and demonstrations without a camera.
//!
//! In: a seed, a size, a weather. Out: [`Scene::frame`], a picture and the [`Truth`] of every object: class, id, box and
//! visible share. Frame n of a seed has the same bytes on every CPU, whichever frames were rendered before. Every seed is
//! another street. Arithmetic is plain f32 without platform functions, so it does not depend on a mathematical library.
//!
//! Rendering: the backdrop is ray-cast once (`backdrop`) and furniture is painted once (`furniture`). For each frame,
//! `traffic` gives the objects at that time. From far to near, each is painted on its own layer from polygons in metres
//! (`model`, `raster`), lit, motion-blurred, fogged and composed (`compose`). Rain and sensor noise follow (`sensor`).

mod backdrop;
mod compose;
mod facade;
mod furniture;
pub mod labels;
mod model;
mod person;
mod profile;
mod random;
mod raster;
mod scene;
mod sensor;
mod source;
mod street;
mod traffic;
mod two_wheeler;
mod vehicle;
mod view;
mod weather;

pub use scene::Scene;
pub use source::{Pattern, WeatherHandle};
pub use weather::{Change, Weather};

/// Class of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Label {
    /// A pedestrian.
    Person,
    /// A bicycle, scooter or motorcycle with its rider, who is not a separate [`Label::Person`].
    TwoWheeler,
    /// A car, van, lorry or bus.
    Vehicle,
}

impl Label {
    /// All classes, in the order of the demo model's outputs.
    pub const ALL: [Self; 3] = [Self::Person, Self::TwoWheeler, Self::Vehicle];

    /// Name of the class in labels and models.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Person => "Person",
            Self::TwoWheeler => "TwoWheeler",
            Self::Vehicle => "Vehicle",
        }
    }
}

/// Ground truth of an object in a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Truth {
    /// Id, unique in the scene and constant over frames.
    pub id: u32,
    /// Class.
    pub label: Label,
    /// Left, top, right, bottom in pixels, including occluded parts, clipped at the picture's edge.
    pub bbox: [f32; 4],
    /// Visible share: `(1 - occluded) · (1 - truncated)`.
    pub visible: f32,
    /// Share of its silhouette in the picture that nearer objects cover, counted in pixels.
    pub occluded: f32,
    /// Share of its box outside of the picture.
    pub truncated: f32,
    /// Distance from the camera, in metres.
    pub distance: f32,
}

impl Truth {
    /// Height of its box in pixels.
    pub fn height(&self) -> f32 {
        self.bbox[3] - self.bbox[1]
    }

    /// True if a detector is expected to find it: at least 16 pixels high and 40 % visible.
    pub fn counts(&self) -> bool {
        self.height() >= 16.0 && self.visible >= 0.4
    }
}
