//! Histogram of the values of an edge.
//!
//! In: the counts of a [`HistogramBuilder`], or other histograms. Out: integer counts of bins that are multiples of a
//! power of two wide ([`Binning`]), the exact extremes, and the number of exact zeros. Merging is associative and
//! commutative, with the empty histogram as neutral element.

mod binning;
mod builder;

use crate::error::{Error, Kind, Result};
use crate::quant::artifact::HistogramBins;

pub use binning::{BINS, Binning};
pub use builder::HistogramBuilder;

/// Histogram of the values of one edge, over one or more pictures.
///
/// The bins reach from the one of min(0, smallest value) to the one of max(0, largest value), and are the narrowest of
/// which these are at most [`BINS`]. Two histograms of the same values are therefore equal, however they were counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    binning: Binning,
    first: i64,
    counts: Vec<u64>,
    /// Exact zeros among the values of bin 0. After ReLU they are about half of all values, and quantization keeps them
    /// exact.
    zeros: u64,
    min: f32,
    max: f32,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    /// An empty histogram.
    pub fn new() -> Self {
        Self {
            binning: Binning::FINEST,
            first: 0,
            counts: vec![0],
            zeros: 0,
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
        }
    }

    /// A histogram from the parts in a file. `min` and `max` are the exact extremes, `bins` pairs of index and count in
    /// any order.
    ///
    /// # Errors
    /// [`Kind::Data`] where the parts contradict each other.
    pub(in crate::calibrate) fn from_parts(
        min: f32,
        max: f32,
        zeros: u64,
        bins: impl IntoIterator<Item = (i64, u64)>,
    ) -> Result<Self> {
        let refuse = |what: String| Err(Error::new(Kind::Data, format!("histogram: {what}")));
        let mut filled = Self::of_extremes(min, max)?;
        for (index, count) in bins {
            let Some(slot) = usize::try_from(index - filled.first).ok().and_then(|at| filled.counts.get_mut(at)) else {
                return refuse(format!("bin {index} is outside of {min} to {max}"));
            };
            let Some(sum) = slot.checked_add(count) else { return refuse(format!("bin {index} overflows")) };
            *slot = sum;
        }
        filled.zeros = zeros;
        let Some(total) = filled.counts.iter().try_fold(0u64, |sum, count| sum.checked_add(*count)) else {
            return refuse("its counts overflow".into());
        };
        if zeros > filled.count(0) {
            return refuse(format!("{zeros} zeros are more than bin 0 holds"));
        }
        if (total == 0) != (min > max) {
            return refuse(format!("{total} values cannot lie between {min} and {max}"));
        }
        if total > 0 && (filled.count(filled.binning.index(min)) == 0 || filled.count(filled.binning.index(max)) == 0) {
            return refuse(format!("nothing is counted at its extremes {min} and {max}"));
        }
        Ok(filled)
    }

    /// The histogram that an artifact stores, with its counts divided as they are stored. Extremes are accurate to a
    /// bin, and exact zeros are not known.
    ///
    /// # Errors
    /// [`Kind::Data`] where the exponent of the bins is invalid or a count is outside of them.
    pub fn from_stored(bins: &HistogramBins, counts: &[u32]) -> Result<Self> {
        let filled = || (bins.first..).zip(counts).filter(|(_, count)| **count > 0).map(|(index, _)| index);
        let (Some(low), Some(high)) = (filled().min(), filled().max()) else { return Ok(Self::new()) };
        let wrong = || Error::new(Kind::Data, format!("histogram: no bins of 2^{}", bins.exponent));
        let binning = Binning::new(bins.exponent).ok_or_else(wrong)?;
        // The lower end of the lowest bin and the middle of the highest one need bins of this width, as the values did.
        let (min, max) = (binning.lower(low) as f32, (binning.lower(high) + binning.width() / 2.0) as f32);
        let mut histogram = Self::of_extremes(min, max)?;
        let shift = bins.exponent - histogram.binning.exponent();
        for (index, &count) in (bins.first..).zip(counts).filter(|(_, count)| **count > 0) {
            // Where counts of outliers were rounded to zero, the remaining values may have narrower bins.
            let fine = if shift >= 0 { index << shift.min(40) } else { index >> (-shift).min(62) };
            let slot = usize::try_from(fine - histogram.first).ok().and_then(|at| histogram.counts.get_mut(at));
            *slot.ok_or_else(wrong)? += u64::from(count);
        }
        let (low, high) = (histogram.binning.index(min), histogram.binning.index(max));
        if histogram.count(low) == 0 || histogram.count(high) == 0 {
            let ends = [histogram.bins().next(), histogram.bins().last()].map(|end| end.map_or(0, |(index, _)| index));
            [histogram.min, histogram.max] = ends.map(|index| histogram.binning.lower(index) as f32);
        }
        Ok(histogram)
    }

    /// Mean square of the values, each at the middle of its bin, exact zeros at zero.
    pub fn mean_square(&self) -> f64 {
        self.squares().map(|(_, squares)| squares).sum::<f64>() / self.total().max(1) as f64
    }

    /// Index of each bin with values, and the sum of their squares, each at the middle of its bin, exact zeros at zero.
    pub fn squares(&self) -> impl Iterator<Item = (i64, f64)> + '_ {
        let width = self.binning.width();
        self.bins().map(move |(index, count)| {
            let count = if index == 0 { count - self.zeros.min(count) } else { count };
            (index, count as f64 * ((index as f64 + 0.5) * width).powi(2))
        })
    }

    /// The histogram with every count multiplied by `factor`.
    #[must_use]
    pub fn times(mut self, factor: u64) -> Self {
        self.counts.iter_mut().for_each(|count| *count = count.saturating_mul(factor));
        self.zeros = self.zeros.saturating_mul(factor);
        self
    }

    /// Bins for values from `min` to `max` (finite), with counts 0.
    pub(super) fn with_extremes(min: f32, max: f32) -> Self {
        let binning = Binning::covering(min, max);
        let (first, last) = (binning.index(min.min(0.0)), binning.index(max.max(0.0)));
        debug_assert!(last - first < BINS as i64);
        Self { binning, first, counts: vec![0; (last - first + 1) as usize], zeros: 0, min, max }
    }

    /// Index of the first bin and number of bins of values with these extremes.
    ///
    /// # Errors
    /// [`Kind::Data`] where they are not a range.
    pub(in crate::calibrate) fn layout(min: f32, max: f32) -> Result<(i64, usize)> {
        Self::of_extremes(min, max).map(|histogram| (histogram.first, histogram.counts.len()))
    }

    /// As [`Self::with_extremes`], for extremes from an untrusted source.
    fn of_extremes(min: f32, max: f32) -> Result<Self> {
        if min <= max && min.is_finite() && max.is_finite() {
            return Ok(Self::with_extremes(min + 0.0, max + 0.0));
        }
        if (min, max) == (f32::INFINITY, f32::NEG_INFINITY) {
            return Ok(Self::new());
        }
        Err(Error::new(Kind::Data, format!("histogram: its extremes {min} and {max} are not a range")))
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        if other.is_empty() {
            return;
        }
        let (min, max) = (self.min.min(other.min), self.max.max(other.max));
        if (min, max) != (self.min, self.max) {
            let mut wider = Self::with_extremes(min, max);
            wider.add(self);
            *self = wider;
        }
        self.add(other);
    }

    /// Adds the counts of a histogram whose extremes are within those of this one, so that its bins are not wider.
    fn add(&mut self, other: &Self) {
        let shift = self.binning.exponent() - other.binning.exponent();
        for (index, count) in other.bins() {
            let coarse = if shift < 63 { index >> shift } else { index >> 63 };
            self.counts[(coarse - self.first) as usize] += count;
        }
        self.zeros += other.zeros;
    }

    /// Adds `count` values to the bin at `index`, which must exist.
    pub(super) fn add_bin(&mut self, index: i64, count: u64) {
        self.counts[(index - self.first) as usize] += count;
    }

    /// Adds to the number of exact zeros; the count of their bin is separate.
    pub(super) fn add_zeros(&mut self, zeros: u64) {
        self.zeros += zeros;
    }

    /// True if no value was counted.
    pub fn is_empty(&self) -> bool {
        self.min > self.max
    }

    /// Number of values.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Number of values that are exactly zero.
    pub fn zeros(&self) -> u64 {
        self.zeros
    }

    /// Smallest value, exact; above [`Self::max`] of an empty histogram.
    pub fn min(&self) -> f32 {
        self.min
    }

    /// Largest value, exact.
    pub fn max(&self) -> f32 {
        self.max
    }

    /// Width of the bins.
    pub fn binning(&self) -> Binning {
        self.binning
    }

    /// Index of the first bin of [`Self::counts`]: at most 0.
    pub fn first(&self) -> i64 {
        self.first
    }

    /// The counts, from bin [`Self::first`] on, bin 0 included.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Count of the bin at `index`, 0 outside.
    fn count(&self, index: i64) -> u64 {
        usize::try_from(index - self.first).ok().and_then(|at| self.counts.get(at)).copied().unwrap_or(0)
    }

    /// Bins and counts as an artifact stores them: all counts divided by the same power of two and rounded half up, so
    /// that they fit into 32 bits. `None` of an empty histogram.
    pub fn stored(&self) -> Option<(HistogramBins, Vec<u32>)> {
        if self.is_empty() {
            return None;
        }
        let largest = self.counts.iter().copied().max().unwrap_or(0);
        let shift = (64 - largest.leading_zeros()).saturating_sub(31);
        let half = if shift == 0 { 0 } else { 1u64 << (shift - 1) };
        let counts: Vec<u32> = self.counts.iter().map(|&count| ((count + half) >> shift) as u32).collect();
        let exponent = self.binning.exponent();
        Some((HistogramBins { exponent, first: self.first, bins: counts.len(), shift }, counts))
    }

    /// Index and count of every bin that is not empty, in order.
    pub fn bins(&self) -> impl Iterator<Item = (i64, u64)> {
        (self.first..).zip(self.counts.iter().copied()).filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The histogram of `values`.
    pub fn histogram_of(values: &[f32]) -> Histogram {
        let mut builder = HistogramBuilder::new();
        builder.observe(values).unwrap();
        builder.finish()
    }

    /// Values of very different magnitude, with zeros, subnormal and extreme ones.
    fn value() -> impl Strategy<Value = f32> {
        prop_oneof![
            -10.0f32..10.0,
            Just(0.0),
            Just(-0.0),
            Just(-1e-45),
            Just(1e-40),
            -1e-6f32..1e-6,
            -1e9f32..1e9,
            Just(f32::MAX),
            Just(f32::MIN),
            proptest::num::f32::NORMAL,
        ]
    }

    proptest! {
        #[test]
        fn merging_is_a_commutative_monoid(
            a in prop::collection::vec(value(), 0..20),
            b in prop::collection::vec(value(), 0..20),
            c in prop::collection::vec(value(), 0..20),
        ) {
            let merged = |parts: &[&Histogram]| {
                let mut sum = Histogram::new();
                parts.iter().for_each(|part| sum.merge(part));
                sum
            };
            let (x, y, z) = (histogram_of(&a), histogram_of(&b), histogram_of(&c));
            let left = merged(&[&merged(&[&x, &y]), &z]);
            let right = merged(&[&x, &merged(&[&y, &z])]);
            prop_assert_eq!(&left, &right);
            prop_assert_eq!(&left, &merged(&[&z, &x, &y]));
            // All values counted at once give the same histogram.
            prop_assert_eq!(&left, &histogram_of(&[a.clone(), b.clone(), c.clone()].concat()));
            prop_assert_eq!(left.total(), (a.len() + b.len() + c.len()) as u64);
        }

        #[test]
        fn counts_follow_the_binning(values in prop::collection::vec(value(), 1..50)) {
            let histogram = histogram_of(&values);
            let mut expected = Histogram::with_extremes(histogram.min(), histogram.max());
            for &x in &values {
                expected.add_bin(expected.binning().index(x), 1);
                expected.add_zeros(u64::from(x == 0.0));
            }
            prop_assert_eq!(&histogram, &expected);
            let again = Histogram::from_parts(histogram.min(), histogram.max(), histogram.zeros(), histogram.bins());
            prop_assert_eq!(again.unwrap(), histogram);
        }
    }

    #[test]
    fn stored_counts_fit_into_32_bits() {
        let mut histogram = histogram_of(&[0.0, 1.0]);
        assert_eq!(histogram.stored().unwrap().1.iter().sum::<u32>(), 2);
        histogram.add_bin(0, 3 << 33);
        let (bins, counts) = histogram.stored().unwrap();
        assert_eq!((bins.shift, bins.bins, counts.len()), (4, 1025, 1025));
        assert_eq!((counts[0], counts[1024]), (3 << 29, 0));
        assert!(Histogram::new().stored().is_none());
    }

    #[test]
    fn inconsistent_parts_are_refused() {
        let parts = |min, max, zeros, bins: &[(i64, u64)]| Histogram::from_parts(min, max, zeros, bins.iter().copied());
        assert!(parts(f32::INFINITY, f32::NEG_INFINITY, 0, &[]).unwrap().is_empty());
        assert!(parts(0.0, 0.0, 3, &[(0, 3)]).is_ok());
        assert!(parts(0.0, 0.0, 4, &[(0, 3)]).is_err());
        assert!(parts(0.0, 1.0, 0, &[(0, 3)]).is_err());
        assert!(parts(0.0, 1.0, 0, &[(0, 3), (5000, 1)]).is_err());
        assert!(parts(0.0, 1.0, 0, &[(0, u64::MAX), (1024, 1)]).is_err());
        assert!(parts(f32::NAN, 1.0, 0, &[]).is_err());
        assert!(parts(1.0, 2.0, 0, &[]).is_err());
    }
}
