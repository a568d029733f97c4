//! A step's error over pictures.
//!
//! In: both activations of a step, a picture at a time. Out: signal to noise, mean absolute error, relative errors by
//! element and by projection, cosine and clipped share: the median over pictures with its quartiles. A picture leaves a
//! few numbers behind and nothing else.

use serde::Serialize;

use super::map::Map;
use crate::detector::tap::{Activation, Values};
use crate::measure::StepError;
use crate::quantile;

/// Added to a reference before it divides.
const ETA: f32 = 1e-6;
/// Elements of an activation that the median by element is taken over, at most, evenly spread.
const SAMPLED: usize = 1 << 16;

/// Median over pictures, and quartiles.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Half lie below.
    pub median: f64,
    /// A quarter lies below.
    pub low: f64,
    /// Three quarters lie below.
    pub high: f64,
}

impl Spread {
    /// Of the finite among `values`; `None` of nothing.
    pub fn of(values: &[f32]) -> Option<Self> {
        let mut values: Vec<f32> = values.iter().copied().filter(|value| value.is_finite()).collect();
        values.sort_unstable_by(f32::total_cmp);
        let [low, median, high] = [0.25, 0.5, 0.75].map(|share| quantile::linear(&values, share));
        Some(Self { median: median?, low: low?, high: high? })
    }
}

/// One step's errors, picture by picture.
#[derive(Debug, Clone, Default)]
pub struct StepStats {
    /// Over all pictures.
    pub total: StepError,
    /// Signal to noise of each picture, in dB.
    pub sqnr_db: Vec<f32>,
    /// Σ|q − f| / n of each picture, in units of the activation.
    pub mean_absolute: Vec<f32>,
    /// Median over elements of |q − f| / (|f| + η), of each picture.
    pub relative_element: Vec<f32>,
    /// Median over pixels of |A_q − A_f| / (|A_f| + η), A the channels' maximum, of each picture.
    pub relative_projection: Vec<f32>,
    /// Cosine of each picture.
    pub cosine: Vec<f32>,
    /// The step's own error on the reference's inputs, before ReLU, of each picture, in dB.
    pub injected_db: Vec<f32>,
    /// Over all pictures, the same.
    pub injected: StepError,
    /// Values outside the quantization range, and all.
    pub clipped: [u64; 2],
}

impl StepStats {
    /// Adds one picture's fused activations and their projections.
    pub fn add(&mut self, reference: &Activation<'_>, other: &Activation<'_>, maps: Option<(&Map, &Map)>) {
        let mut error = StepError::default();
        error.add(reference, other);
        self.total.merge(&error);
        let finite = |value: Option<f64>| value.map_or(f32::NAN, |value| value as f32);
        self.sqnr_db.push(finite(error.sqnr_db()));
        self.mean_absolute.push(error.mean_absolute() as f32);
        self.cosine.push(finite(error.cosine()));
        let mut ratios = Vec::new();
        sample(reference, other, SAMPLED, |f, q| ratios.push((q - f).abs() / (f.abs() + ETA)));
        self.relative_element.push(median(&mut ratios));
        if let Some((f, q)) = maps {
            let mut ratios: Vec<f32> =
                f.values.iter().zip(&q.values).map(|(&f, &q)| (q - f).abs() / (f.abs() + ETA)).collect();
            self.relative_projection.push(median(&mut ratios));
        }
    }

    /// Adds one picture's own error.
    pub fn add_injected(&mut self, reference: &Activation<'_>, other: &Activation<'_>) {
        let mut error = StepError::default();
        error.add(reference, other);
        self.injected.merge(&error);
        self.injected_db.push(error.sqnr_db().map_or(f32::NAN, |db| db as f32));
    }

    /// Share of values outside the quantization range; `None` where none was counted.
    pub fn clipped_share(&self) -> Option<f64> {
        let [clipped, count] = self.clipped;
        (count > 0).then(|| clipped as f64 / count as f64)
    }
}

fn median(values: &mut [f32]) -> f32 {
    if values.is_empty() {
        return f32::NAN;
    }
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f32::total_cmp).1
}

/// Shows at most about `most` pairs of values that show the picture, evenly spread by a stride that shares no factor
/// with the channels.
pub fn sample(reference: &Activation<'_>, other: &Activation<'_>, most: usize, mut see: impl FnMut(f32, f32)) {
    let Values::F32(f) = reference.values else { return };
    let shape = reference.shape;
    if other.shape != shape || shape.is_empty() {
        return;
    }
    let valid = reference.valid_width.min(shape.width) * shape.channels;
    let rows = reference.valid_height.min(shape.height);
    let stride = ((rows * valid) / most.max(1)).max(1) | 1;
    let mut at = 0;
    while at < rows * valid {
        let place = at / valid * shape.width * shape.channels + at % valid;
        let q = match other.values {
            Values::F32(values) => values[place],
            Values::U8 { data, scale, zero_point } => (i32::from(data[place]) - i32::from(zero_point)) as f32 * scale,
        };
        see(f[place], q);
        at += stride;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Shape;

    #[test]
    fn spread_and_median() {
        let spread = Spread::of(&[1.0, 2.0, 3.0, 4.0, f32::NAN]).unwrap();
        assert_eq!((spread.median, spread.low, spread.high), (2.5, 1.75, 3.25));
        assert!(Spread::of(&[f32::INFINITY]).is_none());
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
    }

    #[test]
    fn padding_is_never_sampled() {
        let shape = Shape::new(3, 3, 2);
        let values: Vec<f32> = (0..18).map(|at| if at % 6 < 4 && at < 12 { 1.0 } else { 7.0 }).collect();
        let activation = Activation { shape, valid_height: 2, valid_width: 2, values: Values::F32(&values) };
        let mut seen = Vec::new();
        sample(&activation, &activation, 100, |f, q| seen.push((f, q)));
        assert_eq!(seen, [(1.0, 1.0); 8]);
        seen.clear();
        sample(&activation, &activation, 2, |f, q| seen.push((f, q)));
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn a_picture_adds_one_number_to_each_list() {
        let shape = Shape::new(1, 2, 1);
        let f = Activation { shape, valid_height: 1, valid_width: 2, values: Values::F32(&[2.0, 4.0]) };
        let q = Activation { values: Values::F32(&[2.0, 3.0]), ..f };
        let mut stats = StepStats::default();
        stats.add(&f, &q, Some((&Map::project(&f), &Map::project(&q))));
        stats.add_injected(&f, &q);
        assert!((stats.sqnr_db[0] - 13.0103).abs() < 1e-3);
        assert_eq!((stats.mean_absolute[0], stats.clipped_share()), (0.5, None));
        assert!((stats.relative_element[0] - 0.25).abs() < 1e-6 && stats.relative_projection.len() == 1);
        assert_eq!(stats.injected_db.len(), 1);
    }
}
