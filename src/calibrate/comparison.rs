//! Both networks side by side, for the evidence.
//!
//! In: a quantized network with its biases, and the evidence pictures. Out: what every step errs, what becomes of the
//! detections, and what the monitor's counters would say of these pictures.

use super::counter::Counter;
use super::evidence::{clipped_share, distance};
use super::observer::EdgeStatistics;
use super::options::{AGREEMENT_SCORE, Progress};
use super::pictures::Selection;
use super::pipeline::{Job, evenly};
use crate::detector::int8::Quantized;
use crate::detector::plan::StepId;
use crate::error::Result;
use crate::measure::{Agreement, Lockstep, PairDetections, StepError};
use crate::tensor::ImageMoments;

/// Both networks on the evidence pictures.
pub(super) struct Comparison {
    /// By step, over all pictures.
    pub(super) errors: Vec<StepError>,
    /// By step: SQNR of every picture, in dB.
    pub(super) spreads: Vec<Vec<f64>>,
    pub(super) agreement: Agreement,
    pub(super) found_again: Agreement,
    /// By edge and picture, as the int8 counters give them: clipped share, and distance from all pictures.
    pub(super) clipped: Vec<Vec<f64>>,
    pub(super) distances: Vec<Vec<f64>>,
    /// Of all pictures, on the canvas, and of what the layers read.
    pub(super) image: Option<ImageMoments>,
    pub(super) outputs: Vec<Vec<f32>>,
}

impl Job<'_> {
    /// Runs both networks over the evidence pictures.
    pub(super) fn compare(
        &mut self,
        quantized: &Quantized,
        selection: &Selection,
        edges: &[StepId],
        statistics: &[EdgeStatistics],
        progress: Progress<'_>,
    ) -> Result<Comparison> {
        let mut executor = self.executor(quantized)?;
        let mut counter = Counter::new(&self.plan, executor.model().mixture().quantized_steps()).with_means(&self.plan);
        let steps = self.plan.steps.len();
        let mut seen = Comparison {
            errors: vec![StepError::default(); steps],
            spreads: vec![Vec::new(); steps],
            agreement: Agreement::default(),
            found_again: Agreement::default(),
            clipped: vec![Vec::new(); edges.len()],
            distances: vec![Vec::new(); edges.len()],
            image: None,
            outputs: vec![Vec::new(); steps],
        };
        let pictures = evenly(&selection.pictures, self.options.evidence_pictures);
        for (done, picture) in pictures.iter().enumerate() {
            progress("comparing", done, pictures.len());
            self.load(picture)?;
            let Self { reference, normalized, pixels, .. } = self;
            let mut errors = vec![StepError::default(); steps];
            let pair = Lockstep { reference, canvas: normalized, int8: &mut executor, pixels };
            let PairDetections { reference: wanted, int8: found } = pair.add_errors(&mut errors)?;
            seen.agreement.add(&wanted, &found, AGREEMENT_SCORE, AGREEMENT_SCORE);
            seen.found_again.add(&wanted, &found, AGREEMENT_SCORE, 0.0);
            for ((total, single), error) in seen.errors.iter_mut().zip(&mut seen.spreads).zip(&errors) {
                total.merge(error);
                single.extend(error.sqnr_db().filter(|db| db.is_finite()));
            }
            // Once more, watched: what the monitor's counters would say.
            executor.detect_with(pixels, &mut counter)?;
            seen.image.get_or_insert_default().add(&ImageMoments::of(pixels), 1.0 / pictures.len() as f64);
            let counted = counter.take()?;
            add_means(&mut seen.outputs, counter.take_means(), 1.0 / pictures.len() as f32);
            for (edge, (&step, all)) in edges.iter().zip(statistics).enumerate() {
                let histogram = counted[step].as_ref().filter(|histogram| !histogram.is_empty());
                if let (Some(histogram), Some(qparams)) = (histogram, executor.model().qparams(step)) {
                    seen.clipped[edge].push(clipped_share(histogram, &qparams));
                    seen.distances[edge].push(distance(histogram, all.merged()));
                }
            }
        }
        Ok(seen)
    }
}

/// Adds to each of `all` a `share` of what was seen of it.
fn add_means(all: &mut [Vec<f32>], seen: Vec<Vec<f32>>, share: f32) {
    for (sums, means) in all.iter_mut().zip(seen) {
        sums.resize(sums.len().max(means.len()), 0.0);
        sums.iter_mut().zip(means).for_each(|(sum, mean)| *sum += share * mean);
    }
}
