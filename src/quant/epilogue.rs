//! Epilogue arithmetic: the integer bias and the multiplier that requantizes a sum.
//!
//! A convolution computes `acc = bias_q + Σ (q − z_in) · w`, in units of `s_in · s_w[n]`. The artifact stores the bias
//! in f32. It becomes an integer at load, because steps with different input scales share the same weights; so do the
//! multipliers. `acc` must stay inside i32. Weight scales are chosen so that it does ([`scale_floor`]), and
//! [`integer_bias`] checks it again.

use crate::error::{Error, Kind, Result};

/// Largest |Σ (q − z) · w| of `depth` products: 255 · 127 each.
fn largest_sum(depth: usize) -> f64 {
    255.0 * 127.0 * depth as f64
}

/// Largest bias that an i32 has room for beside `depth` products. Not positive where the products alone could overflow.
fn room(depth: usize) -> f64 {
    f64::from(i32::MAX) - largest_sum(depth)
}

/// Requantization multiplier `s_in · s_w / s_out`, computed in f64 and rounded to f32 once. With `s_out` = 1 the result
/// is in real units.
pub fn multiplier(s_in: f32, s_w: f32, s_out: f32) -> f32 {
    (f64::from(s_in) * f64::from(s_w) / f64::from(s_out)) as f32
}

/// Smallest weight scale with which `depth` products and this f32 `bias` fit into i32, for an input of scale `s_in`. A
/// channel whose batch norm has almost no gain has weights near zero but keeps its bias. With a scale chosen by its
/// weights alone its integer bias would overflow.
///
/// # Errors
/// [`Kind::Data`] where `depth` alone could overflow (above 66 310 products).
pub fn scale_floor(bias: f32, s_in: f32, depth: usize) -> Result<f32> {
    let room = room(depth);
    if room <= 0.0 {
        return Err(Error::new(Kind::Data, format!("a sum of {depth} products does not fit into 32 bits")));
    }
    // A little above the exact quotient, so that neither rounding of the scale nor of the bias can pass the bound.
    Ok((f64::from(bias).abs() / (f64::from(s_in) * room) * 1.000_001) as f32)
}

/// The bias in units of `s_in · s_w`, rounded half to even.
///
/// # Errors
/// [`Kind::Data`] where bias and sum together could leave i32: the weight scale is too small for this input scale.
pub fn integer_bias(bias: f32, s_in: f32, s_w: f32, depth: usize) -> Result<i32> {
    let steps = (f64::from(bias) / (f64::from(s_in) * f64::from(s_w))).round_ties_even();
    if steps.abs() < room(depth) {
        return Ok(steps as i32);
    }
    Err(Error::new(
        Kind::Data,
        format!("bias {bias:e} in steps of {s_in:e} × {s_w:e} leaves no room for {depth} products in 32 bits"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_fully_connected_layer_fits() {
        assert_eq!(integer_bias(0.5, 0.01, 0.01, 12544).unwrap(), 5000);
        assert!(scale_floor(1.0, 1.0, 70_000).is_err());
        assert!(integer_bias(1.0, 1e-9, 1e-9, 64).is_err());
        assert_eq!(scale_floor(0.0, 0.1, 64).unwrap(), 0.0);
    }

    proptest! {
        #[test]
        fn no_channel_on_its_floor_overflows(bias in -1e3f32..1e3, s_in in 1e-6f32..10.0, depth in 1usize..66_000) {
            let floor = scale_floor(bias, s_in, depth).unwrap();
            prop_assume!(floor > 0.0);
            let integer = integer_bias(bias, s_in, floor, depth).unwrap();
            prop_assert!(i64::from(integer).abs() + 255 * 127 * depth as i64 <= i64::from(i32::MAX));
        }
    }
}
