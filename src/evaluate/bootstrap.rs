//! How far figures would wander on other pictures like these: the paired percentile bootstrap.
//!
//! Pictures are drawn with replacement, as many as there are, the same ones for every model; each draw gives every
//! figure of every model, and so their differences. The interval lies between the 2.5th and the 97.5th percentile. The
//! draws come from a fixed seed, so a report is the same every time.

use rayon::prelude::*;
use serde::Serialize;

use super::figures::{Board, FIGURES, Values};
use super::mersenne::Mersenne;
use crate::quantile;

/// Ends of the interval, as shares.
const ENDS: [f64; 2] = [0.025, 0.975];

/// A figure and its interval. In fractions of 1; `None` where it is not defined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Estimate {
    /// On the pictures themselves.
    pub value: Option<f64>,
    /// Lower end.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
}

/// Every draw's figures, by draw and model.
#[derive(Debug, Default)]
pub struct Draws {
    figures: Vec<Vec<Values>>,
}

impl Draws {
    /// Draws `count` times among the pictures of `boards`, all of the same pictures.
    pub fn new(boards: &[Board], pictures: usize, count: usize, seed: u32) -> Self {
        let draw = |number: usize| -> Vec<Values> {
            let mut random = Mersenne::new(seed.wrapping_add(number as u32));
            let mut weights = vec![0.0; pictures];
            for _ in 0..pictures {
                weights[random.below(pictures)] += 1.0;
            }
            boards.iter().map(|board| board.figures(&weights)).collect()
        };
        Self { figures: (0..count).into_par_iter().map(draw).collect() }
    }

    /// Figure number `figure` of `model`, which is `value` on the pictures themselves.
    pub fn estimate(&self, model: usize, figure: usize, value: f64) -> Estimate {
        self.between(value, |values| values[model][figure])
    }

    /// How much more figure number `figure` is for model `b` than for model `a`.
    pub fn difference(&self, a: usize, b: usize, figure: usize, value: f64) -> Estimate {
        self.between(value, |values| values[b][figure] - values[a][figure])
    }

    fn between(&self, value: f64, of: impl Fn(&[Values]) -> f64) -> Estimate {
        let mut found: Vec<f64> = self.figures.iter().map(|values| of(values)).filter(|v| v.is_finite()).collect();
        found.sort_by(f64::total_cmp);
        let [low, high] = ENDS.map(|share| quantile::linear(&found, share));
        let value = value.is_finite().then_some(value);
        Estimate { value, low: low.filter(|_| value.is_some()), high: high.filter(|_| value.is_some()) }
    }
}

/// Whether `figures` were drawn for every figure; keeps the two lists in step.
const _: () = assert!(FIGURES.len() == std::mem::size_of::<Values>() / std::mem::size_of::<f64>());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_paired() {
        let draw = |x: f64| vec![[x; FIGURES.len()], [x + 0.1; FIGURES.len()]];
        let draws = Draws { figures: (0..200).map(|i| draw(f64::from(i) / 200.0)).collect() };
        let one = draws.estimate(0, 0, 0.5);
        assert!(one.high.unwrap() - one.low.unwrap() > 0.9);
        let both = draws.difference(0, 1, 0, 0.1);
        assert!(both.high.unwrap() - both.low.unwrap() < 1e-9);
        assert_eq!(draws.estimate(0, 0, f64::NAN), Estimate::default());
    }
}
