//! Parameters of a building's appearance.
//!
//! In: a street and a plot. Out: a [`Facade`], which [`backdrop`](super::backdrop) renders.

use super::random::{Random, RandomColour};
use super::street::{PLOT, Street};

/// Appearance of a building.
#[derive(Debug, Clone)]
pub(super) struct Facade {
    /// Height in metres; 0: no building.
    pub(super) height: f32,
    /// The wall's colour.
    pub(super) wall: [f32; 3],
    /// The ground floor's colour.
    pub(super) ground: [f32; 3],
    /// Metres from one window to the next.
    pub(super) pitch: f32,
    /// A window's width and height in metres.
    pub(super) window: [f32; 2],
    /// A storey's height in metres.
    pub(super) storey: f32,
    /// True if the ground floor has shops.
    pub(super) shop: bool,
    /// True if the wall is brick.
    pub(super) brick: bool,
    /// Seed of variations from window to window.
    pub(super) seed: u64,
}

/// Plots on a side of the street, starting 8 behind the camera.
pub(super) const PLOTS: usize = 24;

impl Facade {
    /// Appearance of a plot, indexed by side along the street, then by side along the crossing street.
    pub(super) fn new(street: &Street, index: usize) -> Self {
        let (row, plot) = (index / PLOTS, index % PLOTS);
        let mut random = Random::keyed(street.seed, &[7, index as u64]);
        let side = if row % 2 == 1 { 1.0 } else { -1.0 };
        let mut middle = (plot as f32 + 0.5) * PLOT;
        if row < 2 && street.in_crossing(middle) {
            // The plot's middle is the crossing street, its ends are not.
            middle = plot as f32 * PLOT + 0.1;
        }
        let height = if row < 2 {
            street.building(side, middle)
        } else {
            random.range(street.buildings[0], street.buildings[1])
        };
        let palette = [
            [176.0, 160.0, 138.0],
            [160.0, 92.0, 72.0],
            [196.0, 190.0, 178.0],
            [142.0, 146.0, 150.0],
            [188.0, 168.0, 118.0],
            [128.0, 110.0, 98.0],
            [150.0, 160.0, 166.0],
            [172.0, 134.0, 118.0],
        ];
        let wall = random.pick(&palette);
        let wall = random.near(wall, 24.0);
        Self {
            height,
            wall,
            ground: wall.map(|c| c * 0.72),
            pitch: random.range(1.9, 3.1),
            window: [random.range(0.9, 1.3), random.range(1.2, 1.7)],
            storey: random.range(2.9, 3.4),
            shop: random.chance(0.45),
            brick: random.chance(0.45),
            seed: random.bits() >> 48,
        }
    }
}
