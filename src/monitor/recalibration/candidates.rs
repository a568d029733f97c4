//! What could serve next.
//!
//! In: the serving model, generation 0, and the frames that calibrate. Out: drafts, the best first. A draft is
//! quantization parameters on the way from the serving ones to those that suit the frames best, and biases that go with
//! them. None is always the best: new quantization parameters help where values have grown, and harm where only their
//! means have moved; biases the other way round. So all are tried, on frames that calibrate, never on those that judge.
//! Half of the way often costs other lights much less than half of what all of it costs.

use std::sync::Arc;

use super::attempt::{Watched, Work};
use super::biases::Biases;
use super::ranges::{Choice, Seen};
use crate::calibrate::Observer;
use crate::detector::int8::{InputMeans, Int8Model, Quantized};
use crate::error::Result;
use crate::monitor::drift::quality::{QualityRecord, quality_of_errors};

/// How far new quantization parameters go of the way to what suits the frames best.
const EXTENTS: [f32; 3] = [1.0, 0.5, 0.0];
/// Drafts that are tried on all frames there are for it; which, a few of these frames tell.
const TRIED: usize = 5;
/// What a draft may take from any light, in dB: less than what a decision may, whose frames are others. As measured
/// beside the reference on few frames; and as expected on all, where no chance is in it.
const LIGHT_LOSS_DB: (f64, f64) = (0.3, 0.15);

/// New quantization parameters and biases.
pub(in crate::monitor) struct Draft {
    /// How far the quantization parameters go of their way.
    pub(in crate::monitor) extent: f32,
    /// By step.
    pub(in crate::monitor) choices: Vec<Option<Choice>>,
    biases: Biases,
    /// What it is expected to do on all frames that calibrate, and what it did on some beside the reference.
    expected: QualityRecord,
    record: QualityRecord,
}

impl Draft {
    /// What its biases are for.
    pub(in crate::monitor) fn reference_means(&self) -> &InputMeans {
        &self.biases.reference_means
    }
}

impl Work<'_, '_> {
    /// What every step's quantization parameters can rest on.
    pub(in crate::monitor) fn seen(&self, (calibrate, observed): Watched<'_>) -> Vec<Seen> {
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
    pub(in crate::monitor) fn drafts(
        &mut self,
        quantized: &mut Quantized,
        seen: &[Seen],
        watched: Watched<'_>,
    ) -> Result<Vec<Draft>> {
        let first = Biases::of(quantized);
        let lately = self.means(&first.reference_means, watched);
        let told = self.told(quantized, &first, &lately);
        let ways = self.ranges(seen)?;
        let mut drafts: Vec<Draft> = Vec::new();
        for extent in EXTENTS {
            let choice = |(serving, new): &(Choice, Choice)| serving.towards(new, extent);
            let choices: Vec<Option<Choice>> = ways.iter().map(|way| way.as_ref().map(choice)).collect();
            if drafts.last().is_some_and(|draft| draft.choices == choices) {
                continue;
            }
            set_edge_qparams(&choices, quantized);
            let measured = self.measured(quantized, &first, watched.0, &lately)?;
            let changes_nothing = extent == 0.0 && self.ground.first == self.ground.serving;
            let known = Some(first.clone()).filter(|_| !changes_nothing);
            for biases in known.into_iter().chain(told.iter().cloned()).chain(measured) {
                let record = QualityRecord::default();
                drafts.push(Draft { extent, choices: choices.clone(), biases, expected: record.clone(), record });
            }
        }
        let (model, reference_means) = (Arc::clone(self.ground.model), self.of_serving.clone());
        let expected = self.expected(&model, &reference_means, watched);
        for draft in &mut drafts {
            let model = self.model_of(draft, quantized)?;
            draft.expected = self.expected(&model, draft.reference_means(), watched);
        }
        if self.looker.has_reference() {
            self.order(&mut drafts, quantized, watched)?;
            // Few frames tell drafts badly apart: what all of them let expect has the second word.
            let bearable =
                drafts.iter().enumerate().filter(|(_, draft)| draft.expected.loses_at_most(LIGHT_LOSS_DB.1, &expected));
            let quality = |(_, draft): &(usize, &Draft)| draft.expected.quality_db();
            let best = bearable.rev().max_by(|a, b| quality(a).total_cmp(&quality(b)));
            if let Some((at, _)) = best.filter(|(at, _)| *at > 1) {
                drafts[1..=at].rotate_right(1);
            }
        } else {
            best_first(&mut drafts, |draft| &draft.expected, &expected, LIGHT_LOSS_DB.1);
        }
        Ok(drafts)
    }

    /// Tries `drafts` beside the reference, and puts the best first: all of them on half of the frames that there are
    /// for it, the best of those on the other half too.
    fn order(&mut self, drafts: &mut [Draft], quantized: &mut Quantized, watched: Watched<'_>) -> Result<()> {
        let model = Arc::clone(self.ground.model);
        let mut serving = QualityRecord::default();
        let mut left = drafts.len();
        let lights = self.correcting(watched.0);
        for nth in 0..2 {
            let of_light = |light: &Vec<usize>| light.iter().skip(nth).step_by(2).copied().collect::<Vec<_>>();
            let half: Vec<usize> = lights.iter().flat_map(of_light).collect();
            serving.merge(self.tried(&model, &half)?);
            for draft in &mut drafts[..left] {
                let model = self.model_of(draft, quantized)?;
                draft.record.merge(self.tried(&model, &half)?);
            }
            // Those that were tried no further stay behind the others.
            best_first(&mut drafts[..left], |draft| &draft.record, &serving, LIGHT_LOSS_DB.0);
            left = left.min(TRIED);
        }
        Ok(())
    }

    /// How `model`, whose biases were corrected at `reference_means`, is expected to do on all frames that calibrate.
    fn expected(
        &self,
        model: &Int8Model,
        reference_means: &InputMeans,
        (calibrate, observed): Watched<'_>,
    ) -> QualityRecord {
        let mut record = QualityRecord::default();
        for (&at, observed) in calibrate.iter().zip(observed) {
            record.add(self.strata[at], self.expectation.quality_db(observed, model, reference_means), None);
        }
        record
    }

    /// Puts `draft` into `quantized`, whose weights are generation 0's, and returns its model.
    pub(in crate::monitor) fn model_of(&self, draft: &Draft, quantized: &mut Quantized) -> Result<Arc<Int8Model>> {
        set_edge_qparams(&draft.choices, quantized);
        draft.biases.put(quantized);
        Ok(Arc::new(self.ground.model.with_quant_params(quantized)?))
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

    /// How `model` does on these frames beside the reference.
    fn tried(&mut self, model: &Arc<Int8Model>, frames: &[usize]) -> Result<QualityRecord> {
        let mut record = QualityRecord::default();
        for &at in frames {
            let picture = self.frames[at].picture()?;
            let errors = self.looker.step_errors(model, &picture, self.between)?;
            record.add(self.strata[at], quality_of_errors(&errors), None);
        }
        Ok(record)
    }
}

fn set_edge_qparams(choices: &[Option<Choice>], quantized: &mut Quantized) {
    for (qparams, choice) in quantized.edge_qparams.iter_mut().zip(choices) {
        *qparams = choice.map_or(*qparams, |choice| Some(choice.qparams));
    }
}

/// Puts first what does most good, of those that take no more than `most` dB from any light of `serving`.
fn best_first(drafts: &mut [Draft], of: fn(&Draft) -> &QualityRecord, serving: &QualityRecord, most: f64) {
    drafts.sort_by(|a, b| {
        let (a, b) = (of(a), of(b));
        b.loses_at_most(most, serving)
            .cmp(&a.loses_at_most(most, serving))
            .then(b.quality_db().total_cmp(&a.quality_db()))
    });
}
