//! A candidate, the serving model and generation 0 on frames that nothing was made from.
//!
//! In: the judging frames and drafts. Out: the [`Case`] of each draft. What the serving model and generation 0 do there
//! is looked at once.

use std::sync::Arc;

use super::acceptance::Case;
use super::attempt::Work;
use super::candidates::Draft;
use crate::calibrate::AGREEMENT_SCORE;
use crate::detector::detection::Detection;
use crate::detector::int8::Int8Model;
use crate::error::Result;
use crate::measure::Agreement;
use crate::monitor::drift::pass::{ObservedFrame, Pass};
use crate::monitor::drift::quality::{QualityRecord, quality_of_errors};

/// What is known of the judging frames whatever is judged.
pub(in crate::monitor) struct Others<'j> {
    /// The frames.
    pub(in crate::monitor) frames: &'j [usize],
    /// What was observed in each.
    pub(in crate::monitor) observed: Vec<ObservedFrame>,
    /// What the serving model finds in each; with the reference, nothing.
    found: Vec<Vec<Detection>>,
    serving: QualityRecord,
    first: QualityRecord,
}

impl Others<'_> {
    /// Detections in the frames: the reference's, or without it the serving model's.
    pub(in crate::monitor) fn objects(&self) -> u64 {
        self.serving.agreement.reference()
    }
}

impl Work<'_, '_> {
    /// The serving model and generation 0 on the judging frames.
    pub(in crate::monitor) fn hear<'j>(&mut self, judge: &'j [usize]) -> Result<Others<'j>> {
        let with_reference = self.looker.has_reference();
        let (model, original) = (Arc::clone(self.ground.model), Arc::clone(&self.original));
        let is_first = Arc::ptr_eq(&model, &original);
        let observed = self.observe(judge)?;
        let (mut serving, mut first, mut found) = (QualityRecord::default(), QualityRecord::default(), Vec::new());
        for (&at, observed) in judge.iter().zip(&observed) {
            let picture = self.frames[at].picture()?;
            let stratum = self.strata[at];
            if with_reference {
                let look = self.looker.run(&model, &picture, false, self.between)?;
                serving.add(stratum, quality_of_errors(&look.errors), look.agreement);
                let look = if is_first { look } else { self.looker.run(&original, &picture, false, self.between)? };
                first.add(stratum, quality_of_errors(&look.errors), look.agreement);
                continue;
            }
            let detections = self.looker.detect(&model, &picture, self.between)?;
            let mut all = Agreement::default();
            all.add(&detections, &detections, AGREEMENT_SCORE, 0.8 * AGREEMENT_SCORE);
            // Two models that differ on purpose cannot agree on everything: some loss is granted.
            let (reference, matched) = (all.reference(), all.reference() * 9 / 10);
            let all = Agreement { matched, vanished: reference - matched, ..Agreement::default() };
            serving.add(stratum, self.expectation.quality_db(observed, &model, &self.of_serving), Some(all));
            first.add(stratum, self.expectation.quality_db(observed, &original, &self.of_first), None);
            found.push(detections);
        }
        Ok(Others { frames: judge, observed, found, serving, first })
    }

    /// `model`, which is that of `draft`, on the judging frames; and what was seen of it.
    pub(in crate::monitor) fn compare(
        &mut self,
        others: &Others<'_>,
        model: &Arc<Int8Model>,
        draft: &Draft,
    ) -> Result<(Case, Vec<Pass>)> {
        let with_reference = self.looker.has_reference();
        let mut candidate = QualityRecord::default();
        let mut looks = Vec::with_capacity(others.frames.len());
        for (nth, (&at, observed)) in others.frames.iter().zip(&others.observed).enumerate() {
            let picture = self.frames[at].picture()?;
            let look = if with_reference {
                let look = self.looker.run(model, &picture, false, self.between)?;
                candidate.add(self.strata[at], quality_of_errors(&look.errors), look.agreement);
                look
            } else {
                // Nobody knows what is right; that the two see the same is all that can be asked for.
                let detections = self.looker.detect(model, &picture, self.between)?;
                let mut agreement = Agreement::default();
                agreement.add(&others.found[nth], &detections, AGREEMENT_SCORE, 0.8 * AGREEMENT_SCORE);
                let quality = self.expectation.quality_db(observed, model, draft.reference_means());
                candidate.add(self.strata[at], quality, Some(agreement));
                Pass { detections, ..Pass::default() }
            };
            looks.push(look);
        }
        let (serving, first) = (others.serving.clone(), others.first.clone());
        let first_losses_db = self.first_losses(draft)?;
        Ok((Case { candidate, serving, first, first_losses_db, with_reference }, looks))
    }

    /// By edge, what generation 0's own pictures would lose by `draft`, in dB of expected error.
    fn first_losses(&self, draft: &Draft) -> Result<Vec<(String, f64)>> {
        let calibration = ObservedFrame { histograms: self.evidence.histogram.clone(), means: self.of_first.clone() };
        let mut losses = Vec::new();
        for &step in &self.steps {
            let Some(choice) = draft.choices[step] else { continue };
            let qparams = self.choice(&self.first, step)?.qparams;
            let before = self.expectation.relative_error(step, &calibration, &qparams, &self.of_first);
            let after = self.expectation.relative_error(step, &calibration, &choice.qparams, draft.reference_means());
            if let (Some(before), Some(after)) = (before, after)
                && before > 0.0
                && after > 0.0
            {
                let name = self.looker.plan().steps[step].name.clone();
                losses.push((name, 10.0 * (after / before).log10()));
            }
        }
        Ok(losses)
    }
}
