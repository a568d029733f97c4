//! Error prediction: estimates the quantization error of a model on a frame without the reference.
//!
//! In: generation 0 with its baseline; of a frame the histogram of every edge before its clamp and the mean input of every
//! layer. Out: the expected squared error of each step relative to its signal, and the quality of the frame in dB.
//!
//! The prediction starts from the error that was measured when generation 0 was made, and adds what has changed since. A
//! step adds error of its own in three parts:
//!
//! 1. The quantization of its output: [`quantization_mse`] of its histogram.
//! 2. The rounding of its weights: Δ²/12 for each weight times the variance of its input. Δ is the channel's scale,
//!    Δ²/12 the variance of a uniform distribution of that width.
//! 3. The shift of its output means, if the mean input differs from the reference input mean. It follows from the
//!    [`RoundingResidual`] of the first layer and the [`BiasShiftModel`] of the others.
//!
//! ReLU passes the same share of parts 2 and 3 as of the values. Changes propagate: a step inherits the mean relative
//! change of its inputs, because a layer scales signal and error alike.

use std::sync::Arc;

use super::baseline::Baseline;
use super::first_layer::{mean_square, passed_share};
use super::pass::ObservedFrame;
use super::quality::quality_of_relative_errors;
use crate::calibrate::{Histogram, quantization_mse};
use crate::detector::int8::{EdgeStorage, InputMeans, Int8Model, LayerWeights, MixedPrecision, Quantized};
use crate::detector::plan::{Plan, StepId};
use crate::quant::artifact::MeanStd;
use crate::quant::{BiasShiftModel, QuantParams, RoundingResidual};

/// Expected squared error of quantization with `qparams`, relative to the mean square of the values; 0 without signal.
pub fn relative_quantization_error(histogram: &Histogram, qparams: &QuantParams) -> f64 {
    let signal = histogram.mean_square();
    if signal > 0.0 { quantization_mse(histogram, qparams) / signal } else { 0.0 }
}

/// Predicts the errors of models that share generation 0's weights.
pub struct ErrorPredictor {
    plan: Arc<Plan>,
    mixed_precision: MixedPrecision,
    /// By layer; only the first has one.
    residuals: Vec<Option<RoundingResidual>>,
    /// By step; empty if the artifact has none.
    bias_shift_models: Vec<Option<BiasShiftModel>>,
    /// By layer: mean of Δ²/12 over the output channels, times the kernel positions.
    weight_noise: Vec<f64>,
    /// By step: generation 0's relative error on its calibration pictures, as measured.
    measured: Vec<Option<f64>>,
    /// By step: the part of it that the step adds itself, as predicted.
    own: Vec<Option<f64>>,
}

impl ErrorPredictor {
    /// A predictor for models with the weights of generation 0, `quantized`, which recorded `baseline`.
    pub fn new(quantized: &Quantized, baseline: &Baseline) -> Self {
        let layers = quantized.plan.layers.iter().zip(&quantized.layers);
        let weight_noise = layers.map(|(layer, quantized)| match &quantized.weights {
            LayerWeights::S8 { scales, low, .. } => {
                let digits = if low.is_empty() { 1.0 } else { 1.0 / 128.0 };
                let squares = scales.iter().map(|&scale| (f64::from(scale) * digits).powi(2)).sum::<f64>();
                squares / scales.len().max(1) as f64 / 12.0 * layer.geometry.taps() as f64
            }
            LayerWeights::F32(_) => 0.0,
        });
        let to_relative = |sqnr: &Option<MeanStd>| sqnr.map(|db| 10f64.powf(-0.1 * f64::from(db.mean)));
        let mut predictor = Self {
            weight_noise: weight_noise.collect(),
            mixed_precision: quantized.mixed_precision(),
            residuals: quantized.layers.iter().map(|layer| layer.residual.clone()).collect(),
            bias_shift_models: quantized.bias_shift_models.clone(),
            measured: baseline.sqnr_db.iter().map(to_relative).collect(),
            own: Vec::new(),
            plan: Arc::clone(&quantized.plan),
        };
        let reference_means = &quantized.reference_means;
        let calibration =
            ObservedFrame { histograms: baseline.histograms.clone(), input_means: reference_means.clone() };
        let own = |step| predictor.relative_error(step, &calibration, &quantized.edge_qparams[step]?, reference_means);
        predictor.own = (0..quantized.edge_qparams.len()).map(own).collect();
        predictor
    }

    /// Predicted quality of `model` on a frame, in dB (see [`quality_of_relative_errors`]). The model's biases were
    /// corrected at `reference_means`.
    pub fn quality_db(&self, frame: &ObservedFrame, model: &Int8Model, reference_means: &InputMeans) -> Option<f64> {
        // Change of each step's relative error since calibration.
        let mut changes = vec![0.0; self.plan.steps.len()];
        let mut errors = Vec::with_capacity(changes.len());
        for (step, planned) in self.plan.steps.iter().enumerate() {
            // Inherited from the inputs; boxes carry no activation.
            let inputs =
                planned.inputs.iter().filter(|&&input| self.mixed_precision.storage[input] != EdgeStorage::Boxes);
            let inherited: Vec<f64> = inputs.map(|&input| changes[input]).collect();
            changes[step] = inherited.iter().sum::<f64>() / inherited.len().max(1) as f64;
            // Added by the step itself.
            let qparams = model.qparams(step);
            let own = qparams.and_then(|qparams| self.relative_error(step, frame, &qparams, reference_means));
            if let (Some(own), Some(before)) = (own, self.own[step]) {
                changes[step] += own - before;
                // The total is at least what the step adds itself, however much its inputs improved.
                errors.push((self.measured[step].unwrap_or(before) + changes[step]).max(own));
            }
        }
        quality_of_relative_errors(errors.into_iter())
    }

    /// Predicted squared error that `step` adds itself, relative to its signal: its output is quantized with `qparams`
    /// and its biases were corrected at `reference_means`. `None` if the step was not observed.
    pub fn relative_error(
        &self,
        step: StepId,
        frame: &ObservedFrame,
        qparams: &QuantParams,
        reference_means: &InputMeans,
    ) -> Option<f64> {
        let observed = frame.histograms.get(step)?.as_ref().filter(|observed| !observed.is_empty())?;
        let signal = observed.mean_square();
        let weights = self.weight_error(step, frame, reference_means).filter(|_| signal > 0.0);
        let weights = weights.map_or(0.0, |error| error / signal * passed_share(&self.plan, step, observed));
        Some(relative_quantization_error(observed, qparams) + weights)
    }

    /// Mean squared error by rounded weights and shifted means, before the activation function.
    fn weight_error(&self, step: StepId, frame: &ObservedFrame, reference_means: &InputMeans) -> Option<f64> {
        let planned = &self.plan.steps[step];
        let layer = planned.layer()?;
        let channels = self.plan.layers[layer].geometry.group_channels() as f64;
        // Sum over the input channels of a group of the mean square.
        let input_squares = match self.mixed_precision.storage[*planned.inputs.first()?] {
            EdgeStorage::U8(owner) => frame.histograms.get(owner)?.as_ref()?.mean_square() * channels,
            EdgeStorage::Pixels => frame.input_means.image?.squares.iter().sum(),
            EdgeStorage::F32 | EdgeStorage::Boxes => return None,
        };
        let Some(shift) = self.mean_shift(step, layer, frame, reference_means) else {
            return Some(self.weight_noise[layer] * input_squares);
        };
        // The error of the mean input is known, so only the variance around it is noise.
        let variance = (input_squares - shift.input_mean_squares).max(0.0);
        Some(self.weight_noise[layer] * variance + shift.output_mean_square)
    }

    /// Shift of the output means of `step`; `None` if the input means or the layer's response are unknown.
    fn mean_shift(
        &self,
        step: StepId,
        layer: usize,
        frame: &ObservedFrame,
        reference_means: &InputMeans,
    ) -> Option<MeanShift> {
        let (residual, model) =
            (self.residuals[layer].as_ref(), self.bias_shift_models.get(step).and_then(Option::as_ref));
        let shift = frame.input_means.bias_shift(reference_means, step, residual, model)?;
        let input_mean_squares = match residual {
            Some(_) => frame.input_means.image?.means.iter().map(|mean| mean * mean).sum(),
            None => {
                let squares: f64 = frame.input_means.layers[step].iter().map(|&mean| f64::from(mean).powi(2)).sum();
                squares / self.plan.layers[layer].geometry.groups as f64
            }
        };
        Some(MeanShift { input_mean_squares, output_mean_square: mean_square(&shift) })
    }
}

/// Shift of a step's output means.
struct MeanShift {
    /// Sum over the input channels of a group of the squared mean, averaged over the groups.
    input_mean_squares: f64,
    /// Mean over the output channels of the squared shift, before the activation function.
    output_mean_square: f64,
}
