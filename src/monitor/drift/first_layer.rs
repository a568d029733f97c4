//! What another light does to the first layer.
//!
//! In: of a picture the mean of each channel, and the light that the biases are for. Out: the error that the first
//! layer's rounded weights make of the difference. It is known without a reference, by the [`RoundingResidual`] that
//! the artifact carries, and what the first layer errs everything behind it does.

use crate::calibrate::Histogram;
use crate::detector::plan::{Plan, StepId};
use crate::error::Result;
use crate::quant::RoundingResidual;
use crate::quant::artifact::{Artifact, FirstLayerReference};
use crate::tensor::ImageMoments;

/// Mean square of what the output channels' means are moved by, before ReLU, in a picture of `image`'s light where the
/// biases were corrected at `reference`.
fn moved(residual: &RoundingResidual, image: &ImageMoments, reference: &ImageMoments) -> f64 {
    mean_square(&residual.bias_shift(&image.mean_shift(reference)))
}

/// Mean of the squares, 0 of none.
pub fn mean_square(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>() / values.len().max(1) as f64
}

/// Share of the values of a step that ReLU lets pass.
pub fn passing(plan: &Plan, step: StepId, seen: &Histogram) -> f64 {
    if plan.steps[step].has_relu() { 1.0 - seen.zeros() as f64 / seen.total().max(1) as f64 } else { 1.0 }
}

/// The first layer, as an artifact has it.
#[derive(Debug, Clone)]
pub struct FirstLayerError {
    /// Its step.
    pub step: StepId,
    residual: RoundingResidual,
    reference: ImageMoments,
}

impl FirstLayerError {
    /// `None` where the artifact says nothing of it.
    ///
    /// # Errors
    /// As [`Artifact::first_layer_reference`].
    pub fn of(artifact: &Artifact<'_>, plan: &Plan) -> Result<Option<Self>> {
        let of_plan = |FirstLayerReference { step, residual, image }: FirstLayerReference<'_>| {
            Some(Self { step: plan.find(&step.name)?, residual, reference: image })
        };
        Ok(artifact.first_layer_reference()?.and_then(of_plan))
    }

    /// Squared error that the light of `image` brings, relative to the signal in `seen`, the layer's values.
    pub fn error(&self, plan: &Plan, image: &ImageMoments, seen: &Histogram) -> Option<f64> {
        let power = seen.mean_square();
        (power > 0.0).then(|| moved(&self.residual, image, &self.reference) / power * passing(plan, self.step, seen))
    }
}
