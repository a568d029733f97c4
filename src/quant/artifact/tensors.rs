//! Tensors of a step, as the writer takes and the reader gives them.

use crate::quant::{QuantizedWeights, RoundingResidual, StoredBiasShiftModel};

/// Rounding residual of a step, and the moments of the input that its biases were corrected at.
#[derive(Debug, Clone, PartialEq)]
pub struct StepResidual {
    /// The residual.
    pub residual: RoundingResidual,
    /// `[runs][2][in]`: means, then mean squares of the input channels.
    pub input_moments: Vec<f32>,
}

/// Bias shift model of one run of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct RunBiasShift {
    /// Reference means of the input channels: those that the biases were corrected at.
    pub reference_means: Vec<f32>,
    /// The model.
    pub model: StoredBiasShiftModel,
}

/// Tensors of one step.
#[derive(Debug, Clone, PartialEq)]
pub enum StepTensors {
    /// s8, for both int8 precisions.
    Int8 {
        /// Weights and their scales.
        weights: QuantizedWeights,
        /// `[runs][out]`.
        bias: Vec<f32>,
        /// Rounding residual, of the first layer only.
        residual: Option<Box<StepResidual>>,
        /// One a run; empty where the step has no bias shift model.
        bias_shifts: Vec<RunBiasShift>,
    },
    /// f32.
    Float {
        /// `[out][kh][kw][in]`.
        weights: Vec<f32>,
        /// `[runs][out]`.
        bias: Vec<f32>,
    },
}
