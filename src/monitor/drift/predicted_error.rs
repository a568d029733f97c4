//! What a model is expected to err on a frame that no reference has seen.
//!
//! In: generation 0 and its evidence; and of a frame what every edge took before its clamp, and what the layers read on
//! average; the quantization parameters, and the means that the biases are for. Out: by step the expected squared error
//! relative to the signal. It starts from the error that was measured when generation 0 was made. What a step does on
//! its own is known then and now: its output's quantization error ([`quantization_mse`] on its histogram), its weights'
//! (Δ²/12 for each, Δ the step of its channel, times what it is multiplied with around its mean), and what the mean of
//! each output channel is moved by where the means of the input are not those that the biases are for: by the
//! [`RoundingResidual`] of the first layer and the [`BiasShiftModel`] of the others, which the artifact carries. Of the
//! weights' error as much arrives behind ReLU as values do. What is more than then, or less, comes on top here and in
//! all that follows: relative errors are passed on, as a layer does that treats signal and error alike.

use std::sync::Arc;

use super::baseline::Baseline;
use super::first_layer::{mean_square, passing};
use super::pass::ObservedFrame;
use super::quality::quality_of_relative_errors;
use crate::calibrate::{Histogram, quantization_mse};
use crate::detector::int8::{EdgeStorage, InputMeans, Int8Model, LayerWeights, MixedPrecision, Quantized};
use crate::detector::plan::{Plan, StepId};
use crate::quant::artifact::MeanStd;
use crate::quant::{BiasShiftModel, QuantParams, RoundingResidual};

/// Expected squared error of `qparams` on `histogram`, relative to the values' mean square; 0 where there is nothing.
pub fn relative_quantization_error(histogram: &Histogram, qparams: &QuantParams) -> f64 {
    let power = histogram.mean_square();
    if power > 0.0 { quantization_mse(histogram, qparams) / power } else { 0.0 }
}

/// Computes expected errors of models that share their weights.
pub struct ErrorPredictor {
    plan: Arc<Plan>,
    mixed_precision: MixedPrecision,
    /// By layer.
    residuals: Vec<Option<RoundingResidual>>,
    /// By step; empty where nothing is known.
    bias_shift_models: Vec<Option<BiasShiftModel>>,
    /// By layer: Δ²/12, mean over the output channels, times the taps.
    noise: Vec<f64>,
    /// By step, on generation 0's own pictures: all of its error as measured, and what it does on its own.
    measured: Vec<Option<f64>>,
    own: Vec<Option<f64>>,
}

impl ErrorPredictor {
    /// For models with the weights of generation 0, which is `quantized` and recorded `evidence`.
    pub fn new(quantized: &Quantized, evidence: &Baseline) -> Self {
        let layers = quantized.plan.layers.iter().zip(&quantized.layers);
        let noise = layers.map(|(layer, quantized)| match &quantized.weights {
            LayerWeights::S8 { scales, .. } => {
                let squares = scales.iter().map(|&scale| f64::from(scale).powi(2)).sum::<f64>();
                squares / scales.len().max(1) as f64 / 12.0 * layer.geometry.taps() as f64
            }
            LayerWeights::F32(_) => 0.0,
        });
        let share = |spread: &Option<MeanStd>| spread.map(|db| 10f64.powf(-0.1 * f64::from(db.mean)));
        let mut expectation = Self {
            noise: noise.collect(),
            mixed_precision: quantized.mixed_precision(),
            residuals: quantized.layers.iter().map(|layer| layer.residual.clone()).collect(),
            bias_shift_models: quantized.bias_shift_models.clone(),
            measured: evidence.sqnr_db.iter().map(share).collect(),
            own: Vec::new(),
            plan: Arc::clone(&quantized.plan),
        };
        let reference_means = &quantized.reference_means;
        let calibration = ObservedFrame { histograms: evidence.histogram.clone(), means: reference_means.clone() };
        let own =
            |step| expectation.relative_error(step, &calibration, &quantized.edge_qparams[step]?, reference_means);
        expectation.own = (0..quantized.edge_qparams.len()).map(own).collect();
        expectation
    }

    /// The quality of `model` on a frame (see [`quality_of_relative_errors`]), if its biases were corrected at
    /// `reference_means`.
    pub fn quality_db(&self, frame: &ObservedFrame, model: &Int8Model, reference_means: &InputMeans) -> Option<f64> {
        let mut more = vec![0.0; self.plan.steps.len()];
        let mut errors = Vec::with_capacity(more.len());
        for (step, planned) in self.plan.steps.iter().enumerate() {
            let read =
                planned.inputs.iter().filter(|&&input| self.mixed_precision.storage[input] != EdgeStorage::Boxes);
            let read: Vec<f64> = read.map(|&input| more[input]).collect();
            more[step] = read.iter().sum::<f64>() / read.len().max(1) as f64;
            let own =
                model.qparams(step).and_then(|qparams| self.relative_error(step, frame, &qparams, reference_means));
            if let (Some(own), Some(before)) = (own, self.own[step]) {
                more[step] += own - before;
                errors.push((self.measured[step].unwrap_or(before) + more[step]).max(own));
            }
        }
        quality_of_relative_errors(errors.into_iter())
    }

    /// The expected error of `step` alone, if its output is quantized with `qparams` and its biases were corrected at
    /// `reference_means` means; `None` where nothing was seen of it.
    pub fn relative_error(
        &self,
        step: StepId,
        frame: &ObservedFrame,
        qparams: &QuantParams,
        reference_means: &InputMeans,
    ) -> Option<f64> {
        let seen = frame.histograms.get(step)?.as_ref().filter(|seen| !seen.is_empty())?;
        let power = seen.mean_square();
        let of_weights = self.of_weights(step, frame, reference_means).filter(|_| power > 0.0);
        let of_weights = of_weights.map_or(0.0, |error| error / power * passing(&self.plan, step, seen));
        Some(relative_quantization_error(seen, qparams) + of_weights)
    }

    /// Mean squared error by rounded weights, before ReLU.
    fn of_weights(&self, step: StepId, frame: &ObservedFrame, reference_means: &InputMeans) -> Option<f64> {
        let planned = &self.plan.steps[step];
        let layer = planned.layer()?;
        let channels = self.plan.layers[layer].geometry.in_channels as f64;
        let squares = match self.mixed_precision.storage[*planned.inputs.first()?] {
            EdgeStorage::U8(owner) => frame.histograms.get(owner)?.as_ref()?.mean_square() * channels,
            EdgeStorage::Pixels => frame.means.image?.squares.iter().sum(),
            EdgeStorage::F32 | EdgeStorage::Boxes => return None,
        };
        let Some((means, moved)) = self.moved(step, layer, frame, reference_means) else {
            return Some(self.noise[layer] * squares);
        };
        // The part of the mean is known, so only what varies around it is noise.
        Some(self.noise[layer] * (squares - means).max(0.0) + moved)
    }

    /// Squares of the means of what `step` reads, and what the means of its output channels are moved by, as a mean
    /// square before ReLU; `None` where nothing tells.
    fn moved(
        &self,
        step: StepId,
        layer: usize,
        frame: &ObservedFrame,
        reference_means: &InputMeans,
    ) -> Option<(f64, f64)> {
        let (residual, model) =
            (self.residuals[layer].as_ref(), self.bias_shift_models.get(step).and_then(Option::as_ref));
        let shift = frame.means.bias_shift(reference_means, step, residual, model)?;
        let means = match residual {
            Some(_) => frame.means.image?.means.iter().map(|mean| mean * mean).sum(),
            None => frame.means.layers[step].iter().map(|&mean| f64::from(mean).powi(2)).sum(),
        };
        Some((means, mean_square(&shift)))
    }
}
