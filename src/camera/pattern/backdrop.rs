//! Static backdrop: sky, buildings, ground.
//!
//! In: a street and a view. Out: a [`Backdrop`], four maps of the picture's size: colour by day, distance, emission by
//! night, and irradiance of the streetlights. Two rays are cast for each pixel.

use super::facade::{Facade, PLOTS};
use super::random::{Noise, Random, RandomColour};
use super::street::{BICYCLE_LANE, CROSSING, KERB, LANE, PARKING, PLOT, Street};
use super::view::View;

/// The maps, `height × width` each.
#[derive(Debug, Clone)]
pub(super) struct Backdrop {
    /// Colour by day.
    pub(super) colour: Vec<[u8; 3]>,
    /// Distance in metres; 255: the sky.
    pub(super) distance: Vec<u8>,
    /// Emission at night.
    pub(super) glow: Vec<u8>,
    /// Irradiance of the streetlights.
    pub(super) lamp: Vec<u8>,
}

/// Intersection of a ray.
#[derive(Debug, Clone, Copy)]
struct Hit {
    colour: [f32; 3],
    distance: f32,
    glow: f32,
    lamp: f32,
}

impl Backdrop {
    /// Casts the rays.
    pub(super) fn new(street: &Street, view: &View) -> Self {
        let rays = Rays::new(street, view);
        let pixels = view.width * view.height;
        let mut maps = Self {
            colour: Vec::with_capacity(pixels),
            distance: Vec::with_capacity(pixels),
            glow: Vec::with_capacity(pixels),
            lamp: Vec::with_capacity(pixels),
        };
        for y in 0..view.height {
            for x in 0..view.width {
                let a = rays.cast(x as f32 + 0.25, y as f32 + 0.3);
                let b = rays.cast(x as f32 + 0.75, y as f32 + 0.7);
                let mean = |a: f32, b: f32| (0.5 * (a + b)).clamp(0.0, 255.0) as u8;
                maps.colour.push([0, 1, 2].map(|i| mean(a.colour[i] * street.light[i], b.colour[i] * street.light[i])));
                maps.distance.push(mean(a.distance, b.distance));
                maps.glow.push(mean(a.glow, b.glow));
                maps.lamp.push(mean(a.lamp, b.lamp));
            }
        }
        maps
    }
}

/// Scene data for ray casting.
struct Rays<'a> {
    street: &'a Street,
    view: &'a View,
    noise: &'static Noise,
    lamps: Vec<[f32; 2]>,
    plots: Vec<Facade>,
    asphalt: [f32; 3],
    pavement: [f32; 3],
    grass: bool,
    sky: [[f32; 3]; 2],
    clouds: f32,
    skyline: f32,
    drift: f32,
}

impl<'a> Rays<'a> {
    fn new(street: &'a Street, view: &'a View) -> Self {
        let mut random = Random::keyed(street.seed, &[10]);
        let tone = random.range(78.0, 122.0);
        let plots = (0..PLOTS * 4).map(|index| Facade::new(street, index)).collect();
        let blue = random.range(0.0, 1.0);
        Self {
            street,
            view,
            noise: Noise::table(),
            lamps: street.lamps(),
            plots,
            asphalt: random.near([tone, tone, tone + 3.0], 6.0),
            pavement: random.near([150.0, 145.0, 138.0], 26.0),
            grass: random.chance(street.green * 0.8),
            sky: [[150.0 - 60.0 * blue, 180.0 - 20.0 * blue, 215.0 + 15.0 * blue], [225.0 - 10.0 * blue, 228.0, 232.0]],
            clouds: random.range(0.2, 1.0) * (1.2 - street.sunshine * 0.7),
            skyline: random.range(5.0, 14.0),
            drift: random.range(0.0, 200.0),
        }
    }

    fn cast(&self, u: f32, v: f32) -> Hit {
        let (view, street) = (self.view, self.street);
        let right = (u - view.centre) / view.focal;
        let down = (v - view.horizon) / view.focal;
        let ground = if down > 1e-4 { view.eye[1] / down } else { f32::MAX };
        let side = if right < 0.0 { -1.0 } else { 1.0 };
        let to_wall = side * street.wall - view.eye[0];
        let wall = if to_wall * right > 0.0 { to_wall / right } else { f32::MAX };
        // The wall along the street, unless the ray reaches the ground or the end first.
        if wall < ground && wall < street.end {
            let height = view.eye[1] - down * wall;
            if let Some(hit) = self.wall(side, wall, height) {
                return hit;
            }
            // Through a gap: the far wall of the crossing street.
            let far = street.crossing + CROSSING + 2.2;
            if wall < far && far < ground {
                let x = view.eye[0] + right * far;
                let height = view.eye[1] - down * far;
                if let Some(hit) = self.far_wall(side, x, height, far) {
                    return hit;
                }
            }
        }
        if ground < street.end {
            return self.ground(view.eye[0] + right * ground, ground);
        }
        let height = view.eye[1] - down * street.end;
        let x = view.eye[0] + right * street.end;
        self.beyond(x, height, right, down)
    }

    fn wall(&self, side: f32, z: f32, height: f32) -> Option<Hit> {
        if self.street.in_crossing(z) {
            return None;
        }
        let index = ((z / PLOT).floor() as usize).min(PLOTS - 1) + if side > 0.0 { PLOTS } else { 0 };
        let facade = &self.plots[index];
        if facade.height == 0.0 {
            // A hedge or a fence closes the gap.
            return (height < 1.7).then(|| self.hedge(z, height, side));
        }
        (height < facade.height).then(|| {
            self.facade(
                facade,
                z - (z / PLOT).floor() * PLOT,
                height,
                [-side, 0.0, 0.0],
                z,
                [side * self.street.wall, z],
            )
        })
    }

    fn far_wall(&self, side: f32, x: f32, height: f32, z: f32) -> Option<Hit> {
        let along = x.abs() - self.street.wall;
        if along < 0.0 {
            return None;
        }
        let index = ((along / PLOT) as usize).min(PLOTS - 1) + if side > 0.0 { 3 * PLOTS } else { 2 * PLOTS };
        let facade = &self.plots[index];
        let high = if facade.height == 0.0 { 5.0 } else { facade.height };
        (height < high).then(|| self.facade(facade, along % PLOT, height, [0.0, 0.0, -1.0], z, [x, z]))
    }

    fn facade(&self, facade: &Facade, along: f32, height: f32, normal: [f32; 3], z: f32, place: [f32; 2]) -> Hit {
        let light = self.street.shade(normal);
        let mut glow = 0.0;
        let mut colour = facade.wall;
        let rough = self.noise.at(along * 9.0 + facade.seed as f32, height * 9.0) - 0.5;
        let stain = self.noise.at(along * 1.3 + facade.seed as f32 * 3.0, height * 0.8) - 0.5;
        let mut factor = 1.0 + 0.16 * rough + 0.2 * stain;
        if facade.brick && z < 40.0 {
            let course = (height / 0.24).floor();
            let joint = (height / 0.24).fract() < 0.16 || ((along + course * 0.21) / 0.5).fract() < 0.07;
            factor *= if joint { 1.12 } else { 0.97 };
        }
        let base = if facade.shop { 3.6 } else { 1.0 };
        if height < base {
            colour = facade.ground;
            if facade.shop {
                let pane = (along % 3.6) / 3.6;
                let door = (along / 3.6).floor() as i64 % 3 == 1;
                if height > 2.9 {
                    // The sign over the window.
                    let mut random = Random::keyed(facade.seed, &[4]);
                    colour = random.near([120.0, 70.0, 60.0], 90.0);
                    let letters = self.noise.at(along * 40.0, 11.0) > 0.55 && (3.05..3.35).contains(&height);
                    colour = if letters && pane > 0.15 && pane < 0.85 { [235.0, 230.0, 215.0] } else { colour };
                    glow = 60.0;
                } else if pane > 0.08 && pane < 0.92 && height > if door { 0.0 } else { 0.5 } {
                    let inside = self.noise.at(along * 14.0, height * 17.0);
                    colour = [38.0 + 70.0 * inside, 42.0 + 62.0 * inside, 48.0 + 55.0 * inside];
                    glow = 150.0;
                }
            }
        } else {
            let storey = (height - base) / facade.storey;
            let (up, column) = (storey.fract() * facade.storey, (along - 0.6) / facade.pitch);
            let across = column.fract() * facade.pitch;
            let top = facade.height - base - storey.floor() * facade.storey >= facade.storey;
            let within = |margin: f32| {
                across > 0.5 - margin
                    && across < 0.5 + facade.window[0] + margin
                    && up > 0.8 - margin
                    && up < 0.8 + facade.window[1] + margin
            };
            if top && column >= 0.0 && along < PLOT - 0.7 && within(0.12) {
                if within(0.0) {
                    let mut random = Random::keyed(facade.seed, &[5, column as u64, storey as u64]);
                    let curtain = random.chance(0.3);
                    let pane = random.range(0.0, 40.0);
                    let sheen = 45.0 * (up / facade.window[1]).min(1.0);
                    colour = if curtain {
                        [170.0, 165.0, 155.0]
                    } else {
                        [45.0 + pane + sheen, 54.0 + pane + sheen, 64.0 + pane + 1.2 * sheen]
                    };
                    let bar = (across - 0.5 - facade.window[0] * 0.5).abs() < 0.05;
                    colour = if bar { [200.0, 198.0, 192.0] } else { colour };
                    glow = if random.chance(0.35) { random.range(90.0, 200.0) } else { 0.0 };
                    factor = 1.0;
                } else {
                    colour = colour.map(|c| (c * 0.5 + 110.0).min(225.0));
                }
            } else if height > facade.height - 0.45 || up < 0.12 {
                factor *= 0.82;
            }
        }
        Hit { colour: colour.map(|c| c * factor * light), distance: z, glow, lamp: self.lamp(place, height) }
    }

    fn hedge(&self, z: f32, height: f32, side: f32) -> Hit {
        let leaves = self.noise.at(z * 60.0 + side, height * 60.0);
        let light = self.street.shade([-side, 0.3, 0.0]) * (0.45 + 0.8 * leaves);
        let colour = [62.0 * light, 88.0 * light, 44.0 * light];
        Hit { colour, distance: z, glow: 0.0, lamp: self.lamp([side * self.street.wall, z], height) }
    }

    fn ground(&self, x: f32, z: f32) -> Hit {
        let noise = self.noise;
        let fine = noise.at(x * 37.0, z * 37.0) - 0.5;
        let coarse = noise.at(x * 2.1 + 40.0, z * 2.1) - 0.5;
        let near = (14.0 / z).min(1.0);
        let (across, from_crossing) = (x.abs(), (z - self.street.crossing).abs());
        let in_street = across < KERB || from_crossing < CROSSING;
        let mut colour = self.asphalt;
        let mut grain = 26.0 * fine * near + 26.0 * coarse;
        if in_street {
            let clear = from_crossing > CROSSING + 2.2;
            let wear = 0.55 + 0.45 * noise.at(x * 19.0, z * 5.0);
            let mut paint = 0.0;
            if clear && across < KERB {
                let before = self.street.crossing - CROSSING - z;
                let zebra = (2.6..5.4).contains(&before);
                if zebra {
                    paint = if (x + 40.0) % 1.1 < 0.55 { wear } else { 0.0 };
                } else if (5.9..6.3).contains(&before) && x > 0.0 && x < PARKING - 1.2 {
                    paint = wear;
                } else if across < 0.08 {
                    paint = if z % 5.0 < 2.6 { wear } else { 0.0 };
                } else if (across - (LANE + BICYCLE_LANE) * 0.5 - 0.25).abs() < 0.06 {
                    paint = wear * 0.9;
                } else if (across - (PARKING - 1.05)).abs() < 0.05 {
                    paint = wear * 0.7;
                }
            } else if !clear && across > KERB + 1.0 && (z - self.street.crossing).abs() < 0.07 {
                paint = if across % 4.0 < 2.0 { wear } else { 0.0 };
            }
            // Seams, patches and drains.
            let patch = noise.at(x * 0.9 + 90.0, z * 0.55 + 30.0);
            grain -= if patch > 0.68 { 15.0 } else { 0.0 };
            grain -= if (x - 2.9).abs() < 0.03 && z < 30.0 { 16.0 } else { 0.0 };
            grain += 9.0 * (1.0 - ((across - LANE).abs() - 0.75).abs()).max(0.0);
            for (channel, value) in colour.iter_mut().enumerate() {
                *value += (([226.0, 225.0, 216.0][channel]) - *value) * paint;
            }
        } else {
            let beyond = across - KERB;
            let edge = beyond.min(from_crossing - CROSSING);
            if edge < 0.18 {
                colour = self.pavement.map(|c| c * 1.14);
            } else if self.grass && edge < 1.5 && from_crossing > CROSSING + 3.0 {
                let blade = noise.at(x * 50.0, z * 50.0);
                colour = [70.0 + 40.0 * blade, 98.0 + 40.0 * blade, 48.0 + 24.0 * blade];
            } else {
                colour = self.pavement;
                let joint = (x.abs() % 0.9) < 0.05 || (z % 0.9) < 0.05;
                let tile = noise.nearest((x * 1.111) as i64 * 13, (z * 1.111) as i64 * 29) - 0.5;
                grain += if joint { -26.0 * near } else { 20.0 * tile };
            }
        }
        let mut light = self.street.shade([0.0, 1.0, 0.0]);
        if self.in_shadow(x, z) {
            light *= 1.0 - 0.4 * self.street.sunshine;
        }
        let colour = colour.map(|c| ((c + grain) * light).max(0.0));
        Hit { colour, distance: z, glow: 0.0, lamp: self.lamp([x, z], 0.0) }
    }

    /// True if a building shadows a point on the ground.
    fn in_shadow(&self, x: f32, z: f32) -> bool {
        let sun = self.street.sun;
        if sun[0].abs() < 0.05 {
            return false;
        }
        let side = if sun[0] > 0.0 { 1.0 } else { -1.0 };
        let steps = (side * self.street.wall - x) / sun[0];
        let at = z + sun[2] * steps;
        if steps < 0.0 || at < -60.0 || self.street.in_crossing(at) {
            return false;
        }
        let index = ((at / PLOT).floor().max(0.0) as usize).min(PLOTS - 1) + if side > 0.0 { PLOTS } else { 0 };
        sun[1] * steps < self.plots[index].height
    }

    fn lamp(&self, place: [f32; 2], height: f32) -> f32 {
        let reach = |lamp: &[f32; 2]| {
            let (dx, dz) = (place[0] - lamp[0] * 0.8, place[1] - lamp[1]);
            let square = (dx * dx + dz * dz + height * height * 0.3) / 16.0;
            1.0 / (1.0 + square * square)
        };
        (200.0 * self.lamps.iter().map(reach).sum::<f32>()).min(255.0)
    }

    /// The end of the street and the sky over it.
    fn beyond(&self, x: f32, height: f32, right: f32, down: f32) -> Hit {
        let block = (x / 9.0).floor();
        let mut random = Random::keyed(self.street.seed, &[6, (block + 1000.0) as u64]);
        let high = self.skyline * random.range(0.35, 1.3);
        let crown = if random.chance(self.street.green) { self.noise.at(x * 8.0, 3.0) * 3.0 - 1.5 } else { 0.0 };
        if height < high + crown {
            let tone = if crown == 0.0 {
                random.near([150.0, 146.0, 145.0], 28.0)
            } else {
                random.near([84.0, 104.0, 76.0], 14.0)
            };
            let window = crown == 0.0 && height > 1.5 && (height % 3.1) > 1.3 && (x.abs() % 2.6) > 1.4;
            let grain = 1.0 + 0.25 * (self.noise.at(x * 9.0, height * 9.0) - 0.5);
            let colour = tone.map(|c| if window { c * 0.6 } else { c } * grain * self.street.shade([0.0, 0.0, -1.0]));
            let glow = if window && random.chance(0.5) { 80.0 } else { 0.0 };
            return Hit { colour, distance: self.street.end, glow, lamp: 0.0 };
        }
        let up = (-down * 2.2).clamp(0.0, 1.0);
        let cloud = self.noise.at(right * 70.0 + self.drift, down * 170.0 + self.drift);
        let cover = ((cloud - 0.75 + 0.35 * self.clouds) * 4.0).clamp(0.0, 1.0) * self.clouds.min(1.0);
        let colour = [0, 1, 2].map(|i| {
            let clear = self.sky[1][i] + (self.sky[0][i] - self.sky[1][i]) * up;
            let white = 238.0 - 50.0 * (cloud - 0.5) - 20.0 * (1.0 - self.street.sunshine);
            clear + (white - clear) * cover
        });
        Hit { colour, distance: 255.0, glow: 0.0, lamp: 0.0 }
    }
}
