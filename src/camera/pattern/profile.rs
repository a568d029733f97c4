//! Side profiles of vehicles.
//!
//! [`PROFILES`] are extruded to a vehicle's width by [`vehicle`](super::vehicle).

/// Surface of a profile's edge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Edge {
    /// Painted sheet metal.
    Body,
    /// A window over the whole width.
    Glass,
    /// The front, with headlamps and a plate.
    Nose,
    /// The back, with tail lamps and a plate.
    Tail,
}
use Edge::{Body, Glass, Nose, Tail};

/// A side profile: corners as fractions of length (−½ tail to ½ nose) and height, with the edge that starts there; side
/// windows and axles.
pub(super) struct Profile {
    /// Position along, position up, and the edge that starts there, from the tail's foot over the roof to the nose's.
    pub(super) corners: &'static [(f32, f32, Edge)],
    /// Corners of each side window.
    pub(super) windows: &'static [[[f32; 2]; 4]],
    /// Positions of the axles.
    pub(super) wheels: [f32; 2],
    /// Metres: shortest and longest, lowest and highest, narrowest and widest.
    pub(super) size: [[f32; 2]; 3],
    /// Radius of a wheel in metres.
    pub(super) wheel: f32,
}

/// Hatchback, saloon, estate, off-roader, pickup, van, lorry, bus.
pub(super) const PROFILES: [Profile; 8] = [
    // Hatchback.
    Profile {
        corners: &[
            (-0.49, 0.2, Tail),
            (-0.5, 0.6, Glass),
            (-0.40, 0.96, Body),
            (-0.28, 1.0, Body),
            (0.05, 0.98, Glass),
            (0.24, 0.64, Body),
            (0.45, 0.55, Nose),
            (0.5, 0.2, Body),
        ],
        windows: &[
            [[-0.40, 0.66], [-0.32, 0.92], [-0.10, 0.94], [-0.10, 0.65]],
            [[-0.07, 0.65], [-0.07, 0.94], [0.04, 0.92], [0.19, 0.65]],
        ],
        wheels: [-0.31, 0.32],
        size: [[3.6, 4.2], [1.42, 1.56], [1.65, 1.8]],
        wheel: 0.31,
    },
    // Saloon.
    Profile {
        corners: &[
            (-0.5, 0.2, Tail),
            (-0.5, 0.66, Body),
            (-0.36, 0.7, Glass),
            (-0.2, 0.98, Body),
            (-0.1, 1.0, Body),
            (0.04, 0.98, Glass),
            (0.2, 0.66, Body),
            (0.46, 0.56, Nose),
            (0.5, 0.2, Body),
        ],
        windows: &[
            [[-0.32, 0.69], [-0.19, 0.92], [-0.08, 0.94], [-0.08, 0.68]],
            [[-0.05, 0.68], [-0.05, 0.94], [0.03, 0.92], [0.16, 0.67]],
        ],
        wheels: [-0.3, 0.31],
        size: [[4.4, 4.95], [1.4, 1.5], [1.75, 1.88]],
        wheel: 0.32,
    },
    // Estate.
    Profile {
        corners: &[
            (-0.5, 0.2, Tail),
            (-0.5, 0.62, Glass),
            (-0.44, 0.95, Body),
            (-0.3, 1.0, Body),
            (0.04, 0.98, Glass),
            (0.21, 0.65, Body),
            (0.46, 0.56, Nose),
            (0.5, 0.2, Body),
        ],
        windows: &[
            [[-0.44, 0.67], [-0.4, 0.9], [-0.28, 0.93], [-0.28, 0.67]],
            [[-0.26, 0.67], [-0.26, 0.93], [-0.07, 0.94], [-0.07, 0.66]],
            [[-0.05, 0.66], [-0.05, 0.94], [0.03, 0.92], [0.17, 0.66]],
        ],
        wheels: [-0.3, 0.31],
        size: [[4.4, 4.9], [1.45, 1.56], [1.76, 1.88]],
        wheel: 0.32,
    },
    // Off-roader.
    Profile {
        corners: &[
            (-0.5, 0.24, Tail),
            (-0.5, 0.62, Glass),
            (-0.46, 0.95, Body),
            (-0.38, 1.0, Body),
            (0.08, 0.99, Glass),
            (0.21, 0.66, Body),
            (0.47, 0.6, Nose),
            (0.5, 0.24, Body),
        ],
        windows: &[
            [[-0.44, 0.67], [-0.41, 0.92], [-0.24, 0.93], [-0.24, 0.67]],
            [[-0.21, 0.67], [-0.21, 0.93], [-0.04, 0.93], [-0.04, 0.67]],
            [[-0.01, 0.67], [-0.01, 0.93], [0.07, 0.92], [0.17, 0.67]],
        ],
        wheels: [-0.3, 0.31],
        size: [[4.2, 4.8], [1.65, 1.88], [1.8, 1.95]],
        wheel: 0.37,
    },
    // Pickup.
    Profile {
        corners: &[
            (-0.5, 0.28, Tail),
            (-0.5, 0.6, Body),
            (-0.1, 0.6, Glass),
            (-0.08, 0.98, Body),
            (0.0, 1.0, Body),
            (0.1, 0.98, Glass),
            (0.22, 0.66, Body),
            (0.47, 0.6, Nose),
            (0.5, 0.28, Body),
        ],
        windows: &[[[-0.07, 0.66], [-0.06, 0.92], [0.09, 0.92], [0.18, 0.66]], [[-0.07, 0.66]; 4]],
        wheels: [-0.31, 0.32],
        size: [[5.0, 5.4], [1.7, 1.85], [1.8, 1.95]],
        wheel: 0.38,
    },
    // Van.
    Profile {
        corners: &[
            (-0.5, 0.16, Tail),
            (-0.49, 0.98, Body),
            (-0.4, 1.0, Body),
            (0.24, 0.99, Glass),
            (0.37, 0.58, Body),
            (0.48, 0.47, Nose),
            (0.5, 0.16, Body),
        ],
        windows: &[
            [[0.12, 0.58], [0.12, 0.88], [0.24, 0.88], [0.33, 0.57]],
            [[-0.12, 0.6], [-0.12, 0.86], [0.09, 0.86], [0.09, 0.6]],
        ],
        wheels: [-0.29, 0.33],
        size: [[4.7, 6.0], [1.9, 2.5], [1.9, 2.05]],
        wheel: 0.34,
    },
    // Lorry; its box is painted separately.
    Profile {
        corners: &[
            (-0.5, 0.18, Tail),
            (-0.5, 1.0, Body),
            (0.22, 1.0, Body),
            (0.22, 0.82, Body),
            (0.3, 0.86, Body),
            (0.42, 0.84, Glass),
            (0.49, 0.5, Nose),
            (0.5, 0.12, Body),
        ],
        windows: &[[[0.28, 0.52], [0.3, 0.76], [0.4, 0.76], [0.45, 0.52]], [[0.28, 0.5]; 4]],
        wheels: [-0.3, 0.36],
        size: [[6.5, 9.0], [2.8, 3.5], [2.2, 2.5]],
        wheel: 0.46,
    },
    // Bus.
    Profile {
        corners: &[
            (-0.5, 0.12, Tail),
            (-0.5, 0.97, Body),
            (-0.47, 1.0, Body),
            (0.47, 1.0, Body),
            (0.49, 0.92, Glass),
            (0.5, 0.42, Nose),
            (0.5, 0.12, Body),
        ],
        windows: &[
            [[-0.47, 0.45], [-0.47, 0.84], [-0.24, 0.84], [-0.24, 0.45]],
            [[-0.23, 0.45], [-0.23, 0.84], [0.0, 0.84], [0.0, 0.45]],
            [[0.01, 0.45], [0.01, 0.84], [0.23, 0.84], [0.23, 0.45]],
            [[0.24, 0.2], [0.24, 0.84], [0.33, 0.84], [0.33, 0.2]],
            [[0.34, 0.4], [0.34, 0.84], [0.48, 0.84], [0.48, 0.4]],
        ],
        wheels: [-0.3, 0.32],
        size: [[9.5, 12.0], [2.9, 3.2], [2.45, 2.55]],
        wheel: 0.48,
    },
];
