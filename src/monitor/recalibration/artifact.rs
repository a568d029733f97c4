//! Artifact of a candidate: generation 0's with new quantization parameters, biases and calibration baseline.
//!
//! In: the candidate, its passes and the observed frames. Out: bytes. The new baseline is counted as a pass counts it, so
//! that no drift is reported for what the candidate was calibrated on. Its histograms mix generation 0's and the frames'.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::candidates::Candidate;
use super::comparison::HoldoutResults;
use super::context::{ObservedFrames, RecalibrationContext};
use super::ranges::EdgeHistograms;
use crate::calibrate::{Histogram, PowerProfile, clipped_share, distance, mean_std, power_db, with_min_std};
use crate::detector::plan::StepId;
use crate::error::Result;
use crate::measure::{Agreement, StepError};
use crate::monitor::drift::pass::Pass;
use crate::quant::artifact::{self, Header, MeanStd, Provenance, StoredQuantParams};
use crate::tensor::digest::{hexadecimal, sha256};

/// Measurements on the calibration and the validation frames.
pub struct Measurements<'m> {
    /// By step, the histograms that the ranges were chosen from.
    pub edges: &'m [EdgeHistograms],
    /// The calibration frames.
    pub calibrate: &'m ObservedFrames,
    /// The validation frames.
    pub holdout: &'m HoldoutResults,
    /// Passes of the candidate over the validation frames.
    pub passes: &'m [Pass],
}

/// Encodes the artifact of `candidate`.
///
/// # Errors
/// As [`artifact::encode`].
pub fn encode(
    context: &mut RecalibrationContext<'_, '_>,
    candidate: &Candidate,
    measurements: &Measurements<'_>,
) -> Result<Vec<u8>> {
    let Measurements { edges, calibrate, holdout, passes } = *measurements;
    let mut header: Header = context.initial().header().clone();
    let mut counts = Vec::with_capacity(header.edges.len());
    let counted = counted(context, measurements);
    let power_profiles = power_profiles(context, &counted, calibrate);
    header.calibration.power_profiles = power_profiles.iter().map(|profile| profile.mean_abs_z).collect();
    for edge in &mut header.edges {
        let step = context.plan().find(&edge.name);
        let powers: Option<Vec<MeanStd>> = power_profiles.iter().map(|profile| profile.power_db[step?]).collect();
        edge.power_db = powers.unwrap_or_default();
        let Some((step, choice)) = step.and_then(|step| Some((step, candidate.ranges[step]?))) else {
            counts.push(context.initial().histogram(edge)?);
            continue;
        };
        let mixture = mixture(&edges[step]);
        let frames = counted.iter().filter_map(|(_, frame)| frame[step].as_ref());
        let frames: Vec<&Histogram> = frames.filter(|frame| !frame.is_empty()).collect();
        let clipped: Vec<f64> = frames.iter().map(|frame| clipped_share(frame, &choice.qparams)).collect();
        let distances: Vec<f64> = frames.iter().map(|frame| distance(frame, &mixture)).collect();
        // The parent's format stays, and with it whether it names the type.
        let edge_type = edge.qparams.and_then(|qparams| qparams.edge_type);
        let qparams = StoredQuantParams { edge_type, ..StoredQuantParams::from(choice.qparams) };
        (edge.range, edge.qparams) = (choice.range, Some(qparams));
        edge.clipped = wider(mean_std(&clipped), edge.clipped);
        edge.distance = wider(mean_std(&distances), edge.distance);
        let (bins, stored) = mixture.stored().unzip();
        edge.histogram = bins;
        counts.push(stored.unwrap_or_default());
    }
    let network = context.network(&candidate.ranges, &candidate.biases);
    for (id, layer) in header.steps.iter_mut().enumerate() {
        let known = layer.sqnr_db.clone();
        let of_user = |(run, user): (usize, StepId)| {
            let sqnr_db = |pass: &Pass| pass.errors.get(user).and_then(StepError::sqnr_db);
            let values: Vec<f64> = passes.iter().filter_map(sqnr_db).filter(|db| db.is_finite()).collect();
            wider(mean_std(&values), known.get(run).copied())
        };
        let spreads: Option<Vec<MeanStd>> = network.users(id).enumerate().map(of_user).collect();
        layer.sqnr_db = spreads.unwrap_or_default();
    }
    let weights = network.to_steps().1;
    let equalization = network.equalization.stored();
    let mut agreement = Agreement::default();
    passes.iter().filter_map(|pass| pass.agreement).for_each(|one| agreement.merge(&one));
    if agreement.reference() > 0 {
        header.calibration.agreement = Some(agreement.to_artifact(passes.len()));
    }
    let frames = calibrate.frames.iter().chain(&holdout.frames.frames);
    let mut sums: Vec<[u8; 32]> = frames.map(|&at| context.frame(at).sha256).collect();
    sums.sort_unstable();
    let mut hash = Sha256::new();
    hash.update(&header.calibration.sha256);
    sums.iter().for_each(|sum| hash.update(sum));
    header.calibration.sha256 = hexadecimal(&hash.finalize());
    header.calibration.pictures += sums.len();
    header.provenance = Provenance {
        source_sha256: header.provenance.source_sha256,
        generation: context.start().next_generation,
        parent: Some(sha256(context.start().serving)),
    };
    artifact::encode(&header, &weights, &equalization, &counts)
}

/// A frame's index, and its histograms by step.
type Counted<'m> = (usize, &'m [Option<Histogram>]);

/// The histograms that the new baseline is counted from: those of the quantized network before its clamps, as a pass
/// counts them. The reference's own have more distinct values than bytes have and would differ by that alone.
fn counted<'m>(context: &RecalibrationContext<'_, '_>, measurements: &Measurements<'m>) -> Vec<Counted<'m>> {
    let Measurements { calibrate, holdout, passes, .. } = *measurements;
    if context.has_reference() {
        let frames = holdout.frames.frames.iter().zip(passes);
        return frames.map(|(&at, pass)| (at, &pass.histograms[..])).collect();
    }
    calibrate.iter().chain(holdout.frames.iter()).map(|(at, observed)| (at, &observed.histograms[..])).collect()
}

/// Generation 0's power profile and one of every stratum of the frames, sorted by stratum. They are those of `counted`, or of
/// `observed` for a stratum without a counted frame. None where generation 0 has none: with frames alone, its own
/// pictures would be drift.
fn power_profiles(
    context: &RecalibrationContext<'_, '_>,
    counted: &[Counted<'_>],
    observed: &ObservedFrames,
) -> Vec<PowerProfile> {
    let Some(initial) = context.baseline().power_profiles.first() else { return Vec::new() };
    let stratum = |at: usize| context.stratum(at);
    let not_counted =
        observed.iter().filter(|(at, _)| counted.iter().all(|(other, _)| stratum(*other) != stratum(*at)));
    let not_counted = not_counted.map(|(at, observed)| (at, &observed.histograms[..]));
    let mut strata: BTreeMap<usize, Vec<Vec<Option<f64>>>> = BTreeMap::new();
    for (at, histograms) in counted.iter().copied().chain(not_counted) {
        let known = histograms.iter().zip(&initial.power_db);
        let powers = known.map(|(seen, power)| power.and(seen.as_ref().and_then(power_db))).collect();
        strata.entry(stratum(at)).or_default().push(powers);
    }
    let recent = strata.values().filter_map(|frames| PowerProfile::of(frames, Some(initial)));
    std::iter::once(initial.clone()).chain(recent).collect()
}

/// Generation 0's and the frames' values in one histogram, with about the same weight.
fn mixture(edge: &EdgeHistograms) -> Histogram {
    let mut recent = Histogram::new();
    edge.strata.values().for_each(|histogram| recent.merge(histogram));
    let Some(initial) = &edge.initial else { return recent };
    let (one, other) = (initial.total().max(1), recent.total().max(1));
    let mut mixture = initial.clone().times((other / one).max(1));
    mixture.merge(&recent.times((one / other).max(1)));
    mixture
}

/// The new spread, no narrower than the old.
fn wider(new: Option<MeanStd>, old: Option<MeanStd>) -> Option<MeanStd> {
    new.map(|new| with_min_std(new, old)).or(old)
}
