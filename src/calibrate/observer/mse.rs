//! MSE observer: least mean squared error of the quantization itself.
//!
//! min over \[a, b\] of E\[(x − x̂)²\], where x̂ is x quantized and dequantized with the quantization parameters that
//! cover \[a, b\] (Nagel et al., "A White Paper on Neural Network Quantization", 2021, section 3.1). The expectation
//! has a closed form if values are distributed uniformly within each bin of the histogram. Exact zeros have no error.
//! Both clipping and rounding are thus counted exactly as the kernels perform them.

use crate::calibrate::histogram::Histogram;
use crate::quant::{QuantParams, Range, Scheme};

/// Mean squared error of the values of `histogram`, quantized with `qparams`; 0 of an empty histogram.
pub fn quantization_mse(histogram: &Histogram, qparams: &QuantParams) -> f64 {
    let total = histogram.total();
    if total == 0 {
        return 0.0;
    }
    // In units of the scale, with level 0 at 0.
    let (scale, zero_point, last) = qparams.levels();
    let (scale, zero_point, last) = (f64::from(scale), f64::from(zero_point), f64::from(last));
    let width = histogram.binning().width() / scale;
    let start = histogram.first() as f64 * width + zero_point;
    let mut below = antiderivative(start, last);
    let mut sum = 0.0;
    for (at, &count) in histogram.counts().iter().enumerate() {
        let above = antiderivative(start + (at + 1) as f64 * width, last);
        sum += count_without_zeros(histogram, at, count) * (above - below);
        below = above;
    }
    sum / width * scale * scale / total as f64
}

/// Count of the bin at position `at`, without exact zeros: every quantization represents zero exactly.
pub(super) fn count_without_zeros(histogram: &Histogram, at: usize, count: u64) -> f64 {
    if histogram.first() + at as i64 == 0 { (count - histogram.zeros()) as f64 } else { count as f64 }
}

/// ∫₀ᵘ (v − nearest level of v)² dv, where the levels are the integers 0 to `last`: each whole cell adds 1/12, the rest
/// a cube.
fn antiderivative(u: f64, last: f64) -> f64 {
    let level = u.round_ties_even().clamp(0.0, last);
    let rest = u - level;
    level / 12.0 + rest * rest * rest / 3.0
}

/// Most rounds of the alternating search. Two or three suffice, because the best ends hardly depend on each other.
const MAX_ROUNDS: usize = 6;

/// The range, on bin edges, with the least [`quantization_mse`].
pub(super) fn range(histogram: &Histogram, scheme: Scheme) -> Range {
    let (first, last) = (histogram.first(), histogram.first() + histogram.counts().len() as i64);
    let binning = histogram.binning();
    let span = |low: i64, high: i64| {
        let end = |index| binning.lower(index).clamp(f64::from(histogram.min()), f64::from(histogram.max())) as f32;
        Range::new(end(low), end(high))
    };
    let error = |low: i64, high: i64| quantization_mse(histogram, &QuantParams::covering(span(low, high), scheme));

    // Without negative values only the upper end is free.
    if first == 0 {
        return span(0, argmin(1, last, |high| error(0, high)));
    }
    // A symmetric range has one parameter.
    if scheme == Scheme::Symmetric {
        let reach = argmin(1, last.max(-first), |reach| error((-reach).max(first), reach.min(last)));
        return span((-reach).max(first), reach.min(last));
    }
    // Otherwise minimize over one end at a time until neither moves.
    let (mut low, mut high) = (first, last);
    for _ in 0..MAX_ROUNDS {
        let before = (low, high);
        high = argmin(0, last, |high| error(low, high));
        low = -argmin(0, -first, |reach| error(-reach, high));
        if (low, high) == before {
            break;
        }
    }
    span(low, high)
}

/// Argument in `from..=to` with the least `error`, the largest of equal ones. Searches from the top in wide steps, then
/// in ever smaller steps around the best argument.
fn argmin(from: i64, to: i64, error: impl Fn(i64) -> f64) -> i64 {
    let mut best = (error(to), to);
    let mut step = ((to - from) / 128).max(1);
    let (mut low, mut high) = (from, to);
    loop {
        let mut at = high;
        while at >= low {
            let candidate = error(at);
            if candidate < best.0 {
                best = (candidate, at);
            }
            at -= step;
        }
        if step == 1 {
            return best.1;
        }
        (low, high) = ((best.1 - step).max(from), (best.1 + step).min(to));
        step = (step / 8).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::histogram::tests::histogram_of;

    /// Quantiles of a logistic distribution.
    fn logistic(offset: f32) -> Vec<f32> {
        (1..60_000).map(|i| libm::logf(i as f32 / (60_000 - i) as f32) + offset).collect()
    }

    #[test]
    fn the_closed_form_is_the_measured_error() {
        for offset in [-1.0, 0.0, 2.0] {
            let values = logistic(offset);
            let histogram = histogram_of(&values);
            for (min, max) in [(-11.0, 11.0), (-2.0, 3.0), (0.0, 1.0), (-9.0, 0.5)] {
                let qparams = QuantParams::covering(Range::new(min, max), Scheme::Affine);
                let measured =
                    values.iter().map(|&x| f64::from(x - qparams.value(qparams.quantize(x))).powi(2)).sum::<f64>()
                        / values.len() as f64;
                let expected = quantization_mse(&histogram, &qparams);
                assert!((measured / expected - 1.0).abs() < 0.02, "{measured} {expected}");
            }
        }
    }

    #[test]
    fn exact_zeros_have_no_error() {
        let qparams = QuantParams::covering(Range::new(0.0, 1.0), Scheme::Affine);
        assert_eq!(quantization_mse(&histogram_of(&[0.0; 50]), &qparams), 0.0);
        let mixed = quantization_mse(&histogram_of(&[0.0, 0.0, 0.0, 0.7]), &qparams);
        assert!(mixed > 0.0 && mixed < f64::from(qparams.scale * qparams.scale) / 12.0);
    }

    #[test]
    fn the_search_finds_the_minimum_of_an_exhaustive_search() {
        for scheme in [Scheme::Affine, Scheme::Symmetric] {
            for values in [logistic(0.0), logistic(1.5), logistic(0.0).iter().map(|x| x.max(0.0)).collect()] {
                let histogram = histogram_of(&values);
                let found = quantization_mse(&histogram, &QuantParams::covering(range(&histogram, scheme), scheme));
                let mut least = f64::INFINITY;
                for low in 0..=44 {
                    for high in 1..=44 {
                        let tried = Range::new(
                            (-0.25 * low as f32).max(histogram.min()),
                            (0.25 * high as f32).min(histogram.max()),
                        );
                        least = least.min(quantization_mse(&histogram, &QuantParams::covering(tried, scheme)));
                    }
                }
                assert!(found <= least * 1.001, "{scheme}: {found} {least}");
            }
        }
    }
}
