//! Comparison of a candidate, the serving model and generation 0 on the holdout frames.
//!
//! In: the context and a candidate. Out: the [`AcceptanceCase`] of the candidate. The serving model and generation 0 are
//! measured once for all candidates. Without the reference, quality is predicted, and detections are compared with those
//! of the serving model.

use std::sync::Arc;

use super::acceptance::AcceptanceCase;
use super::candidates::Candidate;
use super::context::{ObservedFrames, Parent, RecalibrationContext};
use crate::calibrate::{AGREEMENT_SCORE, mean};
use crate::detector::detection::Detection;
use crate::detector::int8::Int8Model;
use crate::error::Result;
use crate::measure::Agreement;
use crate::monitor::drift::pass::{ObservedFrame, Pass};
use crate::monitor::drift::quality::{QualityRecord, quality_of_errors};

/// Score from which a candidate's detection matches one of the serving model's with [`AGREEMENT_SCORE`]. It is lower,
/// because a score that moves across one threshold is no lost object.
const MATCHING_SCORE: f32 = 0.8 * AGREEMENT_SCORE;
/// Tenths of the serving model's own detections that count as matched by it. Two models that differ cannot agree on
/// everything, so the serving model must not be a perfect standard.
const SERVING_MATCHED_TENTHS: u64 = 9;

/// Results of the serving model and of generation 0 on the holdout frames.
pub struct HoldoutResults {
    /// The holdout frames and the observation of each.
    pub frames: ObservedFrames,
    /// Detections of the serving model in each frame; empty with the reference.
    detections: Vec<Vec<Detection>>,
    serving: QualityRecord,
    initial: QualityRecord,
}

impl HoldoutResults {
    /// Measures the serving model and generation 0 on the holdout frames.
    ///
    /// # Errors
    /// Errors of the models and of the yield point.
    pub fn measure(context: &mut RecalibrationContext<'_, '_>, holdout: Vec<usize>) -> Result<Self> {
        let (model, initial_model) = (Arc::clone(context.start().model), context.initial_model());
        let frames = context.observe(holdout)?;
        let (mut serving, mut initial) = (QualityRecord::default(), QualityRecord::default());
        let mut detections = Vec::new();
        for (at, observed) in frames.iter() {
            let stratum = context.stratum(at);
            if context.has_reference() {
                let of_serving = context.pass(&model, at)?;
                serving.add(stratum, quality_of_errors(&of_serving.errors), of_serving.agreement);
                let is_same = Arc::ptr_eq(&model, &initial_model);
                let of_initial = if is_same { of_serving } else { context.pass(&initial_model, at)? };
                initial.add(stratum, quality_of_errors(&of_initial.errors), of_initial.agreement);
                continue;
            }
            let found = context.detect(&model, at)?;
            let mut all = Agreement::default();
            all.add(&found, &found, AGREEMENT_SCORE, MATCHING_SCORE);
            let (reference, matched) = (all.reference(), all.reference() * SERVING_MATCHED_TENTHS / 10);
            let all = Agreement { matched, vanished: reference - matched, ..Agreement::default() };
            let predictor = context.predictor();
            serving.add(stratum, predictor.quality_db(observed, &model, context.serving_means()), Some(all));
            let initial_means = context.initial_biases().reference_means();
            initial.add(stratum, predictor.quality_db(observed, &initial_model, initial_means), None);
            detections.push(found);
        }
        Ok(Self { frames, detections, serving, initial })
    }

    /// Count of detections in the frames: the reference's, or without it the serving model's.
    pub fn objects(&self) -> u64 {
        self.serving.agreement.reference()
    }

    /// Compares `candidate`, whose model is `model`, on the holdout frames. Returns its case and its passes.
    ///
    /// # Errors
    /// Errors of the models and of the yield point.
    pub fn compare(
        &self,
        context: &mut RecalibrationContext<'_, '_>,
        model: &Arc<Int8Model>,
        candidate: &Candidate,
    ) -> Result<(AcceptanceCase, Vec<Pass>)> {
        let mut record = QualityRecord::default();
        let mut passes = Vec::with_capacity(self.frames.frames.len());
        for (position, (at, observed)) in self.frames.iter().enumerate() {
            let pass = if context.has_reference() {
                let pass = context.pass(model, at)?;
                record.add(context.stratum(at), quality_of_errors(&pass.errors), pass.agreement);
                pass
            } else {
                // Without a reference no detection is known to be right. Agreement with the serving model is required.
                let detections = context.detect(model, at)?;
                let mut agreement = Agreement::default();
                agreement.add(&self.detections[position], &detections, AGREEMENT_SCORE, MATCHING_SCORE);
                let quality = context.predictor().quality_db(observed, model, candidate.biases.reference_means());
                record.add(context.stratum(at), quality, Some(agreement));
                Pass { detections, ..Pass::default() }
            };
            passes.push(pass);
        }
        let case = AcceptanceCase {
            candidate: record,
            serving: self.serving.clone(),
            initial: self.initial.clone(),
            initial_loss_db: initial_loss_db(context, candidate)?,
            with_reference: context.has_reference(),
        };
        Ok((case, passes))
    }
}

/// Predicted loss of `candidate` on generation 0's own pictures, mean over the edges, in dB.
fn initial_loss_db(context: &RecalibrationContext<'_, '_>, candidate: &Candidate) -> Result<f64> {
    let initial_means = context.initial_biases().reference_means();
    let calibration =
        ObservedFrame { histograms: context.baseline().histograms.clone(), input_means: initial_means.clone() };
    let mut losses = Vec::new();
    for &step in context.steps() {
        let Some(choice) = candidate.ranges[step] else { continue };
        let qparams = context.range_choice(Parent::Initial, step)?.qparams;
        let predictor = context.predictor();
        let before = predictor.relative_error(step, &calibration, &qparams, initial_means);
        let after = predictor.relative_error(step, &calibration, &choice.qparams, candidate.biases.reference_means());
        if let (Some(before), Some(after)) = (before, after)
            && before > 0.0
            && after > 0.0
        {
            losses.push(10.0 * (after / before).log10());
        }
    }
    Ok(mean(losses.into_iter()).unwrap_or(0.0))
}
