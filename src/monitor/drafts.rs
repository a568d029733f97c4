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
use crate::detector::int8::{InputMeans, Int8Model, Quantized};
use crate::error::Result;

/// How far new grids go of the way to what suits the frames best.
const EXTENTS: [f32; 3] = [1.0, 0.5, 0.0];
/// Drafts that are tried on all frames there are for it; which, a few of these frames tell.
const TRIED: usize = 5;
/// What a draft may take from any light, in dB: less than what a decision may, whose frames are others. As measured beside
/// the reference on few frames; and as expected on all, where no chance is in it.
const LIGHT_LOSS_DB: (f64, f64) = (0.3, 0.15);

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
    /// What its biases are for.
    pub(super) fn made_for(&self) -> &InputMeans {
        &self.biases.made_for
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
        let model = Arc::clone(self.ground.model);
        let made_for = InputMeans::of_artifact(&self.serving, self.looker.plan())?;
        let most = if self.looker.has_reference() { LIGHT_LOSS_DB.0 } else { LIGHT_LOSS_DB.1 };
        let mut serving = Record::default();
        let mut left = drafts.len();
        for half in self.halves(watched.0) {
            serving.merge(self.tried(&model, &made_for, &half, watched)?);
            for draft in drafts.iter_mut().take(left) {
                let model = self.model_of(draft, quantized)?;
                let record = self.tried(&model, draft.made_for(), &half, watched)?;
                draft.record.merge(record);
            }
            // Those that were tried no further stay behind the others.
            let bears = |draft: &Draft| loses_no_more(&draft.record, &serving, most);
            drafts[..left].sort_by(|a, b| {
                let by_quality = b.record.quality_db().total_cmp(&a.record.quality_db());
                bears(b).cmp(&bears(a)).then(by_quality)
            });
            left = left.min(TRIED);
        }
        if self.looker.has_reference() && !drafts.is_empty() {
            // Few frames tell drafts badly apart: what all of them let expect has the second word.
            let mut best: Option<(usize, f64)> = None;
            let serving = self.expected(&model, &made_for, watched);
            for (at, draft) in drafts.iter().enumerate() {
                let model = self.model_of(draft, quantized)?;
                let expected = self.expected(&model, draft.made_for(), watched);
                let quality = expected.quality_db();
                let is_bearable = loses_no_more(&expected, &serving, LIGHT_LOSS_DB.1);
                if is_bearable && best.is_none_or(|(_, most)| quality > most) {
                    best = Some((at, quality));
                }
            }
            if let Some((at, _)) = best.filter(|(at, _)| *at > 1) {
                drafts[1..=at].rotate_right(1);
            }
        }
        Ok(drafts)
    }

    /// How `model`, whose biases are `made_for` such means, is expected to do on all frames that calibrate.
    fn expected(&self, model: &Int8Model, made_for: &InputMeans, (calibrate, observed): Watched<'_>) -> Record {
        let mut record = Record::default();
        for (&at, observed) in calibrate.iter().zip(observed) {
            record.add(self.strata[at], self.expectation.quality_db(observed, model, made_for), None);
        }
        record
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

    /// How `model`, whose biases are `made_for` such means, does on these frames beside the reference; without one, as
    /// expected on all.
    fn tried(
        &mut self,
        model: &Arc<Int8Model>,
        made_for: &InputMeans,
        frames: &[usize],
        watched: Watched<'_>,
    ) -> Result<Record> {
        if !self.looker.has_reference() {
            return Ok(self.expected(model, made_for, watched));
        }
        let mut record = Record::default();
        for &at in frames {
            let picture = self.frames[at].picture()?;
            let errors = self.looker.errors(model, &picture, self.between)?;
            record.add(self.strata[at], quality_of_errors(&errors), None);
        }
        Ok(record)
    }
}

/// Whether no light of `record` is more than `most` dB below that of `serving`.
fn loses_no_more(record: &Record, serving: &Record, most: f64) -> bool {
    let serving = serving.by_stratum();
    let bears = |(stratum, db): (&usize, &f64)| serving.get(stratum).is_none_or(|was| *db >= was - most);
    record.by_stratum().iter().all(bears)
}
