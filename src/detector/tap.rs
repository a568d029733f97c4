//! Tap: the only hook into the executors.
//!
//! A tap observes what a step produced, while the tensor is alive, in either executor: calibration observers,
//! activation errors, heat maps and counters are taps. A tap never changes what is computed.

use super::plan::StepId;
use crate::tensor::{LOW_LEVELS, Shape, zero_point_16};

/// Values of a step that a tap requests; each level includes those above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TapRequest {
    /// Nothing: the step runs at full speed.
    #[default]
    Nothing,
    /// The fused output.
    Output,
    /// The number of clipped values (int8 only). Needs no memory.
    Clipping,
    /// The f32 values before the activation function (fp32), or before rounding and clipping (int8).
    Raw,
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
        /// Real units of one quantization step.
        scale: f32,
        /// The byte that represents 0.
        zero_point: u8,
    },
    /// Quantized to two bytes: the real value is (high − zero_point + (low − 128) / 256) · scale.
    U16 {
        /// The high bytes: the nearest levels of one byte.
        high: &'a [u8],
        /// The low bytes.
        low: &'a [u8],
        /// Real units of one step of the high byte.
        scale: f32,
        /// The high byte that represents 0.
        zero_point: u8,
    },
}

impl Values<'_> {
    /// The real value at `index`.
    ///
    /// # Panics
    /// If there are fewer values.
    #[inline]
    pub fn real(&self, index: usize) -> f32 {
        match *self {
            Self::F32(values) => values[index],
            Self::U8 { data, scale, zero_point } => (i32::from(data[index]) - i32::from(zero_point)) as f32 * scale,
            Self::U16 { high, low, scale, zero_point } => {
                let q = u16::from_be_bytes([high[index], low[index]]);
                (i32::from(q) - i32::from(zero_point_16(zero_point))) as f32 * (scale / f32::from(LOW_LEVELS))
            }
        }
    }
}

/// Output of a step, NHWC with N = 1. The output of a linear layer is a map one column wide, a row for each region; RoI
/// features are a map with 7 columns, and 7 rows for each region.
#[derive(Debug, Clone, Copy)]
pub struct Activation<'a> {
    /// Height, width and channels of `values`.
    pub shape: Shape,
    /// Rows computed from the picture; those below come from padding.
    pub valid_height: usize,
    /// Columns computed from the picture; those to the right come from padding.
    pub valid_width: usize,
    /// The values.
    pub values: Values<'a>,
}

/// Observes what steps produce.
pub trait Tap {
    /// Values of `step` to observe. Called once a step and frame.
    fn request(&self, step: StepId) -> TapRequest;

    /// The fused output of `step`. Called at [`TapRequest::Output`] and above.
    fn observe(&mut self, step: StepId, activation: &Activation<'_>);

    /// The values of `step` before the activation function, or before rounding and clipping. Called at
    /// [`TapRequest::Raw`], before [`Tap::observe`].
    fn observe_raw(&mut self, step: StepId, activation: &Activation<'_>) {
        let _ = (step, activation);
    }

    /// Number of raw values of `step` that were clipped, `below` and `above` the range of its quantization parameters.
    /// Values that the activation function cuts off do not count. Int8 only; called at [`TapRequest::Clipping`] and
    /// above.
    fn observe_clipped(&mut self, step: StepId, below: u64, above: u64) {
        let _ = (step, below, above);
    }
}

/// A tap that requests nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTap;

impl Tap for NoTap {
    fn request(&self, _: StepId) -> TapRequest {
        TapRequest::Nothing
    }

    fn observe(&mut self, _: StepId, _: &Activation<'_>) {}
}
