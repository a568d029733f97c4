//! Maps of one value a pixel, made from activations or their errors, resized and averaged.
//!
//! The channels of a step are reduced by their signed maximum; padding is cut off. Maps of several sizes are resized to
//! the largest by bicubic interpolation as in OpenCV and PyTorch (a = −0.75, half-pixel centres).

use crate::detector::tap::{Activation, Values};
use crate::quantile;

/// Parameter a of the cubic convolution kernel (Keys, 1981).
const A: f64 = -0.75;

/// Interpolation of a resized map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Interpolation {
    /// Bicubic, which overshoots a little: for activations.
    #[default]
    Cubic,
    /// Bicubic, clamped to the two nearest values in each direction: for errors, which are never negative, and where
    /// overshoot would draw rings around large values.
    ClampedCubic,
}

/// A map of one value a pixel.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScalarMap {
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// `height × width` values, row by row.
    pub values: Vec<f32>,
}

impl ScalarMap {
    /// True if both maps have the same size.
    pub fn is_of_size(&self, other: &Self) -> bool {
        (self.height, self.width) == (other.height, other.width)
    }

    /// A map of zeros.
    pub fn zeros(height: usize, width: usize) -> Self {
        Self { height, width, values: vec![0.0; height * width] }
    }

    /// The signed maximum over the channels of `activation`, without padding.
    pub fn project(activation: &Activation<'_>) -> Self {
        let shape = activation.shape;
        let (height, width) = (activation.valid_height.min(shape.height), activation.valid_width.min(shape.width));
        let mut values = Vec::with_capacity(height * width);
        for y in 0..height {
            let row = y * shape.width * shape.channels..(y * shape.width + width) * shape.channels;
            match activation.values {
                Values::F32(all) => {
                    let pixels = all[row].chunks_exact(shape.channels.max(1));
                    values.extend(pixels.map(max_channel));
                }
                Values::U8 { data, scale, zero_point } => {
                    let pixels = data[row].chunks_exact(shape.channels.max(1));
                    let real = |q: u8| (i32::from(q) - i32::from(zero_point)) as f32 * scale;
                    values.extend(pixels.map(|pixel| real(pixel.iter().copied().max().unwrap_or(zero_point))));
                }
                all @ Values::U16 { .. } => {
                    let pixels = row.step_by(shape.channels.max(1));
                    values.extend(pixels.map(|at| {
                        let most = (at..at + shape.channels).map(|index| all.real(index)).reduce(f32::max);
                        most.unwrap_or(0.0)
                    }));
                }
            }
        }
        Self { height, width, values }
    }

    /// The map resized by `interpolation`.
    pub fn resized(&self, height: usize, width: usize, interpolation: Interpolation) -> Self {
        if (height, width) == (self.height, self.width) || self.values.is_empty() {
            return self.clone();
        }
        let (rows, columns) = (cubic_taps(self.height, height), cubic_taps(self.width, width));
        let mut wide = Vec::with_capacity(self.height * width);
        for row in self.values.chunks_exact(self.width) {
            wide.extend(columns.iter().map(|tap| interpolated(tap, interpolation, |at| row[at])));
        }
        let mut values = vec![0.0f32; height * width];
        for (out, tap) in values.chunks_exact_mut(width).zip(&rows) {
            for (x, out) in out.iter_mut().enumerate() {
                *out = interpolated(tap, interpolation, |at| wide[at * width + x]);
            }
        }
        Self { height, width, values }
    }

    /// Each value squared.
    #[must_use]
    pub fn squared(mut self) -> Self {
        self.values.iter_mut().for_each(|value| *value *= *value);
        self
    }

    /// The decimal logarithm of each value, after raising it to at least `least`.
    #[must_use]
    pub fn log10(mut self, least: f32) -> Self {
        self.values.iter_mut().for_each(|value| *value = value.max(least).log10());
        self
    }

    /// The quantiles `shares` of all finite values of `maps`, by nearest rank.
    pub fn quantiles<const N: usize>(maps: &[&Self], shares: [f64; N]) -> [f64; N] {
        let mut all: Vec<f32> = maps.iter().flat_map(|map| &map.values).copied().filter(|v| v.is_finite()).collect();
        all.sort_unstable_by(f32::total_cmp);
        shares.map(|share| quantile::nearest(&all, share).map_or(0.0, f64::from))
    }
}

/// One source sample with its weight.
#[derive(Debug, Clone, Copy)]
struct CubicTap {
    index: usize,
    weight: f64,
}

/// For each of `to` samples, the four of `from` that it is computed from; the border is repeated.
fn cubic_taps(from: usize, to: usize) -> Vec<[CubicTap; 4]> {
    let scale = from as f64 / to as f64;
    let near = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let last = from as i64 - 1;
    let of_sample = |index: usize| {
        let position = (index as f64 + 0.5) * scale - 0.5;
        let (floor, t) = (position.floor() as i64, position - position.floor());
        let weights = [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)];
        std::array::from_fn(|tap| CubicTap {
            index: (floor - 1 + tap as i64).clamp(0, last) as usize,
            weight: weights[tap],
        })
    };
    (0..to).map(of_sample).collect()
}

/// The weighted sum of the samples of `taps`.
fn interpolated(taps: &[CubicTap; 4], interpolation: Interpolation, sample: impl Fn(usize) -> f32) -> f32 {
    let sum = taps.iter().map(|tap| f64::from(sample(tap.index)) * tap.weight).sum::<f64>() as f32;
    match interpolation {
        Interpolation::Cubic => sum,
        Interpolation::ClampedCubic => {
            let (a, b) = (sample(taps[1].index), sample(taps[2].index));
            sum.max(a.min(b)).min(a.max(b))
        }
    }
}

/// The largest of a pixel's channels, in lanes that the compiler vectorizes.
fn max_channel(pixel: &[f32]) -> f32 {
    const LANES: usize = 16;
    let more = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = pixel.chunks_exact(LANES);
    let rest = chunks.remainder().iter().copied().fold(f32::NEG_INFINITY, more);
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, &value)| *lane = more(*lane, value));
    }
    lanes.into_iter().fold(rest, more)
}

/// Error maps of a step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ErrorMaps {
    /// |q − f| by element, then the largest over the channels, in units of the activation.
    pub absolute: ScalarMap,
    /// ‖q − f‖ / ‖f‖ over the channels of a pixel, as in [`relative`]. By element and channel the largest ratio is
    /// that of whichever channel is nearest to 0, which is noise.
    pub relative: ScalarMap,
}

impl ErrorMaps {
    /// The errors of `other`; empty if the shapes differ or the reference is not f32.
    pub fn project(reference: &Activation<'_>, other: &Activation<'_>) -> Self {
        let shape = reference.shape;
        let (Values::F32(f), true) = (reference.values, other.shape == shape) else { return Self::default() };
        let (height, width) = (reference.valid_height.min(shape.height), reference.valid_width.min(shape.width));
        let mut maps = Self { absolute: ScalarMap::zeros(height, width), relative: ScalarMap::zeros(height, width) };
        for y in 0..height {
            for x in 0..width {
                let pixel = (y * shape.width + x) * shape.channels..(y * shape.width + x + 1) * shape.channels;
                let (mut most, mut noise, mut signal) = (0.0f32, 0.0f32, 0.0f32);
                let mut see = |f: f32, q: f32| {
                    let error = (q - f).abs();
                    most = most.max(error);
                    noise += error * error;
                    signal += f * f;
                };
                match other.values {
                    Values::F32(q) => f[pixel.clone()].iter().zip(&q[pixel]).for_each(|(&f, &q)| see(f, q)),
                    Values::U8 { data, scale, zero_point } => {
                        let real = |q: u8| (i32::from(q) - i32::from(zero_point)) as f32 * scale;
                        f[pixel.clone()].iter().zip(&data[pixel]).for_each(|(&f, &q)| see(f, real(q)));
                    }
                    values @ Values::U16 { .. } => pixel.for_each(|index| see(f[index], values.real(index))),
                }
                let ratio = match (signal > 0.0, noise > 0.0) {
                    (false, has_noise) => f32::from(u8::from(has_noise)),
                    _ => (noise / signal).sqrt(),
                };
                (maps.absolute.values[y * width + x], maps.relative.values[y * width + x]) = (most, ratio);
            }
        }
        maps
    }
}

/// Sum of the maps of one size.
#[derive(Debug, Clone)]
struct SizeSum {
    sum: ScalarMap,
    count: usize,
}

/// Mean of the maps of one size.
#[derive(Debug, Clone)]
pub struct LevelMean {
    /// The mean.
    pub map: ScalarMap,
    /// Number of maps.
    pub count: usize,
}

/// Mean of maps of any size. Maps of equal size are summed first, so each size is resized once.
#[derive(Debug, Clone, Default)]
pub struct MeanMap {
    sums: Vec<SizeSum>,
    interpolation: Interpolation,
}

impl MeanMap {
    /// An empty mean of maps that are resized by `interpolation`.
    pub fn new(interpolation: Interpolation) -> Self {
        Self { sums: Vec::new(), interpolation }
    }

    /// Adds a map; one with a value that is not finite is skipped.
    pub fn add(&mut self, map: &ScalarMap) {
        if map.values.is_empty() || map.values.iter().any(|value| !value.is_finite()) {
            return;
        }
        match self.sums.iter_mut().find(|level| level.sum.is_of_size(map)) {
            Some(SizeSum { sum, count }) => {
                sum.values.iter_mut().zip(&map.values).for_each(|(sum, value)| *sum += value);
                *count += 1;
            }
            None => self.sums.push(SizeSum { sum: map.clone(), count: 1 }),
        }
    }

    /// The mean at the size of the largest map; `None` if empty.
    pub fn mean(&self) -> Option<ScalarMap> {
        let largest = self.sums.iter().map(|level| &level.sum).max_by_key(|sum| sum.values.len())?;
        let mut mean = ScalarMap::zeros(largest.height, largest.width);
        for SizeSum { sum, .. } in &self.sums {
            let resized = sum.resized(mean.height, mean.width, self.interpolation);
            mean.values.iter_mut().zip(&resized.values).for_each(|(mean, value)| *mean += value);
        }
        let count = self.sums.iter().map(|level| level.count).sum::<usize>() as f32;
        mean.values.iter_mut().for_each(|value| *value /= count);
        Some(mean)
    }

    /// The mean of the maps of each size, the largest size first.
    pub fn levels(&self) -> Vec<LevelMean> {
        let mean = |SizeSum { sum, count }: &SizeSum| {
            let values = sum.values.iter().map(|value| value / *count as f32).collect();
            LevelMean { map: ScalarMap { values, ..*sum }, count: *count }
        };
        let mut levels: Vec<LevelMean> = self.sums.iter().map(mean).collect();
        levels.sort_by_key(|level| std::cmp::Reverse(level.map.values.len()));
        levels
    }
}

/// Relative error |q − f| / |f|; 0 if both are 0, 1 if only the reference is 0.
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
    fn channels_are_reduced_to_their_maximum_without_padding() {
        let values = [-3.0, -1.0, 9.0, 9.0, 2.0, -5.0, 9.0, 9.0];
        let shape = Shape::new(2, 2, 2);
        let activation = Activation { shape, valid_height: 2, valid_width: 1, values: Values::F32(&values) };
        assert_eq!(ScalarMap::project(&activation), ScalarMap { height: 2, width: 1, values: vec![-1.0, 2.0] });
        let data = [7, 9, 0, 0, 12, 3, 0, 0];
        let values = Values::U8 { data: &data, scale: 0.5, zero_point: 10 };
        let activation = Activation { shape, valid_height: 2, valid_width: 1, values };
        assert_eq!(ScalarMap::project(&activation).values, [-0.5, 1.0]);
    }

    #[test]
    fn resizing_is_opencv_s_cubic() {
        // cv2.resize([[0, 1, 4, 9]], (8, 1), interpolation=cv2.INTER_CUBIC), and [[0, 1, 4], [9, 2, 5]] to (4, 3).
        let near = |found: &[f32], expected: &[f32]| {
            assert_eq!(found.len(), expected.len());
            found.iter().zip(expected).for_each(|(a, b)| assert!((a - b).abs() < 1e-4, "{a} {b}"));
        };
        let map = ScalarMap { height: 1, width: 4, values: vec![0.0, 1.0, 4.0, 9.0] };
        let expected =
            [-0.105_468_75, 0.121_093_75, 0.457_031_25, 1.609_375, 2.828_125, 5.449_219, 7.972_656, 9.527_344];
        near(&map.resized(1, 8, Interpolation::Cubic).values, &expected);
        let map = ScalarMap { height: 2, width: 3, values: vec![0.0, 1.0, 4.0, 9.0, 2.0, 5.0] };
        let expected = [
            -0.902_872, -0.026_991, 2.180_406, 4.128_527, 4.715_332, 2.251_465, 2.251_465, 4.715_332, 10.333_537,
            4.529_921, 2.322_524, 5.302_137,
        ];
        near(&map.resized(3, 4, Interpolation::Cubic).values, &expected);
        assert_eq!(ScalarMap::zeros(2, 2).resized(4, 4, Interpolation::Cubic), ScalarMap::zeros(4, 4));
    }

    #[test]
    fn clamped_errors_stay_between_their_neighbours() {
        let mut map = ScalarMap::zeros(5, 5);
        map.values[12] = 8.0;
        let cubic = map.resized(20, 20, Interpolation::Cubic).values;
        let clamped = map.resized(20, 20, Interpolation::ClampedCubic).values;
        assert!(cubic.iter().any(|&value| value < -0.1));
        assert!(clamped.iter().all(|value| (0.0..=8.0).contains(value)));
        assert!(clamped.iter().zip(&cubic).any(|(a, b)| a == b && *a > 1.0));
        let mut mean = MeanMap::new(Interpolation::ClampedCubic);
        mean.add(&map);
        mean.add(&ScalarMap::zeros(20, 20));
        assert!(mean.mean().unwrap().values.iter().all(|value| *value >= 0.0));
    }

    #[test]
    fn relative_errors_of_zeros_are_defined() {
        assert_eq!((relative(0.0, 0.0), relative(0.0, 2.0), relative(-2.0, -1.0)), (0.0, 1.0, 0.5));
    }

    #[test]
    fn errors_are_computed_by_element_before_channels_are_reduced() {
        let shape = Shape::new(1, 2, 2);
        let f = Activation { shape, valid_height: 1, valid_width: 1, values: Values::F32(&[4.0, 0.0, 9.0, 9.0]) };
        let q = Activation { values: Values::U8 { data: &[13, 9, 0, 0], scale: 1.0, zero_point: 9 }, ..f };
        let maps = ErrorMaps::project(&f, &q);
        assert_eq!((maps.absolute.values, maps.relative.values), (vec![0.0], vec![0.0]));
        let q = Activation { values: Values::F32(&[3.0, 0.5, 0.0, 0.0]), ..f };
        let maps = ErrorMaps::project(&f, &q);
        // The channel that is 0 in fp32 does not make the whole pixel wrong.
        let ratio = 1.25f32.sqrt() / 4.0;
        assert_eq!((maps.absolute.clone().squared().values, maps.relative.values), (vec![1.0], vec![ratio]));
        let zero = Activation { values: Values::F32(&[0.0; 4]), ..f };
        assert_eq!(ErrorMaps::project(&zero, &q).relative.values, [1.0]);
        assert_eq!(ErrorMaps::project(&zero, &zero).relative.values, [0.0]);
        let other = Activation { shape: Shape::new(1, 1, 2), ..q };
        assert_eq!(ErrorMaps::project(&f, &other), ErrorMaps::default());
    }

    #[test]
    fn max_channel_of_any_number_of_channels() {
        for count in [1, 15, 16, 17, 40] {
            let values: Vec<f32> = (0..count).map(|at| -(at as f32) - 1.0).collect();
            assert_eq!(max_channel(&values), -1.0);
            let values: Vec<f32> = (0..count).map(|at| at as f32).collect();
            assert_eq!(max_channel(&values), count as f32 - 1.0);
        }
    }

    #[test]
    fn a_mean_accepts_maps_of_any_size() {
        let mut mean = MeanMap::default();
        assert!(mean.mean().is_none());
        mean.add(&ScalarMap { height: 1, width: 1, values: vec![3.0] });
        mean.add(&ScalarMap { height: 2, width: 2, values: vec![1.0; 4] });
        mean.add(&ScalarMap { height: 2, width: 2, values: vec![2.0; 4] });
        mean.add(&ScalarMap { height: 1, width: 1, values: vec![f32::NAN] });
        assert_eq!(mean.mean().unwrap().values, [2.0; 4]);
        let levels = mean.levels();
        assert_eq!((levels[0].map.values.as_slice(), levels[0].count), ([1.5; 4].as_slice(), 2));
        assert_eq!((levels[1].map.values.as_slice(), levels[1].count), ([3.0].as_slice(), 1));
    }
}
