//! Summary statistics of single calibration pictures, which the artifact stores for later comparison with live frames.

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
    let exponent = one.binning().exponent().max(all.binning().exponent());
    let (one, all) = (shares(one, exponent), shares(all, exponent));
    let (mut one, mut all) = (one.into_iter().peekable(), all.into_iter().peekable());
    let mut sum = 0.0;
    // In the order of the bins, each of which is in one of the two or in both.
    while let Some(bin) = one.peek().into_iter().chain(all.peek()).map(|(bin, _)| *bin).min() {
        let [p, q] = [&mut one, &mut all].map(|shares| shares.next_if(|(at, _)| *at == bin).map_or(0.0, |bin| bin.1));
        sum += (p - q).abs();
    }
    sum / 2.0
}

/// The bins of width 2^`exponent` that hold values, in order, each with its share of the values. `exponent` is that of the
/// histogram or more: coarsening is a shift of the index.
fn shares(histogram: &Histogram, exponent: i32) -> Vec<(i64, f64)> {
    let shift = (exponent - histogram.binning().exponent()).min(62);
    let total = histogram.total().max(1) as f64;
    let mut shares: Vec<(i64, f64)> = Vec::new();
    for (index, count) in histogram.bins() {
        let (bin, share) = (index >> shift, count as f64 / total);
        match shares.last_mut() {
            Some((last, sum)) if *last == bin => *sum += share,
            _ => shares.push((bin, share)),
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::super::histogram::tests::histogram_of;
    use super::*;

    #[test]
    fn distances_are_those_of_the_coarser_bins() {
        let one = histogram_of(&[0.0, 0.0, 0.25, 1.0]);
        assert_eq!(distance(&one, &one), 0.0);
        assert_eq!(distance(&one, &histogram_of(&[0.5, 0.75])), 1.0);
        assert_eq!(distance(&one, &histogram_of(&[0.0, 1.0, 1.0, 1.0])), 0.5);
        // In bins half a unit wide 0 and 0.25 are one.
        let (fine, coarse) = (histogram_of(&[0.0, 0.25, 0.25, 1.0]), histogram_of(&[0.0, 1.0, 600.0, 600.0]));
        assert!(fine.binning().width() < 0.25 && coarse.binning().width() == 0.5);
        assert_eq!([distance(&fine, &coarse), distance(&coarse, &fine)], [0.5; 2]);
        assert_eq!(distance(&Histogram::new(), &one), 0.5);
    }
}
