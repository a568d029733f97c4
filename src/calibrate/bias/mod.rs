//! Bias correction, and the bias shift of every layer under other input distributions.
//!
//! **Bias correction.** Rounding the weights of a layer to int8 and clipping its input moves the mean of its output
//! channels. [`correction`] measures that mean error against the fp32 network on calibration pictures, and the pipeline
//! adds it to the biases. The corrected biases are exact for one input distribution only. The means of that
//! distribution are the *reference input means* of the artifact.
//!
//! **Bias shift.** Under another input distribution (a darker scene, haze, a noisier sensor) the same rounded weights
//! cause another mean error. With Δw the rounding error of the weights, the mean output changes by Δw times the change
//! of the mean input. The difference between the bias that the new distribution needs and the corrected bias is the
//! *bias shift* of the layer.
//!
//! **Perturbations.** A device without the checkpoint knows neither Δw nor the fp32 output. So calibration alters a few
//! pictures by known [`perturbations`] and measures the change of every layer's mean input. [`shift_models()`] stores for
//! every layer these changes and the bias shifts that they cause. From them the device predicts the bias shift for the
//! mean inputs that it measures itself (see [`crate::quant::BiasShiftModel`]).

mod correction;
mod perturbations;
mod shift_models;

pub(super) use correction::rank_by_local_error;
pub use correction::{LocalError, add_local_errors};
pub(super) use shift_models::{PERTURBED_PICTURES, RoundedNetwork, shift_models};
