//! Squared error of a grid on a histogram, and the range where it is least.
//!
//! In: a histogram, and the scheme of the grid. Out: the expected error in closed form (values lie evenly_spaced inside
//! their bin, exact zeros cost nothing), so that clipping and rounding are weighed as the grid will really do them.

use crate::calibrate::histogram::Histogram;
use crate::quant::{QuantParams, Range, Scheme};

/// Mean squared error of the values of `histogram` on `grid`, 0 where nothing was counted.
pub fn quantization_mse(histogram: &Histogram, qparams: &QuantParams) -> f64 {
    let total = histogram.total();
    if total == 0 {
        return 0.0;
    }
    let (scale, zero_point) = (f64::from(qparams.scale), f64::from(qparams.zero_point));
    let width = histogram.binning().width() / scale;
    let start = histogram.first() as f64 * width + zero_point;
    let mut below = antiderivative(start);
    let mut sum = 0.0;
    for (at, &count) in histogram.counts().iter().enumerate() {
        let above = antiderivative(start + (at + 1) as f64 * width);
        sum += count_off_zero(histogram, at, count) * (above - below);
        below = above;
    }
    sum / width * scale * scale / total as f64
}

/// The count of a bin without the exact zeros, which any grid keeps.
pub(super) fn count_off_zero(histogram: &Histogram, at: usize, count: u64) -> f64 {
    if histogram.first() + at as i64 == 0 { (count - histogram.zeros()) as f64 } else { count as f64 }
}

/// ∫₀ᵘ (v − nearest level of v)² dv, levels being the integers 0…255: whole cells give 1/12, and the rest is a cube.
fn antiderivative(u: f64) -> f64 {
    let level = u.round_ties_even().clamp(0.0, 255.0);
    let rest = u - level;
    level / 12.0 + rest * rest * rest / 3.0
}

/// The range, on bin edges, of least [`quantization_mse`].
pub(super) fn range(histogram: &Histogram, scheme: Scheme) -> Range {
    let (first, last) = (histogram.first(), histogram.first() + histogram.counts().len() as i64);
    let binning = histogram.binning();
    let span = |low: i64, high: i64| {
        let end = |index| binning.lower(index).clamp(f64::from(histogram.min()), f64::from(histogram.max())) as f32;
        Range::new(end(low), end(high))
    };
    let error = |low: i64, high: i64| quantization_mse(histogram, &QuantParams::covering(span(low, high), scheme));
    if first == 0 {
        return span(0, least(1, last, |high| error(0, high)));
    }
    if scheme == Scheme::Symmetric {
        let reach = least(1, last.max(-first), |reach| error((-reach).max(first), reach.min(last)));
        return span((-reach).max(first), reach.min(last));
    }
    // Both ends in turn; two or three rounds settle it, since the ends hardly know of each other.
    let (mut low, mut high) = (first, last);
    for _ in 0..6 {
        let before = (low, high);
        high = least(0, last, |high| error(low, high));
        low = -least(0, -first, |reach| error(-reach, high));
        if (low, high) == before {
            break;
        }
    }
    span(low, high)
}

/// The number from `from` to `to` where `error` is least, the largest of several: looked for in wide steps from the
/// top, then one by one around the best.
fn least(from: i64, to: i64, error: impl Fn(i64) -> f64) -> i64 {
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
    use crate::calibrate::HistogramBuilder;

    fn of(values: &[f32]) -> Histogram {
        let mut builder = HistogramBuilder::new();
        builder.observe(values).unwrap();
        builder.finish()
    }

    /// A heavy-tailed bell, without chance.
    fn bell(offset: f32) -> Vec<f32> {
        (1..60_000).map(|i| libm::logf(i as f32 / (60_000 - i) as f32) + offset).collect()
    }

    #[test]
    fn the_closed_form_is_the_measured_error() {
        for offset in [-1.0, 0.0, 2.0] {
            let values = bell(offset);
            let histogram = of(&values);
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
    fn exact_zeros_cost_nothing() {
        let qparams = QuantParams::covering(Range::new(0.0, 1.0), Scheme::Affine);
        assert_eq!(quantization_mse(&of(&[0.0; 50]), &qparams), 0.0);
        let mixed = quantization_mse(&of(&[0.0, 0.0, 0.0, 0.7]), &qparams);
        assert!(mixed > 0.0 && mixed < f64::from(qparams.scale * qparams.scale) / 12.0);
    }

    #[test]
    fn the_search_finds_what_trying_everything_finds() {
        for scheme in [Scheme::Affine, Scheme::Symmetric] {
            for values in [bell(0.0), bell(1.5), bell(0.0).iter().map(|x| x.max(0.0)).collect()] {
                let histogram = of(&values);
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
