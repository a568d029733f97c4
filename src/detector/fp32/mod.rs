//! The reference executor: the plan in full precision, over candle tensors.
//!
//! In: a checkpoint's tensors, then canvases. Out: every step's value, one step at a time ([`Fp32Run`]). Convolution,
//! linear layers, pooling and RoIAlign are our own kernels, entering candle as custom operations; the same plan also
//! runs on candle's own layers ([`Backend::Stock`]), which is the oracle that tests compare with. On one instruction
//! set the numbers are the same at any thread count.

mod buffers;
mod ops;
mod run;
mod stock;

use std::sync::Arc;

use candle_nn::VarBuilder;

use super::plan::Plan;
use super::weights::Folded;
use crate::error::Result;
use crate::kernel::conv_f32::ConvF32;
use crate::kernel::isa::Isa;

pub use run::{Fp32Run, StepOutput};

/// What computes the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Our kernels, on an instruction set this CPU has.
    Kernel(Isa),
    /// `candle_nn` layers and candle's tensor operations: slow, independent of our kernels.
    Stock,
}

/// One weight set in the form its backend wants.
#[derive(Debug)]
enum LayerOp {
    Kernel(ConvF32),
    Stock(stock::StockLayer),
}

/// The network with full-precision weights. Shared between runs, and so is the memory that their activations leave.
#[derive(Debug)]
pub struct Fp32Model {
    plan: Arc<Plan>,
    isa: Isa,
    layers: Vec<LayerOp>,
    buffers: buffers::Buffers,
}

impl Fp32Model {
    /// Folds and packs the weights of `plan` from `tensors`; `eps` belongs to the batch norms.
    ///
    /// # Errors
    /// As [`Folded::read`].
    pub fn new(plan: Arc<Plan>, tensors: &VarBuilder<'_>, eps: f64, backend: Backend) -> Result<Self> {
        let mut layers = Vec::with_capacity(plan.layers.len());
        for layer in &plan.layers {
            let folded = Folded::read(layer, tensors, eps)?;
            layers.push(match backend {
                Backend::Kernel(isa) => {
                    LayerOp::Kernel(ConvF32::new(isa, layer.geometry, &folded.weights, &folded.bias)?)
                }
                Backend::Stock => LayerOp::Stock(stock::StockLayer::new(layer, &folded)?),
            });
        }
        let isa = match backend {
            Backend::Kernel(isa) => isa,
            Backend::Stock => Isa::best(),
        };
        Ok(Self { plan, isa, layers, buffers: buffers::Buffers::default() })
    }

    /// The same model, whose activations leave no memory behind: it holds what is alive and no more, and each step pays
    /// for fresh pages.
    #[must_use]
    pub fn frugal(self) -> Self {
        Self { buffers: buffers::Buffers::frugal(), ..self }
    }

    /// Frees the activations' memory that is kept for the next run.
    pub fn forget_buffers(&self) {
        self.buffers.serve((0, 0));
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
