//! Quality of a model on sampled frames, in dB: one figure a frame, grouped by stratum.
//!
//! In: the measured or the predicted error of every step on a frame. Out: the mean SQNR of the frame, and a
//! [`QualityRecord`] that compares two models on the same frames. Every stratum has the same weight.

use std::collections::BTreeMap;

use crate::calibrate::mean;
use crate::measure::{Agreement, StepError};

/// Limit of one step's SQNR, in dB. A step without error must not hide the error of the others.
const MAX_STEP_DB: f64 = 60.0;

/// Quality of one frame from the measured errors of its steps: mean SQNR in dB. `None` without any step.
pub fn quality_of_errors(errors: &[StepError]) -> Option<f64> {
    mean(errors.iter().filter_map(StepError::sqnr_db).map(|db| db.clamp(-MAX_STEP_DB, MAX_STEP_DB)))
}

/// Quality of one frame from the predicted squared errors of its edges, each relative to the signal: mean SQNR in dB.
/// Edges without error are left out.
pub fn quality_of_relative_errors(relative: impl Iterator<Item = f64>) -> Option<f64> {
    let to_db = |error: f64| (-10.0 * error.log10()).clamp(-MAX_STEP_DB, MAX_STEP_DB);
    mean(relative.filter(|error| *error > 0.0).map(to_db))
}

/// Quality of one model on some frames.
#[derive(Debug, Clone, Default)]
pub struct QualityRecord {
    /// Quality of each frame in dB, by stratum.
    strata: BTreeMap<usize, Vec<f64>>,
    /// Agreement with the reference's detections, over all frames.
    pub agreement: Agreement,
}

/// Uncertainty of a mean gain.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GainError {
    /// Standard error of the mean, in dB.
    pub standard_error_db: f64,
    /// Degrees of freedom of its estimate, at least 1.
    pub degrees_of_freedom: usize,
}

impl QualityRecord {
    /// Adds a frame of `stratum`.
    pub fn add(&mut self, stratum: usize, quality_db: Option<f64>, agreement: Option<Agreement>) {
        self.strata.entry(stratum).or_default().extend(quality_db);
        self.agreement.merge(&agreement.unwrap_or_default());
    }

    /// Adds the frames of `other`.
    pub fn merge(&mut self, other: Self) {
        for (stratum, mut frames) in other.strata {
            self.strata.entry(stratum).or_default().append(&mut frames);
        }
        self.agreement.merge(&other.agreement);
    }

    /// Mean quality of each stratum, in dB.
    pub fn by_stratum(&self) -> BTreeMap<usize, f64> {
        let mean = |values: &Vec<f64>| values.iter().sum::<f64>() / values.len().max(1) as f64;
        self.strata.iter().filter(|(_, values)| !values.is_empty()).map(|(&s, values)| (s, mean(values))).collect()
    }

    /// Mean over the strata, in dB; every stratum has the same weight.
    pub fn quality_db(&self) -> f64 {
        self.quality_where_db(|_| true)
    }

    /// Mean over the strata that `selected` accepts, in dB.
    pub fn quality_where_db(&self, selected: fn(usize) -> bool) -> f64 {
        let mut strata = self.by_stratum();
        strata.retain(|&stratum, _| selected(stratum));
        strata.values().sum::<f64>() / strata.len().max(1) as f64
    }

    /// True if every stratum loses at most `max_loss_db` against `other`.
    pub fn loses_at_most(&self, max_loss_db: f64, other: &Self) -> bool {
        let other = other.by_stratum();
        let is_tolerable =
            |(stratum, db): (&usize, &f64)| other.get(stratum).is_none_or(|was| *db >= was - max_loss_db);
        self.by_stratum().iter().all(is_tolerable)
    }

    /// Standard error of the gain over `other` on the same frames, as a mean over the strata that `selected` accepts.
    /// The variance within a stratum is pooled over all strata. `None` if no stratum has two frames.
    pub fn gain_error(&self, other: &Self, selected: fn(usize) -> bool) -> Option<GainError> {
        let (mut squares, mut degrees_of_freedom, mut shares, mut count) = (0.0, 0usize, 0.0, 0usize);
        for (stratum, frames) in self.strata.iter().filter(|(_, frames)| !frames.is_empty()) {
            let gains = frames.iter().zip(other.strata.get(stratum).into_iter().flatten()).map(|(new, old)| new - old);
            let gains: Vec<f64> = gains.collect();
            let mean = gains.iter().sum::<f64>() / gains.len().max(1) as f64;
            squares += gains.iter().map(|gain| (gain - mean).powi(2)).sum::<f64>();
            degrees_of_freedom += gains.len().saturating_sub(1);
            // The variance of a mean of n frames is 1/n of theirs.
            if selected(*stratum) {
                shares += 1.0 / gains.len().max(1) as f64;
                count += 1;
            }
        }
        (degrees_of_freedom > 0 && count > 0).then(|| {
            let variance = squares / degrees_of_freedom as f64;
            GainError { standard_error_db: (variance * shares).sqrt() / count as f64, degrees_of_freedom }
        })
    }
}
