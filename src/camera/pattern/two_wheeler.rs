//! Two-wheelers with their riders: bicycles, scooters, motorcycles.
//!
//! In: a random stream for the appearance, a position, a heading and a phase of the pedals. Out: machine and rider in
//! painting order. They are one object: the rider is not a separate person.

use super::model::Model;
use super::random::{Random, RandomColour};
use super::raster::Paint;
use super::view::Point;

/// Class.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Machine {
    Bicycle,
    Scooter,
    Motorcycle,
}

/// Appearance of a two-wheeler.
#[derive(Debug, Clone)]
pub(super) struct TwoWheeler {
    machine: Machine,
    frame: [f32; 3],
    jacket: [f32; 3],
    trousers: [f32; 3],
    skin: [f32; 3],
    helmet: Option<[f32; 3]>,
    box_behind: bool,
    /// Height of the rider in metres.
    tall: f32,
    lean: f32,
}

const BRIGHT: [[f32; 3]; 10] = [
    [176.0, 34.0, 36.0],
    [34.0, 70.0, 150.0],
    [40.0, 110.0, 70.0],
    [220.0, 170.0, 40.0],
    [224.0, 224.0, 220.0],
    [40.0, 40.0, 44.0],
    [110.0, 112.0, 118.0],
    [226.0, 116.0, 36.0],
    [160.0, 200.0, 60.0],
    [84.0, 60.0, 110.0],
];
const DARK: [[f32; 3]; 5] =
    [[34.0, 36.0, 42.0], [54.0, 58.0, 74.0], [36.0, 52.0, 92.0], [96.0, 92.0, 84.0], [124.0, 100.0, 72.0]];
const SKIN: [[f32; 3]; 4] = [[230.0, 188.0, 158.0], [206.0, 156.0, 120.0], [156.0, 108.0, 76.0], [94.0, 64.0, 48.0]];

impl TwoWheeler {
    /// Draws an appearance.
    pub(super) fn new(random: &mut Random) -> Self {
        let machine = match random.below(10) {
            0..=4 => Machine::Bicycle,
            5..=6 => Machine::Scooter,
            _ => Machine::Motorcycle,
        };
        let bright = random.pick(&BRIGHT);
        let jacket = if random.chance(0.6) { random.pick(&BRIGHT) } else { random.pick(&DARK) };
        let dark = random.pick(&DARK);
        let head = random.pick(&BRIGHT);
        let helmeted = machine != Machine::Bicycle || random.chance(0.5);
        let skin = random.pick(&SKIN);
        Self {
            machine,
            frame: random.near(bright, 20.0),
            jacket: random.near(jacket, 20.0),
            trousers: random.near(dark, 14.0),
            skin: random.near(skin, 10.0),
            helmet: helmeted.then(|| random.near(head, 16.0)),
            box_behind: random.chance(0.3),
            tall: random.range(1.6, 1.88),
            lean: random.range(0.02, 0.2),
        }
    }

    /// Adds machine and rider to `model`. `phase` is the pedals' in turns; `light` falls on what is upright.
    pub(super) fn build(
        &self,
        model: &mut Model,
        place: [f32; 2],
        heading: [f32; 2],
        phase: f32,
        light: f32,
        night: f32,
    ) {
        let [hx, hz] = heading;
        let at = |along: f32, up: f32, aside: f32| -> Point {
            [place[0] + along * hx + aside * hz, up, place[1] + along * hz - aside * hx]
        };
        let paint = |colour: [f32; 3]| Paint::shaded(colour, 0.14).lit(light);
        let far = if hx > 0.0 { -1.0 } else { 1.0 };
        let bicycle = self.machine == Machine::Bicycle;
        let (base, radius, tyre) = match self.machine {
            Machine::Bicycle => (0.54, 0.345, 0.028),
            Machine::Scooter => (0.62, 0.25, 0.06),
            Machine::Motorcycle => (0.7, 0.31, 0.075),
        };
        let (seat, grip) = match self.machine {
            Machine::Bicycle => (at(-0.18, 0.98, 0.0), [0.42, 1.04]),
            Machine::Scooter => (at(-0.25, 0.8, 0.0), [0.38, 1.02]),
            Machine::Motorcycle => (at(-0.22, 0.82, 0.0), [0.36, 1.0]),
        };
        let leg = |model: &mut Model, side: f32| {
            let (sin, cos) = (libm::sinf(phase * 6.283_185_5), libm::cosf(phase * 6.283_185_5));
            let (foot, knee) = match self.machine {
                Machine::Bicycle => (
                    at(-0.02 + 0.16 * cos * side, 0.3 + 0.16 * sin * side, 0.11 * side),
                    at(0.17 + 0.07 * cos * side, 0.74 + 0.1 * sin * side, 0.13 * side),
                ),
                Machine::Scooter => (at(0.2, 0.3, 0.13 * side), at(0.18, 0.76, 0.18 * side)),
                Machine::Motorcycle => (at(-0.06, 0.34, 0.2 * side), at(0.2, 0.7, 0.24 * side)),
            };
            let hip = [seat[0] + 0.08 * side * hz, seat[1] + 0.03, seat[2] - 0.08 * side * hx];
            model.limb(knee, foot, [0.07, 0.05], paint(self.trousers.map(|c| c * 0.92)));
            model.limb(hip, knee, [0.1, 0.075], paint(self.trousers));
            let toe = [foot[0] + 0.13 * hx, foot[1] - 0.02, foot[2] + 0.13 * hz];
            model.limb(foot, toe, [0.045, 0.035], paint([34.0, 32.0, 32.0]));
        };
        leg(model, far);
        self.machine(model, base, radius, tyre, light, heading, &at);
        if self.box_behind && !bicycle {
            model.limb(at(-0.62, 0.92, -0.1), at(-0.62, 1.05, 0.1), [0.2, 0.2], paint(self.frame.map(|c| c * 0.8)));
        }
        leg(model, -far);
        // The trunk leans to the handlebar.
        let forward = self.lean + if bicycle { 0.12 } else { 0.08 };
        let trunk = self.tall * 0.31;
        let chest = [seat[0] + forward * hx, seat[1] + trunk, seat[2] + forward * hz];
        let wide = 0.125 + 0.06 * hz.abs();
        model.limb(seat, chest, [0.145, wide], paint(self.jacket));
        if self.box_behind && bicycle {
            let back = [chest[0] - 0.14 * hx, chest[1] - 0.12, chest[2] - 0.14 * hz];
            model.limb(back, [back[0], back[1] - 0.25, back[2]], [0.1, 0.11], paint(self.frame));
        }
        let arm = |model: &mut Model, side: f32| {
            let hand = at(grip[0], grip[1], 0.28 * side);
            let shoulder = [chest[0] + 0.17 * side * hz, chest[1] + 0.03, chest[2] - 0.17 * side * hx];
            let elbow = [
                (hand[0] + shoulder[0]) * 0.5 + 0.06 * side * hz,
                (hand[1] + shoulder[1]) * 0.5 - 0.08,
                (hand[2] + shoulder[2]) * 0.5 - 0.06 * side * hx,
            ];
            model.limb(elbow, hand, [0.045, 0.04], paint(self.jacket.map(|c| c * 0.9)));
            model.limb(shoulder, elbow, [0.062, 0.05], paint(self.jacket.map(|c| c * 0.95)));
        };
        arm(model, far);
        arm(model, -far);
        let head = [chest[0] + 0.05 * hx, chest[1] + 0.27, chest[2] + 0.05 * hz];
        model.limb(chest, head, [0.06, 0.06], paint(self.skin));
        model.ellipse(head, [0.09, 0.12], paint(self.skin));
        match self.helmet {
            Some(colour) if bicycle => model.dome([head[0], head[1] + 0.03, head[2]], [0.125, 0.12], paint(colour)),
            Some(colour) => {
                model.ellipse([head[0], head[1] + 0.01, head[2]], [0.14, 0.15], paint(colour));
                if hz < 0.5 {
                    let visor = [head[0] + 0.06 * hx, head[1], head[2] + 0.06 * hz];
                    model.ellipse(visor, [0.085, 0.055], Paint::flat([34.0, 36.0, 42.0]));
                }
            }
            None => model.dome([head[0] - 0.01 * hx, head[1] + 0.02, head[2]], [0.1, 0.115], paint([52.0, 40.0, 32.0])),
        }
        if hz < 0.5 {
            let lamp = Paint::flat([238.0, 236.0, 220.0].map(|c| c * (0.75 * light + 0.5 * night).min(1.0)));
            let size = if bicycle { 0.035 } else { 0.08 };
            model.ellipse(at(grip[0] + 0.06, grip[1] - 0.16, 0.0), [size, size], lamp);
        } else {
            model.ellipse(at(-base + 0.05, 0.62, 0.0), [0.05, 0.035], Paint::flat([178.0, 26.0, 24.0]));
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn machine(
        &self,
        model: &mut Model,
        base: f32,
        radius: f32,
        tyre: f32,
        light: f32,
        heading: [f32; 2],
        at: &dyn Fn(f32, f32, f32) -> Point,
    ) {
        let paint = |colour: [f32; 3]| Paint::shaded(colour, 0.16).lit(light);
        let black = paint([30.0, 30.0, 33.0]);
        let metal = paint([128.0, 130.0, 134.0]);
        let bicycle = self.machine == Machine::Bicycle;
        for along in [-base, base] {
            let hub = at(along, radius, 0.0);
            if bicycle {
                model.wheel(hub, heading, radius - 0.03, 0.0, Paint::flat([120.0; 3]).alpha(0.14));
                model.wheel(hub, heading, radius, radius - 0.055, black);
            } else {
                model.wheel(hub, heading, radius, 0.0, black);
                model.wheel(hub, heading, radius * 0.6, 0.0, metal);
            }
            // The tyre seen from the front.
            model.limb(at(along, tyre, 0.0), at(along, 2.0 * radius - tyre, 0.0), [tyre; 2], black);
        }
        let colour = paint(self.frame);
        match self.machine {
            Machine::Bicycle => {
                let (crank, saddle, head) = (at(-0.02, 0.3, 0.0), at(-0.2, 0.92, 0.0), at(0.36, 0.88, 0.0));
                let thin = [0.024; 2];
                for (a, b) in [
                    (crank, saddle),
                    (crank, head),
                    (saddle, head),
                    (crank, at(-base, radius, 0.0)),
                    (at(-0.17, 0.8, 0.0), at(-base, radius, 0.0)),
                    (head, at(base, radius, 0.0)),
                ] {
                    model.limb(a, b, thin, colour);
                }
                model.limb(head, at(0.38, 1.03, 0.0), thin, black);
                model.limb(at(-0.3, 0.95, 0.0), at(-0.08, 0.95, 0.0), [0.05, 0.03], black);
                model.limb(at(0.4, 1.03, -0.28), at(0.4, 1.03, 0.28), [0.02; 2], black);
            }
            Machine::Scooter => {
                model.limb(at(-0.55, 0.55, 0.0), at(-0.1, 0.6, 0.0), [0.22, 0.14], colour);
                model.limb(at(-0.3, 0.3, 0.0), at(0.35, 0.28, 0.0), [0.09; 2], colour);
                model.limb(at(0.36, 0.36, 0.0), at(0.44, 0.92, 0.0), [0.17, 0.13], colour);
                model.limb(at(-0.55, 0.78, 0.0), at(0.0, 0.76, 0.0), [0.07; 2], black);
                model.limb(at(0.4, 1.02, -0.32), at(0.4, 1.02, 0.32), [0.03; 2], black);
            }
            Machine::Motorcycle => {
                model.limb(at(-0.1, 0.36, 0.0), at(0.22, 0.42, 0.0), [0.17, 0.15], metal);
                model.limb(at(-0.05, 0.72, 0.0), at(0.3, 0.78, 0.0), [0.14, 0.16], colour);
                model.limb(at(-0.7, 0.78, 0.0), at(-0.1, 0.74, 0.0), [0.06, 0.09], black);
                model.limb(at(0.4, 0.86, 0.0), at(base, radius, 0.0), [0.05; 2], metal);
                model.limb(at(-0.3, 0.5, 0.0), at(-base, radius, 0.0), [0.05; 2], black);
                model.limb(at(0.46, 0.72, 0.0), at(0.42, 0.98, 0.0), [0.13, 0.1], colour);
                model.limb(at(0.36, 1.02, -0.36), at(0.36, 1.02, 0.36), [0.03; 2], black);
            }
        }
    }
}
