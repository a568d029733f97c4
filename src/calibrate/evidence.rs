//! What the artifact says of its own calibration: enough to tell later whether a live frame is out of the ordinary.

use super::histogram::Histogram;
use crate::quant::artifact::{HistogramBins, Spread};
use crate::quant::{QuantParams, Range};

/// Mean and standard deviation of single pictures; `None` of nothing.
pub fn spread(values: &[f64]) -> Option<Spread> {
    if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
    Some(Spread { mean: mean as f32, deviation: variance.sqrt() as f32 })
}

/// A spread with a deviation no smaller than that of `least`: a handful of frames does not know how much there can be.
pub fn no_narrower(spread: Spread, least: Option<Spread>) -> Spread {
    Spread { deviation: spread.deviation.max(least.map_or(0.0, |least| least.deviation)), ..spread }
}

/// Mean; `None` of nothing.
pub fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// Share of the values of `histogram` whose bins lie outside of what `grid` can hold.
pub fn clipped_share(histogram: &Histogram, qparams: &QuantParams) -> f64 {
    let Range { min, max } = qparams.range();
    let half = f64::from(qparams.scale) / 2.0;
    let (low, high) = (f64::from(min) - half, f64::from(max) + half);
    let lattice = histogram.lattice();
    let outside: u64 = histogram
        .bins()
        .filter(|&(index, _)| {
            let centre = lattice.lower(index) + lattice.width() / 2.0;
            centre < low || centre > high
        })
        .map(|(_, count)| count)
        .sum();
    outside as f64 / histogram.total().max(1) as f64
}

/// Half the sum of differences between two distributions over the bins of the coarser one: 0 for the same, 1 for
/// nothing in common.
pub fn distance(one: &Histogram, all: &Histogram) -> f64 {
    // Merging brings both to one lattice: take an empty copy of the other's extent along.
    let exponent = one.lattice().exponent().max(all.lattice().exponent());
    let share = |histogram: &Histogram| {
        let shift = exponent - histogram.lattice().exponent();
        let mut shares = std::collections::BTreeMap::new();
        for (index, count) in histogram.bins() {
            *shares.entry(index >> shift.min(62)).or_insert(0.0) += count as f64 / histogram.total().max(1) as f64;
        }
        shares
    };
    let (one, all) = (share(one), share(all));
    let keys: std::collections::BTreeSet<i64> = one.keys().chain(all.keys()).copied().collect();
    let at = |shares: &std::collections::BTreeMap<i64, f64>, key: i64| shares.get(&key).copied().unwrap_or(0.0);
    keys.into_iter().map(|key| (at(&one, key) - at(&all, key)).abs()).sum::<f64>() / 2.0
}

/// A histogram as the artifact stores it: counts in 32 bits, all divided by one power of two where they are larger.
pub fn stored(histogram: &Histogram) -> (Option<HistogramBins>, Vec<u32>) {
    if histogram.is_empty() {
        return (None, Vec::new());
    }
    let largest = histogram.counts().iter().copied().max().unwrap_or(0);
    let shift = (64 - largest.leading_zeros()).saturating_sub(31);
    let half = if shift == 0 { 0 } else { 1u64 << (shift - 1) };
    let counts: Vec<u32> = histogram.counts().iter().map(|&count| ((count + half) >> shift) as u32).collect();
    let bins =
        HistogramBins { exponent: histogram.lattice().exponent(), first: histogram.first(), bins: counts.len(), shift };
    (Some(bins), counts)
}
