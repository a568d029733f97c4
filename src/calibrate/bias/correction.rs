//! Empirical bias correction, and the local error of every step.
//!
//! Rounding weights and clipping inputs shifts the mean of an output channel, and later layers treat the shift as
//! signal. Every int8 step runs on the reference's own inputs, quantized, so that only its own error is measured: the
//! *local error*. The mean difference of each output channel is added to the bias of the step (Banner et al., "Post
//! training 4-bit quantization of convolutional networks for rapid-deployment", 2019; Nagel et al., 2019).
//!
//! The mean is over the values that pass the activation function in either network, because a ReLU, say, removes the
//! error of all others. The rounding error of a channel depends on the brightness of the image region, and a channel
//! that responds to dark regions must have the right mean there. Steps that share weights on several pyramid levels are
//! corrected level by level.

use std::sync::Arc;

use crate::detector::fp32::Fp32Model;
use crate::detector::int8::{Int8Executor, Int8Model};
use crate::detector::plan::{LayerId, Plan, StepId};
use crate::detector::tap::{Activation, Values};
use crate::error::Result;
use crate::kernel::activation::Activation as ActivationFunction;
use crate::measure::{Lockstep, PairObserver, PairRequest, StepError};
use crate::quant::Precision;
use crate::tensor::Canvas;

/// Local error of one step, summed over pictures.
#[derive(Debug, Clone, Default)]
pub struct LocalError {
    /// By output channel: Σ (reference − int8) before the activation function, over the pixels that pass it in either
    /// network.
    shift: Vec<f64>,
    /// By output channel: number of these pixels.
    pixels: Vec<u64>,
    /// Error before the activation function.
    pub error: StepError,
}

impl LocalError {
    /// Mean of reference − int8 by channel: the correction of the bias. 0 where no pixel passes the activation
    /// function; empty if the step was not run.
    pub fn mean_shift(&self) -> Vec<f32> {
        let sums = self.shift.iter().zip(&self.pixels);
        sums.map(|(&shift, &pixels)| (shift / pixels.max(1) as f64) as f32).collect()
    }

    fn add(&mut self, reference: &Activation<'_>, other: &Activation<'_>, function: ActivationFunction) {
        let (Values::F32(reference_values), Values::F32(other_values)) = (reference.values, other.values) else {
            return;
        };
        let channels = other.shape.channels;
        self.shift.resize(channels, 0.0);
        self.pixels.resize(channels, 0);
        let stride = other.shape.width * channels;
        for row in 0..other.valid_height {
            let row = row * stride..row * stride + other.valid_width * channels;
            let pairs = reference_values[row.clone()].chunks_exact(channels);
            for (f, q) in pairs.zip(other_values[row].chunks_exact(channels)) {
                let sums = self.shift.iter_mut().zip(&mut self.pixels);
                for ((shift, pixels), (&f, &q)) in sums.zip(f.iter().zip(q)) {
                    if function.passes(f) || function.passes(q) {
                        *shift += f64::from(f) - f64::from(q);
                        *pixels += 1;
                    }
                }
            }
        }
        self.error.add(reference, other);
    }
}

/// Observer that adds the raw values of the int8 layers to their sums.
struct LocalObserver<'a> {
    plan: &'a Plan,
    model: &'a Int8Model,
    locals: &'a mut [LocalError],
}

impl PairObserver for LocalObserver<'_> {
    fn request(&self, step: StepId) -> PairRequest {
        let is_int8 = self.model.mixed_precision().precision[step] == Precision::Int8Static;
        if is_int8 { PairRequest::Raw } else { PairRequest::Output }
    }

    fn observe_raw(&mut self, step: StepId, reference: &Activation<'_>, int8: &Activation<'_>) {
        self.locals[step].add(reference, int8, self.plan.steps[step].activation());
    }
}

/// Runs every int8 step of `executor` on the reference's inputs for one picture, and adds the errors to `locals`, by
/// step.
///
/// # Errors
/// Errors of either executor.
pub fn add_local_errors(
    reference: &Fp32Model,
    canvas: &Canvas<f32>,
    executor: &mut Int8Executor,
    pixels: &Canvas<u8>,
    locals: &mut [LocalError],
) -> Result<()> {
    let model = Arc::clone(executor.model());
    let mut observer = LocalObserver { plan: reference.plan(), model: &model, locals };
    Lockstep { reference, canvas, int8: executor, pixels }.on_reference_inputs(&mut observer)
}

/// The int8 layers by local error, worst first: (layer, SQNR in dB). A layer on several levels has the SQNR of its
/// worst.
pub fn rank_by_local_error(plan: &Plan, locals: &[LocalError]) -> Vec<(LayerId, f64)> {
    let mut worst: Vec<(LayerId, f64)> = Vec::new();
    for (step, local) in plan.steps.iter().zip(locals) {
        let (Some(layer), Some(db)) = (step.layer(), local.error.sqnr_db()) else { continue };
        match worst.iter_mut().find(|(known, _)| *known == layer) {
            Some((_, known)) => *known = known.min(db),
            None => worst.push((layer, db)),
        }
    }
    worst.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    worst
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Shape;

    #[test]
    fn only_values_that_pass_relu_count() {
        // Two pixels of three channels; the third column of the map is padding.
        let reference = [1.0, -4.0, -1.0, 3.0, 2.0, -2.0, 9.0, 9.0, 9.0];
        let other = [0.5, -9.0, -3.0, 2.0, 1.0, -9.0, 0.0, 0.0, 0.0];
        let shape = Shape { height: 1, width: 3, channels: 3 };
        let [reference, other] = [&reference, &other].map(|values| {
            let values = Values::F32(values);
            Activation { shape, valid_height: 1, valid_width: 2, values }
        });
        let shift = |function| {
            let mut local = LocalError::default();
            local.add(&reference, &other, function);
            local.mean_shift()
        };
        assert_eq!(shift(ActivationFunction::Relu), [0.75, 1.0, 0.0]);
        assert_eq!(shift(ActivationFunction::Identity), [0.75, 3.0, 4.5]);
        assert_eq!(shift(ActivationFunction::Hardswish), [0.75, 1.0, 4.5]);
    }
}
