//! Scene: frames of a street with their ground truth.
//!
//! In: a seed, a size, a weather, a frame's number. Out: the picture and its [`Truth`]s. Frames are [`Scene::RATE`] a
//! second. Each is composed from far to near with a map of the owner of each pixel, from which occlusion is counted.

use super::backdrop::Backdrop;
use super::compose::{Air, LAMP, NOBODY, darken, glow, hull, lay};
use super::furniture::{self, Piece};
use super::model::{Bounds, Model};
use super::person::Stance;
use super::random::Random;
use super::raster::{Layer, Paint};
use super::street::Street;
use super::traffic::{Actor, Appearance, Traffic};
use super::view::View;
use super::weather::Weather;
use super::{Label, Truth, sensor};
use crate::frame::Picture;

/// A seeded street.
pub struct Scene {
    seed: u64,
    street: Street,
    view: View,
    traffic: Traffic,
    backdrop: Backdrop,
    furniture: Vec<Piece>,
    lamps: Vec<[f32; 2]>,
    weather: Weather,
    rate: f64,
    /// Backdrop in the weather of the last frame.
    lit: (Weather, Vec<u8>),
    owners: Vec<u16>,
    layer: Layer,
    scratch: Vec<[f32; 4]>,
    model: Model,
}

/// An object or a piece of furniture to compose.
enum Entity {
    Actor(usize),
    Piece(usize),
}

impl Scene {
    /// Default frames a second; see [`Scene::set_rate`].
    pub const RATE: f64 = 15.0;

    /// Smallest width and height.
    pub const MIN_SIDE: usize = 16;

    /// Largest width and height.
    pub const MAX_SIDE: usize = 8192;

    /// The street of `seed` in `width × height` pixels, by day. Sizes are clamped to [`Scene::MIN_SIDE`] and
    /// [`Scene::MAX_SIDE`].
    pub fn new(seed: u64, width: usize, height: usize) -> Self {
        let within = |side: usize| side.clamp(Self::MIN_SIDE, Self::MAX_SIDE);
        let street = Street::new(seed);
        let view = View::new(&mut Random::keyed(seed, &[50]), within(width), within(height));
        let backdrop = Backdrop::new(&street, &view);
        let furniture = furniture::furnish(&street, &view);
        let traffic = Traffic::new(&street);
        let lamps = street.lamps();
        Self {
            seed,
            street,
            view,
            traffic,
            backdrop,
            furniture,
            lamps,
            weather: Weather::DAY,
            rate: Self::RATE,
            lit: (Weather::DAY, Vec::new()),
            owners: Vec::new(),
            layer: Layer::default(),
            scratch: Vec::new(),
            model: Model::default(),
        }
    }

    /// Sets the weather from the next frame on. Shares are clamped to 0 to 1.
    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather.tamed();
    }

    /// Current weather.
    pub fn weather(&self) -> Weather {
        self.weather
    }

    /// Sets the frames a second, which gives the motion between two frames. Values that are not positive are ignored.
    pub fn set_rate(&mut self, rate: f64) {
        if rate.is_finite() && rate > 0.0 {
            self.rate = rate;
        }
    }

    /// Frame `n` and its ground truth, nearest object first.
    pub fn frame(&mut self, n: u64) -> (Picture, Vec<Truth>) {
        let (width, height) = (self.view.width, self.view.height);
        self.light_backdrop();
        let mut data = self.lit.1.clone();
        self.owners.clear();
        self.owners.resize(width * height, NOBODY);
        let actors = self.traffic.at(n as f64 / self.rate);
        let order = self.order(&actors);
        for entity in &order {
            if let Entity::Actor(index) = entity {
                self.cast_shadow(&mut data, &actors[*index]);
            }
        }
        let mut seen: Vec<u32> = vec![0; actors.len()];
        let mut found: Vec<(usize, Bounds, u32)> = Vec::with_capacity(actors.len());
        for entity in &order {
            match entity {
                Entity::Piece(index) => {
                    let piece = &self.furniture[*index];
                    let air = self.air([piece.place, piece.distance]);
                    lay(&mut data, &mut self.owners, width, &piece.layer, air, NOBODY, &mut seen);
                }
                Entity::Actor(index) => {
                    if let Some((bounds, pixels)) = self.lay_actor(&mut data, &actors[*index], *index as u16, &mut seen)
                    {
                        found.push((*index, bounds, pixels));
                    }
                }
            }
        }
        if self.weather.darkness > 0.2 {
            for &(index, ..) in &found {
                self.shine(&mut data, &actors[index], index as u16);
            }
        }
        let mut truths: Vec<Truth> = found
            .iter()
            .map(|&(index, bounds, pixels)| self.truth(&actors[index], bounds, pixels, seen[index]))
            .collect();
        truths.reverse();
        sensor::rain(&mut data, width, height, self.weather, self.seed, n);
        sensor::cap(&mut data, self.weather);
        sensor::noise(&mut data, width, self.weather, self.seed, n);
        (Picture { width, height, data }, truths)
    }

    /// The backdrop in the current weather, recomputed after a change.
    fn light_backdrop(&mut self) {
        if self.lit.0 == self.weather && !self.lit.1.is_empty() {
            return;
        }
        let weather = self.weather;
        let (ambient, fog) = (weather.ambient(), weather.veil_colour());
        let veils: Vec<f32> = (0..=255u8).map(|z| weather.veil(if z == 255 { 140.0 } else { f32::from(z) })).collect();
        let data = &mut self.lit.1;
        data.clear();
        data.reserve(self.backdrop.colour.len() * 3);
        for (index, colour) in self.backdrop.colour.iter().enumerate() {
            let lamp = f32::from(self.backdrop.lamp[index]) * (weather.darkness / 255.0);
            let glow = f32::from(self.backdrop.glow[index]) * weather.darkness;
            let veil = veils[usize::from(self.backdrop.distance[index])];
            for channel in 0..3 {
                let light = ambient[channel] + lamp * LAMP[channel];
                let bare = f32::from(colour[channel]) * light + glow * LAMP[channel];
                data.push((bare + (fog[channel] - bare) * veil).min(255.0) as u8);
            }
        }
        self.lit.0 = weather;
    }

    /// All layers, from far to near.
    fn order(&self, actors: &[Actor]) -> Vec<Entity> {
        let actors = actors.iter().enumerate().map(|(index, actor)| {
            // The distance of a long crossing object is that of its near side.
            (actor.place[1] - 0.5 * actor.appearance.size()[2], Entity::Actor(index))
        });
        let pieces = self.furniture.iter().enumerate().map(|(index, piece)| (piece.distance, Entity::Piece(index)));
        let mut order: Vec<(f32, Entity)> = actors.chain(pieces).collect();
        order.sort_by(|a, b| b.0.total_cmp(&a.0));
        order.into_iter().map(|(_, entity)| entity).collect()
    }

    /// Light and fog at a point on the ground.
    fn air(&self, place: [f32; 2]) -> Air {
        let weather = self.weather;
        let reach = |lamp: &[f32; 2]| {
            let (dx, dz) = (place[0] - lamp[0] * 0.8, place[1] - lamp[1]);
            let square = (dx * dx + dz * dz + 0.3) / 16.0;
            1.0 / (1.0 + square * square)
        };
        let lamp = if weather.darkness > 0.0 {
            weather.darkness * self.lamps.iter().map(reach).sum::<f32>().min(1.2) * 0.8
        } else {
            0.0
        };
        let ambient = weather.ambient();
        Air {
            light: [0, 1, 2].map(|i| (ambient[i] + lamp * LAMP[i]) * self.street.light[i]),
            veil: weather.veil(place[1]),
            veil_colour: weather.veil_colour(),
        }
    }

    fn cast_shadow(&mut self, data: &mut [u8], actor: &Actor) {
        let [length, height, width] = actor.appearance.size();
        let [x, z] = actor.place;
        let (along, aside) = (actor.heading, [actor.heading[1], -actor.heading[0]]);
        let corner = |l: f32, w: f32, grown: f32| {
            let (l, w) = (l * length * 0.5 * grown, w * width * 0.5 * grown);
            [x + along[0] * l + aside[0] * w, z + along[1] * l + aside[1] * w]
        };
        let corners = |grown: f32| {
            [corner(-1.0, -1.0, grown), corner(-1.0, 1.0, grown), corner(1.0, 1.0, grown), corner(1.0, -1.0, grown)]
        };
        let clear = (1.0 - self.weather.rain) * (1.0 - self.weather.fog) * (1.0 - self.weather.darkness);
        let sun = self.street.sun;
        let reach = [-sun[0] / sun[1] * height * 0.9, -sun[2] / sun[1] * height * 0.9];
        let mut cast: Vec<[f32; 2]> = corners(0.9).to_vec();
        cast.extend(corners(0.75).map(|[x, z]| [x + reach[0], z + reach[1]]));
        let shade = Paint::flat([0.0; 3]).grain(0.0);
        for (points, alpha) in [
            (hull(cast), 0.42 * self.street.sunshine * clear),
            (corners(1.12).to_vec(), 0.3),
            (corners(0.96).to_vec(), 0.3),
        ] {
            if alpha < 0.03 {
                continue;
            }
            self.model.clear();
            self.model.polygon(points.iter().map(|&[x, z]| [x, 0.0, z]), shade.alpha(alpha));
            let Some(bounds) = self.model.bounds(&self.view) else { continue };
            self.model.paint(&self.view, bounds, 0.0, &mut self.layer);
            darken(data, self.view.width, &self.layer);
        }
    }

    /// Paints an object and composes its layer. Returns the box and the pixels of the silhouette.
    fn lay_actor(&mut self, data: &mut [u8], actor: &Actor, owner: u16, seen: &mut [u32]) -> Option<(Bounds, u32)> {
        self.model.clear();
        let weather = self.weather;
        let light = 0.62 + 0.38 * self.street.shade([0.0, 0.0, -1.0]);
        match &actor.appearance {
            Appearance::Vehicle(vehicle) => {
                vehicle.build(&mut self.model, &self.street, &self.view, actor.place, actor.heading, weather.darkness)
            }
            Appearance::TwoWheeler(wheels) => {
                wheels.build(&mut self.model, actor.place, actor.heading, actor.phase, light, weather.darkness)
            }
            Appearance::Person(person) => {
                let pace = if actor.speed > 0.0 { 1.0 } else { 0.12 };
                let stance = Stance {
                    place: actor.place,
                    heading: actor.heading,
                    phase: actor.phase,
                    pace,
                    light,
                    raining: weather.rain > 0.3,
                };
                person.build(&mut self.model, &stance);
            }
        }
        let bounds = self.model.bounds(&self.view)?;
        // Motion along the rows during the exposure.
        let shutter = (1.0 + 1.6 * weather.darkness + 0.4 * weather.rain) / 75.0;
        let step = actor.speed * shutter;
        let [x, z] = actor.place;
        let ground = |x: f32, z: f32| self.view.project([x, 0.0, z])[0];
        let smear = ground(x + actor.heading[0] * step, z + actor.heading[1] * step) - ground(x, z);
        self.model.paint(&self.view, bounds, smear.abs().min(24.0), &mut self.layer);
        if self.layer.pixels.is_empty() {
            return None;
        }
        self.layer.smear(smear, &mut self.scratch);
        let air = self.air(actor.place);
        let pixels = lay(data, &mut self.owners, self.view.width, &self.layer, air, owner, seen);
        (pixels > 0).then_some((bounds, pixels))
    }

    /// Lamps of an object at night, where they are visible.
    fn shine(&self, data: &mut [u8], actor: &Actor, owner: u16) {
        let [length, height, width] = actor.appearance.size();
        let coming = actor.heading[1] < -0.5;
        if !coming && actor.heading[1] < 0.5 {
            return;
        }
        let (lamps, up, half): (&[f32], f32, f32) = match actor.appearance.label() {
            Label::Person => return,
            Label::TwoWheeler => (&[0.0], if coming { 0.88 } else { 0.62 }, 0.0),
            Label::Vehicle => (&[-1.0, 1.0], 0.42 * height.min(2.0), width * 0.4),
        };
        let front = length * 0.5 + 0.1;
        let (colour, size) = if coming { ([255.0, 246.0, 214.0], 0.75) } else { ([220.0, 30.0, 20.0], 0.35) };
        let size = if half == 0.0 { size * 0.55 } else { size };
        let z = actor.place[1] - front;
        if z < 2.0 {
            return;
        }
        let strength = self.weather.darkness * (1.0 - self.weather.veil(z) * 0.6);
        for lamp in lamps {
            let [x, y] = self.view.project([actor.place[0] + lamp * half, up, z]);
            let (width, height) = (self.view.width, self.view.height);
            if !(0.0..width as f32).contains(&x)
                || !(0.0..height as f32).contains(&y)
                || self.owners[y as usize * width + x as usize] != owner
            {
                continue;
            }
            glow(data, [width, height], [x, y], (size * self.view.scale(z)).max(1.6), colour.map(|c| c * strength));
        }
    }

    fn truth(&self, actor: &Actor, bounds: Bounds, pixels: u32, seen: u32) -> Truth {
        let (columns, rows) = (self.view.width as f32, self.view.height as f32);
        let bbox = [
            bounds[0].clamp(0.0, columns),
            bounds[1].clamp(0.0, rows),
            bounds[2].clamp(0.0, columns),
            bounds[3].clamp(0.0, rows),
        ];
        let area = |b: Bounds| (b[2] - b[0]) * (b[3] - b[1]);
        let truncated = (1.0 - area(bbox) / area(bounds).max(1e-6)).clamp(0.0, 1.0);
        let occluded = (1.0 - seen as f32 / pixels.max(1) as f32).clamp(0.0, 1.0);
        let visible = (1.0 - occluded) * (1.0 - truncated);
        Truth {
            id: actor.id,
            label: actor.appearance.label(),
            bbox,
            visible,
            occluded,
            truncated,
            distance: actor.place[1],
        }
    }
}
