//! New biases that go with new quantization parameters.
//!
//! In: a candidate whose quantization parameters are new, and the frames that calibrate. Out: biases to try on it:
//! moved as the artifact tells for what the layers read on average; or, with the reference, moved by what each step's
//! mean is off by on the frames; all the way or a part. Measured shifts mend what a light does and what clipping does,
//! but where lights differ much they fit none of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::attempt::{Watched, Work};
use super::bias_limits::restrain;
use crate::calibrate::LocalError;
use crate::detector::int8::{InputMeans, Quantized};
use crate::error::Result;
use crate::monitor::drift::baseline::Baseline;

/// Frames that biases are measured on and tried on, at most. Twice as many taught the street no more.
const CORRECTING: usize = 8;
/// How far biases may go the way of what the layers read or of what was measured. Without the reference trying costs
/// nothing.
const PARTS: (&[f64], &[f64]) = (&[0.5, 1.0], &[0.25, 0.5, 0.75, 1.0]);

/// Biases by step, and what they are for.
#[derive(Clone)]
pub(in crate::monitor) struct Biases {
    values: Vec<Vec<f32>>,
    pub(in crate::monitor) reference_means: InputMeans,
}

impl Biases {
    /// Those of `quantized`.
    pub(in crate::monitor) fn of(quantized: &Quantized) -> Self {
        Self { values: quantized.biases.clone(), reference_means: quantized.reference_means.clone() }
    }

    /// Puts them into `quantized`.
    pub(in crate::monitor) fn put(&self, quantized: &mut Quantized) {
        quantized.biases.clone_from(&self.values);
        quantized.reference_means.clone_from(&self.reference_means);
    }

    /// The same, as far as they may go from `first`.
    fn held_back(mut self, first: &Self, evidence: &Baseline) -> Self {
        let share = restrain(&mut self.values, &first.values, evidence);
        self.reference_means = first.reference_means.interpolate(&self.reference_means, share);
        self
    }
}

impl Work<'_, '_> {
    /// Biases moved as the artifact tells from `first`, those of generation 0, for what the layers read `lately`.
    /// `quantized` is left with any of them.
    pub(in crate::monitor) fn told(
        &self,
        quantized: &mut Quantized,
        first: &Biases,
        lately: &InputMeans,
    ) -> Vec<Biases> {
        let mut told = Vec::new();
        for &part in self.parts().iter().filter(|_| first.reference_means.image.is_some()) {
            first.put(quantized);
            quantized.adapt_biases(&first.reference_means.interpolate(lately, part));
            told.push(Biases::of(quantized).held_back(first, &self.evidence));
        }
        told
    }

    /// Biases moved from `first` by what the quantization parameters of `quantized` leave each step's mean off by
    /// beside the reference, on frames that `calibrate`, whose layers read `lately`; none without a reference.
    /// `quantized` is left with `first`.
    pub(in crate::monitor) fn measured(
        &mut self,
        quantized: &mut Quantized,
        first: &Biases,
        calibrate: &[usize],
        lately: &InputMeans,
    ) -> Result<Vec<Biases>> {
        if !self.looker.has_reference() {
            return Ok(Vec::new());
        }
        first.put(quantized);
        let model = Arc::new(self.ground.model.with_quant_params(quantized)?);
        let lights = self.correcting(calibrate);
        let each = lights.iter().map(Vec::len).max().unwrap_or_default();
        let mut locals = vec![LocalError::default(); quantized.biases.len()];
        // Few frames of a light count as many of another: again and again, if need be.
        let again = |light: &Vec<usize>| (0..each).map(|i| light[i * light.len() / each]).collect::<Vec<_>>();
        for at in lights.iter().flat_map(again) {
            let picture = self.frames[at].picture()?;
            self.looker.add_local_errors(&model, &picture, &mut locals)?;
            (self.between)()?;
        }
        // Generation 0's pictures ask for no correction: they count as one light more.
        let all = lights.len() as f64 / (lights.len() + 1) as f64;
        let moved = |&part: &f64| {
            let mut values = first.values.clone();
            for (bias, local) in values.iter_mut().zip(&locals) {
                let shifts = local.mean_shift();
                bias.iter_mut().zip(shifts).for_each(|(bias, shift)| *bias += (part * all) as f32 * shift);
            }
            Biases { values, reference_means: first.reference_means.interpolate(lately, part) }
                .held_back(first, &self.evidence)
        };
        Ok(self.parts().iter().map(moved).collect())
    }

    fn parts(&self) -> &'static [f64] {
        if self.looker.has_reference() { PARTS.0 } else { PARTS.1 }
    }

    /// What the layers read: every light of `frames` counts the same, generation 0's pictures, as they were `first`, as
    /// one light more.
    pub(in crate::monitor) fn means(&self, first: &InputMeans, (frames, observed): Watched<'_>) -> InputMeans {
        let mut strata: BTreeMap<usize, Vec<&InputMeans>> = BTreeMap::new();
        for (&at, observed) in frames.iter().zip(observed) {
            strata.entry(self.strata[at]).or_default().push(&observed.means);
        }
        let mut mixed = first.clone();
        let mut lights = 1.0;
        for frames in strata.values() {
            // The mean of so many is each of them, one after the other, by its share of all so far.
            let mut light = first.clone();
            for (before, means) in frames.iter().enumerate() {
                light = light.interpolate(means, 1.0 / (before + 1) as f64);
            }
            lights += 1.0;
            mixed = mixed.interpolate(&light, 1.0 / lights);
        }
        mixed
    }

    /// The frames of `calibrate` that biases are measured and drafts tried on, light by light: as many of every one as
    /// of any other, if it has as many.
    pub(in crate::monitor) fn correcting(&self, calibrate: &[usize]) -> Vec<Vec<usize>> {
        let mut strata: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for &at in calibrate {
            strata.entry(self.strata[at]).or_default().push(at);
        }
        let each = (CORRECTING / strata.len().max(1)).max(1);
        let evenly = |frames: Vec<usize>| -> Vec<usize> {
            let count = each.min(frames.len());
            (0..count).map(|i| frames[i * frames.len() / count]).collect()
        };
        strata.into_values().map(evenly).collect()
    }
}
