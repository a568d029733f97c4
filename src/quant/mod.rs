//! The numbers of the int8 network: what a byte means, and how weights become bytes.
//!
//! In: ranges of activations and f32 weights with batch norm already folded. Out: [`QuantParams`], pair-safe
//! [`QuantizedWeights`] with the [`Residual`] of their rounding, the multipliers and integer biases of the epilogue,
//! and the [`artifact`] file that holds them all. Every rule stands here once, in scalar arithmetic without fused
//! multiply-add, so that start-up, offline quantization and every instruction set agree to the bit.

pub mod artifact;
mod bias;
pub mod container;
mod pairing;
mod pairs;
mod precision;
mod quant_params;
mod residual;
mod response;
mod weights;

pub use bias::{integer_bias, multiplier, scale_floor};
pub use pairing::pair_order;
pub use pairs::{first_unsafe_pair, is_pair_safe, round_pair};
pub use precision::Precision;
pub use quant_params::{MAX_SCALE, MIN_SCALE, QuantParams, Range, Scheme, requantize};
pub use residual::Residual;
pub use response::{Response, StoredResponse};
pub use weights::{FilterBank, Granularity, QuantizedWeights, ScaleRule};
