//! Error statistics of a step over pictures.
//!
//! In: both activations of a step, one picture at a time. Out: SQNR, mean absolute error, relative errors by element and
//! by projection, cosine and clipped share, as median over pictures with quartiles. Only a few numbers of each picture are
//! stored.

use serde::Serialize;

use super::map::{ScalarMap, relative};
use crate::detector::tap::{Activation, Values};
use crate::measure::StepError;
use crate::quantile;

/// Largest number of sampled elements for the median by element.
const SAMPLED: usize = 1 << 16;

/// Median and quartiles over pictures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quartiles {
    /// Median.
    pub median: f64,
    /// Lower quartile.
    pub low: f64,
    /// Upper quartile.
    pub high: f64,
}

impl Quartiles {
    /// Quartiles of the finite `values`; `None` if there are none.
    pub fn of(values: &[f32]) -> Option<Self> {
        let mut values: Vec<f32> = values.iter().copied().filter(|value| value.is_finite()).collect();
        values.sort_unstable_by(f32::total_cmp);
        let [low, median, high] = [0.25, 0.5, 0.75].map(|share| quantile::linear(&values, share));
        Some(Self { median: median?, low: low?, high: high? })
    }
}

/// Projections of a step's activations in both networks.
#[derive(Debug, Clone)]
pub struct ProjectedPair {
    /// Of the reference.
    pub reference: ScalarMap,
    /// Of the other network.
    pub other: ScalarMap,
}

impl ProjectedPair {
    /// Projects both activations.
    pub fn of(reference: &Activation<'_>, other: &Activation<'_>) -> Self {
        Self { reference: ScalarMap::project(reference), other: ScalarMap::project(other) }
    }
}

/// Errors of one step, by picture.
#[derive(Debug, Clone, Default)]
pub struct StepStats {
    /// Error over all pictures.
    pub total: StepError,
    /// SQNR of each picture, in dB.
    pub sqnr_db: Vec<f32>,
    /// Mean absolute error Σ|q − f| / n of each picture, in units of the activation.
    pub mean_absolute: Vec<f32>,
    /// Median over elements of the relative error, as in [`relative`], of each picture. Elements that are 0 in both
    /// networks, most of them after ReLU, have none and are left out.
    pub relative_element: Vec<f32>,
    /// The same over pixels of the channels' maximum, of each picture.
    pub relative_projection: Vec<f32>,
    /// Cosine similarity of each picture.
    pub cosine: Vec<f32>,
    /// SQNR of the step's own error on the reference's inputs, before the activation function, of each picture, in dB.
    pub injected_db: Vec<f32>,
    /// Own error over all pictures.
    pub injected: StepError,
    /// Number of values outside the quantization range.
    pub clipped: u64,
    /// Number of values that were checked for clipping.
    pub clip_checked: u64,
}

impl StepStats {
    /// Adds the fused activations of one picture, and their projections.
    pub fn add(&mut self, reference: &Activation<'_>, other: &Activation<'_>, maps: Option<&ProjectedPair>) {
        let mut error = StepError::default();
        error.add(reference, other);
        self.total.merge(&error);
        let finite = |value: Option<f64>| value.map_or(f32::NAN, |value| value as f32);
        self.sqnr_db.push(finite(error.sqnr_db()));
        self.mean_absolute.push(error.mean_absolute() as f32);
        self.cosine.push(finite(error.cosine()));
        let ratio = |f: f32, q: f32| (f != 0.0 || q != 0.0).then(|| relative(f, q));
        let mut ratios = Vec::new();
        sample(reference, other, SAMPLED, |f, q| ratios.extend(ratio(f, q)));
        self.relative_element.push(median(&mut ratios));
        if let Some(ProjectedPair { reference: f, other: q }) = maps {
            let mut ratios: Vec<f32> = f.values.iter().zip(&q.values).filter_map(|(&f, &q)| ratio(f, q)).collect();
            self.relative_projection.push(median(&mut ratios));
        }
    }

    /// Adds the own error of one picture.
    pub fn add_injected(&mut self, reference: &Activation<'_>, other: &Activation<'_>) {
        let mut error = StepError::default();
        error.add(reference, other);
        self.injected.merge(&error);
        self.injected_db.push(error.sqnr_db().map_or(f32::NAN, |db| db as f32));
    }

    /// Share of values outside the quantization range; `None` if none was checked.
    pub fn clipped_share(&self) -> Option<f64> {
        (self.clip_checked > 0).then(|| self.clipped as f64 / self.clip_checked as f64)
    }
}

fn median(values: &mut [f32]) -> f32 {
    if values.is_empty() {
        return f32::NAN;
    }
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f32::total_cmp).1
}

/// Calls `add` with about `most` pairs of values outside the padding, evenly spread. The stride is odd, so that it passes
/// through all channels.
pub fn sample(reference: &Activation<'_>, other: &Activation<'_>, most: usize, mut add: impl FnMut(f32, f32)) {
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
        let index = at / valid * shape.width * shape.channels + at % valid;
        add(f[index], other.values.real(index));
        at += stride;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Shape;

    #[test]
    fn quartiles_and_median() {
        let quartiles = Quartiles::of(&[1.0, 2.0, 3.0, 4.0, f32::NAN]).unwrap();
        assert_eq!((quartiles.median, quartiles.low, quartiles.high), (2.5, 1.75, 3.25));
        assert!(Quartiles::of(&[f32::INFINITY]).is_none());
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
    }

    #[test]
    fn padding_is_never_sampled() {
        let shape = Shape::new(3, 3, 2);
        let values: Vec<f32> = (0..18).map(|at| if at % 6 < 4 && at < 12 { 1.0 } else { 7.0 }).collect();
        let activation = Activation { shape, valid_height: 2, valid_width: 2, values: Values::F32(&values) };
        let mut pairs = Vec::new();
        sample(&activation, &activation, 100, |f, q| pairs.push((f, q)));
        assert_eq!(pairs, [(1.0, 1.0); 8]);
        pairs.clear();
        sample(&activation, &activation, 2, |f, q| pairs.push((f, q)));
        assert_eq!(pairs.len(), 2);
    }

    #[test]
    fn a_picture_adds_one_number_to_each_list() {
        let shape = Shape::new(1, 2, 1);
        let f = Activation { shape, valid_height: 1, valid_width: 2, values: Values::F32(&[2.0, 4.0]) };
        let q = Activation { values: Values::F32(&[2.0, 3.0]), ..f };
        let mut stats = StepStats::default();
        stats.add(&f, &q, Some(&ProjectedPair::of(&f, &q)));
        stats.add_injected(&f, &q);
        assert!((stats.sqnr_db[0] - 13.0103).abs() < 1e-3);
        assert_eq!((stats.mean_absolute[0], stats.clipped_share()), (0.5, None));
        assert!((stats.relative_element[0] - 0.25).abs() < 1e-6 && stats.relative_projection.len() == 1);
        assert_eq!(stats.injected_db.len(), 1);
    }

    #[test]
    fn zeros_of_relu_do_not_hide_the_relative_error() {
        let shape = Shape::new(1, 6, 1);
        let (f, q) = ([0.0, 0.0, 0.0, 0.0, 2.0, 4.0], [0.0, 0.0, 0.0, 0.0, 2.2, 4.4]);
        let f = Activation { shape, valid_height: 1, valid_width: 6, values: Values::F32(&f) };
        let q = Activation { values: Values::F32(&q), ..f };
        let mut stats = StepStats::default();
        stats.add(&f, &q, None);
        assert!((stats.relative_element[0] - 0.1).abs() < 1e-6, "{:?}", stats.relative_element);
    }
}
