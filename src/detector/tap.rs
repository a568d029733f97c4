//! The one hook into the executors.
//!
//! A tap is shown what a step produced, while it is alive, in either executor: observers, activation error, heat maps
//! and counters are taps. A tap never changes what is computed.

use super::plan::StepId;
use crate::tensor::Shape;

/// What a tap wants of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wish {
    /// Nothing: the step runs at full speed.
    #[default]
    Nothing,
    /// The fused output.
    Output,
    /// The fused output, and how many values lay outside its quantization range (int8 only; no raw values, so no
    /// memory).
    Counts,
    /// The fused output, and before it the f32 value ahead of ReLU (fp32) or ahead of rounding and clamping (int8).
    Both,
}

/// Values of an activation.
#[derive(Debug, Clone, Copy)]
pub enum Values<'a> {
    /// Full precision.
    F32(&'a [f32]),
    /// Quantized: the real value is (q − zero_point) · scale.
    U8 {
        /// The stored bytes.
        data: &'a [u8],
        /// Real units of one step.
        scale: f32,
        /// The byte that stands for 0.
        zero_point: u8,
    },
}

/// What a step produced, NHWC with N = 1. Rows of a linear layer are a map one column wide; RoI features are a map of
/// 7 columns and 7 rows a region.
#[derive(Debug, Clone, Copy)]
pub struct Activation<'a> {
    /// Extents of `values`.
    pub shape: Shape,
    /// Rows that show the picture; those below come from padding.
    pub valid_height: usize,
    /// Columns that show the picture.
    pub valid_width: usize,
    /// The numbers.
    pub values: Values<'a>,
}

/// Sees what steps produce.
pub trait Tap {
    /// What this tap wants of `step`; asked once a step and frame.
    fn wish(&self, step: StepId) -> Wish;

    /// The fused output of `step`.
    fn see(&mut self, step: StepId, activation: &Activation<'_>);

    /// The value of `step` ahead of ReLU, or of rounding and clamping. Comes before [`Tap::see`].
    fn see_raw(&mut self, step: StepId, activation: &Activation<'_>) {
        let _ = (step, activation);
    }

    /// Number of raw values of `step` below and above its quantization range (int8 only; what ReLU makes 0 is
    /// not counted). Comes with [`Wish::Both`]
    /// and [`Wish::Counts`].
    fn see_clipped(&mut self, step: StepId, below: u64, above: u64) {
        let _ = (step, below, above);
    }
}

/// Sees nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTap;

impl Tap for NoTap {
    fn wish(&self, _: StepId) -> Wish {
        Wish::Nothing
    }

    fn see(&mut self, _: StepId, _: &Activation<'_>) {}
}
