//! Oscillation: a candidate that reverses the last change.
//!
//! In: the quantization parameters of the generation before, of the serving one and of a candidate. Out: true if the
//! candidate goes back where the last change came from. Two kinds of weather that take turns would otherwise recalibrate
//! for ever.

use std::time::Duration;

use crate::quant::QuantParams;

/// Limits of the detection.
///
/// | limit | value | reason |
/// |---|---:|---|
/// | `max_cosine` | −0.5 | a change that goes elsewhere (a third kind of weather) is progress |
/// | `min_length` | 0.5 | a short step back corrects an overshoot |
/// | `window` | 7 days | changes that are further apart are seasons |
pub struct OscillationLimits {
    /// Largest cosine of the angle between the two changes.
    pub max_cosine: f64,
    /// Least length of the second change, as a share of the first.
    pub min_length: f64,
    /// Longest time between the two changes.
    pub window: Duration,
}

/// The limits in use.
pub const LIMITS: OscillationLimits =
    OscillationLimits { max_cosine: -0.5, min_length: 0.5, window: Duration::from_secs(7 * 24 * 3600) };

/// The quantization parameters of a model as a point: log₂ of every scale, in the order of the steps.
pub fn point(edge_qparams: &[Option<QuantParams>]) -> Vec<f64> {
    edge_qparams.iter().flatten().map(|qparams| f64::from(qparams.scale).log2()).collect()
}

/// True if the change from `serving` to `candidate` reverses that from `before` to `serving`. Points of different length
/// belong to different networks and reverse nothing.
pub fn reverses(before: &[f64], serving: &[f64], candidate: &[f64]) -> bool {
    if before.len() != serving.len() || candidate.len() != serving.len() {
        return false;
    }
    let difference = |to: &[f64], from: &[f64]| to.iter().zip(from).map(|(to, from)| to - from).collect::<Vec<f64>>();
    let (last, next) = (difference(serving, before), difference(candidate, serving));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (last_length, next_length) = (dot(&last, &last).sqrt(), dot(&next, &next).sqrt());
    let is_long = last_length > 0.0 && next_length >= LIMITS.min_length * last_length;
    is_long && dot(&last, &next) <= LIMITS.max_cosine * last_length * next_length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_is_an_oscillation_and_further_is_not() {
        assert!(reverses(&[0.0, 0.0], &[1.0, 0.5], &[0.1, 0.0]));
        assert!(!reverses(&[0.0, 0.0], &[1.0, 0.5], &[1.8, 0.7]), "further");
        assert!(!reverses(&[0.0, 0.0], &[1.0, 0.0], &[1.0, 1.0]), "elsewhere");
        assert!(!reverses(&[0.0, 0.0], &[1.0, 0.0], &[0.9, 0.0]), "a little back");
        assert!(!reverses(&[0.0], &[1.0, 0.0], &[0.9, 0.0]), "another network");
        assert!(!reverses(&[1.0], &[1.0], &[0.0]), "nothing was changed before");
    }
}
