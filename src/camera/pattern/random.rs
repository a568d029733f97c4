//! Chance that is the same everywhere: numbers made from a seed and a place, never from a state that frames share.
//!
//! In: a seed and keys. Out: [`Random`], a short stream of numbers, and tileable noise tables. Promises: the same seed
//! and keys give the same numbers on every CPU; no frame depends on which frames were asked for before it.

use std::sync::OnceLock;

/// SplitMix64's output function (Steele, Lea, Flood, 2014): every bit of the input moves every bit of the output.
pub(super) fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A stream of numbers.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    /// The stream that belongs to `seed` and `keys`.
    pub(super) fn new(seed: u64, keys: &[u64]) -> Self {
        Self(keys.iter().fold(mix(seed), |bits, &key| mix(bits ^ key.wrapping_mul(0xd134_2543_de82_ef95))))
    }

    /// The next 64 bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// From 0 up to and without 1, in steps of 2⁻²⁴.
    pub(super) fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// From `low` to `high`.
    pub(super) fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Whether something of this probability happens.
    pub(super) fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    /// 0 to `count - 1`.
    pub(super) fn below(&mut self, count: usize) -> usize {
        (((self.bits() >> 32) * count as u64) >> 32) as usize
    }

    /// One of `choices`, which are not empty.
    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A colour near `colour`: each channel moved by up to `spread`.
    pub(super) fn near(&mut self, colour: [f32; 3], spread: f32) -> [f32; 3] {
        let all = self.range(-spread, spread);
        colour.map(|channel| (channel + all + self.range(-0.4, 0.4) * spread).clamp(4.0, 250.0))
    }
}

/// Rows and columns of a noise table.
const SIDE: usize = 256;

/// Smooth noise that tiles: five octaves summed, 256 × 256, from 0 to 1, mean about ½.
pub(super) struct Noise(Vec<f32>);

impl Noise {
    /// The one table, made when first asked for.
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
            let corner = |x: usize, y: usize| Random::new(77, &[octave, (x % cells) as u64, (y % cells) as u64]).unit();
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
    fn numbers_depend_on_seed_and_keys_and_stay_in_range() {
        assert_eq!(Random::new(1, &[2, 3]).bits(), Random::new(1, &[2, 3]).bits());
        assert_ne!(Random::new(1, &[2, 3]).bits(), Random::new(1, &[3, 2]).bits());
        assert_ne!(Random::new(1, &[2]).bits(), Random::new(2, &[2]).bits());
        let mut random = Random::new(5, &[]);
        let units: Vec<f32> = (0..4000).map(|_| random.unit()).collect();
        assert!(units.iter().all(|unit| (0.0..1.0).contains(unit)));
        let mean = units.iter().sum::<f32>() / 4000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        assert!((0..100).all(|_| random.below(3) < 3));
    }

    #[test]
    fn noise_tiles() {
        let noise = Noise::table();
        assert_eq!(noise.at(3.25, 7.5), noise.at(3.25 + 256.0, 7.5 - 256.0));
        assert_eq!(noise.nearest(-1, 0), noise.nearest(255, 256));
    }
}
