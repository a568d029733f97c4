//! Input means: mean of the input channels of every layer, over some pictures.

use super::Quantized;
use crate::detector::plan::{Plan, Step, StepId};
use crate::error::Result;
use crate::quant::artifact::Artifact;
use crate::quant::{BiasShiftModel, RoundingResidual};
use crate::tensor::ImageMoments;

/// Means of the input channels of every layer, over some pictures. Those that the biases of a network were corrected at
/// are its reference input means.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct InputMeans {
    /// Moments of the pictures themselves, which the first layer reads.
    pub image: Option<ImageMoments>,
    /// By step, means of the input channels; empty where they are not known.
    pub layers: Vec<Vec<f32>>,
}

impl InputMeans {
    /// Input means from the means of the `outputs` of the steps, by step.
    pub fn from_outputs(plan: &Plan, image: ImageMoments, outputs: &[Vec<f32>]) -> Self {
        let read = |planned: &Step| -> Option<Vec<f32>> {
            let (layer, &input) = planned.layer().zip(planned.inputs.first())?;
            // A linear layer reads the pixels of a map one after the other: all of them get the mean pixel.
            let channels = plan.layers[layer].geometry.in_channels;
            Some(outputs[input].iter().copied().cycle().take(channels).collect())
        };
        Self { image: Some(image), layers: plan.steps.iter().map(|step| read(step).unwrap_or_default()).collect() }
    }

    /// Reference input means of `artifact`, a model of `plan`.
    ///
    /// # Errors
    /// As [`Artifact::reference_image`] and [`Artifact::reference_input_means`].
    pub fn from_artifact(artifact: &Artifact<'_>, plan: &Plan) -> Result<Self> {
        let mut means = Self { image: artifact.reference_image()?, layers: vec![Vec::new(); plan.steps.len()] };
        for (id, layer) in plan.layers.iter().enumerate() {
            let users = plan.steps.iter().enumerate().filter(|(_, step)| step.layer() == Some(id));
            let runs = artifact.reference_input_means(&layer.name)?;
            users.zip(runs).for_each(|((user, _), reference_means)| means.layers[user] = reference_means);
        }
        Ok(means)
    }

    /// Difference of the input means of `step`, `self` − `other`; `None` where either is not known.
    pub fn difference(&self, other: &Self, step: StepId) -> Option<Vec<f64>> {
        let [one, other] = [self, other].map(|means| means.layers.get(step).filter(|means| !means.is_empty()));
        let (one, other) = one.zip(other).filter(|(one, other)| one.len() == other.len())?;
        Some(one.iter().zip(other).map(|(&one, &other)| f64::from(one) - f64::from(other)).collect())
    }

    /// Bias shift of every output channel of `step` at these input means, for biases corrected at `reference`: by the
    /// `residual` of the first layer, else by the `model` of the step. `None` where neither or not all means are known.
    pub fn bias_shift(
        &self,
        reference: &Self,
        step: StepId,
        residual: Option<&RoundingResidual>,
        model: Option<&BiasShiftModel>,
    ) -> Option<Vec<f64>> {
        match residual {
            Some(residual) => Some(residual.bias_shift(&self.image?.mean_shift(&reference.image?))),
            None => Some(model?.bias_shift(&self.difference(reference, step)?)),
        }
    }

    /// Linear interpolation: `self` for `share` 0, `other` for 1. Where either is not known, `self`.
    #[must_use]
    pub fn interpolate(&self, other: &Self, share: f64) -> Self {
        let image = match (self.image, &other.image) {
            (Some(image), Some(other)) => Some(image.interpolate(other, share)),
            (image, _) => image,
        };
        let layer = |(step, means): (StepId, &Vec<f32>)| {
            let moved = |difference: Vec<f64>| -> Vec<f32> {
                let pairs = means.iter().zip(difference);
                pairs.map(|(&mean, difference)| (f64::from(mean) + share * difference) as f32).collect()
            };
            other.difference(self, step).map_or_else(|| means.clone(), moved)
        };
        Self { image, layers: self.layers.iter().enumerate().map(layer).collect() }
    }
}

impl Quantized {
    /// Sets the reference input means. Without them, or without a rounding residual, no bias shift can be computed:
    /// then residuals and bias shift models are removed.
    pub fn set_reference_means(&mut self, means: Option<InputMeans>) {
        let has_residual = self.layers.iter().any(|layer| layer.residual.is_some());
        let Some(means) = means.filter(|_| has_residual) else {
            self.reference_means = InputMeans::default();
            self.bias_shift_models.clear();
            self.layers.iter_mut().for_each(|layer| layer.residual = None);
            return;
        };
        self.reference_means = means;
    }

    /// Adds the bias shift at the input `means` to the biases, where residual or model are known. `means` become the
    /// reference input means.
    pub fn adapt_biases(&mut self, means: &InputMeans) {
        for (step, (planned, bias)) in self.plan.steps.iter().zip(&mut self.biases).enumerate() {
            let residual = planned.layer().and_then(|layer| self.layers[layer].residual.as_ref());
            let model = self.bias_shift_models.get(step).and_then(Option::as_ref);
            let shift = means.bias_shift(&self.reference_means, step, residual, model).unwrap_or_default();
            bias.iter_mut().zip(shift).for_each(|(bias, shift)| *bias += shift as f32);
        }
        self.reference_means = self.reference_means.interpolate(means, 1.0);
    }
}
