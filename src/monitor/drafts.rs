//! What could serve next.
//!
//! In: the serving model, generation 0, and the frames that calibrate. Out: drafts, the best first. A draft is grids on
//! the way from the serving ones to those that suit the frames best, and biases that go with them. None is always the
//! best: new grids help where values have grown, and harm where only their means have moved; biases the other way round.
//! So all are tried, on frames that calibrate, never on those that judge. Half of the way often costs other lights much
//! less than half of what all of it costs.

use std::sync::Arc;

use super::biases::Biases;
use super::candidate::{Choice, Seen};
use super::judge::{Record, quality_of_errors};
use super::recalibrate::{Watched, Work};
use crate::calibrate::Observer;
use crate::detector::int8::{Int8Model, Quantized};
use crate::error::Result;
use crate::tensor::ImageMoments;

/// How far new grids go of the way to what suits the frames best.
const EXTENTS: [f32; 3] = [1.0, 0.5, 0.0];
/// Drafts that are tried on all frames there are for it; which, a few of these frames tell.
const TRIED: usize = 5;
/// What a draft may take from any light, in dB: less than what a decision may, whose frames are others.
const LIGHT_LOSS_DB: f64 = 0.3;

/// New grids and biases.
pub(super) struct Draft {
    /// How far the grids go of their way.
    pub(super) extent: f32,
    /// By step.
    pub(super) choices: Vec<Option<Choice>>,
    biases: Biases,
    /// What it did on frames that calibrate.
    record: Record,
}

impl Draft {
    /// How light the pictures are that its biases are for.
    pub(super) fn light(&self) -> Option<ImageMoments> {
        self.biases.light
    }

    /// Whether every light can bear it beside `serving`.
    fn is_bearable(&self, serving: &Record) -> bool {
        let serving = serving.by_stratum();
        let bears = |(stratum, db): (&usize, &f64)| serving.get(stratum).is_none_or(|was| *db >= was - LIGHT_LOSS_DB);
        self.record.by_stratum().iter().all(bears)
    }
}

impl Work<'_, '_> {
    /// What every step's grid can rest on.
    pub(super) fn seen(&self, (calibrate, observed): Watched<'_>) -> Vec<Seen> {
        let mut seen: Vec<Seen> = (0..self.looker.plan().steps.len()).map(|_| Seen::default()).collect();
        for &step in &self.steps {
            seen[step].first = self.evidence.histogram[step].clone();
            for (&at, observed) in calibrate.iter().zip(observed) {
                if let Some(histogram) = &observed.histograms[step] {
                    seen[step].strata.entry(self.strata[at]).or_default().merge(histogram);
                }
            }
        }
        seen
    }

    /// All drafts, the best first: of those that every light can bear, what does most good on average over the lights.
    /// `quantized` is generation 0 and is left as any of them.
    pub(super) fn drafts(
        &mut self,
        quantized: &mut Quantized,
        seen: &[Seen],
        watched: Watched<'_>,
    ) -> Result<Vec<Draft>> {
        let first = Biases::of(quantized);
        let ways = self.ranges(seen)?;
        let mut drafts: Vec<Draft> = Vec::new();
        for extent in EXTENTS {
            let choice = |(serving, new): &(Choice, Choice)| serving.towards(new, extent);
            let choices: Vec<Option<Choice>> = ways.iter().map(|way| way.as_ref().map(choice)).collect();
            if drafts.last().is_some_and(|draft| draft.choices == choices) {
                continue;
            }
            for (grid, choice) in quantized.grids.iter_mut().zip(&choices) {
                *grid = choice.map_or(*grid, |choice| Some(choice.grid));
            }
            let changes_nothing = extent == 0.0 && self.ground.first == self.ground.serving;
            let known = Some(first.clone()).filter(|_| !changes_nothing);
            for biases in known.into_iter().chain(self.biases(quantized, &first, watched)?) {
                let biases = biases.held_back(&first, &self.evidence);
                drafts.push(Draft { extent, choices: choices.clone(), biases, record: Record::default() });
            }
        }
        self.order(drafts, quantized, watched)
    }

    /// Tries `drafts`, and puts the best first: all of them on half of the frames that there are for it, the best of those
    /// on the other half too. Without the reference trying costs nothing.
    fn order(&mut self, mut drafts: Vec<Draft>, quantized: &mut Quantized, watched: Watched<'_>) -> Result<Vec<Draft>> {
        let (model, light) = (Arc::clone(self.ground.model), self.serving.light()?);
        let mut serving = Record::default();
        let mut left = drafts.len();
        for half in self.halves(watched.0) {
            serving.merge(self.tried(&model, light, &half, watched)?);
            for draft in drafts.iter_mut().take(left) {
                let model = self.model_of(draft, quantized)?;
                let record = self.tried(&model, draft.light(), &half, watched)?;
                draft.record.merge(record);
            }
            // Those that were tried no further stay behind the others.
            drafts[..left].sort_by(|a, b| {
                let by_quality = b.record.quality_db().total_cmp(&a.record.quality_db());
                b.is_bearable(&serving).cmp(&a.is_bearable(&serving)).then(by_quality)
            });
            left = left.min(TRIED);
        }
        Ok(drafts)
    }

    /// Which of the frames that calibrate drafts are tried on: two sets of each light, or without the reference all.
    fn halves(&self, calibrate: &[usize]) -> Vec<Vec<usize>> {
        if !self.looker.has_reference() {
            return vec![calibrate.to_vec()];
        }
        let lights = self.correcting(calibrate);
        let half = |nth: usize| -> Vec<usize> {
            let of_light = |light: &Vec<usize>| light.iter().skip(nth).step_by(2).copied().collect::<Vec<_>>();
            lights.iter().flat_map(of_light).collect()
        };
        [half(0), half(1)].into_iter().filter(|half| !half.is_empty()).collect()
    }

    /// Puts `draft` into `quantized`, whose weights are generation 0's, and returns its model.
    pub(super) fn model_of(&self, draft: &Draft, quantized: &mut Quantized) -> Result<Arc<Int8Model>> {
        for (grid, choice) in quantized.grids.iter_mut().zip(&draft.choices) {
            *grid = choice.map_or(*grid, |choice| Some(choice.grid));
        }
        draft.biases.put(quantized);
        Ok(Arc::new(self.ground.model.with_grids(quantized)?))
    }

    /// By step, the serving range and the one that suits the frames best.
    fn ranges(&mut self, seen: &[Seen]) -> Result<Vec<Option<(Choice, Choice)>>> {
        let observer = self.first.header().calibration.observer.parse::<Observer>().unwrap_or_default();
        let mut ranges = vec![None; seen.len()];
        for &step in &self.steps {
            let (original, serving) = (self.choice(&self.first, step)?, self.choice(&self.serving, step)?);
            ranges[step] = Some((serving, seen[step].choose(observer, original, serving)));
            (self.between)()?;
        }
        Ok(ranges)
    }

    /// How `model`, whose biases are for `light`, does on these frames: beside the reference, or as expected.
    fn tried(
        &mut self,
        model: &Arc<Int8Model>,
        light: Option<ImageMoments>,
        frames: &[usize],
        (calibrate, observed): Watched<'_>,
    ) -> Result<Record> {
        let mut record = Record::default();
        if !self.looker.has_reference() {
            for (&at, observed) in calibrate.iter().zip(observed).filter(|(at, _)| frames.contains(at)) {
                record.add(self.strata[at], self.expectation.quality_db(observed, model, light), None);
            }
            return Ok(record);
        }
        for &at in frames {
            let picture = self.frames[at].picture()?;
            let errors = self.looker.errors(model, &picture, self.between)?;
            record.add(self.strata[at], quality_of_errors(&errors), None);
        }
        Ok(record)
    }
}
