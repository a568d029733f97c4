//! Reference executor: runs the plan in full precision, over candle tensors.
//!
//! In: a checkpoint's tensors, then canvases. Out: the output of every step, one step at a time ([`Fp32Run`]).
//! Convolution, linear layers, pooling and RoIAlign are the kernels of [`kernel`](crate::kernel), as custom operations of
//! candle. The same plan also runs on candle's own layers ([`Backend::Candle`]): the oracle of the tests. On one
//! instruction set the numbers are the same at any thread count.

mod buffers;
mod candle_layers;
mod ops;
mod run;

use std::sync::Arc;

use candle_nn::VarBuilder;

use super::plan::Plan;
use super::settings::BatchNormEps;
use super::weights::FoldedLayer;
use crate::error::Result;
use crate::kernel::conv_f32::ConvF32;
use crate::kernel::isa::Isa;

pub use run::{Fp32Run, StepOutput};

/// Implementation of the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// The kernels of this crate, on an instruction set of this CPU.
    Kernel(Isa),
    /// `candle_nn` layers and candle's tensor operations: slow, and independent of the kernels.
    Candle,
}

/// A layer's weights in the form of the backend.
#[derive(Debug)]
enum LayerOp {
    Kernel(ConvF32),
    Candle(candle_layers::CandleLayer),
}

/// The network with full-precision weights. Runs share it, and the pool of activation buffers with it.
#[derive(Debug)]
pub struct Fp32Model {
    plan: Arc<Plan>,
    isa: Isa,
    layers: Vec<LayerOp>,
    buffers: buffers::BufferPool,
}

impl Fp32Model {
    /// Folds and packs the weights of `plan` from `tensors`; `eps` are those of the batch norms.
    ///
    /// # Errors
    /// As [`FoldedLayer::read`].
    pub fn new(plan: Arc<Plan>, tensors: &VarBuilder<'_>, eps: &BatchNormEps, backend: Backend) -> Result<Self> {
        let mut layers = Vec::with_capacity(plan.layers.len());
        for layer in &plan.layers {
            let folded = FoldedLayer::read(layer, tensors, eps)?;
            layers.push(match backend {
                Backend::Kernel(isa) => {
                    LayerOp::Kernel(ConvF32::new(isa, layer.geometry, &folded.weights, &folded.bias)?)
                }
                Backend::Candle => LayerOp::Candle(candle_layers::CandleLayer::new(layer, &folded)?),
            });
        }
        let isa = match backend {
            Backend::Kernel(isa) => isa,
            Backend::Candle => Isa::best(),
        };
        Ok(Self { plan, isa, layers, buffers: buffers::BufferPool::default() })
    }

    /// The same model without reuse of buffers: it holds only live activations, and every step allocates fresh pages.
    #[must_use]
    pub fn without_buffer_reuse(self) -> Self {
        Self { buffers: buffers::BufferPool::without_reuse(), ..self }
    }

    /// Frees the buffers that are kept for the next run.
    pub fn release_buffers(&self) {
        self.buffers.set_canvas((0, 0));
    }

    /// The network this model runs.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The instruction set its kernels use.
    pub fn isa(&self) -> Isa {
        self.isa
    }
}
