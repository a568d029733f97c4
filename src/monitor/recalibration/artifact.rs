//! The candidate's artifact: generation 0's with new quantization parameters, biases and evidence.
//!
//! In: the candidate and what was seen of it on the frames. Out: bytes. Its evidence is what a pass will count, so that
//! what was learned is no drift; the histogram it is held against is that of generation 0 and the frames together.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::attempt::{Watched, Work};
use super::candidates::Draft;
use super::comparison::Others;
use super::ranges::Seen;
use crate::calibrate::{Histogram, PowerProfile, clipped_share, distance, mean_std, power_db, with_min_std};
use crate::detector::int8::Quantized;
use crate::detector::plan::StepId;
use crate::error::Result;
use crate::measure::{Agreement, StepError};
use crate::monitor::drift::pass::{ObservedFrame, Pass};
use crate::quant::artifact::{self, Header, MeanStd, Provenance, StoredQuantParams};
use crate::tensor::digest::{hexadecimal, sha256};

impl Work<'_, '_> {
    pub(in crate::monitor) fn encode(
        &self,
        quantized: &Quantized,
        (draft, seen): (&Draft, &[Seen]),
        (calibrate, observed): Watched<'_>,
        (others, looks): (&Others<'_>, &[Pass]),
    ) -> Result<Vec<u8>> {
        let judge = others.frames;
        let plan = self.looker.plan();
        let mut header: Header = self.first.header().clone();
        let mut counts = Vec::with_capacity(header.edges.len());
        // As a pass will count them: by the quantized network, before its clamps. What the reference computed has more
        // values than bytes have, and would be told apart by that alone.
        let counted: Vec<(usize, &[Option<Histogram>])> = if self.looker.has_reference() {
            judge.iter().zip(looks).map(|(&at, look)| (at, &look.histograms[..])).collect()
        } else {
            let frames = calibrate.iter().zip(observed).chain(judge.iter().zip(&others.observed));
            frames.map(|(&at, seen)| (at, &seen.histograms[..])).collect()
        };
        let scenes = self.scenes(&counted, calibrate.iter().zip(observed));
        header.calibration.power_profiles = scenes.iter().map(|scene| scene.mean_abs_z).collect();
        for edge in &mut header.edges {
            let step = plan.find(&edge.name);
            let powers: Option<Vec<MeanStd>> = scenes.iter().map(|scene| scene.power_db[step?]).collect();
            edge.power_db = powers.unwrap_or_default();
            let Some((step, choice)) = step.and_then(|step| Some((step, draft.choices[step]?))) else {
                counts.push(self.first.histogram(edge)?);
                continue;
            };
            let mixture = mixture(&seen[step]);
            let singles = counted.iter().filter_map(|(_, frame)| frame[step].as_ref());
            let singles: Vec<&Histogram> = singles.filter(|single| !single.is_empty()).collect();
            let clipped: Vec<f64> = singles.iter().map(|single| clipped_share(single, &choice.qparams)).collect();
            let distances: Vec<f64> = singles.iter().map(|single| distance(single, &mixture)).collect();
            (edge.range, edge.qparams) = (choice.range, Some(StoredQuantParams::from(choice.qparams)));
            edge.clipped = wider(mean_std(&clipped), edge.clipped);
            edge.distance = wider(mean_std(&distances), edge.distance);
            let (bins, stored) = mixture.stored().unzip();
            edge.histogram = bins;
            counts.push(stored.unwrap_or_default());
        }
        for (id, layer) in header.steps.iter_mut().enumerate() {
            let known = layer.sqnr_db.clone();
            let of_user = |(run, user): (usize, StepId)| {
                let single = |look: &Pass| look.errors.get(user).and_then(StepError::sqnr_db);
                let values: Vec<f64> = looks.iter().filter_map(single).filter(|db| db.is_finite()).collect();
                wider(mean_std(&values), known.get(run).copied())
            };
            let spreads: Option<Vec<MeanStd>> = quantized.users(id).enumerate().map(of_user).collect();
            layer.sqnr_db = spreads.unwrap_or_default();
        }
        let mut agreement = Agreement::default();
        looks.iter().filter_map(|look| look.agreement).for_each(|one| agreement.merge(&one));
        if agreement.reference() > 0 {
            header.calibration.agreement = Some(agreement.to_artifact(judge.len()));
        }
        let mut sums: Vec<[u8; 32]> = calibrate.iter().chain(judge).map(|&at| self.frames[at].sha256).collect();
        sums.sort_unstable();
        let mut hash = Sha256::new();
        hash.update(&header.calibration.sha256);
        sums.iter().for_each(|sum| hash.update(sum));
        header.calibration.sha256 = hexadecimal(&hash.finalize());
        header.calibration.pictures += sums.len();
        header.provenance = Provenance {
            source_sha256: header.provenance.source_sha256,
            generation: self.ground.generation,
            parent: Some(sha256(self.ground.serving)),
        };
        artifact::encode(&header, &quantized.to_steps().1, &counts)
    }

    /// Generation 0's scene and one of every light of the frames, in the order of their brightness: as they were
    /// `counted`, or where none of a light was, as they were observed. None where generation 0 has none: frames alone
    /// would make everything else look strange.
    fn scenes<'o>(
        &self,
        counted: &[(usize, &[Option<Histogram>])],
        observed: impl Iterator<Item = (&'o usize, &'o ObservedFrame)>,
    ) -> Vec<PowerProfile> {
        let Some(first) = self.evidence.scenes.first() else { return Vec::new() };
        let stratum = |at: usize| self.strata[at];
        let missed = observed.filter(|(at, _)| counted.iter().all(|(other, _)| stratum(*other) != stratum(**at)));
        let missed = missed.map(|(&at, observed)| (at, &observed.histograms[..]));
        let mut strata: BTreeMap<usize, Vec<Vec<Option<f64>>>> = BTreeMap::new();
        for (at, histograms) in counted.iter().copied().chain(missed) {
            let known = histograms.iter().zip(&first.power_db);
            let powers = known.map(|(seen, power)| power.and(seen.as_ref().and_then(power_db))).collect();
            strata.entry(stratum(at)).or_default().push(powers);
        }
        let lately = strata.values().filter_map(|pictures| PowerProfile::of(pictures, Some(first)));
        std::iter::once(first.clone()).chain(lately).collect()
    }
}

/// Generation 0 and the frames in one histogram, about evenly.
fn mixture(seen: &Seen) -> Histogram {
    let mut lately = Histogram::new();
    seen.strata.values().for_each(|histogram| lately.merge(histogram));
    let Some(first) = &seen.first else { return lately };
    let (one, other) = (first.total().max(1), lately.total().max(1));
    let mut mixture = first.clone().times((other / one).max(1));
    mixture.merge(&lately.times((one / other).max(1)));
    mixture
}

/// New evidence, no narrower than the old.
fn wider(new: Option<MeanStd>, old: Option<MeanStd>) -> Option<MeanStd> {
    new.map(|new| with_min_std(new, old)).or(old)
}
