//! Candidates: new ranges and biases for the serving model's weights, the most promising first.
//!
//! In: the context and the calibration frames. Out: candidates in the order in which to judge them. A candidate's
//! ranges lie on the way from the serving ones to those that suit the frames best; its biases go with them. No one kind
//! is always the best. New ranges help where values have grown and harm where only their means have moved; biases do
//! the opposite. Half of the way often costs the other strata much less than half. So all are tried, on calibration
//! frames, never on validation frames.

use std::sync::Arc;

use super::acceptance::LIMITS;
use super::bias_shifts::{measured, predicted, recent_means};
use super::biases::Biases;
use super::context::{ObservedFrames, Parent, RecalibrationContext};
use super::ranges::{EdgeHistograms, RangeChoice};
use crate::calibrate::Observer;
use crate::error::Result;
use crate::monitor::drift::quality::QualityRecord;

/// Parts of the way from the serving ranges to the best ones, the longest first. Too much contrast without the reference
/// needs half of the way: all of it is predicted to cost the day 0.5 dB.
const EXTENTS: [f32; 3] = [1.0, 0.5, 0.0];

/// New ranges and biases for the serving model's weights.
pub struct Candidate {
    /// Part of the way from the serving ranges to the best ones.
    pub extent: f32,
    /// By step, its range; `None` for steps without quantization parameters of their own.
    pub ranges: Vec<Option<RangeChoice>>,
    /// Biases by step.
    pub biases: Biases,
    /// Quality on calibration frames.
    quality: QualityRecord,
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
/// Errors of the models and of the yield point.
pub fn propose(
    context: &mut RecalibrationContext<'_, '_>,
    edges: &[EdgeHistograms],
    frames: &ObservedFrames,
) -> Result<Vec<Candidate>> {
    let mut candidates = combinations(context, edges, frames)?;
    let (model, means) = (Arc::clone(context.start().model), context.serving_means().clone());
    let serving = context.quality(&model, &means, frames)?;
    for candidate in &mut candidates {
        let model = context.model(&candidate.ranges, &candidate.biases)?;
        candidate.quality = context.quality(&model, candidate.biases.reference_means(), frames)?;
    }
    let is_tolerable = |quality: &QualityRecord| quality.loses_at_most(LIMITS.max_stratum_loss_db, &serving);
    candidates.sort_by(|a, b| {
        let (a, b) = (&a.quality, &b.quality);
        is_tolerable(b).cmp(&is_tolerable(a)).then(b.quality_db().total_cmp(&a.quality_db()))
    });
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
    for extent in EXTENTS {
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
        for biases in unshifted.into_iter().chain(predicted.clone()).chain(measured) {
            let quality = QualityRecord::default();
            candidates.push(Candidate { extent, ranges: ranges.clone(), biases, quality });
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
