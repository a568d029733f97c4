//! Axis ticks at round numbers.

/// At most `count` round numbers from `low` to `high` inclusive, spaced by 1, 2 or 5 times a power of ten. Empty unless
/// `low < high`, both are finite, and `count` is at least 1.
pub fn ticks(low: f64, high: f64, count: usize) -> Vec<f64> {
    let span = high - low;
    if !(span > 0.0 && span.is_finite()) || count == 0 {
        return Vec::new();
    }
    let power = 10.0_f64.powf((span / count as f64).log10().floor());
    for step in [1.0, 2.0, 5.0, 10.0, 20.0, 50.0].map(|factor| factor * power) {
        let first = (low / step - 1e-9).ceil();
        let last = (high / step + 1e-9).floor();
        if last - first < count as f64 {
            // Adding 0.0 turns −0.0 into 0.0.
            return (0..=(last - first) as i64).map(|index| (first + index as f64) * step + 0.0).collect();
        }
    }
    Vec::new()
}

/// Label of a tick: as many decimals as a spacing of `step` requires, scientific notation for very large and very small
/// values.
pub fn format_tick(value: f64, step: f64) -> String {
    let magnitude = value.abs().max(step.abs());
    if magnitude >= 1e6 || (magnitude > 0.0 && magnitude < 1e-4) {
        return format!("{value:.1e}");
    }
    let decimals = if step > 0.0 { (-(step.log10() + 1e-9).floor()).clamp(0.0, 8.0) as usize } else { 2 };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        let near = |found: Vec<f64>, expected: &[f64]| {
            let close = found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9);
            assert!(close, "{found:?} for {expected:?}");
        };
        near(ticks(0.0, 1.0, 5), &[0.0, 0.5, 1.0]);
        near(ticks(0.0, 1.0, 6), &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        near(ticks(-3.0, 4.0, 4), &[-2.0, 0.0, 2.0, 4.0]);
        near(ticks(0.013, 0.017, 5), &[0.013, 0.014, 0.015, 0.016, 0.017]);
        for (low, high) in [(1.0, 1.0), (2.0, 1.0), (f64::NAN, 1.0), (0.0, f64::INFINITY)] {
            near(ticks(low, high, 5), &[]);
        }
    }

    #[test]
    fn labels_have_the_decimals_their_step_needs() {
        assert_eq!(format_tick(0.6000000000000001, 0.2), "0.6");
        assert_eq!(format_tick(0.013, 0.001), "0.013");
        assert_eq!(format_tick(-20.0, 10.0), "-20");
        assert_eq!(format_tick(2e7, 1e7), "2.0e7");
    }
}
