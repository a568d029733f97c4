//! Epilogue arithmetic: the integer bias and the multiplier that requantizes a sum.
//!
//! A convolution computes `acc = bias_q + Σ (q − z_in) · w`, in units of `s_in · s_w[n]`. The artifact stores the bias
//! in f32. It becomes an integer at load, because steps with different input scales share the same weights; so do the
//! multipliers. `acc` must stay inside i32. Weight scales are chosen so that it does ([`scale_floor`]), and
//! [`integer_bias`] checks it again.

use crate::error::{Error, Kind, Result};

/// Requantization multiplier `s_in · s_w / s_out`, computed in f64 and rounded to f32 once. With `s_out` = 1 the result
/// is in real units.
pub fn multiplier(s_in: f32, s_w: f32, s_out: f32) -> f32 {
    (f64::from(s_in) * f64::from(s_w) / f64::from(s_out)) as f32
}

/// Share of i32's range, less a channel's products, that its own bias may take. The rest is for corrections, and for input
/// scales that a recalibration makes smaller. A bias of 2^27 steps is still finer than any output.
const BIAS_SHARE: f64 = 1.0 / 16.0;

/// Smallest weight scale with which the products of these `weights` and this f32 `bias` fit into i32, for an input of
/// scale `s_in`. They are the sum of 255 · |q| and the integer bias, with a margin for corrections of the bias.
///
/// A channel whose batch norm has almost no gain has weights near zero but keeps its bias. With a scale chosen by its
/// weights alone its integer bias would overflow. So would the sums of some ten thousand large weights, and a correction
/// of a channel without weights and bias. `correction` is the largest one to expect.
///
/// # Errors
/// [`Kind::Data`] where there are so many weights that rounding alone could overflow (above 8.4 million).
pub fn scale_floor(weights: &[f32], bias: f32, correction: f32, s_in: f32) -> Result<f32> {
    // Rounding, and keeping pairs safe, may add one step to every weight.
    let available = f64::from(i32::MAX) - 255.0 * weights.len() as f64;
    if available <= 0.0 {
        return Err(Error::new(Kind::Data, format!("a sum of {} products does not fit into 32 bits", weights.len())));
    }
    let magnitude: f64 = weights.iter().map(|weight| f64::from(weight.abs())).sum();
    // A little above the exact quotient, so that neither rounding of the scale nor of the bias can pass the bound.
    let bias = (f64::from(bias).abs() / BIAS_SHARE).max(f64::from(correction));
    Ok(((bias / f64::from(s_in) + 255.0 * magnitude) / available * 1.000_001) as f32)
}

/// Smallest input scale with which [`scale_floor`] does not pass the scale that these `weights` have anyway, of 127 steps
/// to the largest; 0 where their products alone decide.
///
/// A coarser input costs little: its error in the output stays below `weights.len()` · 6e-8 of the larger of `correction`
/// and sixteen times the bias.
pub fn input_scale_floor(weights: &[f32], bias: f32, correction: f32) -> f32 {
    let room = f64::from(i32::MAX) - 255.0 * weights.len() as f64;
    let (mut most, mut magnitude) = (0.0f64, 0.0);
    for weight in weights.iter().map(|weight| f64::from(weight.abs())) {
        most = most.max(weight);
        magnitude += weight;
    }
    let left = most / 127.0 * room - 255.0 * magnitude;
    let bias = (f64::from(bias).abs() / BIAS_SHARE).max(f64::from(correction));
    if left > 0.0 { (bias / left * 1.000_001) as f32 } else { 0.0 }
}

/// The largest bias that [`integer_bias`] accepts, in real units.
pub fn max_bias(s_in: f32, s_w: f32, magnitude: u32) -> f32 {
    // A step less, so that rounding to f32 cannot pass the bound.
    let steps = (f64::from(i32::MAX) - 255.0 * f64::from(magnitude)) * (1.0 - 1e-6) - 1.0;
    (steps.max(0.0) * f64::from(s_in) * f64::from(s_w)) as f32
}

/// The bias in units of `s_in · s_w`, rounded half to even. `magnitude` is Σ |q| of the channel's weights.
///
/// # Errors
/// [`Kind::Data`] where bias and sum together could leave i32: the weight scale is too small for this input scale.
pub fn integer_bias(bias: f32, s_in: f32, s_w: f32, magnitude: u32) -> Result<i32> {
    let steps = (f64::from(bias) / (f64::from(s_in) * f64::from(s_w))).round_ties_even();
    if steps.abs() + 255.0 * f64::from(magnitude) <= f64::from(i32::MAX) {
        return Ok(steps as i32);
    }
    Err(Error::new(
        Kind::Data,
        format!("bias {bias:e} in steps of {s_in:e} × {s_w:e} and the products do not fit into 32 bits"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn biases_and_products_must_fit_together() {
        assert_eq!(integer_bias(0.5, 0.01, 0.01, 12544 * 127).unwrap(), 5000);
        assert!(integer_bias(0.0, 1.0, 1.0, 70_000 * 127).is_err());
        assert!(integer_bias(1.0, 1e-9, 1e-9, 64).is_err());
        assert_eq!(scale_floor(&[0.0; 64], 0.0, 0.0, 0.1).unwrap(), 0.0);
        assert!(scale_floor(&vec![0.0; 9_000_000], 0.0, 0.0, 0.1).is_err());
    }

    #[test]
    fn an_input_scale_at_its_floor_leaves_the_weights_their_scale() {
        let weights: Vec<f32> = (0..2304).map(|at| (at as f32 * 0.7).sin() * 0.1).collect();
        let natural = crate::quant::largest_magnitude(&weights) / 127.0;
        for (bias, correction) in [(0.5, 0.0), (0.01, 12.0), (3.0, 1.0)] {
            let floor = input_scale_floor(&weights, bias, correction);
            assert!(scale_floor(&weights, bias, correction, floor).unwrap() <= natural, "{floor}");
            assert!(scale_floor(&weights, bias, correction, 0.9 * floor).unwrap() > natural, "{floor}");
        }
        assert_eq!((input_scale_floor(&[0.0; 64], 1.0, 1.0), input_scale_floor(&weights, 0.0, 0.0)), (0.0, 0.0));
    }

    #[test]
    fn a_hundred_thousand_equal_weights_fit() {
        // What a fully connected layer over a 7×7 window of 2048 channels reads.
        let weights = vec![0.5; 100_352];
        let floor = scale_floor(&weights, 0.0, 0.0, 1.0).unwrap();
        assert!(floor > 0.5 / 127.0, "{floor}");
        let q = (0.5 / floor).round();
        assert!(integer_bias(0.0, 1.0, floor, 100_352 * q as u32).is_ok());
    }

    proptest! {
        #[test]
        fn no_channel_on_its_floor_overflows(
            bias in -1e3f32..1e3,
            s_in in 1e-6f32..10.0,
            weight in -1f32..1.0,
            depth in 1usize..66_000,
        ) {
            let floor = scale_floor(&vec![weight; depth], bias, 1.0, s_in).unwrap();
            prop_assume!(floor > 0.0);
            let q = (weight / floor).abs().ceil().min(127.0) as u32;
            let integer = integer_bias(bias, s_in, floor, depth as u32 * q).unwrap();
            // Fifteen times the bias, or the expected correction, may be added.
            let corrected = (15.0 * bias).abs().max(1.0 - 1e-5) * bias.signum();
            prop_assert!(integer_bias(corrected, s_in, floor, depth as u32 * q).is_ok());
            let available = max_bias(s_in, floor, depth as u32 * q);
            prop_assert!(available >= corrected.abs() && integer_bias(available, s_in, floor, depth as u32 * q).is_ok());
            prop_assert!(i64::from(integer).abs() + 255 * i64::from(depth as u32 * q) <= i64::from(i32::MAX));
        }
    }
}
