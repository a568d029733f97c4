//! Reference executor: runs the plan in full precision, over candle tensors.
//!
//! In: a checkpoint's tensors, then canvases. Out: the output of every step, one step at a time ([`Fp32Run`]).
//! Convolution, linear layers, pooling and RoIAlign are the kernels of [`kernel`](crate::kernel), as custom operations of
//! candle. The same plan also runs on other [`Operations`]: the oracle of the tests are candle's own layers. On one
//! instruction set the numbers are the same at any thread count.

mod buffers;
mod operations;
mod ops;
mod run;

use std::sync::Arc;

use candle_nn::VarBuilder;

use super::equalization::Equalization;
use super::plan::{Layer, LayerId, Plan};
use super::settings::BatchNormEps;
use super::weights::FoldedLayer;
use crate::error::Result;
use crate::kernel::conv_f32::ConvF32;
use crate::kernel::isa::Isa;

pub use operations::Operations;
pub use run::{Fp32Run, StepOutput};

/// Code that computes the layers.
#[derive(Debug)]
enum Layers {
    /// The kernels, with the packed weights of each layer.
    Kernels(Vec<ConvF32>),
    Other(Box<dyn Operations>),
}

/// The network with full-precision weights. Runs share it, and the pool of activation buffers with it.
#[derive(Debug)]
pub struct Fp32Model {
    plan: Arc<Plan>,
    isa: Isa,
    layers: Layers,
    buffers: buffers::BufferPool,
}

impl Fp32Model {
    /// Folds and packs the weights of `plan` from `tensors` for the kernels of `isa`; `eps` are those of the batch
    /// norms.
    ///
    /// # Errors
    /// As [`FoldedLayer::read`].
    pub fn new(plan: Arc<Plan>, tensors: &VarBuilder<'_>, eps: &BatchNormEps, isa: Isa) -> Result<Self> {
        Self::equalized(plan, tensors, eps, &Equalization::default(), isa)
    }

    /// [`Fp32Model::new`] with equalized channels: the reference of an artifact that was quantized from such weights.
    ///
    /// # Errors
    /// As [`FoldedLayer::read`].
    pub fn equalized(
        plan: Arc<Plan>,
        tensors: &VarBuilder<'_>,
        eps: &BatchNormEps,
        equalization: &Equalization,
        isa: Isa,
    ) -> Result<Self> {
        // One layer after the other, so that only one has both forms in memory.
        let pack = |(id, layer): (LayerId, &Layer)| {
            let mut folded = FoldedLayer::read(layer, tensors, eps)?;
            equalization.fold_into(&plan, id, &mut folded);
            ConvF32::new(isa, layer.geometry, &folded.weights, &folded.bias)
        };
        let layers = plan.layers.iter().enumerate().map(pack).collect::<Result<_>>()?;
        Ok(Self { plan, isa, layers: Layers::Kernels(layers), buffers: buffers::BufferPool::default() })
    }

    /// Packs the weights `folded`, one a layer of `plan`.
    ///
    /// # Errors
    /// As [`ConvF32::new`].
    pub fn from_folded(plan: Arc<Plan>, folded: &[FoldedLayer], isa: Isa) -> Result<Self> {
        let layers = plan.layers.iter().zip(folded);
        let layers = layers.map(|(layer, folded)| ConvF32::new(isa, layer.geometry, &folded.weights, &folded.bias));
        let layers = Layers::Kernels(layers.collect::<Result<_>>()?);
        Ok(Self { plan, isa, layers, buffers: buffers::BufferPool::default() })
    }

    /// The network of `plan` on other operations than the kernels. Only tests call it: the parity tests compare the kernels
    /// with candle's layers, on the same walk over the plan. They are another crate, so it is public.
    pub fn with_operations(plan: Arc<Plan>, operations: Box<dyn Operations>) -> Self {
        Self { plan, isa: Isa::best(), layers: Layers::Other(operations), buffers: buffers::BufferPool::default() }
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
