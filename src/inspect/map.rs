//! Maps: one number a pixel of an activation, resized and averaged.
//!
//! A step's channels become one by their signed maximum. Maps of several sizes are resized to the largest by the
//! bicubic rule that OpenCV and PyTorch use (a = −0.75, half-pixel centres). What the padding shows is cut off.

use crate::detector::tap::{Activation, Values};

/// The free number of the cubic kernel.
const A: f64 = -0.75;

/// Numbers in rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Map {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `height × width` numbers, row by row.
    pub values: Vec<f32>,
}

impl Map {
    /// A map of zeros.
    pub fn zeros(height: usize, width: usize) -> Self {
        Self { height, width, values: vec![0.0; height * width] }
    }

    /// The signed maximum over the channels of the part of `activation` that shows the picture.
    pub fn project(activation: &Activation<'_>) -> Self {
        let shape = activation.shape;
        let (height, width) = (activation.valid_height.min(shape.height), activation.valid_width.min(shape.width));
        let mut values = Vec::with_capacity(height * width);
        for y in 0..height {
            let row = y * shape.width * shape.channels..(y * shape.width + width) * shape.channels;
            match activation.values {
                Values::F32(all) => {
                    let pixels = all[row].chunks_exact(shape.channels.max(1));
                    values.extend(pixels.map(|pixel| pixel.iter().copied().fold(f32::NEG_INFINITY, f32::max)));
                }
                Values::U8 { data, scale, zero_point } => {
                    let pixels = data[row].chunks_exact(shape.channels.max(1));
                    let real = |q: u8| (i32::from(q) - i32::from(zero_point)) as f32 * scale;
                    values.extend(pixels.map(|pixel| real(pixel.iter().copied().max().unwrap_or(zero_point))));
                }
            }
        }
        Self { height, width, values }
    }

    /// A map of the same size, each number made of this one's and `other`'s; empty if the sizes differ.
    pub fn zip(&self, other: &Self, of: impl Fn(f32, f32) -> f32) -> Self {
        if (self.height, self.width) != (other.height, other.width) {
            return Self::default();
        }
        let values = self.values.iter().zip(&other.values).map(|(&a, &b)| of(a, b)).collect();
        Self { values, ..*self }
    }

    /// The map at another size, bicubic.
    pub fn resized(&self, height: usize, width: usize) -> Self {
        if (height, width) == (self.height, self.width) || self.values.is_empty() {
            return self.clone();
        }
        let (rows, columns) = (taps(self.height, height), taps(self.width, width));
        let mut wide = Vec::with_capacity(self.height * width);
        for row in self.values.chunks_exact(self.width) {
            wide.extend(columns.iter().map(|tap| {
                tap.iter().map(|&(at, weight)| f64::from(row[at]) * weight).sum::<f64>() as f32
            }));
        }
        let mut values = vec![0.0f32; height * width];
        for (out, tap) in values.chunks_exact_mut(width).zip(&rows) {
            for (x, out) in out.iter_mut().enumerate() {
                *out = tap.iter().map(|&(at, weight)| f64::from(wide[at * width + x]) * weight).sum::<f64>() as f32;
            }
        }
        Self { height, width, values }
    }

    /// The values below which `shares` of the numbers lie.
    pub fn quantiles<const N: usize>(maps: &[&Self], shares: [f64; N]) -> [f64; N] {
        let mut all: Vec<f32> = maps.iter().flat_map(|map| &map.values).copied().filter(|v| v.is_finite()).collect();
        all.sort_unstable_by(f32::total_cmp);
        let last = all.len().saturating_sub(1);
        shares.map(|share| all.get((share * last as f64).round() as usize).map_or(0.0, |&value| f64::from(value)))
    }
}

/// For each of `to` samples, the four of `from` it is made of and their weights; the border repeats.
fn taps(from: usize, to: usize) -> Vec<[(usize, f64); 4]> {
    let scale = from as f64 / to as f64;
    let near = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let last = from as i64 - 1;
    let of_sample = |index: usize| {
        let place = (index as f64 + 0.5) * scale - 0.5;
        let (floor, t) = (place.floor() as i64, place - place.floor());
        let weights = [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)];
        std::array::from_fn(|tap| ((floor - 1 + tap as i64).clamp(0, last) as usize, weights[tap]))
    };
    (0..to).map(of_sample).collect()
}

/// The mean of maps, all resized to one size.
#[derive(Debug, Clone, Default)]
pub struct MeanMap {
    sum: Map,
    count: f32,
}

impl MeanMap {
    /// A mean at this size, of nothing yet.
    pub fn new(height: usize, width: usize) -> Self {
        Self { sum: Map::zeros(height, width), count: 0.0 }
    }

    /// Adds a map; one with something that is not a number is left out.
    pub fn add(&mut self, map: &Map) {
        if map.values.is_empty() || map.values.iter().any(|value| !value.is_finite()) {
            return;
        }
        let resized = map.resized(self.sum.height, self.sum.width);
        self.sum.values.iter_mut().zip(&resized.values).for_each(|(sum, value)| *sum += value);
        self.count += 1.0;
    }

    /// The mean; `None` of nothing.
    pub fn mean(&self) -> Option<Map> {
        (self.count > 0.0).then(|| {
            let values = self.sum.values.iter().map(|sum| sum / self.count).collect();
            Map { values, ..self.sum }
        })
    }
}

/// Relative error as the study defines it: 0 where both are 0, 1 where only the reference is.
pub fn relative(reference: f32, other: f32) -> f32 {
    match (reference == 0.0, other == 0.0) {
        (true, true) => 0.0,
        (true, false) => 1.0,
        _ => ((other - reference) / reference).abs(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Shape;

    #[test]
    fn channels_become_their_signed_maximum_and_padding_goes() {
        let values = [-3.0, -1.0, 9.0, 9.0, 2.0, -5.0, 9.0, 9.0];
        let shape = Shape::new(2, 2, 2);
        let activation = Activation { shape, valid_height: 2, valid_width: 1, values: Values::F32(&values) };
        assert_eq!(Map::project(&activation), Map { height: 2, width: 1, values: vec![-1.0, 2.0] });
        let data = [7, 9, 0, 0, 12, 3, 0, 0];
        let values = Values::U8 { data: &data, scale: 0.5, zero_point: 10 };
        let activation = Activation { shape, valid_height: 2, valid_width: 1, values };
        assert_eq!(Map::project(&activation).values, [-0.5, 1.0]);
    }

    #[test]
    fn resizing_is_the_cubic_of_pytorch() {
        // torch.nn.functional.interpolate(torch.tensor([[[0., 1., 4., 9.]]]).reshape(1, 1, 1, 4), (1, 8), mode="bicubic")
        let map = Map { height: 1, width: 4, values: vec![0.0, 1.0, 4.0, 9.0] };
        let found = map.resized(1, 8).values;
        let expected = [-0.2109375, 0.140625, 0.2460938, 1.4414062, 2.8984375, 5.3632812, 7.6171875, 9.5273438];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-4, "{found} {expected}");
        }
        assert_eq!(Map::zeros(2, 2).resized(4, 4), Map::zeros(4, 4));
    }

    #[test]
    fn zeros_have_their_own_rule() {
        assert_eq!((relative(0.0, 0.0), relative(0.0, 2.0), relative(-2.0, -1.0)), (0.0, 1.0, 0.5));
    }

    #[test]
    fn a_mean_takes_maps_of_any_size() {
        let mut mean = MeanMap::new(2, 2);
        assert!(mean.mean().is_none());
        mean.add(&Map { height: 1, width: 1, values: vec![3.0] });
        mean.add(&Map { height: 2, width: 2, values: vec![1.0; 4] });
        mean.add(&Map { height: 1, width: 1, values: vec![f32::NAN] });
        assert_eq!(mean.mean().unwrap().values, [2.0; 4]);
    }
}
