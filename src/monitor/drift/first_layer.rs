//! First-layer error: predicted from the colour statistics of a frame, without the reference.
//!
//! In: the channel means of a picture, and those that the first layer's biases were corrected at. Out: the error that the
//! layer's rounded weights add because the two differ. The artifact stores the layer's [`RoundingResidual`] (weights minus rounded
//! weights), from which the error follows. All later layers inherit it.

use crate::calibrate::Histogram;
use crate::detector::plan::{Plan, StepId};
use crate::error::Result;
use crate::quant::RoundingResidual;
use crate::quant::artifact::{Artifact, FirstLayerReference};
use crate::tensor::ImageMoments;

/// Mean of the squares; 0 of an empty slice.
pub fn mean_square(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>() / values.len().max(1) as f64
}

/// Mean share of a squared error that the activation function of a step passes. `observed` is the histogram after it: a
/// value of 0 is one that it cut off.
pub fn passed_share(plan: &Plan, step: StepId, observed: &Histogram) -> f64 {
    let activation = plan.steps[step].activation();
    let nonzero = 1.0 - observed.zeros() as f64 / observed.total().max(1) as f64;
    let passed = if activation.cuts_off() { nonzero } else { 1.0 };
    passed * activation.slope().powi(2)
}

/// Predicts the error of the first layer.
#[derive(Debug, Clone)]
pub struct FirstLayerError {
    /// The first layer's step.
    pub step: StepId,
    residual: RoundingResidual,
    /// Channel moments that the biases were corrected at.
    reference_means: ImageMoments,
}

impl FirstLayerError {
    /// Reads the first layer of `artifact`; `None` if it stores no residual.
    ///
    /// # Errors
    /// As [`Artifact::first_layer_reference`].
    pub fn from_artifact(artifact: &Artifact<'_>, plan: &Plan) -> Result<Option<Self>> {
        let in_plan = |FirstLayerReference { step, residual, image }: FirstLayerReference<'_>| {
            Some(Self { step: plan.find(&step.name)?, residual, reference_means: image })
        };
        Ok(artifact.first_layer_reference()?.and_then(in_plan))
    }

    /// Moments of the pictures that the biases were corrected at.
    pub fn reference_image(&self) -> &ImageMoments {
        &self.reference_means
    }

    /// Predicted squared error on a picture with the moments `image`, relative to the mean square of the layer's output
    /// `observed`. `None` if the output is all zeros.
    pub fn relative_error(&self, plan: &Plan, image: &ImageMoments, observed: &Histogram) -> Option<f64> {
        let signal = observed.mean_square();
        let shift = self.residual.bias_shift(&image.mean_shift(&self.reference_means));
        (signal > 0.0).then(|| mean_square(&shift) / signal * passed_share(plan, self.step, observed))
    }
}
