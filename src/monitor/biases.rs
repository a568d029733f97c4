//! New biases that go with new grids.
//!
//! In: a candidate whose grids are new, and the frames that calibrate. Out: biases to try on it: moved with the light, as
//! the artifact tells how; or, with the reference, moved by what each step's mean is off by on the frames; all the way or
//! a part. Measured shifts mend what a light does and what clipping does, but where lights differ much they fit none of
//! them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::evidence::Evidence;
use super::recalibrate::{Watched, Work};
use super::restrain::restrain;
use crate::calibrate::LocalError;
use crate::detector::int8::Quantized;
use crate::error::Result;
use crate::tensor::ImageMoments;

/// Frames that biases are measured on and tried on, at most. Twice as many taught the street no more.
const CORRECTING: usize = 8;
/// How far biases may go the way of the light or of what was measured. Without the reference trying costs nothing.
const PARTS: (&[f64], &[f64]) = (&[0.5, 1.0], &[0.25, 0.5, 0.75, 1.0]);

/// Biases by step, and how light the pictures are that they are for.
#[derive(Clone)]
pub(super) struct Biases {
    values: Vec<Vec<f32>>,
    pub(super) light: Option<ImageMoments>,
}

impl Biases {
    /// Those of `quantized`.
    pub(super) fn of(quantized: &Quantized) -> Self {
        Self { values: quantized.biases.clone(), light: quantized.light }
    }

    /// Puts them into `quantized`.
    pub(super) fn put(&self, quantized: &mut Quantized) {
        quantized.biases.clone_from(&self.values);
        quantized.light = self.light;
    }

    /// The same, as far as they may go from `first`.
    pub(super) fn held_back(mut self, first: &Self, evidence: &Evidence) -> Self {
        let share = restrain(&mut self.values, &first.values, evidence);
        self.light = first.light.zip(self.light).map(|(first, light)| first.towards(&light, share));
        self
    }
}

impl Work<'_, '_> {
    /// What can be tried on the grids of `quantized` instead of `first`, the biases of generation 0.
    pub(super) fn biases(
        &mut self,
        quantized: &mut Quantized,
        first: &Biases,
        watched: Watched<'_>,
    ) -> Result<Vec<Biases>> {
        let parts = if self.looker.has_reference() { PARTS.0 } else { PARTS.1 };
        let lights = first.light.map(|first| (first, self.light(first, watched)));
        let towards = |part| lights.map(|(first, light)| first.towards(&light, part));
        let mut ways = Vec::new();
        for light in parts.iter().filter_map(|&part| towards(part)) {
            first.put(quantized);
            quantized.adapt(light);
            ways.push(Biases::of(quantized));
        }
        first.put(quantized);
        if self.looker.has_reference() {
            let model = Arc::new(self.ground.model.with_grids(quantized)?);
            let lights = self.correcting(watched.0);
            let strata = lights.len();
            let each = lights.iter().map(Vec::len).max().unwrap_or_default();
            let mut locals = vec![LocalError::default(); quantized.biases.len()];
            // Few frames of a light count as many of another: again and again, if need be.
            let again = |light: &Vec<usize>| (0..each).map(|i| light[i * light.len() / each]).collect::<Vec<_>>();
            for at in lights.iter().flat_map(again) {
                let picture = self.frames[at].picture()?;
                self.looker.add_local(&model, &picture, &mut locals)?;
                (self.between)()?;
            }
            // Generation 0's pictures ask for no correction: they count as one light more.
            let all = strata as f64 / (strata + 1) as f64;
            for &part in parts {
                let mut values = first.values.clone();
                for (bias, local) in values.iter_mut().zip(&locals) {
                    let shifts = local.mean_shift();
                    bias.iter_mut().zip(shifts).for_each(|(bias, shift)| *bias += (part * all) as f32 * shift);
                }
                ways.push(Biases { values, light: towards(part) });
            }
        }
        Ok(ways)
    }

    /// How light the pictures are that the candidate's biases are for: every light of `frames` counts the same,
    /// generation 0's pictures, as light as `first`, as one light more.
    fn light(&self, first: ImageMoments, (frames, observed): Watched<'_>) -> ImageMoments {
        let mut strata: BTreeMap<usize, f64> = BTreeMap::new();
        frames.iter().for_each(|&at| *strata.entry(self.strata[at]).or_default() += 1.0);
        let share = 1.0 / (strata.len() + 1) as f64;
        let mut mixed = ImageMoments::default();
        mixed.add(&first, share);
        for (&at, observed) in frames.iter().zip(observed) {
            mixed.add(&observed.image, share / strata[&self.strata[at]]);
        }
        mixed
    }

    /// The frames of `calibrate` that biases are measured and drafts tried on, light by light: as many of every one as of
    /// any other, if it has as many.
    pub(super) fn correcting(&self, calibrate: &[usize]) -> Vec<Vec<usize>> {
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
