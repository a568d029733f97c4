//! Comparison of the quantized network with the fp32 network on the evidence pictures.
//!
//! In: a quantized network with corrected biases, and the evidence pictures. Out: the error of every step, the
//! agreement of the detections, and the statistics that the monitor will collect from live frames (clipped share and
//! distance of every edge, mean input of every layer).

use super::collectors::Int8Collector;
use super::observer::EdgeStatistics;
use super::options::{AGREEMENT_SCORE, Progress};
use super::pictures::{CalibrationPicture, PictureLoader};
use super::summary::{clipped_share, distance};
use crate::detector::fp32::Fp32Model;
use crate::detector::int8::Int8Executor;
use crate::detector::plan::StepId;
use crate::error::Result;
use crate::measure::{Agreement, Lockstep, PairDetections, StepError};
use crate::tensor::ImageMoments;

/// Observed edges: the steps whose outputs were counted, and their statistics over all calibration pictures.
#[derive(Clone, Copy)]
pub(super) struct ObservedEdges<'a> {
    /// By edge, the step.
    pub(super) steps: &'a [StepId],
    /// By edge.
    pub(super) statistics: &'a [EdgeStatistics],
}

/// Figures of both networks on the evidence pictures.
pub(super) struct Comparison {
    /// By step, over all pictures.
    pub(super) errors: Vec<StepError>,
    /// By step: SQNR of every picture, in dB.
    pub(super) sqnr_db: Vec<Vec<f64>>,
    /// Detections with score ≥ [`AGREEMENT_SCORE`] in both networks.
    pub(super) agreement: Agreement,
    /// The reference's detections with score ≥ [`AGREEMENT_SCORE`], the other's of any score.
    pub(super) agreement_any_score: Agreement,
    /// By edge and picture: share of values outside the quantization range.
    pub(super) clipped: Vec<Vec<f64>>,
    /// By edge and picture: distance of its histogram from that of all pictures.
    pub(super) distances: Vec<Vec<f64>>,
    /// Moments of all pictures on the canvas; `None` without pictures.
    pub(super) image: Option<ImageMoments>,
    /// By step: channel means of the outputs that layers read, over all pictures.
    pub(super) output_means: Vec<Vec<f32>>,
}

/// Runs both networks on `pictures`.
pub(super) fn compare_networks(
    reference: &Fp32Model,
    executor: &mut Int8Executor,
    loader: &mut PictureLoader<'_>,
    pictures: &[CalibrationPicture],
    edges: ObservedEdges<'_>,
    progress: Progress<'_>,
) -> Result<Comparison> {
    let plan = reference.plan();
    let steps = plan.steps.len();
    let mut collector = Int8Collector::new(plan, executor.model().mixed_precision().quantized_steps()).with_means(plan);
    let mut sums = Comparison {
        errors: vec![StepError::default(); steps],
        sqnr_db: vec![Vec::new(); steps],
        agreement: Agreement::default(),
        agreement_any_score: Agreement::default(),
        clipped: vec![Vec::new(); edges.steps.len()],
        distances: vec![Vec::new(); edges.steps.len()],
        image: None,
        output_means: vec![Vec::new(); steps],
    };
    for (done, picture) in pictures.iter().enumerate() {
        progress("comparing", done, pictures.len());
        loader.load(picture)?;

        // Both networks step by step: errors and agreement.
        let mut errors = vec![StepError::default(); steps];
        let pair = Lockstep { reference, canvas: &loader.normalized, int8: executor, pixels: &loader.pixels };
        let PairDetections { reference: wanted, int8: found } = pair.add_errors(&mut errors)?;
        sums.agreement.add(&wanted, &found, AGREEMENT_SCORE, AGREEMENT_SCORE);
        sums.agreement_any_score.add(&wanted, &found, AGREEMENT_SCORE, 0.0);
        for ((total, single), error) in sums.errors.iter_mut().zip(&mut sums.sqnr_db).zip(&errors) {
            total.merge(error);
            single.extend(error.sqnr_db().filter(|db| db.is_finite()));
        }

        // The int8 network alone with the monitor's collector.
        executor.detect_with(&loader.pixels, &mut collector)?;
        let share = 1.0 / pictures.len() as f64;
        sums.image.get_or_insert_default().add(&ImageMoments::of(&loader.pixels), share);
        let histograms = collector.take()?;
        add_means(&mut sums.output_means, collector.take_means(), 1.0 / pictures.len() as f32);
        for (edge, (&step, all)) in edges.steps.iter().zip(edges.statistics).enumerate() {
            let histogram = histograms[step].as_ref().filter(|histogram| !histogram.is_empty());
            if let (Some(histogram), Some(qparams)) = (histogram, executor.model().qparams(step)) {
                sums.clipped[edge].push(clipped_share(histogram, &qparams));
                sums.distances[edge].push(distance(histogram, all.merged()));
            }
        }
    }
    Ok(sums)
}

/// Adds `means` times `share` to `sums`, step by step.
fn add_means(sums: &mut [Vec<f32>], means: Vec<Vec<f32>>, share: f32) {
    for (sums, means) in sums.iter_mut().zip(means) {
        sums.resize(sums.len().max(means.len()), 0.0);
        sums.iter_mut().zip(means).for_each(|(sum, mean)| *sum += share * mean);
    }
}
