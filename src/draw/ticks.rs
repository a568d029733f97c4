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

/// At most `count` decimal logarithms from `low` to `high` inclusive whose powers of ten are round: 1, 2 and 5 times a
/// power of ten, only powers of ten, or every second of them, every third and so on. Conditions as for [`ticks`].
pub fn log_ticks(low: f64, high: f64, count: usize) -> Vec<f64> {
    if !(high > low && (high - low).is_finite()) || count == 0 {
        return Vec::new();
    }
    let powers = || low.floor() as i64..=high.ceil() as i64;
    let inside = |place: &f64| (low - 1e-9..=high + 1e-9).contains(place);
    let fine: Vec<f64> = powers()
        .flat_map(|power| [1.0f64, 2.0, 5.0].map(|factor| power as f64 + factor.log10()))
        .filter(inside)
        .collect();
    let of_stride = |stride: i64| -> Vec<f64> {
        powers().filter(|power| power.rem_euclid(stride) == 0).map(|power| power as f64).filter(inside).collect()
    };
    if fine.len() <= count { fine } else { (1..).map(of_stride).find(|found| found.len() <= count).unwrap_or_default() }
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
    fn logarithmic_ticks_are_round_and_few() {
        let powers = |low: f64, high: f64, count: usize| -> Vec<f64> {
            log_ticks(low, high, count).into_iter().map(|place| (1e6 * 10f64.powf(place)).round() / 1e6).collect()
        };
        assert_eq!(powers(-2.0, -0.3, 8), [0.01, 0.02, 0.05, 0.1, 0.2, 0.5]);
        assert_eq!(powers(-3.1, 1.0, 8), [0.001, 0.01, 0.1, 1.0, 10.0]);
        assert_eq!(powers(-5.0, 1.0, 3), [0.0001, 0.01, 1.0]);
        assert!(log_ticks(1.0, 1.0, 5).is_empty() && log_ticks(f64::NAN, 1.0, 5).is_empty());
        assert!(log_ticks(f64::NEG_INFINITY, 1.0, 5).is_empty());
    }

    #[test]
    fn labels_have_the_decimals_their_step_needs() {
        assert_eq!(format_tick(0.6000000000000001, 0.2), "0.6");
        assert_eq!(format_tick(0.013, 0.001), "0.013");
        assert_eq!(format_tick(-20.0, 10.0), "-20");
        assert_eq!(format_tick(2e7, 1e7), "2.0e7");
    }
}
