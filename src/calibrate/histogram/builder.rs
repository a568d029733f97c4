//! Histogram builder: counts activations fast enough to observe all edges of a network.
//!
//! In: slices of finite f32 values. Out: their [`Histogram`], the same for every division of the values into slices.
//! Each slice is read twice: for its extremes (which may widen the bins), then for bin indices and counts. Both loops
//! have a form that the compiler vectorises on any instruction set.

use super::{BINS, Binning, Histogram};
use crate::error::{Error, Kind, Result};

/// Tables used in turn, so that a run of equal values does not wait for its own stores.
const LANES: usize = 4;
/// Values whose indices are computed before they are counted: small enough to stay in the first-level cache.
const BLOCK: usize = 512;
/// Number of values after which the 32-bit tables are emptied, before a lane can overflow.
const DRAIN_AFTER: u64 = 1 << 31;

/// Builds the histogram of one edge.
#[derive(Debug, Clone)]
pub struct HistogramBuilder {
    histogram: Histogram,
    /// Counts not yet in `histogram`. Bin i is counted at i mod [`BINS`]. A histogram has at most that many bins, so
    /// each has its own place.
    tables: Box<[[u32; LANES]; BINS]>,
    pending: u64,
}

impl Default for HistogramBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl HistogramBuilder {
    /// A builder of an empty histogram.
    pub fn new() -> Self {
        Self { histogram: Histogram::new(), tables: Box::new([[0; LANES]; BINS]), pending: 0 }
    }

    /// Counts `values`.
    ///
    /// # Errors
    /// [`Kind::Data`] where one of them is not finite; then none is counted.
    pub fn observe(&mut self, values: &[f32]) -> Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        let Extremes { min, max, zeros } = extremes(values)?;
        self.widen(min, max);
        self.histogram.add_zeros(zeros);
        // Above 2^31 values at once a lane could overflow inside one slice.
        for part in values.chunks(DRAIN_AFTER as usize / 2) {
            if self.pending + part.len() as u64 > DRAIN_AFTER {
                self.drain();
            }
            self.count(part);
            self.pending += part.len() as u64;
        }
        Ok(())
    }

    /// The histogram of everything observed.
    pub fn finish(mut self) -> Histogram {
        self.drain();
        self.histogram
    }

    /// The histogram of everything observed. The builder is empty afterwards.
    pub fn take(&mut self) -> Histogram {
        self.drain();
        std::mem::take(&mut self.histogram)
    }

    /// Extends the bins of the histogram to `min` and `max`.
    fn widen(&mut self, min: f32, max: f32) {
        if min >= self.histogram.min() && max <= self.histogram.max() {
            return;
        }
        self.drain();
        let (min, max) = (min.min(self.histogram.min()), max.max(self.histogram.max()));
        let previous = std::mem::replace(&mut self.histogram, Histogram::with_extremes(min, max));
        self.histogram.merge(&previous);
    }

    fn drain(&mut self) {
        if self.pending == 0 {
            return;
        }
        let first = self.histogram.first();
        for index in first..first + self.histogram.counts().len() as i64 {
            let lanes = &mut self.tables[index.rem_euclid(BINS as i64) as usize];
            let count: u64 = lanes.iter().map(|&lane| u64::from(lane)).sum();
            self.histogram.add_bin(index, count);
            *lanes = [0; LANES];
        }
        self.pending = 0;
    }

    fn count(&mut self, values: &[f32]) {
        let mut indices = [0u32; BLOCK];
        let binning = self.histogram.binning();
        for block in values.chunks(BLOCK) {
            bin_indices(block, binning, &mut indices);
            let (whole, rest) = indices[..block.len()].as_chunks::<LANES>();
            for lanes in whole {
                for (lane, &index) in lanes.iter().enumerate() {
                    self.tables[index as usize % BINS][lane] += 1;
                }
            }
            for &index in rest {
                self.tables[index as usize % BINS][0] += 1;
            }
        }
    }
}

/// Bin indices modulo 2^23 of `block`, whose values are within ±[`BINS`] bins of zero.
fn bin_indices(block: &[f32], binning: Binning, indices: &mut [u32; BLOCK]) {
    /// 1.5 · 2^23: added to a small number, it leaves the nearest integer in the low bits of the sum.
    const MAGIC: f32 = 12_582_912.0;
    let exponent = binning.exponent();
    // Both are normal f32 numbers: the exponent is −126 to 119.
    let (inverse, width) = (2f32.powi(-exponent), 2f32.powi(exponent));
    for (index, &x) in indices.iter_mut().zip(block) {
        let shifted = x * inverse + MAGIC;
        // Where rounding to nearest went up, the floor is one less. The comparison is with x itself: x · inverse may
        // underflow to zero, and a negative x belongs to the bin below zero.
        let above = (shifted - MAGIC) * width > x;
        *index = shifted.to_bits().wrapping_sub(MAGIC.to_bits()).wrapping_sub(u32::from(above));
    }
}

struct Extremes {
    min: f32,
    max: f32,
    zeros: u64,
}

fn extremes(values: &[f32]) -> Result<Extremes> {
    const WIDTH: usize = 8;
    let (mut min, mut max, mut non_finite) = ([f32::INFINITY; WIDTH], [f32::NEG_INFINITY; WIDTH], [0.0f32; WIDTH]);
    let mut zeros = 0u64;
    for block in values.chunks(WIDTH * 4096) {
        let mut found = [0u32; WIDTH];
        let (whole, rest) = block.as_chunks::<WIDTH>();
        let mut update = |lane: usize, x: f32| {
            min[lane] = if x < min[lane] { x } else { min[lane] };
            max[lane] = if x > max[lane] { x } else { max[lane] };
            // Adds 0 for a finite number and NaN for others; NaN remains.
            non_finite[lane] += x * 0.0;
            found[lane] += u32::from(x == 0.0);
        };
        for row in whole {
            for (lane, &x) in row.iter().enumerate() {
                update(lane, x);
            }
        }
        for (lane, &x) in rest.iter().enumerate() {
            update(lane, x);
        }
        zeros += found.iter().map(|&count| u64::from(count)).sum::<u64>();
    }
    if non_finite.iter().any(|lane| lane.is_nan())
        && let Some(at) = values.iter().position(|x| !x.is_finite())
    {
        return Err(Error::new(Kind::Data, format!("activation {at} is {}, not a finite number", values[at])));
    }
    let min = min.iter().copied().fold(f32::INFINITY, f32::min);
    let max = max.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // −0 becomes 0: the stored extremes must not depend on which of the two came first.
    Ok(Extremes { min: min + 0.0, max: max + 0.0, zeros })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_slice_with_a_non_finite_value_is_not_counted() {
        let mut builder = HistogramBuilder::new();
        builder.observe(&[1.0, 2.0]).unwrap();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = builder.observe(&[3.0, bad]).unwrap_err();
            assert_eq!(error.message(), format!("activation 1 is {bad}, not a finite number"));
        }
        let histogram = builder.finish();
        assert_eq!((histogram.total(), histogram.max()), (2, 2.0));
    }

    #[test]
    fn taking_empties_the_builder() {
        let mut builder = HistogramBuilder::new();
        builder.observe(&[1e6]).unwrap();
        builder.take();
        builder.observe(&[1.0]).unwrap();
        let mut other = HistogramBuilder::new();
        other.observe(&[1.0]).unwrap();
        assert_eq!(builder.take(), other.finish());
        assert!(builder.finish().is_empty());
    }

    proptest! {
        #[test]
        fn any_division_into_slices_gives_the_same(
            values in prop::collection::vec(prop_oneof![-3.0f32..3.0, Just(0.0), -1e-8f32..1e8, Just(-1e-42)], 1..2000),
            cuts in prop::collection::vec(0usize..2000, 0..6),
        ) {
            let mut whole = HistogramBuilder::new();
            whole.observe(&values).unwrap();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (values.len() + 1)).collect();
            cuts.extend([0, values.len()]);
            cuts.sort_unstable();
            let mut parts = HistogramBuilder::new();
            for pair in cuts.windows(2) {
                parts.observe(&values[pair[0]..pair[1]]).unwrap();
            }
            prop_assert_eq!(whole.finish(), parts.finish());
        }
    }

    /// Run with `--release --ignored --nocapture` for the figure.
    #[test]
    #[ignore = "measures"]
    #[allow(clippy::print_stdout)]
    fn speed() {
        let mut state = 1u32;
        let values: Vec<f32> = (0..8 << 20)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let x = (state >> 8) as f32 / (1 << 24) as f32 - 0.5;
                (x * x * x * 40.0).max(0.0)
            })
            .collect();
        let mut builder = HistogramBuilder::new();
        for _ in 0..5 {
            let start = std::time::Instant::now();
            builder.observe(&values).unwrap();
            println!("{:.0} million values a second", values.len() as f64 / start.elapsed().as_secs_f64() / 1e6);
        }
        assert_eq!(builder.finish().total(), 5 * values.len() as u64);
    }
}
