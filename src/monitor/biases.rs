//! New biases, of which the best are taken.
//!
//! In: a candidate whose grids are new, and the frames that calibrate. Out: the same with the biases that do most good and
//! take next to nothing from any light, if there are such. They are generation 0's own; or moved with the light, as the
//! artifact tells how; or, with the reference, moved by what each step's mean is off by on the frames; all the way or a
//! part. None is always the best: measured shifts mend what a light does and what clipping does, but where lights differ
//! much they fit none of them. With the reference each is tried on frames that calibrate, never on those that judge;
//! without it what is expected decides.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::judge::{Record, quality_of_errors};
use super::recalibrate::{Watched, Work};
use super::restrain::restrain;
use crate::calibrate::LocalError;
use crate::detector::int8::{Int8Model, Quantized};
use crate::error::Result;
use crate::tensor::ImageMoments;

/// Frames that biases are measured on and tried on, at most. Twice as many taught the street no more.
const CORRECTING: usize = 8;
/// How far biases may go the way of the light or of what was measured. Without the reference trying costs nothing.
const PARTS: (&[f64], &[f64]) = (&[0.5, 1.0], &[0.25, 0.5, 0.75, 1.0]);
/// What new grids and biases may take from any light, in dB: less than what a decision may, whose frames are others.
const LIGHT_LOSS_DB: f64 = 0.3;

/// Biases by step, and how light the pictures are that they are for.
pub(super) struct Biases {
    values: Vec<Vec<f32>>,
    light: Option<ImageMoments>,
}

impl Biases {
    /// Those of `quantized`.
    pub(super) fn of(quantized: &Quantized) -> Self {
        Self { values: quantized.biases.clone(), light: quantized.light }
    }

    fn put(&self, quantized: &mut Quantized) {
        quantized.biases.clone_from(&self.values);
        quantized.light = self.light;
    }

    /// Puts them into `quantized`, as far as they may go from `first`, and returns its model.
    fn model(&self, quantized: &mut Quantized, first: &Self, work: &Work<'_, '_>) -> Result<Arc<Int8Model>> {
        self.put(quantized);
        let share = restrain(&mut quantized.biases, &first.values, &work.evidence);
        quantized.light = first.light.zip(self.light).map(|(first, light)| first.towards(&light, share));
        Ok(Arc::new(work.ground.model.with_grids(quantized)?))
    }
}

impl Work<'_, '_> {
    /// Gives `quantized` the best biases; `first` are generation 0's. Returns its model, and whether every light can bear
    /// it.
    pub(super) fn improve_biases(
        &mut self,
        quantized: &mut Quantized,
        first: &Biases,
        watched: Watched<'_>,
    ) -> Result<(Arc<Int8Model>, bool)> {
        let ways = self.ways(quantized, first, watched)?;
        let (serving, light) = (Arc::clone(self.ground.model), self.serving.light()?);
        let serving = self.tried(&serving, light, watched)?.by_stratum();
        let mut best: Option<(&Biases, f64)> = None;
        for way in std::iter::once(first).chain(&ways) {
            let model = way.model(quantized, first, self)?;
            let record = self.tried(&model, quantized.light, watched)?;
            let loses = |(stratum, db): (&usize, &f64)| *db < serving[stratum] - LIGHT_LOSS_DB;
            let bearable = !record.by_stratum().iter().any(loses);
            if bearable && best.is_none_or(|(_, most)| record.quality_db() > most) {
                best = Some((way, record.quality_db()));
            }
        }
        let model = best.map_or(first, |(way, _)| way).model(quantized, first, self)?;
        Ok((model, best.is_some()))
    }

    /// What can be tried on `quantized` instead of `first`.
    fn ways(&mut self, quantized: &mut Quantized, first: &Biases, watched: Watched<'_>) -> Result<Vec<Biases>> {
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
            let (correcting, strata) = self.correcting(watched.0);
            let mut locals = vec![LocalError::default(); quantized.biases.len()];
            for at in correcting {
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

    /// How `model`, whose biases are for `light`, does on frames that calibrate: beside the reference on some of them, or
    /// as expected on all.
    fn tried(&mut self, model: &Arc<Int8Model>, light: Option<ImageMoments>, watched: Watched<'_>) -> Result<Record> {
        let mut record = Record::default();
        if !self.looker.has_reference() {
            for (&at, observed) in watched.0.iter().zip(watched.1) {
                record.add(self.strata[at], self.expectation.quality_db(observed, model, light), None);
            }
            return Ok(record);
        }
        let mut frames = self.correcting(watched.0).0;
        // Those of a light with few are in it more than once.
        frames.dedup();
        for at in frames {
            let picture = self.frames[at].picture()?;
            let errors = self.looker.errors(model, &picture, self.between)?;
            record.add(self.strata[at], quality_of_errors(&errors), None);
        }
        Ok(record)
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

    /// The frames of `calibrate` that biases are measured and tried on, as many of every light as of any other, and the
    /// number of lights.
    fn correcting(&self, calibrate: &[usize]) -> (Vec<usize>, usize) {
        let mut strata: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for &at in calibrate {
            strata.entry(self.strata[at]).or_default().push(at);
        }
        let each = (CORRECTING / strata.len().max(1)).max(1);
        let of_stratum = |frames: &Vec<usize>| {
            // Few frames count as often as many: again and again, if need be.
            (0..each).map(|i| frames[i * frames.len() / each]).collect::<Vec<_>>()
        };
        (strata.values().flat_map(of_stratum).collect(), strata.len())
    }
}
