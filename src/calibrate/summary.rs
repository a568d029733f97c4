//! Summary statistics of single calibration pictures, which the artifact stores for later comparison with live frames.

use std::collections::{BTreeMap, BTreeSet};

use super::histogram::Histogram;
use crate::quant::artifact::MeanStd;
use crate::quant::{QuantParams, Range};

/// Mean and standard deviation of the population; `None` without values, or where one is not finite.
pub fn mean_std(values: &[f64]) -> Option<MeanStd> {
    if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
    Some(MeanStd { mean: mean as f32, std: variance.sqrt() as f32 })
}

/// `value` with a standard deviation at least that of `least`: a handful of frames underestimates the deviation.
pub fn with_min_std(value: MeanStd, least: Option<MeanStd>) -> MeanStd {
    MeanStd { std: value.std.max(least.map_or(0.0, |least| least.std)), ..value }
}

/// Mean; `None` without values.
pub fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// Share of the values of `histogram` in bins whose centre is outside the quantization range of `qparams`, 0 to 1.
pub fn clipped_share(histogram: &Histogram, qparams: &QuantParams) -> f64 {
    let Range { min, max } = qparams.range();
    // Values up to half a step beyond the last level still round to it.
    let half = f64::from(qparams.scale) / 2.0;
    let (low, high) = (f64::from(min) - half, f64::from(max) + half);
    let binning = histogram.binning();
    let outside: u64 = histogram
        .bins()
        .filter(|&(index, _)| {
            let centre = binning.lower(index) + binning.width() / 2.0;
            centre < low || centre > high
        })
        .map(|(_, count)| count)
        .sum();
    outside as f64 / histogram.total().max(1) as f64
}

/// Total variation distance of two distributions over the bins of the coarser one, ½ Σ |p − q|: 0 for equal ones, 1 for
/// disjoint ones.
pub fn distance(one: &Histogram, all: &Histogram) -> f64 {
    // Both on the coarser of the two bin widths: coarsening is a shift of the index.
    let exponent = one.binning().exponent().max(all.binning().exponent());
    let share = |histogram: &Histogram| {
        let shift = exponent - histogram.binning().exponent();
        let mut shares = BTreeMap::new();
        for (index, count) in histogram.bins() {
            *shares.entry(index >> shift.min(62)).or_insert(0.0) += count as f64 / histogram.total().max(1) as f64;
        }
        shares
    };
    let (one, all) = (share(one), share(all));
    let keys: BTreeSet<i64> = one.keys().chain(all.keys()).copied().collect();
    let at = |shares: &BTreeMap<i64, f64>, key: i64| shares.get(&key).copied().unwrap_or(0.0);
    keys.into_iter().map(|key| (at(&one, key) - at(&all, key)).abs()).sum::<f64>() / 2.0
}
