//! Bias shift: change of the bias that a layer needs when the mean of its input changes.
//!
//! Weights rounded to s8 have the error Δw = w − scale · q. An output channel then has the mean error −Σ Δw · E\[x\].
//! Bias correction adds Σ Δw · E\[x\] to the bias (Nagel et al., "Data-Free Quantization Through Weight Equalization and
//! Bias Correction", 2019). E\[x\] is the mean input of the calibration pictures: the *reference input mean*. If the mean
//! input changes by m, the layer needs the bias shift Σ Δw · m in addition.
//!
//! - [`RoundingResidual`] stores Δw summed over the taps of a filter. It gives the bias shift exactly and is stored for the
//!   first layer only, where it is small.
//! - [`BiasShiftModel`] stores the bias shift for a few known changes of the mean input and predicts others from them. For
//!   the other layers the whole residual would be a third of the weights, the model is less than a hundredth.

mod model;
mod residual;

pub use model::{BiasShiftModel, PerturbationEffect, StoredBiasShiftModel};
pub use residual::RoundingResidual;
