//! Empirical bias correction, and how much each step errs on its own.
//!
//! Rounding weights and clipping inputs moves the mean of an output channel; later layers take a moved mean for signal.
//! Every int8 step is run on the reference's own inputs, laid on their grids, so that only its own error is seen; the
//! mean difference of each channel goes into the step's bias: the mean over the values that ReLU lets pass, for what it
//! takes away is no error. What rounding makes of a channel depends on the light of the place, and a channel that
//! answers to dark places must be right there. Steps that share weights on several pyramid levels are corrected level
//! by level.

use std::sync::Arc;

use crate::detector::fp32::Fp32Model;
use crate::detector::int8::{Int8Executor, Int8Model};
use crate::detector::plan::{LayerId, Plan, StepId};
use crate::detector::tap::{Activation, Values};
use crate::error::Result;
use crate::measure::{Lockstep, PairObserver, PairRequest, StepError};
use crate::quant::Precision;
use crate::tensor::Canvas;

/// What one step does on the reference's inputs, over pictures.
#[derive(Debug, Clone, Default)]
pub struct LocalError {
    /// Of each output channel, Σ (reference − int8) before ReLU, of the pixels that ReLU lets pass in either.
    shift: Vec<f64>,
    /// How many those are.
    pixels: Vec<u64>,
    /// The error before ReLU.
    pub error: StepError,
}

impl LocalError {
    /// Mean of reference − int8 by channel: what the bias lacks; 0 where nothing passes. Empty if the step was not
    /// seen.
    pub fn mean_shift(&self) -> Vec<f32> {
        let sums = self.shift.iter().zip(&self.pixels);
        sums.map(|(&shift, &pixels)| (shift / pixels.max(1) as f64) as f32).collect()
    }

    fn add(&mut self, reference: &Activation<'_>, other: &Activation<'_>, relu: bool) {
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
                    if !relu || f > 0.0 || q > 0.0 {
                        *shift += f64::from(f) - f64::from(q);
                        *pixels += 1;
                    }
                }
            }
        }
        self.error.add(reference, other);
    }
}

/// Adds the raw values of the layers in int8 to their sums.
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
        self.locals[step].add(reference, int8, self.plan.steps[step].has_relu());
    }
}

/// Runs every int8 step of `executor` on the reference's inputs for one picture and adds to `locals`, one a step.
///
/// # Errors
/// What either executor returns.
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

/// The int8 layers by their own error, worst first. A layer on several levels counts with its worst one.
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
    fn only_what_passes_relu_counts() {
        // Two pixels of three channels; the third column of the map is no part of the picture.
        let reference = [1.0, -4.0, -1.0, 3.0, 2.0, -2.0, 9.0, 9.0, 9.0];
        let other = [0.5, -9.0, -3.0, 2.0, 1.0, -9.0, 0.0, 0.0, 0.0];
        let shape = Shape { height: 1, width: 3, channels: 3 };
        let [reference, other] = [&reference, &other].map(|values| {
            let values = Values::F32(values);
            Activation { shape, valid_height: 1, valid_width: 2, values }
        });
        let shift = |relu| {
            let mut local = LocalError::default();
            local.add(&reference, &other, relu);
            local.mean_shift()
        };
        assert_eq!(shift(true), [0.75, 1.0, 0.0]);
        assert_eq!(shift(false), [0.75, 3.0, 4.5]);
    }
}
