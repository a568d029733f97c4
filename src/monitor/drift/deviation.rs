//! Deviations: distance of a pass from the calibration baseline, in its spreads.
//!
//! In: a pass and the baseline. Out: for each step its largest deviation and the measurement that shows it, and the
//! deviation of all layers together. Error alone does not suffice: sums that grew noisier may leave the baseline far behind
//! and still have the same relative error. Without the reference the error is known only where another brightness causes
//! it in the first layer.

use super::baseline::Baseline;
use super::pass::Pass;
use crate::calibrate::{Histogram, distance, mean};
use crate::detector::plan::Plan;

/// Weight of the mean deviation of the layers' distributions. It varies less than that of one layer: frames as calibrated
/// keep it below 0.4 (scenarios of a week and of every day). A model calibrated on many places needs it to tell a weather.
const DISTANCES_WEIGHT: f64 = 6.0;
/// Weight of the deviation from the nearest power profile. Single frames are seldom beyond 2.3, and never for long. With
/// it a sudden night or weather is raised at the first pass, not at the second.
const POWER_WEIGHT: f64 = 1.75;

/// Measurement that shows a deviation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviationKind {
    /// Error against the reference.
    Error,
    /// Predicted error of the first layer, caused by another brightness.
    Brightness,
    /// Share of clipped values.
    Clipping,
    /// Distribution of the values.
    Distribution,
}

impl DeviationKind {
    /// The name in logs, events and the status.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Brightness => "light",
            Self::Clipping => "clipping",
            Self::Distribution => "distribution",
        }
    }
}

/// Deviation of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepDeviation {
    /// In spreads of the baseline; positive is worse.
    pub spreads: f64,
    /// The measurement that shows it.
    pub kind: DeviationKind,
}

/// Deviations of one pass.
#[derive(Debug, Clone, Default)]
pub struct Deviations {
    /// Largest deviation of each step; `None` where nothing was measured.
    pub steps: Vec<Option<StepDeviation>>,
    /// Distance of each layer's distribution from the baseline's.
    pub distances: Vec<Option<f64>>,
    /// Deviation of all layers together, in spreads.
    pub all_layers: Option<f64>,
}

impl Deviations {
    /// Deviations of `pass` from `baseline`.
    pub fn of(baseline: &Baseline, plan: &Plan, pass: &Pass) -> Self {
        let distances = distances(baseline, plan, pass);
        let steps = steps(baseline, plan, pass, &distances);
        let all_layers = all_layers(baseline, pass, &distances);
        Self { steps, distances, all_layers }
    }

    /// Deviation of each step in spreads.
    pub fn spreads(&self) -> Vec<Option<f64>> {
        self.steps.iter().map(|step| step.map(|step| step.spreads)).collect()
    }
}

fn steps(baseline: &Baseline, plan: &Plan, pass: &Pass, distances: &[Option<f64>]) -> Vec<Option<StepDeviation>> {
    let first_layer = || baseline.first_layer_deviation(plan, &pass.input_means.image?, &pass.histograms);
    let first_layer = pass.errors.is_empty().then(first_layer).flatten();
    let of_step = |step: usize| {
        let brightness = first_layer.filter(|(first, _)| *first == step).map(|(_, deviation)| deviation);
        let error = pass.errors.get(step).and_then(|error| error.sqnr_db());
        let error = error.and_then(|db| baseline.sqnr_deviation(step, db));
        let values = pass.histograms.get(step).and_then(Option::as_ref).map(Histogram::total);
        let clipped = pass.clipped.get(step).copied().flatten().zip(values);
        let clipped = clipped.and_then(|(share, values)| baseline.clipped_deviation(step, share, values));
        let distance = distances[step].and_then(|distance| baseline.distance_deviation(step, distance));
        let kinds = [
            (error, DeviationKind::Error),
            (brightness, DeviationKind::Brightness),
            (clipped, DeviationKind::Clipping),
            (distance, DeviationKind::Distribution),
        ];
        let known = kinds.into_iter().filter_map(|(spreads, kind)| Some(StepDeviation { spreads: spreads?, kind }));
        known.max_by(|a, b| a.spreads.total_cmp(&b.spreads))
    };
    (0..plan.steps.len()).map(of_step).collect()
}

/// Distance of each layer's distribution from the baseline's. Steps that are no layers (a pool) are left out. They are
/// counted on the levels of their bytes, which are far from a baseline of finer values for every picture. They compute
/// nothing new either; the layers before them are counted themselves.
fn distances(baseline: &Baseline, plan: &Plan, pass: &Pass) -> Vec<Option<f64>> {
    let of_step = |step: usize| {
        plan.steps[step].layer()?;
        let histogram = pass.histograms.get(step)?.as_ref().filter(|histogram| !histogram.is_empty())?;
        Some(distance(histogram, baseline.histograms[step].as_ref()?))
    };
    (0..plan.steps.len()).map(of_step).collect()
}

/// Deviation of all layers together: the larger of that of their distributions, on average, and of their power.
fn all_layers(baseline: &Baseline, pass: &Pass, distances: &[Option<f64>]) -> Option<f64> {
    let distances = distances.iter().enumerate();
    let deviations = distances.filter_map(|(step, distance)| baseline.distance_deviation(step, (*distance)?));
    let distances = mean(deviations).map(|deviation| DISTANCES_WEIGHT * deviation);
    let power = baseline.power_deviation(&pass.histograms).map(|deviation| POWER_WEIGHT * deviation);
    distances.into_iter().chain(power).max_by(f64::total_cmp)
}
