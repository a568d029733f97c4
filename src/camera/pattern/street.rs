//! One street: how wide, where the crossing is, what stands beside it, where the sun is. All from the seed.
//!
//! In: a seed. Out: [`Street`], plain numbers in metres and shares that the backdrop, the furniture and the traffic
//! read. The street runs along Z; another one crosses it; X is 0 in its middle.

use super::random::Random;
use super::view::Point;

/// Half the width of a lane's centre from the street's middle.
pub(super) const LANE: f32 = 1.6;
/// Where two-wheelers ride.
pub(super) const BICYCLE_LANE: f32 = 3.85;
/// Where cars are parked.
pub(super) const PARKING: f32 = 5.5;
/// The kerb.
pub(super) const KERB: f32 = 6.6;
/// Half the width of the crossing street's road.
pub(super) const CROSSING: f32 = 3.5;
/// Length of one building's plot along the street.
pub(super) const PLOT: f32 = 11.0;

/// The street's shape and looks.
#[derive(Debug, Clone)]
pub(super) struct Street {
    /// The seed that everything else about it is derived from.
    pub(super) seed: u64,
    /// Distance of the walls from the street's middle.
    pub(super) wall: f32,
    /// Distance of the crossing street's middle.
    pub(super) crossing: f32,
    /// Where the street ends.
    pub(super) end: f32,
    /// Metres that buildings are high, at least and at most.
    pub(super) buildings: [f32; 2],
    /// Share of plots without a building.
    pub(super) gaps: f32,
    /// Share of trees among what stands beside the road.
    pub(super) green: f32,
    /// Towards the sun; length 1.
    pub(super) sun: Point,
    /// How strong the sun is against the sky, 0 (overcast) to 1.
    pub(super) sunshine: f32,
    /// Colour and brightness of the light.
    pub(super) light: [f32; 3],
    /// How much traffic there is, 0 to 1.
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

    /// Whether a distance lies within the crossing street, its pavements counted.
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

    /// How much light falls on a surface with this outward direction, 0 to about 1.1.
    pub(super) fn shade(&self, normal: Point) -> f32 {
        let facing = normal[0] * self.sun[0] + normal[1] * self.sun[1] + normal[2] * self.sun[2];
        // The sky lights what looks up; the ground throws a little back.
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
