//! Candidates: new ranges and biases for the serving model's weights, the most promising first.
//!
//! In: the context and the calibration frames. Out: candidates in the order in which to judge them. A candidate's
//! ranges lie on the way from the serving ones to those that suit the frames best; its biases go with them. No one kind
//! is always the best: new ranges help where values have grown and harm where only their means have moved, and biases the
//! other way round. Half of the way often costs the other strata much less than half. So all are tried, on
//! calibration frames, never on validation frames.

use super::bias_shifts::{measured, predicted, recent_means};
use super::biases::Biases;
use super::context::{ObservedFrames, Parent, RecalibrationContext};
use super::ranges::{EdgeHistograms, RangeChoice};
use crate::calibrate::Observer;
use crate::error::Result;
use crate::monitor::drift::quality::QualityRecord;

/// Limits of the search for candidates.
struct SearchLimits {
    /// Parts of the way from the serving ranges to the best ones, the longest first.
    extents: [f32; 3],
    /// Candidates that are tried on the second half of the trial frames too. The first half shows which.
    tried_on_all: usize,
    /// Most that a stratum may lose on the few trial frames, measured in dB. Less than acceptance tolerates, on other
    /// frames.
    max_measured_loss_db: f64,
    /// Most that a stratum may lose on all calibration frames, predicted in dB. Lower: the prediction has no chance in it.
    max_predicted_loss_db: f64,
}

const LIMITS: SearchLimits =
    SearchLimits { extents: [1.0, 0.5, 0.0], tried_on_all: 5, max_measured_loss_db: 0.3, max_predicted_loss_db: 0.15 };

/// New ranges and biases for the serving model's weights.
pub struct Candidate {
    /// Part of the way from the serving ranges to the best ones.
    pub extent: f32,
    /// By step, its range; `None` for steps without quantization parameters of their own.
    pub ranges: Vec<Option<RangeChoice>>,
    /// Biases by step.
    pub biases: Biases,
    /// Predicted quality on all calibration frames.
    predicted: QualityRecord,
    /// Quality on the trial frames, measured against the reference.
    measured: QualityRecord,
}

/// By step, the histograms that its range is chosen from.
pub fn edge_histograms(context: &RecalibrationContext<'_, '_>, frames: &ObservedFrames) -> Vec<EdgeHistograms> {
    let mut edges = vec![EdgeHistograms::default(); context.plan().steps.len()];
    for &step in context.steps() {
        edges[step].initial = context.baseline().histograms[step].clone();
        for (at, observed) in frames.iter() {
            if let Some(histogram) = &observed.histograms[step] {
                edges[step].strata.entry(context.stratum(at)).or_default().merge(histogram);
            }
        }
    }
    edges
}

/// Proposes candidates, the best first: of those that every stratum tolerates, the one with the highest mean quality.
///
/// # Errors
/// What the models return; what the yield point returns.
pub fn propose(
    context: &mut RecalibrationContext<'_, '_>,
    edges: &[EdgeHistograms],
    frames: &ObservedFrames,
) -> Result<Vec<Candidate>> {
    let mut candidates = combinations(context, edges, frames)?;
    let serving_means = context.serving_means().clone();
    let serving = context.predicted_quality(context.start().model, &serving_means, frames);
    for candidate in &mut candidates {
        let model = context.model(&candidate.ranges, &candidate.biases)?;
        candidate.predicted = context.predicted_quality(&model, candidate.biases.reference_means(), frames);
    }
    if context.has_reference() {
        order_by_measurement(context, &mut candidates, frames)?;
        // Few trial frames separate candidates poorly. The best by the prediction on all frames is moved up behind the
        // best by measurement, so that it is judged second.
        let tolerable = candidates
            .iter()
            .enumerate()
            .filter(|(_, candidate)| candidate.predicted.loses_at_most(LIMITS.max_predicted_loss_db, &serving));
        let quality = |(_, candidate): &(usize, &Candidate)| candidate.predicted.quality_db();
        let best = tolerable.rev().max_by(|a, b| quality(a).total_cmp(&quality(b)));
        if let Some((at, _)) = best.filter(|(at, _)| *at > 1) {
            candidates[1..=at].rotate_right(1);
        }
    } else {
        sort_best_first(&mut candidates, |candidate| &candidate.predicted, LIMITS.max_predicted_loss_db, &serving);
    }
    Ok(candidates)
}

/// Every combination of an extent of the ranges with generation 0's, the predicted and the measured biases.
fn combinations(
    context: &mut RecalibrationContext<'_, '_>,
    edges: &[EdgeHistograms],
    frames: &ObservedFrames,
) -> Result<Vec<Candidate>> {
    let initial = context.initial_biases().clone();
    let recent = recent_means(context, frames);
    let predicted = predicted(context, &recent);
    let best = best_ranges(context, edges)?;
    let mut candidates: Vec<Candidate> = Vec::new();
    for extent in LIMITS.extents {
        let choice = |(serving, best): &(RangeChoice, RangeChoice)| serving.towards(best, extent);
        let ranges: Vec<Option<RangeChoice>> = best.iter().map(|pair| pair.as_ref().map(choice)).collect();
        // Where the serving ranges are the best ones, all extents are the same.
        if candidates.last().is_some_and(|candidate| candidate.ranges == ranges) {
            continue;
        }
        let measured = measured(context, &ranges, frames, &recent)?;
        // The serving ranges with generation 0's biases are generation 0, which is no candidate while it serves.
        let is_serving = extent == 0.0 && context.initial_serves();
        let unshifted = Some(initial.clone()).filter(|_| !is_serving);
        for biases in unshifted.into_iter().chain(predicted.iter().cloned()).chain(measured) {
            let (predicted, measured) = (QualityRecord::default(), QualityRecord::default());
            candidates.push(Candidate { extent, ranges: ranges.clone(), biases, predicted, measured });
        }
    }
    Ok(candidates)
}

/// By step, the serving range and the one that suits the frames best.
fn best_ranges(
    context: &mut RecalibrationContext<'_, '_>,
    edges: &[EdgeHistograms],
) -> Result<Vec<Option<(RangeChoice, RangeChoice)>>> {
    let observer = context.initial().header().calibration.observer.parse::<Observer>().unwrap_or_default();
    let mut ranges = vec![None; edges.len()];
    for step in context.steps().to_vec() {
        let initial = context.range_choice(Parent::Initial, step)?;
        let serving = context.range_choice(Parent::Serving, step)?;
        ranges[step] = Some((serving, edges[step].choose(observer, initial, serving)));
        context.pause()?;
    }
    Ok(ranges)
}

/// Measures `candidates` against the reference and puts the best first: all of them on half of the trial frames, the best
/// of those on the other half too.
fn order_by_measurement(
    context: &mut RecalibrationContext<'_, '_>,
    candidates: &mut [Candidate],
    frames: &ObservedFrames,
) -> Result<()> {
    let mut serving = QualityRecord::default();
    let mut left = candidates.len();
    let strata = context.trial_frames(&frames.frames);
    for nth in 0..2 {
        let of_stratum = |stratum: &Vec<usize>| stratum.iter().skip(nth).step_by(2).copied().collect::<Vec<_>>();
        let half: Vec<usize> = strata.iter().flat_map(of_stratum).collect();
        serving.merge(context.measured_quality(context.start().model, &half)?);
        for candidate in &mut candidates[..left] {
            let model = context.model(&candidate.ranges, &candidate.biases)?;
            candidate.measured.merge(context.measured_quality(&model, &half)?);
        }
        // Candidates that are measured on one half only stay behind the others.
        let measured = &mut candidates[..left];
        sort_best_first(measured, |candidate| &candidate.measured, LIMITS.max_measured_loss_db, &serving);
        left = left.min(LIMITS.tried_on_all);
    }
    Ok(())
}

/// Sorts by mean quality, the highest first; candidates by which a stratum loses more than `max_loss_db` come last.
fn sort_best_first(
    candidates: &mut [Candidate],
    record: fn(&Candidate) -> &QualityRecord,
    max_loss_db: f64,
    serving: &QualityRecord,
) {
    candidates.sort_by(|a, b| {
        let (a, b) = (record(a), record(b));
        let tolerable = |record: &QualityRecord| record.loses_at_most(max_loss_db, serving);
        tolerable(b).cmp(&tolerable(a)).then(b.quality_db().total_cmp(&a.quality_db()))
    });
}
