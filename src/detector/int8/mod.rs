//! Int8 executor: runs the plan with u8 activations and s8 weights.
//!
//! In: a [`Quantized`] network (from an artifact, or from calibration), then u8 canvases. Out: detections, and the output
//! of every step to a tap. With every layer in static int8 the same canvas gives the same bytes at every step, on every
//! instruction set and thread count. After the first frame of a canvas size, a frame allocates nothing.

mod bias_limits;
mod buffers;
mod executor;
mod fallback;
mod frame;
mod input_means;
mod mixed_precision;
mod model;
mod raw;
mod slots;
mod stored;

use std::sync::Arc;

use super::equalization::Equalization;
use super::plan::{LayerId, Plan};
use crate::quant::{BiasShiftModel, Precision, QuantParams, RoundingResidual};

pub use executor::Int8Executor;
pub use input_means::InputMeans;
pub use mixed_precision::{EdgeStorage, MixedPrecision};
pub use model::Int8Model;
pub use stored::plan_value;

/// The network with quantized weights and the quantization parameters of its activations: the result of calibration and
/// the content of an artifact.
#[derive(Debug, Clone)]
pub struct Quantized {
    /// The network.
    pub plan: Arc<Plan>,
    /// By layer of the plan.
    pub layers: Vec<QuantizedLayer>,
    /// By step with a layer: one bias an output channel, batch norm folded in, in real units. Steps that share a layer may
    /// differ: biases are corrected for each pyramid level.
    pub biases: Vec<Vec<f32>>,
    /// Reference input means: those that the biases were corrected at. Known where a layer has a rounding residual.
    pub reference_means: InputMeans,
    /// By step, the bias shift model; empty where there are none.
    pub bias_shift_models: Vec<Option<BiasShiftModel>>,
    /// By step: the quantization parameters of its output, for the steps of [`MixedPrecision::quantized_steps`].
    pub edge_qparams: Vec<Option<QuantParams>>,
    /// True where the canvas is wide: of two bytes a value.
    pub wide_canvas: bool,
    /// Factors of channels that are folded into weights and biases.
    pub equalization: Arc<Equalization>,
}

/// Weights of one layer. The int8 weights of the first layer are in units of raw pixels: normalization is folded into
/// them and into the bias.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedLayer {
    /// `[out][height][width][in]`.
    pub weights: LayerWeights,
    /// Precision of the steps that use it.
    pub precision: Precision,
    /// Rounding residual of the weights, for the layer that reads pixels.
    pub residual: Option<RoundingResidual>,
}

/// Weights by precision.
#[derive(Debug, Clone, PartialEq)]
pub enum LayerWeights {
    /// For [`Precision::Int8Static`] and [`Precision::Int8Dynamic`].
    S8 {
        /// In [−127, 127], pair-safe.
        values: Vec<i8>,
        /// Low digits of *wide* weights, in [−64, 63] and in units of 1/128 of `values`; empty for weights of one digit.
        low: Vec<i8>,
        /// Scale of every output channel.
        scales: Vec<f32>,
    },
    /// For [`Precision::Fp32`].
    F32(Vec<f32>),
}

impl Quantized {
    /// Precision and storage of every step.
    pub fn mixed_precision(&self) -> MixedPrecision {
        let layers: Vec<Precision> = self.layers.iter().map(|layer| layer.precision).collect();
        MixedPrecision::new(&self.plan, &layers)
    }

    /// The bias of the first step that uses `layer`: the only one, for layers that are not in static int8.
    pub fn bias_of(&self, layer: LayerId) -> &[f32] {
        let step = self.plan.steps.iter().position(|step| step.layer() == Some(layer));
        step.map_or(&[], |step| &self.biases[step])
    }

    /// True if every layer runs in static int8, so that results are the same on every CPU.
    pub fn is_exact(&self) -> bool {
        self.layers.iter().all(|layer| layer.precision == Precision::Int8Static)
    }
}
