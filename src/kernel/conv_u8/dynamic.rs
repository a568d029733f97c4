//! Dynamic quantization, for layers whose input has no calibrated parameters: one pass for the range, one to round.

/// Quantizes `values` to the range that just covers them and zero: bytes, scale and zero point. NaN counts as
/// zero. What dynamically quantized linear layers read; the range of the whole tensor, as PyTorch has
/// it.
pub fn quantize_dynamic(values: &[f32]) -> (Vec<u8>, f32, u8) {
    let (mut low, mut high) = (0f32, 0f32);
    for &value in values {
        // Comparisons with NaN are false.
        low = if value < low { value } else { low };
        high = if value > high { value } else { high };
    }
    // The same bounds on a step as calibrated parameters have: products of two scales stay normal numbers.
    const NARROW: f64 = 1.0 / (1u64 << 40) as f64;
    const WIDE: f64 = (1u64 << 40) as f64;
    let scale = ((f64::from(high) - f64::from(low)) / 255.0).clamp(NARROW, WIDE) as f32;
    let zero_point = (-f64::from(low) / f64::from(scale)).round_ties_even().clamp(0.0, 255.0) as u8;
    let (inverse, shift) = (1.0 / scale, f32::from(zero_point));
    let bytes = values.iter().map(|&value| {
        let t = value * inverse;
        let t = if t.is_nan() { 0.0 } else { t };
        (t.clamp(-shift, 255.0 - shift).round_ties_even() + shift) as u8
    });
    (bytes.collect(), scale, zero_point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_covers_the_values_and_zero() {
        let (bytes, scale, zero_point) = quantize_dynamic(&[1.0, -0.55, 2.0, f32::NAN]);
        assert_eq!((bytes, zero_point), (vec![155, 0, 255, 55], 55));
        assert!((scale - 0.01).abs() < 1e-7);
        assert_eq!(quantize_dynamic(&[0.0, 0.0]).0, [0, 0]);
        assert!(quantize_dynamic(&[]).0.is_empty());
        assert_eq!(quantize_dynamic(&[0.0, -2.0]).0, [255, 0]);
        let (bytes, scale, _) = quantize_dynamic(&[f32::INFINITY, 1.0]);
        assert!(scale.is_finite() && bytes == [255, 0]);
    }
}
