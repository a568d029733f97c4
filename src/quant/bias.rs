//! The numbers that join an integer sum to the grids around it.
//!
//! A convolution's sum is `acc = bias_q + Σ (q − z_in) · w`, in units of `s_in · s_w[n]`. The bias is stored in f32 and
//! made integer here, at load, because the same weights serve several input grids; so are the multipliers. The bound
//! that keeps `acc` inside i32 is enforced where weight scales are chosen, through [`scale_floor`], and checked again
//! by [`integer_bias`].

use crate::error::{Error, Kind, Result};

/// Largest |Σ (q − z)·w| of `depth` products: 255 · 127 each.
fn largest_sum(depth: usize) -> f64 {
    255.0 * 127.0 * depth as f64
}

/// What is left of i32 for a bias beside `depth` products. Not positive where the products alone could overflow.
fn room(depth: usize) -> f64 {
    f64::from(i32::MAX) - largest_sum(depth)
}

/// `s_in · s_w / s_out`, computed in f64 and rounded to f32 once: the factor from sums to output steps. With
/// `s_out` = 1 it leads to f32 values.
pub fn multiplier(s_in: f32, s_w: f32, s_out: f32) -> f32 {
    (f64::from(s_in) * f64::from(s_w) / f64::from(s_out)) as f32
}

/// The least weight scale with which a channel of `depth` products and this f32 `bias` stays inside i32, on an input
/// grid of step `s_in`. A channel whose batch norm is dead has weights near zero but keeps its bias; scaled by its
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
/// [`Kind::Data`] where bias and sum together could leave i32: the weight scale is too small for this input grid.
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
