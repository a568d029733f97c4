//! Composition of layers, with visibility counts of objects.
//!
//! In: the picture, a layer, light and fog at its position. Out: the composed picture. Each pixel has an owner: the nearest
//! object that covers at least half of it. The number of pixels that an object owns at the end gives its visible share.

use super::raster::Layer;

/// Owner of a pixel without a labelled object.
pub(super) const NOBODY: u16 = u16::MAX;

/// Light and fog at a position.
#[derive(Clone, Copy)]
pub(super) struct Air {
    /// Light, red, green and blue.
    pub(super) light: [f32; 3],
    /// Share of fog, 0 to 1.
    pub(super) veil: f32,
    /// Colour of the fog.
    pub(super) veil_colour: [f32; 3],
}

/// Colour of the streetlights' light.
pub(super) const LAMP: [f32; 3] = [0.92, 0.76, 0.5];

/// Composes a layer over the picture and updates the owners. Returns the number of pixels of the layer.
pub(super) fn lay(
    data: &mut [u8],
    owners: &mut [u16],
    width: usize,
    layer: &Layer,
    air: Air,
    owner: u16,
    seen: &mut [u32],
) -> u32 {
    let keep = 1.0 - air.veil;
    let light = air.light.map(|light| light * keep);
    let veil = air.veil_colour.map(|colour| colour * air.veil * (1.0 / 255.0));
    let mut pixels = 0;
    for row in 0..layer.height {
        let first = (layer.origin[1] as usize + row) * width + layer.origin[0] as usize;
        let target = &mut data[first * 3..(first + layer.width) * 3];
        let owned = &mut owners[first..first + layer.width];
        let source = &layer.pixels[row * layer.width..][..layer.width];
        for ((target, owned), pixel) in target.chunks_exact_mut(3).zip(owned).zip(source) {
            let coverage = pixel[3];
            if coverage < 2.0 {
                continue;
            }
            let through = 1.0 - coverage * (1.0 / 255.0);
            for channel in 0..3 {
                let value =
                    f32::from(target[channel]) * through + pixel[channel] * light[channel] + veil[channel] * coverage;
                target[channel] = value.min(255.0) as u8;
            }
            if coverage >= 127.5 {
                if let Some(count) = seen.get_mut(usize::from(*owned)) {
                    *count -= 1;
                }
                if let Some(count) = seen.get_mut(usize::from(owner)) {
                    *count += 1;
                }
                *owned = owner;
                pixels += 1;
            }
        }
    }
    pixels
}

/// Removes light where a layer is opaque.
pub(super) fn darken(data: &mut [u8], width: usize, layer: &Layer) {
    for row in 0..layer.height {
        let first = (layer.origin[1] as usize + row) * width + layer.origin[0] as usize;
        let target = &mut data[first * 3..(first + layer.width) * 3];
        for (target, pixel) in target.chunks_exact_mut(3).zip(&layer.pixels[row * layer.width..][..layer.width]) {
            if pixel[3] > 1.0 {
                let through = 256 - pixel[3] as u32;
                for value in target {
                    *value = ((u32::from(*value) * through) >> 8) as u8;
                }
            }
        }
    }
}

/// Adds a round glow.
pub(super) fn glow(data: &mut [u8], [width, height]: [usize; 2], [x, y]: [f32; 2], radius: f32, colour: [f32; 3]) {
    let within = |at: f32, side: usize| at.clamp(0.0, side as f32) as usize;
    for row in within(y - radius, height)..within(y + radius + 1.0, height) {
        for column in within(x - radius, width)..within(x + radius + 1.0, width) {
            let (dx, dy) = (column as f32 + 0.5 - x, row as f32 + 0.5 - y);
            let share = 1.0 - ((dx * dx + dy * dy).sqrt() / radius).min(1.0);
            let at = (row * width + column) * 3;
            for (value, colour) in data[at..at + 3].iter_mut().zip(colour) {
                *value = (f32::from(*value) + colour * share * share * 1.4).min(255.0) as u8;
            }
        }
    }
}

/// The convex hull of points on the ground (Andrew's monotone chain).
pub(super) fn hull(mut points: Vec<[f32; 2]>) -> Vec<[f32; 2]> {
    points.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
    let turn = |o: [f32; 2], a: [f32; 2], b: [f32; 2]| (a[0] - o[0]) * (b[1] - o[1]) - (a[1] - o[1]) * (b[0] - o[0]);
    let mut out: Vec<[f32; 2]> = Vec::with_capacity(points.len() + 1);
    for backwards in [false, true] {
        let start = out.len();
        let mut add = |point: [f32; 2]| {
            while out.len() >= start + 2 && turn(out[out.len() - 2], out[out.len() - 1], point) <= 0.0 {
                out.pop();
            }
            out.push(point);
        };
        if backwards {
            points.iter().rev().for_each(|&p| add(p))
        } else {
            points.iter().for_each(|&p| add(p))
        }
        out.pop();
    }
    out
}
