//! Paired percentile bootstrap: confidence intervals of the metrics over pictures.
//!
//! In: the scores of every model on the same pictures. Out: estimates of metrics and of their differences, with 95 %
//! intervals. Each resample draws as many pictures as there are, with replacement, and uses the same pictures for every
//! model, so that differences are paired. The interval lies between the 2.5th and the 97.5th percentile of the
//! resamples (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13). The seed is fixed, so a report
//! is reproducible.

use rayon::prelude::*;
use serde::Serialize;

use super::figures::{FIGURES, FigureValues, ModelScores};
use super::mersenne::Mersenne;
use crate::quantile;

/// Percentiles of the interval's ends, as shares.
const INTERVAL: [f64; 2] = [0.025, 0.975];

/// A metric with its interval, in fractions of 1; `None` where it is not defined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Estimate {
    /// Value on the pictures themselves.
    pub value: Option<f64>,
    /// Lower end of the interval.
    pub low: Option<f64>,
    /// Upper end of the interval.
    pub high: Option<f64>,
}

/// The metrics of every model in every resample.
#[derive(Debug, Default)]
pub struct BootstrapSamples {
    /// By resample, then model.
    figures: Vec<Vec<FigureValues>>,
}

impl BootstrapSamples {
    /// Draws `count` resamples of the pictures that all `models` were scored on.
    pub fn new(models: &[ModelScores], pictures: usize, count: usize, seed: u32) -> Self {
        let resample = |number: usize| -> Vec<FigureValues> {
            // A generator for each resample, so that they can be drawn in parallel.
            let mut random = Mersenne::new(seed.wrapping_add(number as u32));
            // A picture's weight is the number of times it is drawn.
            let mut weights = vec![0.0; pictures];
            for _ in 0..pictures {
                weights[random.below(pictures)] += 1.0;
            }
            models.iter().map(|model| model.figures(&weights)).collect()
        };
        Self { figures: (0..count).into_par_iter().map(resample).collect() }
    }

    /// Estimate of figure number `figure` of model number `model`; `value` is its value on the pictures themselves.
    pub fn estimate(&self, model: usize, figure: usize, value: f64) -> Estimate {
        self.interval(value, |models| models[model][figure])
    }

    /// Estimate of figure number `figure` of model `b` minus that of model `a`.
    pub fn difference(&self, a: usize, b: usize, figure: usize, value: f64) -> Estimate {
        self.interval(value, |models| models[b][figure] - models[a][figure])
    }

    fn interval(&self, value: f64, statistic: impl Fn(&[FigureValues]) -> f64) -> Estimate {
        // A resample without ground truth of a class gives no value and is left out.
        let mut values: Vec<f64> =
            self.figures.iter().map(|models| statistic(models)).filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let [low, high] = INTERVAL.map(|share| quantile::linear(&values, share));
        let value = value.is_finite().then_some(value);
        Estimate { value, low: low.filter(|_| value.is_some()), high: high.filter(|_| value.is_some()) }
    }
}

/// One value for each figure.
const _: () = assert!(FIGURES.len() == std::mem::size_of::<FigureValues>() / std::mem::size_of::<f64>());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_paired() {
        let sample = |x: f64| vec![[x; FIGURES.len()], [x + 0.1; FIGURES.len()]];
        let samples = BootstrapSamples { figures: (0..200).map(|i| sample(f64::from(i) / 200.0)).collect() };
        let one = samples.estimate(0, 0, 0.5);
        assert!(one.high.unwrap() - one.low.unwrap() > 0.9);
        let both = samples.difference(0, 1, 0, 0.1);
        assert!(both.high.unwrap() - both.low.unwrap() < 1e-9);
        assert_eq!(samples.estimate(0, 0, f64::NAN), Estimate::default());
    }
}
