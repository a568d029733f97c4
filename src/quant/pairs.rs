//! Pair safety: weights with which no 16-bit sum of two products can saturate.
//!
//! `vpmaddubsw` adds two neighbouring u8 × s8 products in 16 bits and saturates. The sum fits for all activations 0…255
//! exactly when two conditions hold. The positive weights of the pair add up to at most 128, the negative ones to at
//! least −128. For 255 · 128 = 32640 fits, and one step more is 32895 > 32767. Weights of different sign never saturate.
//! Pairs are within a tap: channels (0, 1), (2, 3), …. Where the number of channels is odd, the last one is paired with a
//! zero, as for the RGBx pixels of the stem. Packed layouts keep such pairs together.

/// Index of the first weight of the first pair that could saturate, `None` if all pairs are safe. `channels` are the
/// input channels of a tap, not 0. −128 counts as unsafe: quantized weights are at least −127, and kernels may negate
/// them.
pub fn first_unsafe_pair(weights: &[i8], channels: usize) -> Option<usize> {
    if channels.is_multiple_of(2) {
        // Test whole blocks in a loop that vectorises, then find the pair within a block.
        let mut start = 0;
        for block in weights.chunks(4096) {
            if !block.chunks_exact(2).fold(true, |safe, pair| safe & fits(pair[0], pair[1])) {
                return block.chunks_exact(2).position(|pair| !fits(pair[0], pair[1])).map(|pair| start + 2 * pair);
            }
            start += block.len();
        }
        return None;
    }
    weights.chunks(channels).enumerate().find_map(|(tap, row)| {
        let pair = row.chunks(2).position(|pair| !fits(pair[0], pair.get(1).copied().unwrap_or(0)))?;
        Some(tap * channels + 2 * pair)
    })
}

#[inline]
fn fits(a: i8, b: i8) -> bool {
    let sum = i16::from(a) + i16::from(b);
    // With different signs the sum is always within the bounds.
    (-128..=128).contains(&sum) & (a != i8::MIN) & (b != i8::MIN)
}

/// The pair-safe integers in [−127, 127] nearest to `a` and `b` (in units of the scale) by squared error.
///
/// Where plain rounding exceeds ±128, the best pair is on the bound p + q = ±128. It is the pair of integers nearest to
/// the foot of the perpendicular from (a, b). The excess is shared between both; an excess of one goes to the weight
/// whose error grows least.
#[inline]
pub(super) fn round_pair(a: f32, b: f32) -> (i8, i8) {
    let (p, q) = nearest_pair(a, b);
    (p as i8, q as i8)
}

/// [`round_pair`] before the conversion, without branches so that loops over it vectorise.
#[inline]
pub(super) fn nearest_pair(a: f32, b: f32) -> (f32, f32) {
    let (p, q) = (nearest(a.clamp(-127.0, 127.0)), nearest(b.clamp(-127.0, 127.0)));
    let share = nearest(((128.0 + a.abs() - b.abs()) * 0.5).clamp(1.0, 127.0));
    let fits = (p + q).abs() <= 128.0;
    let (on_bound, rest) = (share.copysign(p), (128.0 - share).copysign(q));
    (if fits { p } else { on_bound }, if fits { q } else { rest })
}

/// The nearest integer, half to even, of |x| < 2^22: adding 1.5 · 2^23 leaves no room for a fraction. The baseline
/// instruction set of x86-64 has no rounding of its own.
#[inline]
fn nearest(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    (x + MAGIC) - MAGIC
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// True if the exact sum leaves i16 for some activations. It is linear in each of them, so the corners decide.
    fn saturates(a: i8, b: i8) -> bool {
        [(0, 0), (0, 255), (255, 0), (255, 255)].iter().any(|&(x, y)| {
            let sum: i32 = x * i32::from(a) + y * i32::from(b);
            i16::try_from(sum).is_err()
        })
    }

    #[test]
    fn the_rule_is_exactly_the_limit_of_the_instruction() {
        for a in -127..=127i8 {
            for b in -127..=127i8 {
                assert_eq!(first_unsafe_pair(&[a, b], 2).is_none(), !saturates(a, b), "{a} {b}");
            }
        }
        assert!(first_unsafe_pair(&[-128, 5], 2).is_some());
    }

    #[test]
    fn odd_channels_pair_the_last_one_with_zero() {
        // Three channels: (100, 20), (100, –), then (100, 20), (100, –).
        let weights = [100, 20, 100, 100, 20, 100];
        assert!(first_unsafe_pair(&weights, 3).is_none());
        assert_eq!(first_unsafe_pair(&[1, 2, 3, 100, 29, 1], 3), Some(3));
        assert_eq!(first_unsafe_pair(&weights, 2), Some(2));
    }

    #[test]
    fn rounding_finds_the_best_safe_pair() {
        let mut worst = 0.0f32;
        for i in 0..200 {
            for j in 0..200 {
                let (a, b) = (i as f32 * 0.83 - 20.3, j as f32 * 0.79 - 19.7);
                let cost = |p: i8, q: i8| (f32::from(p) - a).powi(2) + (f32::from(q) - b).powi(2);
                let (p, q) = round_pair(a, b);
                assert!(fits(p, q), "{a} {b} gives {p} {q}");
                let near = |x: f32| {
                    let x = x as i32;
                    (x - 60).max(-127)..=(x + 60).min(127)
                };
                let best = near(a)
                    .flat_map(|p| near(b).map(move |q| (p as i8, q as i8)))
                    .filter(|&(p, q)| fits(p, q))
                    .map(|(p, q)| cost(p, q))
                    .fold(f32::INFINITY, f32::min);
                worst = worst.max(cost(p, q) - best);
            }
        }
        assert!(worst < 1e-2, "{worst}");
    }

    proptest! {
        #[test]
        fn no_u8_can_saturate_a_rounded_pair(a in -400.0f32..400.0, b in -400.0f32..400.0, x: u8, y: u8) {
            let (p, q) = round_pair(a, b);
            let sum = i32::from(x) * i32::from(p) + i32::from(y) * i32::from(q);
            prop_assert!(i16::try_from(sum).is_ok());
            prop_assert!(first_unsafe_pair(&[p, q], 2).is_none());
        }
    }
}
