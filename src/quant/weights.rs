//! Weight quantization: f32 filters to s8, one scale an output channel, all pairs safe.
//!
//! In: a [`FilterBank`] `[out][kh][kw][in]` with batch norm folded, and a lower bound for every scale. Out:
//! [`QuantizedWeights`] in [−127, 127] whose neighbouring pairs cannot saturate a 16-bit sum (see [`super::pairs`]).
//! Channels are independent of each other, so any number of threads gives the same bytes.

use rayon::prelude::*;

use super::pairs::{nearest_pair, round_pair};
use super::quant_params::MIN_SCALE;
use crate::error::{Error, Kind, Result};

/// Filters of one convolution or linear layer: `[out][taps][channels]` values.
#[derive(Debug, Clone, Copy)]
pub struct FilterBank<'a> {
    /// The weights.
    pub values: &'a [f32],
    /// Number of filters (output channels).
    pub out: usize,
    /// Input channels of a tap.
    pub channels: usize,
}

/// Weights that share a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Granularity {
    /// One scale for each output channel.
    #[default]
    PerChannel,
    /// One scale for all weights, as for the paper's linear layers; stored once for each channel.
    PerTensor,
}

/// Rule that chooses the scale of a channel from its weights. Quantization uses the default; `tests/weight_error.rs`
/// measures the error of the others against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ScaleRule {
    /// `max|w| / 127` with plain rounding. **Not pair-safe**; for measuring the cost of pair safety.
    Full,
    /// `max|w| / 64`: safe, but all weights lose one bit. Other engines use it without VNNI.
    Reduced,
    /// `max(max|w| / 127, max|w₀ + w₁| / 128 over same-sign pairs)`: every pair is safe after plain rounding.
    PairMaximum,
    /// The scale with the least squared error, where every pair is rounded to the nearest safe one. A scale below
    /// [`Self::PairMaximum`] rounds all weights more finely, but changes the few pairs with large sums.
    #[default]
    PairSearch,
}

/// Number of signed bytes of a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Digits {
    /// One.
    #[default]
    One,
    /// Two: w = (high + low / 128) · scale.
    Two,
}

/// Quantized weights, as the kernels use them.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedWeights {
    /// `[out][taps][channels]`, in [−127, 127]. The high digits, where there are two.
    pub values: Vec<i8>,
    /// The low digits of weights of two, in [−64, 63] and in units of 1/128 of `values`; empty where there is one.
    pub low: Vec<i8>,
    /// Scale of every output channel.
    pub scales: Vec<f32>,
}

impl FilterBank<'_> {
    /// Number of products in a sum: taps × channels.
    pub fn depth(&self) -> usize {
        self.values.len().checked_div(self.out).unwrap_or(0)
    }

    /// Quantizes the weights to one or two digits of s8. `floors[n]` is the smallest scale of channel n
    /// ([`super::scale_floor`]); empty for none. Two digits have the scale of [`ScaleRule::PairMaximum`], whatever the
    /// rule: a search for a better one would gain nothing with steps 128 times finer.
    ///
    /// # Errors
    /// [`Kind::Data`] where a weight is not finite, [`Kind::Internal`] where the sizes contradict each other.
    pub fn quantize(
        &self,
        rule: ScaleRule,
        granularity: Granularity,
        digits: Digits,
        floors: &[f32],
    ) -> Result<QuantizedWeights> {
        let depth = self.depth();
        let whole = self.channels > 0 && depth.is_multiple_of(self.channels) && self.out * depth == self.values.len();
        if depth == 0 || !whole || !(floors.is_empty() || floors.len() == self.out) {
            return Err(Error::new(
                Kind::Internal,
                format!(
                    "{} weights and {} floors are not {} filters of taps with {} channels",
                    self.values.len(),
                    floors.len(),
                    self.out,
                    self.channels
                ),
            ));
        }
        if let Some(place) = self.values.iter().position(|w| !w.is_finite()) {
            let (channel, within) = (place / depth, place % depth);
            return Err(Error::new(
                Kind::Data,
                format!("weight {within} of output channel {channel} is {}, not a finite number", self.values[place]),
            ));
        }
        let scale = |filter: &[f32]| match digits {
            Digits::One => rule.scale(filter, self.channels),
            Digits::Two => two_digit_scale(filter, self.channels),
        };
        let mut scales: Vec<f32> = self.values.par_chunks(depth).map(scale).collect();
        if granularity == Granularity::PerTensor {
            let shared = scales.iter().copied().fold(MIN_SCALE, f32::max);
            scales.fill(shared);
        }
        for (scale, floor) in scales.iter_mut().zip(floors) {
            *scale = scale.max(*floor);
        }
        let mut values = vec![0i8; self.values.len()];
        if digits == Digits::Two {
            let mut low = values.clone();
            let digits = values.par_chunks_mut(depth).zip(low.par_chunks_mut(depth));
            digits.zip(self.values.par_chunks(depth)).zip(&scales).for_each(|(((high, low), filter), &scale)| {
                split(filter, scale, high, low);
            });
            return Ok(QuantizedWeights { values, low, scales });
        }
        values.par_chunks_mut(depth).zip(self.values.par_chunks(depth)).zip(&scales).for_each(
            |((bytes, filter), &scale)| {
                rule.round(filter, self.channels, scale, bytes);
            },
        );
        Ok(QuantizedWeights { values, low: Vec::new(), scales })
    }
}

/// The largest absolute value; 0 of none.
pub fn largest_magnitude(weights: &[f32]) -> f32 {
    weights.iter().fold(0.0, |largest, weight| largest.max(weight.abs()))
}

/// The scale of weights of two digits: the smallest with which the high digits are pair-safe. Rounding to a high digit
/// may add half a step to each weight of a pair. So one step less than 128 is left for their sum.
fn two_digit_scale(filter: &[f32], channels: usize) -> f32 {
    let largest = largest_magnitude(filter);
    (largest / 126.0).max(heaviest_pair(filter, channels) / 127.0).max(MIN_SCALE)
}

/// Rounds `filter` to 1/128 of `scale` and splits every weight into its digits.
fn split(filter: &[f32], scale: f32, high: &mut [i8], low: &mut [i8]) {
    for ((w, high), low) in filter.iter().zip(high).zip(low) {
        let q = (w / scale * 128.0).round_ties_even() as i32;
        let digit = (q + 64) >> 7;
        (*high, *low) = (digit as i8, (q - (digit << 7)) as i8);
    }
}

impl ScaleRule {
    fn scale(self, filter: &[f32], channels: usize) -> f32 {
        let largest = largest_magnitude(filter);
        let scale = match self {
            Self::Full => largest / 127.0,
            Self::Reduced => largest / 64.0,
            Self::PairMaximum => pair_maximum(filter, channels, largest),
            Self::PairSearch => search(filter, channels, largest),
        };
        scale.max(MIN_SCALE)
    }

    fn round(self, filter: &[f32], channels: usize, scale: f32, bytes: &mut [i8]) {
        let inverse = 1.0 / scale;
        if self == Self::Full {
            for (byte, w) in bytes.iter_mut().zip(filter) {
                *byte = (w * inverse).round_ties_even().clamp(-127.0, 127.0) as i8;
            }
            return;
        }
        for (tap, weights) in bytes.chunks_mut(channels).zip(filter.chunks(channels)) {
            for (pair, w) in tap.chunks_mut(2).zip(weights.chunks(2)) {
                let (first, second) = round_pair(w[0] * inverse, w.get(1).map_or(0.0, |w| w * inverse));
                pair[0] = first;
                if let Some(last) = pair.get_mut(1) {
                    *last = second;
                }
            }
        }
    }
}

/// The smallest scale with which plain rounding makes every pair safe.
fn pair_maximum(filter: &[f32], channels: usize, largest: f32) -> f32 {
    (largest / 127.0).max(heaviest_pair(filter, channels) / 128.0)
}

/// The largest |w₀ + w₁| of a pair.
fn heaviest_pair(filter: &[f32], channels: usize) -> f32 {
    // With different signs the sum is smaller than either weight, so it is never the maximum.
    let pairs = |tap: &[f32]| tap.chunks_exact(2).fold(0.0f32, |sum, pair| sum.max((pair[0] + pair[1]).abs()));
    filter.chunks(channels).fold(0.0f32, |sum, tap| sum.max(pairs(tap)))
}

/// The scale with the least squared error among a geometric series downwards from [`pair_maximum`].
fn search(filter: &[f32], channels: usize, largest: f32) -> f32 {
    let top = pair_maximum(filter, channels, largest);
    if top <= MIN_SCALE {
        return top;
    }
    // 0.985^15 = 0.8: below that, the changed pairs always cost more than finer rounding gains.
    const STEPS: u32 = 16;
    const RATIO: f32 = 0.985;
    let mut best = (f64::INFINITY, top);
    let mut scale = top;
    for _ in 0..STEPS {
        let error = squared_error(filter, channels, scale, best.0);
        if error < best.0 {
            best = (error, scale);
        }
        scale *= RATIO;
    }
    best.1
}

/// Σ (w − scale·q)² with every pair rounded to a safe one; ∞ as soon as the sum reaches `limit`.
fn squared_error(filter: &[f32], channels: usize, scale: f32, limit: f64) -> f64 {
    let inverse = 1.0 / scale;
    let unit = f64::from(scale) * f64::from(scale);
    let error = |a: f32, b: f32| {
        let (p, q) = nearest_pair(a, b);
        (a - p) * (a - p) + (b - q) * (b - q)
    };
    let mut total = 0.0f64;
    // Taps with an even number of channels have no gap between them, so they can be divided between any pairs.
    let run = if channels.is_multiple_of(2) { 512 } else { channels };
    for part in filter.chunks(run) {
        // Eight sums in a fixed order, so that the loop vectorises with the same result everywhere.
        let mut sums = [0.0f32; 8];
        let (rows, rest) = part.as_chunks::<16>();
        for row in rows {
            for (lane, sum) in sums.iter_mut().enumerate() {
                *sum += error(row[2 * lane] * inverse, row[2 * lane + 1] * inverse);
            }
        }
        for pair in rest.chunks(2) {
            sums[0] += error(pair[0] * inverse, pair.get(1).map_or(0.0, |w| w * inverse));
        }
        total += f64::from(sums.iter().sum::<f32>());
        if total * unit >= limit {
            return f64::INFINITY;
        }
    }
    total * unit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::first_unsafe_pair;
    use proptest::prelude::*;

    const SAFE: [ScaleRule; 3] = [ScaleRule::Reduced, ScaleRule::PairMaximum, ScaleRule::PairSearch];

    fn error(bank: &FilterBank, quantized: &QuantizedWeights) -> f64 {
        let depth = bank.depth();
        bank.values
            .iter()
            .zip(&quantized.values)
            .enumerate()
            .map(|(i, (w, q))| f64::from(w - f32::from(*q) * quantized.scales[i / depth]).powi(2))
            .sum()
    }

    #[test]
    fn a_large_pair_raises_the_scale_only_where_needed() {
        let values = [1.0, 1.0, 0.5, -0.5, 1.0, -1.0, 0.1, 0.2];
        let bank = FilterBank { values: &values, out: 2, channels: 4 };
        let quantized = bank.quantize(ScaleRule::PairMaximum, Granularity::PerChannel, Digits::One, &[]).unwrap();
        assert_eq!(quantized.scales, [2.0 / 128.0, 1.0 / 127.0]);
        assert_eq!(quantized.values, [64, 64, 32, -32, 127, -127, 13, 25]);
        let shared = bank.quantize(ScaleRule::PairMaximum, Granularity::PerTensor, Digits::One, &[]).unwrap();
        assert_eq!(shared.scales, [2.0 / 128.0; 2]);
    }

    #[test]
    fn floors_and_zero_channels_have_valid_scales() {
        let bank = FilterBank { values: &[0.0, 0.0, 1.0, 0.5], out: 2, channels: 2 };
        let quantized =
            bank.quantize(ScaleRule::PairSearch, Granularity::PerChannel, Digits::One, &[0.25, 0.0]).unwrap();
        assert_eq!(quantized.scales[0], 0.25);
        assert_eq!(quantized.values[..2], [0, 0]);
        assert!(
            bank.quantize(ScaleRule::PairSearch, Granularity::PerChannel, Digits::One, &[]).unwrap().scales[0] > 0.0
        );
    }

    #[test]
    fn non_finite_weights_are_named() {
        let bank = FilterBank { values: &[0.0, 1.0, f32::NAN, 0.5], out: 2, channels: 2 };
        let error = bank.quantize(ScaleRule::PairSearch, Granularity::PerChannel, Digits::One, &[]).unwrap_err();
        assert_eq!(error.message(), "weight 0 of output channel 1 is NaN, not a finite number");
        let bank = FilterBank { values: &[0.0; 7], out: 2, channels: 2 };
        assert!(bank.quantize(ScaleRule::PairSearch, Granularity::PerChannel, Digits::One, &[]).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_rule_is_safe_and_the_search_never_loses(
            values in prop::collection::vec(prop_oneof![-1.0f32..1.0, Just(1.0), Just(-1.0), -1e-30f32..1e-30], 2 * 3 * 5 * 2),
            channels in prop_oneof![Just(1usize), Just(2), Just(3), Just(5), Just(6), Just(10), Just(15)],
            floor in prop_oneof![Just(0.0f32), 0.0f32..0.1],
        ) {
            let bank = FilterBank { values: &values, out: 2, channels };
            for granularity in [Granularity::PerChannel, Granularity::PerTensor] {
                for rule in SAFE {
                    let quantized = bank.quantize(rule, granularity, Digits::One, &[floor; 2]).unwrap();
                    prop_assert!(first_unsafe_pair(&quantized.values, channels).is_none(), "{rule:?}");
                    prop_assert!(quantized.scales.iter().all(|&scale| scale >= floor));
                }
                let two = bank.quantize(ScaleRule::default(), granularity, Digits::Two, &[floor; 2]).unwrap();
                prop_assert!(first_unsafe_pair(&two.values, channels).is_none());
                prop_assert!(two.low.iter().all(|low| (-64..64).contains(low)));
                for (i, w) in values.iter().enumerate() {
                    let scale = two.scales[i / bank.depth()];
                    let found = (f32::from(two.values[i]) + f32::from(two.low[i]) / 128.0) * scale;
                    prop_assert!((w - found).abs() <= scale * 0.501 / 128.0, "{w} {found}");
                }
            }
            let of = |rule| error(&bank, &bank.quantize(rule, Granularity::PerChannel, Digits::One, &[]).unwrap());
            prop_assert!(of(ScaleRule::PairSearch) <= of(ScaleRule::PairMaximum) * 1.0001);
        }
    }
}
