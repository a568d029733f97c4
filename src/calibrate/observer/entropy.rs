//! The range that keeps most information: least Kullback–Leibler divergence of the levels from the values.
//!
//! In: a histogram. Out: the range among ±(whole bins), cut to the bins there are. The reference is the histogram with
//! everything outside counted into the outermost bins; its approximation has 256 levels, each spread evenly_spaced over
//! its bins that are not empty. Exact zeros take no part: every grid keeps them, and there are so many after ReLU that
//! they would hide the rest.

use super::mse::count_off_zero;
use crate::calibrate::histogram::Histogram;
use crate::quant::Range;

const LEVELS: usize = 256;
/// Bins between two candidates: an eighth of a percent of the range, finer than the measure is smooth.
const STRIDE: i64 = 4;
/// The least candidate, in bins: narrower ones have more levels than bins, and nothing to compare.
const NARROWEST: i64 = 128;
/// Probability that stands for an empty bin of the approximation.
const TINY: f64 = 1e-9;

pub(super) fn range(histogram: &Histogram) -> Range {
    let counts: Vec<f64> =
        histogram.counts().iter().enumerate().map(|(at, &count)| count_off_zero(histogram, at, count)).collect();
    let (first, end) = (histogram.first(), histogram.first() + counts.len() as i64);
    let widest = end.max(-first);
    let mut best = (f64::INFINITY, widest);
    let mut reach = widest;
    // From the widest inwards, so that of several equal ones the widest is kept.
    while reach >= NARROWEST.min(widest) {
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

/// Σ p ln(p / q) with the range `low..high` of the bins.
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
            let outside = if at == 0 { before } else { 0.0 } + if at + 1 == kept.len() { after } else { 0.0 };
            let p = (count + outside) / total;
            if p > 0.0 {
                let q = if count > 0.0 { sum / filled as f64 / inside } else { TINY };
                // Not the system's logarithm: its last digit differs from one C library to the next.
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
    fn levels_that_match_the_bins_lose_nothing() {
        let counts: Vec<f64> = (0..256).map(|bin| f64::from(bin % 7)).collect();
        assert!(divergence(&counts, 0, 256).abs() < 1e-12);
        assert!(divergence(&counts, 0, 200) > 1e-4);
    }

    #[test]
    fn even_pairs_lose_nothing_either() {
        let counts: Vec<f64> = (0..512).map(|bin| f64::from(bin / 2)).collect();
        assert!(divergence(&counts, 0, 512).abs() < 1e-12);
        // Empty bins stay empty in the approximation.
        let counts: Vec<f64> = (0..512).map(|bin| if bin % 2 == 0 { 3.0 } else { 0.0 }).collect();
        assert!(divergence(&counts, 0, 512).abs() < 1e-12);
    }
}
