//! Noise and colours of the synthetic street, drawn from a seed and keys, never from a state that frames share.
//!
//! Promises: the same seed and keys give the same numbers on every CPU; no frame depends on which frames were requested
//! before it.

use std::sync::OnceLock;

pub(super) use crate::random::Random;

/// Draws colours.
pub(super) trait RandomColour {
    /// A colour near `colour`: each channel moved by up to `spread`.
    fn near(&mut self, colour: [f32; 3], spread: f32) -> [f32; 3];
}

impl RandomColour for Random {
    fn near(&mut self, colour: [f32; 3], spread: f32) -> [f32; 3] {
        let all = self.range(-spread, spread);
        colour.map(|channel| (channel + all + self.range(-0.4, 0.4) * spread).clamp(4.0, 250.0))
    }
}

/// Rows and columns of a noise table.
const SIDE: usize = 256;

/// Smooth noise that tiles: five octaves summed, 256 × 256, from 0 to 1, mean about ½.
pub(super) struct Noise(Vec<f32>);

impl Noise {
    /// The shared table, computed at first use.
    pub(super) fn table() -> &'static Self {
        static TABLE: OnceLock<Noise> = OnceLock::new();
        TABLE.get_or_init(Self::make)
    }

    fn make() -> Self {
        let mut sum = vec![0f32; SIDE * SIDE];
        let mut weight = 0.5f32;
        for octave in 0..5u64 {
            let cells = 8usize << octave;
            let step = SIDE / cells;
            let corner =
                |x: usize, y: usize| Random::keyed(77, &[octave, (x % cells) as u64, (y % cells) as u64]).unit();
            let lattice: Vec<f32> = (0..cells * cells).map(|at| corner(at % cells, at / cells)).collect();
            let value = |x: usize, y: usize| lattice[(y % cells) * cells + x % cells];
            for y in 0..SIDE {
                for x in 0..SIDE {
                    let ease = |offset: usize| {
                        let t = offset as f32 / step as f32;
                        t * t * (3.0 - 2.0 * t)
                    };
                    let (i, j, s, t) = (x / step, y / step, ease(x % step), ease(y % step));
                    let top = value(i, j) * (1.0 - s) + value(i + 1, j) * s;
                    let bottom = value(i, j + 1) * (1.0 - s) + value(i + 1, j + 1) * s;
                    sum[y * SIDE + x] += weight * (top * (1.0 - t) + bottom * t);
                }
            }
            weight *= 0.5;
        }
        let (low, high) = sum.iter().fold((f32::MAX, f32::MIN), |(low, high), &v| (low.min(v), high.max(v)));
        for value in &mut sum {
            *value = (*value - low) / (high - low).max(1e-6);
        }
        Self(sum)
    }

    /// The noise at (x, y), in cells of the table, from 0 to 1; interpolated.
    pub(super) fn at(&self, x: f32, y: f32) -> f32 {
        let (fx, fy) = (x.floor(), y.floor());
        let (s, t) = (x - fx, y - fy);
        let wrap = |v: f32| (v as i64 & (SIDE as i64 - 1)) as usize;
        let (x0, y0) = (wrap(fx), wrap(fy));
        let (x1, y1) = ((x0 + 1) % SIDE, (y0 + 1) % SIDE);
        let value = |x: usize, y: usize| self.0[y * SIDE + x];
        let top = value(x0, y0) * (1.0 - s) + value(x1, y0) * s;
        let bottom = value(x0, y1) * (1.0 - s) + value(x1, y1) * s;
        top * (1.0 - t) + bottom * t
    }

    /// The noise of the nearest cell.
    pub(super) fn nearest(&self, x: i64, y: i64) -> f32 {
        let mask = SIDE as i64 - 1;
        self.0[((y & mask) * SIDE as i64 + (x & mask)) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_tiles() {
        let noise = Noise::table();
        assert_eq!(noise.at(3.25, 7.5), noise.at(3.25 + 256.0, 7.5 - 256.0));
        assert_eq!(noise.nearest(-1, 0), noise.nearest(255, 256));
    }
}
