//! Persons: a walking skeleton with clothes.
//!
//! In: a random stream for the appearance, a position, a heading and a phase of the walk. Out: limbs in painting order. The
//! proportions are fractions of the height; riders of two-wheelers use the same limbs.

use super::model::Model;
use super::random::{Random, RandomColour};
use super::raster::Paint;
use super::view::Point;

const SKIN: [[f32; 3]; 6] = [
    [236.0, 196.0, 168.0],
    [222.0, 176.0, 142.0],
    [200.0, 150.0, 112.0],
    [160.0, 112.0, 78.0],
    [116.0, 78.0, 54.0],
    [84.0, 56.0, 42.0],
];
const HAIR: [[f32; 3]; 6] = [
    [30.0, 24.0, 22.0],
    [64.0, 44.0, 30.0],
    [116.0, 80.0, 48.0],
    [190.0, 156.0, 100.0],
    [150.0, 148.0, 146.0],
    [128.0, 52.0, 28.0],
];
const CLOTH: [[f32; 3]; 16] = [
    [36.0, 38.0, 44.0],
    [60.0, 62.0, 70.0],
    [30.0, 44.0, 84.0],
    [58.0, 88.0, 140.0],
    [120.0, 122.0, 126.0],
    [200.0, 198.0, 192.0],
    [228.0, 226.0, 220.0],
    [168.0, 36.0, 40.0],
    [112.0, 30.0, 44.0],
    [44.0, 96.0, 66.0],
    [104.0, 112.0, 62.0],
    [214.0, 168.0, 50.0],
    [220.0, 112.0, 44.0],
    [148.0, 104.0, 72.0],
    [206.0, 142.0, 160.0],
    [92.0, 64.0, 120.0],
];

/// Carried object.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Load {
    Nothing,
    Backpack,
    Bag,
}

/// Appearance of a person.
#[derive(Debug, Clone)]
pub(super) struct Person {
    /// Metres.
    pub(super) height: f32,
    girth: f32,
    skin: [f32; 3],
    hair: [f32; 3],
    top: [f32; 3],
    legs: [f32; 3],
    load_colour: [f32; 3],
    load: Load,
    hat: bool,
    long_hair: bool,
    skirt: bool,
    coat: bool,
    bare_arms: bool,
    shorts: bool,
    umbrella: bool,
    stride: f32,
}

/// Pose of a person.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stance {
    /// X and Z.
    pub(super) place: [f32; 2],
    /// X and Z, length 1.
    pub(super) heading: [f32; 2],
    /// Phase of the walk, in turns.
    pub(super) phase: f32,
    /// 0 standing, 1 walking.
    pub(super) pace: f32,
    /// Light on vertical surfaces.
    pub(super) light: f32,
    /// True if umbrellas are open.
    pub(super) raining: bool,
}

impl Person {
    /// Draws an appearance.
    pub(super) fn new(random: &mut Random) -> Self {
        let child = random.chance(0.12);
        let mut cloth = |spread| {
            let colour = random.pick(&CLOTH);
            random.near(colour, spread)
        };
        let (top, legs, load_colour) = (cloth(18.0), cloth(14.0), cloth(20.0));
        let load = match random.below(10) {
            0..=1 => Load::Backpack,
            2..=3 => Load::Bag,
            _ => Load::Nothing,
        };
        let skin = random.pick(&SKIN);
        let hair = random.pick(&HAIR);
        Self {
            height: if child { random.range(1.15, 1.5) } else { random.range(1.55, 1.94) },
            girth: random.range(0.88, 1.25),
            skin: random.near(skin, 10.0),
            hair: random.near(hair, 10.0),
            top,
            legs,
            load_colour,
            load,
            hat: random.chance(0.15),
            long_hair: random.chance(0.35),
            skirt: random.chance(0.15),
            coat: random.chance(0.25),
            bare_arms: random.chance(0.3),
            shorts: random.chance(0.12),
            umbrella: random.chance(0.6),
            stride: random.range(0.85, 1.15),
        }
    }

    /// Adds the limbs to `model`.
    pub(super) fn build(&self, model: &mut Model, stance: &Stance) {
        let h = self.height;
        let [hx, hz] = stance.heading;
        // Along the heading, up, to the right.
        let at = |along: f32, up: f32, aside: f32| -> Point {
            [stance.place[0] + (along * hx + aside * hz) * h, up * h, stance.place[1] + (along * hz - aside * hx) * h]
        };
        let swing = libm::sinf(stance.phase * 6.283_185_5) * stance.pace * self.stride;
        let lift = |forward: f32| 0.035 * (1.0 - forward.abs()).max(0.0) * stance.pace;
        let paint = |colour: [f32; 3]| Paint::shaded(colour, 0.12).lit(stance.light);
        let bob = 0.012 * (1.0 - swing.abs()) * stance.pace;
        let frontal = hz.abs();
        let wide = self.girth;
        // Far limbs first: the side that is farther from the camera. Right is farther where walking to the right.
        let far = if hx > 0.0 { -1.0 } else { 1.0 };
        let leg = |model: &mut Model, side: f32| {
            let forward = swing * side;
            let hip = at(0.0, 0.5 + bob, 0.045 * side);
            let foot_up =
                0.03 + lift(forward) * if forward * side > 0.0 { 1.0 } else { 0.6 } + (-forward).max(0.0) * 0.04;
            let ankle = at(0.19 * forward, foot_up, 0.05 * side);
            let knee = at(0.105 * forward + 0.025 * stance.pace, 0.275 + foot_up * 0.3, 0.05 * side);
            let cloth = paint(self.legs);
            let shin = if self.shorts || self.skirt { paint(self.skin) } else { cloth };
            model.limb(knee, ankle, [0.036 * wide, 0.025], shin);
            model.limb(hip, knee, [0.054 * wide, 0.04 * wide], cloth);
            let toe = at(0.19 * forward + 0.075, foot_up - 0.012, 0.05 * side);
            model.limb(ankle, toe, [0.024, 0.018], paint(self.load_colour.map(|c| c * 0.5)));
        };
        let arm = |model: &mut Model, side: f32, raised: bool| {
            let forward = -swing * side;
            let reach = 0.115 + 0.02 * wide;
            let shoulder = at(0.0, 0.8 + bob, 0.1 * wide * side);
            let (elbow, hand) = if raised {
                (at(0.07, 0.68 + bob, reach * side), at(0.08, 0.82 + bob, reach * 0.6 * side))
            } else {
                (at(0.07 * forward, 0.64 + bob, reach * side), at(0.15 * forward + 0.02, 0.5 + bob, reach * side))
            };
            model.limb(
                elbow,
                hand,
                [0.026, 0.02],
                paint(if self.bare_arms { self.skin } else { self.top.map(|c| c * 0.94) }),
            );
            model.limb(shoulder, elbow, [0.034 * wide, 0.028], paint(self.top.map(|c| c * 0.94)));
            model.ellipse(hand, [0.022 * h, 0.026 * h], paint(self.skin));
            if self.load == Load::Bag && side == far {
                let bag = [hand[0], hand[1] - 0.09 * h, hand[2]];
                model.ellipse(bag, [0.06 * h, 0.075 * h], paint(self.load_colour));
            }
        };
        let held = stance.raining && self.umbrella;
        arm(model, far, false);
        leg(model, far);
        leg(model, -far);
        let backpack = |model: &mut Model| {
            model.limb(at(-0.09, 0.74 + bob, 0.0), at(-0.1, 0.58 + bob, 0.0), [0.06, 0.065], paint(self.load_colour));
        };
        // A person walking towards the camera hides a load on the back.
        if self.load == Load::Backpack && hz < 0.3 {
            backpack(model);
        }
        let shoulders = (0.072 + 0.036 * frontal) * wide;
        let hips = (0.068 + 0.018 * frontal) * wide;
        if self.skirt {
            model.limb(at(0.0, 0.54 + bob, 0.0), at(0.0, 0.36 + bob, 0.0), [hips, hips * 1.45], paint(self.legs));
        }
        if self.coat {
            model.limb(at(0.0, 0.6 + bob, 0.0), at(0.0, 0.38 + bob, 0.0), [hips * 1.05, hips * 1.2], paint(self.top));
        }
        model.limb(at(0.0, 0.52 + bob, 0.0), at(0.01, 0.765 + bob, 0.0), [hips, shoulders], paint(self.top));
        if self.load == Load::Backpack && hz >= 0.3 {
            backpack(model);
        }
        self.head(model, at(0.015, 0.925 + bob, 0.0), at(0.005, 0.84 + bob, 0.0), stance);
        arm(model, -far, held);
        if held {
            self.canopy(model, at(0.05, 1.02 + bob, 0.02 * -far), at(0.08, 0.8 + bob, 0.07 * -far), stance);
        }
    }

    fn head(&self, model: &mut Model, centre: Point, neck: Point, stance: &Stance) {
        let h = self.height;
        let [hx, hz] = stance.heading;
        let paint = |colour: [f32; 3]| Paint::shaded(colour, 0.1).lit(stance.light);
        model.limb(neck, centre, [0.03, 0.03], paint(self.skin));
        let radii = [0.052 * h, 0.068 * h];
        if self.long_hair {
            let back = [centre[0] - 0.02 * h * hx, centre[1] - 0.035 * h, centre[2]];
            model.ellipse(back, [0.062 * h, 0.09 * h], paint(self.hair));
        }
        model.ellipse(centre, radii, paint(self.skin));
        // Seen from behind there is only hair; from the front it is a cap.
        if hz > 0.3 {
            model.ellipse([centre[0], centre[1] + 0.006 * h, centre[2]], radii, paint(self.hair));
        } else {
            let top = [centre[0] - 0.012 * h * hx, centre[1] + 0.014 * h, centre[2]];
            model.dome(top, [radii[0] * 1.06, radii[1] * 0.88], paint(self.hair));
        }
        if self.hat {
            let top = [centre[0], centre[1] + 0.022 * h, centre[2]];
            model.dome(top, [radii[0] * 1.2, radii[1] * 0.95], paint(self.load_colour));
        }
    }

    fn canopy(&self, model: &mut Model, top: Point, hand: Point, stance: &Stance) {
        let h = self.height;
        let paint = Paint::shaded(self.load_colour, 0.2).lit(stance.light);
        model.limb(hand, [top[0], top[1] + 0.08 * h, top[2]], [0.006 * h, 0.006 * h], Paint::flat([60.0; 3]));
        model.dome(top, [0.3 * h, 0.14 * h], paint);
    }
}
