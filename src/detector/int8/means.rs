//! What the layers read, on average.

use super::Quantized;
use crate::detector::plan::{Plan, Step, StepId};
use crate::error::Result;
use crate::quant::artifact::Artifact;
use crate::quant::{Residual, Response};
use crate::tensor::ImageMoments;

/// Means of the input channels of every layer, over some pictures.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct InputMeans {
    /// Of the pictures themselves, which the first layer reads.
    pub image: Option<ImageMoments>,
    /// By step, of what it reads; empty where that is not known.
    pub layers: Vec<Vec<f32>>,
}

impl InputMeans {
    /// From the means of what the steps give, by step.
    pub fn of_outputs(plan: &Plan, image: ImageMoments, outputs: &[Vec<f32>]) -> Self {
        let read = |planned: &Step| -> Option<Vec<f32>> {
            let (layer, &input) = planned.layer().zip(planned.inputs.first())?;
            // A linear layer reads a map's pixels one after the other: each of them is taken for the mean one.
            let channels = plan.layers[layer].geometry.in_channels;
            Some(outputs[input].iter().copied().cycle().take(channels).collect())
        };
        Self { image: Some(image), layers: plan.steps.iter().map(|step| read(step).unwrap_or_default()).collect() }
    }

    /// What the biases of `artifact`, a model of `plan`, are for.
    ///
    /// # Errors
    /// As [`Artifact::light`] and [`Artifact::input_means`].
    pub fn of_artifact(artifact: &Artifact<'_>, plan: &Plan) -> Result<Self> {
        let mut means = Self { image: artifact.light()?, layers: vec![Vec::new(); plan.steps.len()] };
        for (id, layer) in plan.layers.iter().enumerate() {
            let users = plan.steps.iter().enumerate().filter(|(_, step)| step.layer() == Some(id));
            let runs = artifact.input_means(&layer.name)?;
            users.zip(runs).for_each(|((user, _), made_for)| means.layers[user] = made_for);
        }
        Ok(means)
    }

    /// By how much the means of what `step` reads are above those of `other`; `None` where either is not known.
    pub fn beyond(&self, other: &Self, step: StepId) -> Option<Vec<f64>> {
        let [one, other] = [self, other].map(|means| means.layers.get(step).filter(|means| !means.is_empty()));
        let (one, other) = one.zip(other).filter(|(one, other)| one.len() == other.len())?;
        Some(one.iter().zip(other).map(|(&one, &other)| f64::from(one) - f64::from(other)).collect())
    }

    /// What the bias of every output channel of `step` lacks where these are the means, if it was `made_for` others: by
    /// the `residual` of the first layer, else by the step's `response`. `None` where nothing tells.
    pub fn shift(
        &self,
        made_for: &Self,
        step: StepId,
        residual: Option<&Residual>,
        response: Option<&Response>,
    ) -> Option<Vec<f64>> {
        match residual {
            Some(residual) => Some(residual.shift(&self.image?.mean_shift(&made_for.image?))),
            None => Some(response?.shift(&self.beyond(made_for, step)?)),
        }
    }

    /// What lies between: `share` of the way to `other`, as far as that is known; else what it was.
    #[must_use]
    pub fn towards(&self, other: &Self, share: f64) -> Self {
        let image = match (self.image, &other.image) {
            (Some(image), Some(other)) => Some(image.interpolate(other, share)),
            (image, _) => image,
        };
        let layer = |(step, means): (StepId, &Vec<f32>)| {
            let beyond = other.beyond(self, step);
            let moved = |beyond: Vec<f64>| -> Vec<f32> {
                means.iter().zip(beyond).map(|(&mean, beyond)| (f64::from(mean) + share * beyond) as f32).collect()
            };
            beyond.map_or_else(|| means.clone(), moved)
        };
        Self { image, layers: self.layers.iter().enumerate().map(layer).collect() }
    }
}

impl Quantized {
    /// Notes what the biases are for. Without that nobody could use residuals and responses, and they are forgotten.
    pub fn note_means(&mut self, means: Option<InputMeans>) {
        let has_residual = self.layers.iter().any(|layer| layer.residual.is_some());
        let Some(means) = means.filter(|_| has_residual) else {
            self.made_for = InputMeans::default();
            self.responses.clear();
            self.layers.iter_mut().for_each(|layer| layer.residual = None);
            return;
        };
        self.made_for = means;
    }

    /// Corrects the biases for pictures whose `means` these are, as far as the residual and the responses tell how.
    pub fn adapt(&mut self, means: &InputMeans) {
        for (step, (planned, bias)) in self.plan.steps.iter().zip(&mut self.biases).enumerate() {
            let residual = planned.layer().and_then(|layer| self.layers[layer].residual.as_ref());
            let response = self.responses.get(step).and_then(Option::as_ref);
            let shift = means.shift(&self.made_for, step, residual, response).unwrap_or_default();
            bias.iter_mut().zip(shift).for_each(|(bias, shift)| *bias += shift as f32);
        }
        self.made_for = self.made_for.towards(means, 1.0);
    }
}
