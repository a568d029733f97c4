//! Parameters of a street, drawn from the seed: width, crossing, furniture, sun.
//!
//! In: a seed. Out: [`Street`], numbers in metres and fractions for backdrop, furniture and traffic. The street runs along
//! Z; another one crosses it; X is 0 in its middle.

use super::random::Random;
use super::view::Point;

/// Half the width of a lane's centre from the street's middle.
pub(super) const LANE: f32 = 1.6;
/// X of two-wheelers.
pub(super) const BICYCLE_LANE: f32 = 3.85;
/// X of parked cars.
pub(super) const PARKING: f32 = 5.5;
/// X of the kerb.
pub(super) const KERB: f32 = 6.6;
/// Half the width of the crossing street's road.
pub(super) const CROSSING: f32 = 3.5;
/// Length of one building's plot along the street.
pub(super) const PLOT: f32 = 11.0;

/// Geometry and appearance of a street.
#[derive(Debug, Clone)]
pub(super) struct Street {
    /// Seed from which all else is derived.
    pub(super) seed: u64,
    /// Distance of the walls from the street's middle.
    pub(super) wall: f32,
    /// Distance of the crossing street's middle.
    pub(super) crossing: f32,
    /// Distance of the street's end.
    pub(super) end: f32,
    /// Smallest and largest height of buildings, in metres.
    pub(super) buildings: [f32; 2],
    /// Share of plots without a building.
    pub(super) gaps: f32,
    /// Share of trees in the furniture.
    pub(super) green: f32,
    /// Towards the sun; length 1.
    pub(super) sun: Point,
    /// Strength of the sun relative to the sky, 0 (overcast) to 1.
    pub(super) sunshine: f32,
    /// Colour and brightness of the light.
    pub(super) light: [f32; 3],
    /// Traffic density, 0 to 1.
    pub(super) traffic: f32,
}

impl Street {
    /// The street of a seed.
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::keyed(seed, &[1]);
        let crossing = random.range(15.0, 27.0);
        let high = random.chance(0.55);
        let buildings = if high { [9.0, 24.0] } else { [4.5, 9.5] };
        #[allow(clippy::approx_constant)] // the bytes of every street hang on this number
        let angle = random.range(0.0, 6.283);
        let height = random.range(0.55, 1.2);
        let sun = [libm::cosf(angle) * libm::cosf(height), libm::sinf(height), libm::sinf(angle) * libm::cosf(height)];
        let brightness = random.range(0.82, 1.14);
        let warmth = random.range(-0.06, 0.06);
        Self {
            seed,
            wall: KERB + random.range(3.0, 5.0),
            crossing,
            end: random.range(62.0, 80.0),
            buildings,
            gaps: if high { random.range(0.0, 0.2) } else { random.range(0.15, 0.5) },
            green: random.range(0.1, 0.6),
            sun,
            sunshine: if random.chance(0.4) { random.range(0.1, 0.35) } else { random.range(0.6, 1.0) },
            light: [brightness * (1.0 + warmth), brightness, brightness * (1.0 - warmth)],
            traffic: random.range(0.35, 1.0),
        }
    }

    /// True if a distance is within the crossing street, including its pavements.
    pub(super) fn in_crossing(&self, z: f32) -> bool {
        (z - self.crossing).abs() < CROSSING + 2.2
    }

    /// Height of the building at a side (−1 left, 1 right) and distance; 0 without one.
    pub(super) fn building(&self, side: f32, z: f32) -> f32 {
        let plot = (z / PLOT).floor();
        if self.in_crossing(z) || z > self.end {
            return 0.0;
        }
        let mut random = Random::keyed(self.seed, &[2, (side > 0.0) as u64, (plot + 8.0) as u64]);
        if random.chance(self.gaps) { 0.0 } else { random.range(self.buildings[0], self.buildings[1]) }
    }

    /// Irradiance of a surface with this normal, 0 to about 1.1.
    pub(super) fn shade(&self, normal: Point) -> f32 {
        let facing = normal[0] * self.sun[0] + normal[1] * self.sun[1] + normal[2] * self.sun[2];
        // The sky lights upward surfaces; the ground reflects a little.
        0.58 + 0.16 * normal[1] + (0.4 * self.sunshine) * facing.max(0.0)
    }

    /// Streetlights: X and Z of each.
    pub(super) fn lamps(&self) -> Vec<[f32; 2]> {
        let mut random = Random::keyed(self.seed, &[3]);
        let first = random.range(5.0, 12.0);
        let spacing = random.range(15.0, 20.0);
        (0..8)
            .map(|index| {
                let z = first + spacing * 0.5 * index as f32;
                [if index % 2 == 0 { KERB + 0.5 } else { -KERB - 0.5 }, z]
            })
            .filter(|&[_, z]| z < self.end && !self.in_crossing(z))
            .collect()
    }
}
