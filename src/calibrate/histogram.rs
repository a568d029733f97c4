//! How often an edge took which value.
//!
//! In: the counts of a [`super::Recorder`], or other histograms. Out: integer counts on the [`Lattice`], the exact
//! extremes and the number of exact zeros. Merging adds; it is associative and commutative, with the empty histogram
//! as neutral element.

use super::lattice::{BINS, Lattice};
use crate::error::{Error, Kind, Result};
use crate::quant::artifact::HistogramBins;

/// Counts of the values of one edge, in one picture or many.
///
/// The bins always reach from that of min(0, smallest value) to that of max(0, largest value), on the finest lattice
/// where these are at most [`BINS`]: two histograms of the same values are equal, however they were gathered.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    lattice: Lattice,
    first: i64,
    counts: Vec<u64>,
    /// Exact zeros among the values of bin 0: after ReLU about half of all, and exact on every grid.
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
    /// A histogram of nothing.
    pub fn new() -> Self {
        Self {
            lattice: Lattice::FINEST,
            first: 0,
            counts: vec![0],
            zeros: 0,
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
        }
    }

    /// A histogram from its parts: what a file says. `min` and `max` are the exact extremes, `bins` pairs of index and
    /// count in any order.
    ///
    /// # Errors
    /// [`Kind::Data`] where the parts contradict each other.
    pub fn from_parts(min: f32, max: f32, zeros: u64, bins: impl IntoIterator<Item = (i64, u64)>) -> Result<Self> {
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
        if total > 0 && (filled.count(filled.lattice.index(min)) == 0 || filled.count(filled.lattice.index(max)) == 0) {
            return refuse(format!("nothing is counted at its extremes {min} and {max}"));
        }
        Ok(filled)
    }

    /// The histogram that an artifact keeps, its counts still divided as they are stored. Extremes are known to the bin
    /// only, and exact zeros no more.
    ///
    /// # Errors
    /// [`Kind::Data`] where bins and counts do not lie on one lattice.
    pub fn from_stored(bins: &HistogramBins, counts: &[u32]) -> Result<Self> {
        let filled = || (bins.first..).zip(counts).filter(|(_, count)| **count > 0).map(|(index, _)| index);
        let (Some(low), Some(high)) = (filled().min(), filled().max()) else { return Ok(Self::new()) };
        let wrong = || Error::new(Kind::Data, format!("histogram: no bins of 2^{}", bins.exponent));
        let lattice = Lattice::new(bins.exponent).ok_or_else(wrong)?;
        // The far end of the lowest bin and the middle of the highest: no finer lattice holds both, as none held the
        // values themselves.
        let (min, max) = (lattice.lower(low) as f32, (lattice.lower(high) + lattice.width() / 2.0) as f32);
        let mut histogram = Self::of_extremes(min, max)?;
        let shift = bins.exponent - histogram.lattice.exponent();
        for (index, &count) in (bins.first..).zip(counts).filter(|(_, count)| **count > 0) {
            // Where single outliers were rounded away, what is left may lie on a finer lattice.
            let fine = if shift >= 0 { index << shift.min(40) } else { index >> (-shift).min(62) };
            let slot = usize::try_from(fine - histogram.first).ok().and_then(|at| histogram.counts.get_mut(at));
            *slot.ok_or_else(wrong)? += u64::from(count);
        }
        let (low, high) = (histogram.lattice.index(min), histogram.lattice.index(max));
        if histogram.count(low) == 0 || histogram.count(high) == 0 {
            let ends = [histogram.bins().next(), histogram.bins().last()].map(|end| end.map_or(0, |(index, _)| index));
            [histogram.min, histogram.max] = ends.map(|index| histogram.lattice.lower(index) as f32);
        }
        Ok(histogram)
    }

    /// Mean square of the values, each taken at the middle of its bin, exact zeros as zero.
    pub fn mean_square(&self) -> f64 {
        let width = self.lattice.width();
        let square = |(index, count): (i64, u64)| {
            let count = if index == 0 { count - self.zeros.min(count) } else { count };
            count as f64 * ((index as f64 + 0.5) * width).powi(2)
        };
        self.bins().map(square).sum::<f64>() / self.total().max(1) as f64
    }

    /// The same distribution with every count multiplied by `factor`.
    #[must_use]
    pub fn times(mut self, factor: u64) -> Self {
        self.counts.iter_mut().for_each(|count| *count = count.saturating_mul(factor));
        self.zeros = self.zeros.saturating_mul(factor);
        self
    }

    /// Empty counts on the lattice that `min` and `max` (finite) ask for.
    pub(super) fn with_extremes(min: f32, max: f32) -> Self {
        let lattice = Lattice::covering(min, max);
        let (first, last) = (lattice.index(min.min(0.0)), lattice.index(max.max(0.0)));
        debug_assert!(last - first < BINS as i64);
        Self { lattice, first, counts: vec![0; (last - first + 1) as usize], zeros: 0, min, max }
    }

    /// Index of the first bin and number of bins that these extremes lead to.
    ///
    /// # Errors
    /// [`Kind::Data`] where they are no range.
    pub fn layout(min: f32, max: f32) -> Result<(i64, usize)> {
        Self::of_extremes(min, max).map(|histogram| (histogram.first, histogram.counts.len()))
    }

    /// Empty counts for extremes nobody vouches for.
    fn of_extremes(min: f32, max: f32) -> Result<Self> {
        if min <= max && min.is_finite() && max.is_finite() {
            return Ok(Self::with_extremes(min + 0.0, max + 0.0));
        }
        if (min, max) == (f32::INFINITY, f32::NEG_INFINITY) {
            return Ok(Self::new());
        }
        Err(Error::new(Kind::Data, format!("histogram: its extremes {min} and {max} are no range")))
    }

    /// Adds everything `other` counted.
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

    /// Adds the counts of a histogram whose extremes lie within this one's, which therefore is no finer.
    fn add(&mut self, other: &Self) {
        let shift = self.lattice.exponent() - other.lattice.exponent();
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

    /// Adds exact zeros; their bin is counted separately.
    pub(super) fn add_zeros(&mut self, zeros: u64) {
        self.zeros += zeros;
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.min > self.max
    }

    /// Values counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Values that were exactly zero.
    pub fn zeros(&self) -> u64 {
        self.zeros
    }

    /// Smallest value, exact; above [`Self::max`] where nothing was counted.
    pub fn min(&self) -> f32 {
        self.min
    }

    /// Largest value, exact.
    pub fn max(&self) -> f32 {
        self.max
    }

    /// Where the bins lie.
    pub fn lattice(&self) -> Lattice {
        self.lattice
    }

    /// Index of the first bin of [`Self::counts`]: at most 0.
    pub fn first(&self) -> i64 {
        self.first
    }

    /// The counts, from bin [`Self::first`] on; bin 0 is always among them.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The count of the bin at `index`, 0 outside.
    pub fn count(&self, index: i64) -> u64 {
        usize::try_from(index - self.first).ok().and_then(|at| self.counts.get(at)).copied().unwrap_or(0)
    }

    /// The counts as an artifact keeps them: halved, rounding half up, until they fit into 32 bits.
    pub fn stored(&self) -> (HistogramBins, Vec<u32>) {
        let largest = self.counts.iter().copied().max().unwrap_or(0);
        let halved = |count: u64, shift: u32| if shift == 0 { count } else { ((count >> (shift - 1)) + 1) >> 1 };
        let shift = (0..32).find(|&shift| halved(largest, shift) <= u64::from(u32::MAX)).unwrap_or(32);
        let counts = self.counts.iter().map(|&count| u32::try_from(halved(count, shift)).unwrap_or(u32::MAX)).collect();
        let exponent = self.lattice.exponent();
        (HistogramBins { exponent, first: self.first, bins: self.counts.len(), shift }, counts)
    }

    /// Index and count of every bin that is not empty, in order.
    pub fn bins(&self) -> impl Iterator<Item = (i64, u64)> {
        (self.first..).zip(self.counts.iter().copied()).filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Recorder;
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[f32]) -> Histogram {
        let mut recorder = Recorder::new();
        recorder.observe(values).unwrap();
        recorder.finish()
    }

    /// Values of very different size, with the awkward ones among them.
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
            let (x, y, z) = (of(&a), of(&b), of(&c));
            let left = merged(&[&merged(&[&x, &y]), &z]);
            let right = merged(&[&x, &merged(&[&y, &z])]);
            prop_assert_eq!(&left, &right);
            prop_assert_eq!(&left, &merged(&[&z, &x, &y]));
            // And equal to having seen all the values at once.
            prop_assert_eq!(&left, &of(&[a.clone(), b.clone(), c.clone()].concat()));
            prop_assert_eq!(left.total(), (a.len() + b.len() + c.len()) as u64);
        }

        #[test]
        fn counts_are_what_the_lattice_says(values in prop::collection::vec(value(), 1..50)) {
            let histogram = of(&values);
            let mut expected = Histogram::with_extremes(histogram.min(), histogram.max());
            for &x in &values {
                expected.add_bin(expected.lattice().index(x), 1);
                expected.add_zeros(u64::from(x == 0.0));
            }
            prop_assert_eq!(&histogram, &expected);
            let again = Histogram::from_parts(histogram.min(), histogram.max(), histogram.zeros(), histogram.bins());
            prop_assert_eq!(again.unwrap(), histogram);
        }
    }

    #[test]
    fn stored_counts_fit_into_32_bits() {
        let mut histogram = of(&[0.0, 1.0]);
        assert_eq!(histogram.stored().1.iter().sum::<u32>(), 2);
        histogram.add_bin(0, 3 << 33);
        let (bins, counts) = histogram.stored();
        assert_eq!((bins.shift, bins.bins, counts.len()), (3, 1025, 1025));
        assert_eq!((counts[0], counts[1024]), (3 << 30, 0));
    }

    #[test]
    fn parts_that_contradict_each_other_are_refused() {
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
