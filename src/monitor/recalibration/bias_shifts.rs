//! Biases to try with new ranges.
//!
//! In: generation 0's biases and the calibration frames. Out: biases with a shift. The shift is predicted from the
//! recent input means by the residuals and bias shift models of the artifact. With the reference it is also measured,
//! as the mean error of each output channel on the frames. A measured shift also corrects for clipping, but where
//! strata differ much it suits none of them.

use std::collections::BTreeMap;

use super::biases::Biases;
use super::context::{ObservedFrames, RecalibrationContext};
use super::ranges::RangeChoice;
use crate::calibrate::LocalError;
use crate::detector::int8::InputMeans;
use crate::error::Result;

/// Biases with a shift predicted for the input means `recent`; none where the artifact has no reference input means.
pub fn predicted(context: &mut RecalibrationContext<'_, '_>, recent: &InputMeans) -> Option<Biases> {
    let initial = context.initial_biases().clone();
    initial.reference_means().image.as_ref()?;
    Some(context.corrected_biases(recent).limited(&initial, context.baseline()))
}

/// Biases with a shift measured against the reference on the calibration frames `calibrate`, with the quantization
/// parameters of `ranges`; none without a reference. Their input means are `recent`.
///
/// # Errors
/// As [`RecalibrationContext::add_local_errors`].
pub fn measured(
    context: &mut RecalibrationContext<'_, '_>,
    ranges: &[Option<RangeChoice>],
    calibrate: &ObservedFrames,
    recent: &InputMeans,
) -> Result<Option<Biases>> {
    if !context.has_reference() {
        return Ok(None);
    }
    let initial = context.initial_biases().clone();
    let model = context.model(ranges, &initial)?;
    let strata = context.trial_frames(&calibrate.frames);
    let each = strata.iter().map(Vec::len).max().unwrap_or_default();
    let mut locals = vec![LocalError::default(); initial.values().len()];
    // Every stratum has the same weight: the frames of a smaller one are repeated.
    let repeated = |stratum: &Vec<usize>| (0..each).map(|i| stratum[i * stratum.len() / each]).collect::<Vec<_>>();
    for at in strata.iter().flat_map(repeated) {
        context.add_local_errors(&model, at, &mut locals)?;
    }
    // Generation 0's pictures need no shift. They count as one more stratum.
    let weight = strata.len() as f64 / (strata.len() + 1) as f64;
    let mut values = initial.values().to_vec();
    for (bias, local) in values.iter_mut().zip(&locals) {
        let shifts = local.mean_shift();
        bias.iter_mut().zip(shifts).for_each(|(bias, shift)| *bias += weight as f32 * shift);
    }
    Ok(Some(Biases::new(values, recent.clone()).limited(&initial, context.baseline())))
}

/// Recent input means: the mean over the strata of `frames` and generation 0's pictures, each with the same weight.
pub fn recent_means(context: &RecalibrationContext<'_, '_>, frames: &ObservedFrames) -> InputMeans {
    let initial = context.initial_biases().reference_means();
    let mut strata: BTreeMap<usize, Vec<&InputMeans>> = BTreeMap::new();
    for (at, observed) in frames.iter() {
        strata.entry(context.stratum(at)).or_default().push(&observed.input_means);
    }
    let mut recent = initial.clone();
    let mut count = 1.0;
    for frames in strata.values() {
        // Running means: the n-th term moves the mean by 1/n of its distance.
        let mut stratum = initial.clone();
        for (before, means) in frames.iter().enumerate() {
            stratum = stratum.interpolate(means, 1.0 / (before + 1) as f64);
        }
        count += 1.0;
        recent = recent.interpolate(&stratum, 1.0 / count);
    }
    recent
}
