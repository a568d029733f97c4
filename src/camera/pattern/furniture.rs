//! Street furniture without labels: lamp posts, trees, signs, bins, benches, boxes, bollards, advertising columns, traffic
//! lights, parasols, planters.
//!
//! In: a street and a view. Out: [`Piece`]s, each painted once on its own layer, with its distance. They occlude objects,
//! and some resemble a person.

use super::model::{Bounds, Model};
use super::random::{Noise, Random, RandomColour};
use super::raster::{Layer, Paint};
use super::street::{CROSSING, KERB, Street};
use super::view::{Point, View};

/// A painted piece of furniture.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    /// Distance in metres.
    pub(super) distance: f32,
    /// X on the ground.
    pub(super) place: f32,
    /// Appearance by day.
    pub(super) layer: Layer,
}

/// All furniture of a street, unordered.
pub(super) fn furnish(street: &Street, view: &View) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for lamp in street.lamps() {
        let mut model = Model::default();
        lamp_post(&mut model, lamp, street);
        pieces.extend(piece(&mut model, view, lamp, None));
    }
    for index in 0..26u64 {
        let mut random = Random::keyed(street.seed, &[30, index]);
        let side = if index % 2 == 0 { 1.0 } else { -1.0 };
        let z = 5.5 + (index / 2) as f32 * 4.6 + random.range(-1.6, 1.6);
        if !random.chance(0.62) || z > street.end - 4.0 || (z - street.crossing).abs() < CROSSING + 1.2 {
            continue;
        }
        let at_wall = random.chance(0.35);
        let x = if at_wall { street.wall - random.range(0.25, 0.6) } else { KERB + random.range(0.35, 0.7) };
        let place = [side * x, z];
        let mut model = Model::default();
        let foliage = something(&mut model, &mut random, place, street, at_wall);
        pieces.extend(piece(&mut model, view, place, foliage));
    }
    for side in [-1.0, 1.0] {
        let mut random = Random::keyed(street.seed, &[31, (side > 0.0) as u64]);
        let place = [side * (KERB + 0.4), street.crossing - CROSSING - 1.6];
        if random.chance(0.8) {
            let mut model = Model::default();
            traffic_light(&mut model, &mut random, place, street);
            pieces.extend(piece(&mut model, view, place, None));
        }
    }
    pieces
}

fn piece(model: &mut Model, view: &View, place: [f32; 2], foliage: Option<f32>) -> Option<Piece> {
    if model.is_cut() {
        return None;
    }
    let bounds: Bounds = model.bounds(view)?;
    let mut layer = Layer::default();
    model.paint(view, bounds, 1.0, &mut layer);
    if layer.pixels.is_empty() {
        return None;
    }
    if let Some(trunk) = foliage {
        let noise = Noise::table();
        // Foliage is thinned above the trunk, with finer holes at larger distances.
        let [_, low] = view.project([place[0], trunk, place[1]]);
        let cell = 190.0 / view.scale(place[1]).max(1.0);
        let (top, left) = (layer.origin[1] as f32, layer.origin[0] as f32);
        layer.thin(|x, y| {
            if top + y as f32 > low {
                return 1.0;
            }
            let at = noise.at((left + x as f32) * cell + place[0], (top + y as f32) * cell);
            ((at - 0.36) * 9.0).clamp(0.0, 1.0)
        });
    }
    Some(Piece { distance: place[1], place: place[0], layer })
}

fn upright(street: &Street) -> f32 {
    street.shade([0.0, 0.0, -1.0])
}

fn lamp_post(model: &mut Model, [x, z]: [f32; 2], street: &Street) {
    let grey = Paint::flat([86.0, 90.0, 92.0]).lit(upright(street));
    let inwards = -x.signum();
    model.limb([x, 0.0, z], [x, 5.6, z], [0.08, 0.05], grey);
    model.limb([x, 5.6, z], [x + inwards * 1.3, 5.9, z], [0.05, 0.04], grey);
    model.limb(
        [x + inwards * 1.0, 5.85, z],
        [x + inwards * 1.5, 5.9, z],
        [0.09, 0.09],
        Paint::flat([196.0, 196.0, 186.0]),
    );
}

/// A random piece, and the height below which foliage is not thinned.
fn something(model: &mut Model, random: &mut Random, [x, z]: [f32; 2], street: &Street, at_wall: bool) -> Option<f32> {
    let light = upright(street);
    let at = |dx: f32, y: f32| -> Point { [x + dx, y, z] };
    let kind = if !at_wall && random.chance(street.green) { 0 } else { 1 + random.below(11) };
    let colour =
        |random: &mut Random, base: [f32; 3], spread: f32| Paint::shaded(random.near(base, spread), 0.14).lit(light);
    let block = |model: &mut Model, half: f32, low: f32, high: f32, paint: Paint| {
        model.polygon([at(-half, low), at(-half, high), at(half, high), at(half, low)], paint);
    };
    match kind {
        0 => {
            let (trunk, crown) = (random.range(1.9, 2.7), random.range(1.0, 1.7));
            let bark = colour(random, [92.0, 74.0, 58.0], 14.0);
            model.limb(at(0.0, 0.0), at(0.05, trunk + 0.6), [0.15, 0.11], bark);
            let leaf = [random.range(58.0, 104.0), random.range(88.0, 122.0), random.range(38.0, 62.0)];
            for _ in 0..9 {
                let (dx, dy) = (random.range(-0.75, 0.75) * crown, random.range(0.0, 1.5) * crown);
                let radius = crown * random.range(0.4, 0.7);
                let paint = Paint::shaded(random.near(leaf, 18.0), 0.3).lit(light).grain(26.0);
                model.ellipse(at(dx, trunk + 0.4 * crown + dy), [radius, radius * 0.85], paint);
            }
            return Some(trunk);
        }
        1 | 2 => {
            // A traffic sign.
            let high = random.range(2.1, 2.7);
            model.limb(at(0.0, 0.0), at(0.0, high), [0.035, 0.035], colour(random, [128.0, 130.0, 132.0], 8.0));
            let face = random.pick(&[[190.0, 30.0, 34.0], [30.0, 80.0, 170.0], [230.0, 190.0, 40.0]]);
            let front = Paint::flat(random.near(face, 12.0)).lit(light);
            let white = Paint::flat([230.0; 3]).lit(light);
            match random.below(3) {
                0 => {
                    model.ellipse(at(0.0, high), [0.32, 0.32], front);
                    model.ellipse(at(0.0, high), [0.2, 0.2], white);
                }
                1 => {
                    model.polygon([at(-0.36, high - 0.25), at(0.0, high + 0.4), at(0.36, high - 0.25)], front);
                    model.polygon([at(-0.22, high - 0.16), at(0.0, high + 0.22), at(0.22, high - 0.16)], white);
                }
                _ => block(model, 0.28, high - 0.3, high + 0.35, front),
            }
        }
        3 => {
            // A litter bin.
            let paint = colour(random, [70.0, 84.0, 76.0], 40.0);
            model.limb(at(0.0, 0.15), at(0.0, 0.85), [0.22, 0.25], paint);
            model.ellipse(at(0.0, 0.98), [0.25, 0.07], Paint::flat([36.0; 3]));
        }
        4 => {
            // A wheeled bin.
            let paint = colour(random, [60.0, 78.0, 64.0], 50.0);
            model.polygon([at(-0.24, 0.05), at(-0.3, 1.0), at(0.3, 1.0), at(0.24, 0.05)], paint);
            block(model, 0.32, 0.98, 1.08, paint.lit(0.8));
        }
        5 => {
            // A pillar box.
            let paint = colour(random, [180.0, 40.0, 40.0], 60.0);
            model.limb(at(0.0, 0.1), at(0.0, 1.25), [0.22, 0.22], paint);
            model.dome(at(0.0, 1.4), [0.26, 0.14], paint.lit(0.85));
            block(model, 0.12, 1.12, 1.17, Paint::flat([20.0; 3]));
        }
        6 => {
            // Bollards.
            let paint = colour(random, [90.0, 90.0, 92.0], 40.0);
            for dx in [-0.9, 0.0, 0.9] {
                model.limb(at(dx, 0.0), at(dx, 0.85), [0.09, 0.08], paint);
                model.limb(at(dx, 0.68), at(dx, 0.74), [0.085, 0.085], Paint::flat([225.0, 225.0, 220.0]).lit(light));
            }
        }
        7 => {
            // An advertising column with a poster.
            let paint = colour(random, [120.0, 124.0, 118.0], 20.0);
            block(model, 0.6, 0.0, 2.7, paint);
            let poster = colour(random, [150.0, 130.0, 120.0], 100.0);
            block(model, 0.5, 0.6, 2.3, poster);
            let figure = colour(random, [130.0, 110.0, 110.0], 110.0);
            model.ellipse(at(random.range(-0.15, 0.15), 1.75), [0.16, 0.2], figure);
            block(model, 0.3, 0.75, 0.95, figure);
            model.dome(at(0.0, 2.7), [0.66, 0.3], paint.lit(0.8));
        }
        8 => {
            // A switch box.
            let paint = colour(random, [136.0, 142.0, 136.0], 20.0);
            block(model, random.range(0.35, 0.7), 0.05, random.range(1.0, 1.4), paint);
            block(model, 0.01, 0.1, 1.0, paint.lit(0.6));
        }
        9 => {
            // A planter with a shrub.
            block(model, 0.45, 0.0, 0.5, colour(random, [140.0, 130.0, 122.0], 26.0));
            for _ in 0..5 {
                let paint = Paint::shaded(random.near([70.0, 104.0, 52.0], 20.0), 0.3).lit(light).grain(24.0);
                model.ellipse(at(random.range(-0.3, 0.3), random.range(0.6, 1.0)), [0.28, 0.26], paint);
            }
        }
        10 => {
            // A parasol.
            model.limb(at(0.0, 0.0), at(0.0, 2.2), [0.03, 0.03], Paint::flat([190.0; 3]).lit(light));
            let paint = colour(random, [170.0, 90.0, 70.0], 80.0);
            model.polygon([at(-1.3, 2.0), at(0.0, 2.6), at(1.3, 2.0), at(0.0, 1.92)], paint);
            block(model, 0.5, 0.7, 0.76, Paint::flat([200.0, 196.0, 188.0]).lit(light));
            model.limb(at(0.0, 0.0), at(0.0, 0.7), [0.04, 0.04], Paint::flat([80.0; 3]).lit(light));
        }
        _ => {
            // A statue or a signpost with boards.
            let paint = colour(random, [138.0, 136.0, 130.0], 24.0);
            block(model, 0.3, 0.0, 0.7, paint);
            model.limb(at(0.0, 0.75), at(0.0, 2.1), [0.16, 0.1], paint.lit(0.92));
            model.ellipse(at(0.0, 2.25), [0.13, 0.13], paint.lit(0.9));
        }
    }
    None
}

fn traffic_light(model: &mut Model, random: &mut Random, [x, z]: [f32; 2], street: &Street) {
    let dark = Paint::flat([44.0, 48.0, 48.0]).lit(upright(street));
    model.limb([x, 0.0, z], [x, 3.0, z], [0.06, 0.05], dark);
    model.polygon([[x - 0.17, 2.3, z], [x - 0.17, 3.2, z], [x + 0.17, 3.2, z], [x + 0.17, 2.3, z]], dark.lit(0.7));
    let lit = random.below(3);
    for (index, colour) in [[220.0, 40.0, 30.0], [230.0, 170.0, 40.0], [50.0, 200.0, 90.0]].into_iter().enumerate() {
        let paint = Paint::flat(if index == lit { colour } else { colour.map(|c: f32| c * 0.25) });
        model.ellipse([x, 3.03 - 0.28 * index as f32, z], [0.1, 0.1], paint);
    }
}
