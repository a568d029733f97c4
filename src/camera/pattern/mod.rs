//! A synthetic street, so that everything can be shown and tested without a camera.
//!
//! In: a seed, a size, a weather. Out: [`Scene::frame`]: a picture, and of every object in it its class, id, box and
//! how much of it is seen ([`Truth`]). Promises: frame n of a seed is the same bytes on every CPU, whichever frames were
//! asked for before; no two seeds are the same street. Calculated in plain f32 without platform functions, so nothing
//! depends on a mathematical library.
//!
//! How it is made: a backdrop cast ray by ray once (`backdrop`); furniture painted once (`furniture`); and in each
//! frame who is there by the clock (`traffic`), from far to near, each painted on a layer of its own from polygons in
//! metres (`model`, `raster`), lit, smeared by its motion, veiled, laid over the picture and counted; then rain and
//! the sensor's noise (`sensor`).

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
pub use source::{Pattern, Sky};
pub use weather::{Change, Weather};

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Label {
    /// Somebody on foot.
    Person,
    /// A bicycle, scooter or motorcycle with its rider, who is no [`Label::Person`].
    TwoWheeler,
    /// A car, van, lorry or bus.
    Vehicle,
}

impl Label {
    /// All classes, in the order of the demo model's outputs.
    pub const ALL: [Self; 3] = [Self::Person, Self::TwoWheeler, Self::Vehicle];

    /// The class's name in labels and models.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Person => "Person",
            Self::TwoWheeler => "TwoWheeler",
            Self::Vehicle => "Vehicle",
        }
    }
}

/// What is known about an object in a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Truth {
    /// The same in every frame of the scene; nobody else's.
    pub id: u32,
    /// What it is.
    pub label: Label,
    /// Left, top, right, bottom in pixels: all of it, hidden parts too, cut off at the picture's edge.
    pub bbox: [f32; 4],
    /// Share of it that the picture shows: `(1 - occluded) · (1 - truncated)`.
    pub visible: f32,
    /// Of its silhouette within the picture, the share of pixels that something nearer covers: counted, not estimated.
    pub occluded: f32,
    /// Share of its box that lies outside the picture.
    pub truncated: f32,
    /// Metres ahead of the camera.
    pub distance: f32,
}

impl Truth {
    /// Rows of its box.
    pub fn height(&self) -> f32 {
        self.bbox[3] - self.bbox[1]
    }

    /// Whether a detector is held to find it: at least 16 pixels high and 40 % of it seen.
    pub fn counts(&self) -> bool {
        self.height() >= 16.0 && self.visible >= 0.4
    }
}
