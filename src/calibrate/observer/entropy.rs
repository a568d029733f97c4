//! Entropy observer: least Kullback–Leibler divergence of the 256 levels from the values.
//!
//! min over the reach r of D(P ‖ Q) = Σ p ln(p / q), as in TensorRT (Migacz, "8-bit Inference with TensorRT", GTC
//! 2017). P is the histogram within ±r bins, with all values outside counted in the outermost bins. Q is the histogram
//! within ±r with 256 levels: the count of each level is spread evenly over its bins that are not empty. Two things
//! differ from TensorRT. Ranges are ±r cut to the observed bins, so they may be asymmetric. Exact zeros are not
//! counted: every quantization represents them exactly, and after ReLU they are so many that they would outweigh all
//! other values.

use super::mse::count_without_zeros;
use crate::calibrate::histogram::Histogram;
use crate::quant::Range;

/// Levels of a u8 activation.
const LEVELS: usize = 256;
/// Bins between two candidates. With 1025 to 2048 bins this is at most 0.4 % of the range.
const STRIDE: i64 = 4;
/// Smallest candidate, in bins: narrower ranges have more levels than bins.
const MIN_REACH: i64 = 128;
/// Probability q of an empty bin.
const EMPTY_PROBABILITY: f64 = 1e-9;

pub(super) fn range(histogram: &Histogram) -> Range {
    let counts: Vec<f64> =
        histogram.counts().iter().enumerate().map(|(at, &count)| count_without_zeros(histogram, at, count)).collect();
    let (first, end) = (histogram.first(), histogram.first() + counts.len() as i64);
    let widest = end.max(-first);
    let mut best = (f64::INFINITY, widest);
    let mut reach = widest;
    // From the widest inwards, so that the widest of equal ones is kept.
    while reach >= MIN_REACH.min(widest) {
        let (low, high) = ((-reach).max(first), reach.min(end));
        let divergence = divergence(&counts, (low - first) as usize, (high - first) as usize);
        if divergence < best.0 {
            best = (divergence, reach);
        }
        reach -= STRIDE;
    }
    let binning = histogram.binning();
    Range::new(binning.lower((-best.1).max(first)) as f32, binning.lower(best.1.min(end)) as f32)
}

/// Σ p ln(p / q) for the range `low..high` of the bins.
fn divergence(counts: &[f64], low: usize, high: usize) -> f64 {
    let kept = &counts[low..high];
    let inside: f64 = kept.iter().sum();
    let (before, after): (f64, f64) = (counts[..low].iter().sum(), counts[high..].iter().sum());
    let total = inside + before + after;
    if inside <= 0.0 {
        return f64::INFINITY;
    }
    let bound = |level: usize| level * kept.len() / LEVELS;
    let mut divergence = 0.0;
    for level in 0..LEVELS {
        let (from, to) = (bound(level), bound(level + 1));
        let bins = &kept[from..to];
        let filled = bins.iter().filter(|count| **count > 0.0).count();
        let sum: f64 = bins.iter().sum();
        for (at, &count) in (from..to).zip(bins) {
            // P has the values outside in its outermost bins, Q does not.
            let outside = if at == 0 { before } else { 0.0 } + if at + 1 == kept.len() { after } else { 0.0 };
            let p = (count + outside) / total;
            if p > 0.0 {
                let q = if count > 0.0 { sum / filled as f64 / inside } else { EMPTY_PROBABILITY };
                // Not the system's logarithm: its last digit differs between C libraries.
                divergence += p * libm::log(p / q);
            }
        }
    }
    divergence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_equal_to_bins_have_no_divergence() {
        let counts: Vec<f64> = (0..256).map(|bin| f64::from(bin % 7)).collect();
        assert!(divergence(&counts, 0, 256).abs() < 1e-12);
        assert!(divergence(&counts, 0, 200) > 1e-4);
    }

    #[test]
    fn levels_of_equal_bins_have_no_divergence() {
        let counts: Vec<f64> = (0..512).map(|bin| f64::from(bin / 2)).collect();
        assert!(divergence(&counts, 0, 512).abs() < 1e-12);
        // Empty bins stay empty in the approximation.
        let counts: Vec<f64> = (0..512).map(|bin| if bin % 2 == 0 { 3.0 } else { 0.0 }).collect();
        assert!(divergence(&counts, 0, 512).abs() < 1e-12);
    }
}
