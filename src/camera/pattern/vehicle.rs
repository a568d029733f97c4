//! Vehicles: a side profile extruded to the vehicle's width, with glass, wheels, lamps and a number plate.
//!
//! In: a random stream for the appearance, a position and a heading. Out: polygons in painting order, in a [`Model`].
//! Kinds: hatchback, saloon, estate, off-roader, pickup, van, lorry, bus.

use super::model::Model;
use super::profile::Edge::{self, Body, Glass, Nose, Tail};
use super::profile::PROFILES;
use super::random::{Random, RandomColour};
use super::raster::Paint;
use super::street::Street;
use super::view::{Point, View};

/// Relative frequency of each profile.
const SHARES: [usize; 20] = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 3, 3, 4, 5, 5, 5, 6, 7];

const COLOURS: [[f32; 3]; 14] = [
    [232.0, 232.0, 230.0],
    [226.0, 226.0, 222.0],
    [176.0, 180.0, 184.0],
    [150.0, 154.0, 158.0],
    [98.0, 102.0, 108.0],
    [58.0, 60.0, 64.0],
    [38.0, 39.0, 42.0],
    [168.0, 30.0, 34.0],
    [120.0, 22.0, 28.0],
    [36.0, 64.0, 132.0],
    [62.0, 102.0, 158.0],
    [38.0, 82.0, 62.0],
    [206.0, 160.0, 44.0],
    [152.0, 126.0, 98.0],
];

/// Appearance of a vehicle.
#[derive(Debug, Clone)]
pub(super) struct Vehicle {
    kind: usize,
    /// Length, height and width in metres.
    pub(super) size: [f32; 3],
    colour: [f32; 3],
    second: [f32; 3],
    glass: f32,
    panels: bool,
}

impl Vehicle {
    /// Draws an appearance; `small`: nothing longer than a van.
    pub(super) fn new(random: &mut Random, small: bool) -> Self {
        let kind = random.pick(if small { &SHARES[..18] } else { &SHARES[..] });
        let size = PROFILES[kind].size.map(|[low, high]| random.range(low, high));
        let colour = if kind >= 5 && random.chance(0.5) { [228.0, 228.0, 226.0] } else { random.pick(&COLOURS) };
        let colour = random.near(colour, 12.0);
        let second = random.pick(&COLOURS);
        let second = random.near(second, 20.0);
        Self { kind, size, colour, second, glass: random.range(0.6, 1.3), panels: random.chance(0.6) }
    }

    /// Adds its polygons, standing at `place` (X, Z) and heading `heading`, to `model`. `night`: 0 to 1.
    pub(super) fn build(
        &self,
        model: &mut Model,
        street: &Street,
        view: &View,
        place: [f32; 2],
        heading: [f32; 2],
        night: f32,
    ) {
        let profile = &PROFILES[self.kind];
        let [length, height, width] = self.size;
        let at = |along: f32, up: f32, aside: f32| -> Point {
            [place[0] + along * heading[0] + aside * heading[1], up, place[1] + along * heading[1] - aside * heading[0]]
        };
        let turned = |along: f32, up: f32, aside: f32| -> Point {
            [along * heading[0] + aside * heading[1], up, along * heading[1] - aside * heading[0]]
        };
        let half = width * 0.5;
        // What is under it.
        let under = Paint::flat([22.0, 22.0, 24.0]).grain(2.0);
        let tyre = Paint::flat([26.0, 26.0, 28.0]);
        for end in [-0.49, 0.49] {
            let low = 0.08;
            model.polygon(
                [
                    at(length * end, low, -half * 0.9),
                    at(length * end, low, half * 0.9),
                    at(length * end, height * 0.25, half * 0.9),
                    at(length * end, height * 0.25, -half * 0.9),
                ],
                under,
            );
            for side in [-1.0, 1.0] {
                let (outer, inner) = (side * half * 0.97, side * (half * 0.97 - 0.24));
                let along = length * end * 0.93;
                model.polygon(
                    [
                        at(along, 0.0, outer),
                        at(along, 0.0, inner),
                        at(along, height * 0.28, inner),
                        at(along, height * 0.28, outer),
                    ],
                    tyre,
                );
            }
        }
        // The faces that look at the camera, farthest first.
        let mut faces: Vec<(f32, Option<usize>, f32)> = Vec::with_capacity(12);
        let count = profile.corners.len();
        let corner = |index: usize| {
            let (along, up, edge) = profile.corners[index % count];
            (along * length, up * height, edge)
        };
        let faces_camera = |middle: Point, normal: Point| {
            let to = view.towards(middle);
            (to[0] * normal[0] + to[1] * normal[1] + to[2] * normal[2] > 0.0)
                .then(|| to[0] * to[0] + to[1] * to[1] + to[2] * to[2])
        };
        for index in 0..count {
            let (a, b) = (corner(index), corner(index + 1));
            // Corners run from the tail's foot over the roof to the nose's, so the outside is to the left of an edge.
            let (along, up) = (b.0 - a.0, b.1 - a.1);
            let scale = 1.0 / (along * along + up * up).sqrt().max(1e-6);
            let normal = turned(-up * scale, along * scale, 0.0);
            let middle = at((a.0 + b.0) * 0.5, (a.1 + b.1) * 0.5, 0.0);
            if let Some(far) = faces_camera(middle, normal) {
                faces.push((far, Some(index), street.shade(normal)));
            }
        }
        for side in [-1.0f32, 1.0] {
            let normal = turned(0.0, 0.0, side);
            if let Some(far) = faces_camera(at(0.0, height * 0.5, side * half), normal) {
                faces.push((far, None, street.shade(normal) * side));
            }
        }
        faces.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (_, edge, light) in faces {
            match edge {
                Some(index) => self.across(model, corner(index), corner(index + 1), light, night, &at),
                None => self.side(model, light.abs(), light.signum() * half, heading, &at),
            }
        }
    }

    /// A face across the vehicle: bonnet, windscreen, roof, nose, tail.
    fn across(
        &self,
        model: &mut Model,
        a: (f32, f32, Edge),
        b: (f32, f32, Edge),
        light: f32,
        night: f32,
        at: &dyn Fn(f32, f32, f32) -> Point,
    ) {
        let half = self.size[2] * 0.5;
        let quad = |model: &mut Model, low: f32, high: f32, left: f32, right: f32, paint: Paint| {
            let point = |share: f32, aside: f32| at(a.0 + (b.0 - a.0) * share, a.1 + (b.1 - a.1) * share, aside * half);
            model.polygon([point(low, left), point(low, right), point(high, right), point(high, left)], paint);
        };
        let body = Paint::shaded(self.colour, 0.1).lit(light);
        let dark = Paint::shaded([44.0, 50.0, 58.0].map(|c| c * self.glass), 0.35).grain(8.0);
        match a.2 {
            Body => quad(model, 0.0, 1.0, -1.0, 1.0, body),
            Glass => {
                quad(model, 0.0, 1.0, -1.0, 1.0, body);
                quad(model, 0.06, 0.94, -0.86, 0.86, dark.lit(0.7 + 0.5 * light));
            }
            Nose | Tail => {
                quad(model, 0.0, 1.0, -1.0, 1.0, body);
                // The nose's edge goes down, the tail's up.
                let is_nose = a.2 == Nose;
                let up = |share: f32| if is_nose { 1.0 - share } else { share };
                let plate = Paint::flat([220.0, 220.0, 208.0].map(|c| c * light));
                let bumper = Paint::flat(self.colour.map(|c| c * 0.55 * light));
                quad(model, up(0.0), up(0.3), -1.0, 1.0, bumper);
                let tall = self.kind >= 5 && !is_nose;
                if tall {
                    let seam = Paint::flat(self.colour.map(|c| c * 0.45 * light));
                    quad(model, up(0.1), up(0.97), -0.02, 0.02, seam);
                    if self.kind != 6 {
                        quad(model, up(0.55), up(0.88), -0.8, -0.1, dark);
                        quad(model, up(0.55), up(0.88), 0.1, 0.8, dark);
                    }
                }
                if is_nose {
                    quad(model, up(0.34), up(0.62), -0.5, 0.5, Paint::flat([34.0, 34.0, 36.0]));
                }
                let lamp = if is_nose { [236.0, 236.0, 224.0] } else { [170.0, 24.0, 22.0] };
                let lamp = Paint::flat(lamp.map(|c| c * (light + night * (1.2 - light).max(0.0)))).grain(2.0);
                let (low, high) = if tall { (0.22, 0.36) } else { (0.52, 0.86) };
                for side in [-1.0f32, 1.0] {
                    quad(model, up(low), up(high), side * 0.62, side * 0.94, lamp);
                }
                quad(model, up(0.16), up(0.32), -0.26, 0.26, plate);
            }
        }
    }

    /// The visible side, with windows, doors and wheels.
    fn side(&self, model: &mut Model, light: f32, aside: f32, heading: [f32; 2], at: &dyn Fn(f32, f32, f32) -> Point) {
        let profile = &PROFILES[self.kind];
        let [length, height, _] = self.size;
        let point = |along: f32, up: f32| at(along * length, up * height, aside);
        let body = Paint::shaded(self.colour, 0.14).lit(light);
        model.polygon(profile.corners.iter().map(|&(along, up, _)| point(along, up)), body);
        // The sill is darker, the box of a lorry has its own colour.
        let sill = Paint::flat(self.colour.map(|c| c * 0.5 * light));
        model.polygon([point(-0.49, 0.2), point(-0.49, 0.29), point(0.49, 0.29), point(0.49, 0.2)], sill);
        if self.kind == 6 || (self.kind >= 5 && self.panels) {
            let (from, to, low, high) = if self.kind == 7 {
                (-0.49, 0.49, 0.3, 0.4)
            } else if self.kind == 6 {
                (-0.49, 0.21, 0.3, 0.98)
            } else {
                (-0.45, 0.05, 0.36, 0.52)
            };
            model.polygon(
                [point(from, low), point(from, high), point(to, high), point(to, low)],
                Paint::shaded(self.second, 0.1).lit(light),
            );
        }
        let glass = Paint::shaded([48.0, 54.0, 62.0].map(|c| c * self.glass), 0.4).lit(0.6 + 0.5 * light).grain(8.0);
        let windowless = self.kind == 5 && self.panels;
        for window in &profile.windows[..if windowless { 1 } else { profile.windows.len() }] {
            model.polygon(window.map(|[along, up]| point(along, up)), glass);
        }
        if self.kind < 5 {
            let seam = Paint::flat(self.colour.map(|c| c * 0.6 * light));
            for along in [-0.085, 0.17] {
                model.polygon(
                    [
                        point(along - 0.003, 0.28),
                        point(along - 0.003, 0.66),
                        point(along + 0.003, 0.66),
                        point(along + 0.003, 0.28),
                    ],
                    seam,
                );
            }
        }
        for along in profile.wheels {
            let radius = profile.wheel;
            let centre = at(along * length, radius, aside);
            model.wheel(centre, heading, radius * 1.22, 0.0, Paint::flat([30.0, 30.0, 32.0]));
            model.wheel(centre, heading, radius, 0.0, Paint::flat([24.0, 24.0, 26.0]));
            model.wheel(centre, heading, radius * 0.62, 0.0, Paint::shaded([142.0, 144.0, 148.0], 0.25).lit(light));
            model.wheel(centre, heading, radius * 0.2, 0.0, Paint::flat([70.0, 70.0, 74.0]));
        }
        // Lamps extend around the corners.
        for (along, colour) in [(0.485f32, [228.0, 226.0, 214.0]), (-0.485, [160.0, 26.0, 24.0])] {
            let (low, high) = if self.kind >= 5 { (0.3, 0.42) } else { (0.46, 0.56) };
            let paint = Paint::flat(colour.map(|c: f32| c * light));
            let inner = along - 0.035 * along.signum();
            model.polygon([point(inner, low), point(inner, high), point(along, high), point(along, low)], paint);
        }
    }
}
