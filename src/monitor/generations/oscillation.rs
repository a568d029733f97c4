//! Oscillation: a candidate that reverses the last change.
//!
//! In: the quantization parameters of the generation before, of the serving one and of a candidate. Out: true if the
//! candidate goes back where the last change came from. Two kinds of weather that take turns would otherwise recalibrate
//! for ever.

use std::time::Duration;

use crate::quant::QuantParams;

/// Longest time between the two changes; changes that are further apart are seasons.
pub const WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);

/// The quantization parameters of a model as a point: log₂ of every scale, in the order of the steps.
pub fn point(edge_qparams: &[Option<QuantParams>]) -> Vec<f64> {
    edge_qparams.iter().flatten().map(|qparams| f64::from(qparams.scale).log2()).collect()
}

/// True if `candidate` is nearer to `before` than to `serving`: it takes back half of the last change or more. A change
/// that goes elsewhere (a third kind of weather) is progress; a short step back corrects an overshoot. Points of
/// different length belong to different networks and reverse nothing.
pub fn reverses(before: &[f64], serving: &[f64], candidate: &[f64]) -> bool {
    let distance = |to: &[f64]| to.iter().zip(candidate).map(|(to, from)| (to - from).powi(2)).sum::<f64>();
    let same_network = before.len() == serving.len() && candidate.len() == serving.len();
    same_network && distance(before) < distance(serving)
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
