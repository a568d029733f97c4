//! Back and forth is not progress.
//!
//! In: the quantization parameters of the last generations and of a candidate. Out: whether the candidate takes back
//! what the last change brought. Two kinds of weather that take turns would otherwise recalibrate for ever; where that
//! is noticed, the monitor stops doing it by itself until the owner asks.

use std::time::Duration;

use crate::quant::QuantParams;

/// A change is taken back if its opposite has this much of its direction.
const OPPOSED: f64 = -0.5;
/// Steps back shorter than this share of the step before are no swing.
const LENGTH: f64 = 0.5;
/// Changes further apart are seasons.
pub const WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);

/// The quantization parameters of a model as a point: log₂ of every scale, in the order of the edges.
pub fn point(edge_qparams: &[Option<QuantParams>]) -> Vec<f64> {
    edge_qparams.iter().flatten().map(|qparams| f64::from(qparams.scale).log2()).collect()
}

/// Whether going from `serving` to `candidate` takes back what going from `before` to `serving` brought.
pub fn swings(before: &[f64], serving: &[f64], candidate: &[f64]) -> bool {
    if before.len() != serving.len() || candidate.len() != serving.len() {
        return false;
    }
    let difference = |to: &[f64], from: &[f64]| to.iter().zip(from).map(|(to, from)| to - from).collect::<Vec<f64>>();
    let (there, back) = (difference(serving, before), difference(candidate, serving));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (long, short) = (dot(&there, &there).sqrt(), dot(&back, &back).sqrt());
    long > 0.0 && short >= LENGTH * long && dot(&there, &back) <= OPPOSED * long * short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_is_a_swing_and_on_is_not() {
        assert!(swings(&[0.0, 0.0], &[1.0, 0.5], &[0.1, 0.0]));
        assert!(!swings(&[0.0, 0.0], &[1.0, 0.5], &[1.8, 0.7]), "further");
        assert!(!swings(&[0.0, 0.0], &[1.0, 0.0], &[1.0, 1.0]), "elsewhere");
        assert!(!swings(&[0.0, 0.0], &[1.0, 0.0], &[0.9, 0.0]), "a little back");
        assert!(!swings(&[0.0], &[1.0, 0.0], &[0.9, 0.0]), "another network");
        assert!(!swings(&[1.0], &[1.0], &[0.0]), "nothing was changed before");
    }
}
