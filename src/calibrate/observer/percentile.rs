//! Percentile observer: omits a share of the values at either end.
//!
//! For the percentage p, the range is the smallest interval of whole bins with at most (100 − p) % of the values above
//! it and as many below it. NVIDIA's `pytorch-quantization` (`HistogramCalibrator`, method `percentile`) and NNCF
//! (range initializer `percentile`) have the same kind of observer.

use crate::calibrate::histogram::Histogram;
use crate::quant::Range;

/// The range for the percentage `p`, 50 to 100.
pub(super) fn range(histogram: &Histogram, p: f64) -> Range {
    let allowed = histogram.total() as f64 * ((100.0 - p) / 100.0);
    let bins: Vec<(i64, u64)> = histogram.bins().collect();
    let low = first_beyond(bins.iter(), allowed);
    let high = first_beyond(bins.iter().rev(), allowed);
    let binning = histogram.binning();
    Range::new(binning.lower(low) as f32, binning.lower(high + 1) as f32)
}

/// Index of the first bin at which the sum of the counts exceeds `allowed`.
fn first_beyond<'a>(mut bins: impl Iterator<Item = &'a (i64, u64)>, allowed: f64) -> i64 {
    let mut sum = 0.0;
    let found = bins.find(|(_, count)| {
        sum += *count as f64;
        sum > allowed
    });
    found.map_or(0, |(index, _)| *index)
}
