//! Quantization arithmetic: u8 activations, s8 weights, the epilogue between two layers, and the artifact file.
//!
//! In: ranges of activations, and f32 weights with batch norm folded in. Out:
//!
//! - [`QuantParams`] of activations,
//! - pair-safe [`QuantizedWeights`] with the [`RoundingResidual`] of their rounding,
//! - multipliers and integer biases of the epilogue,
//! - the [`artifact`] file that holds all of them.
//!
//! Every rule is written once, in scalar arithmetic without fused multiply-add. So quantization at start-up, offline
//! quantization and every instruction set give the same bits.

pub mod artifact;
mod bias_shift;
pub mod container;
mod epilogue;
mod pairs;
mod precision;
mod quant_params;
mod weights;

pub use bias_shift::{BiasShiftModel, PerturbationEffect, RoundingResidual, StoredBiasShiftModel};
pub use epilogue::{input_scale_floor, integer_bias, max_bias, multiplier, scale_floor};
pub use pairs::first_unsafe_pair;
pub use precision::Precision;
pub use quant_params::{MAX_SCALE, MIN_SCALE, QuantParams, Range, Scheme, requantize};
pub use weights::{Digits, FilterBank, Granularity, QuantizedWeights, ScaleRule, largest_magnitude};
