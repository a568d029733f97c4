//! The operations of a network, for an implementation that is compared with the kernels.

use std::fmt::Debug;

use candle_core::{Result, Tensor};

use crate::detector::plan::LayerId;
use crate::kernel::activation::Activation;

/// The operations of a network that kernels compute, over contiguous f32 tensors `[height][width][channels]`.
pub trait Operations: Debug + Send + Sync {
    /// The output of a layer of the plan before its activation function; windows lie one below the other. `skip` is
    /// added, upsampled by nearest neighbour if it is coarser.
    ///
    /// # Errors
    /// Those of candle; so for the other functions.
    fn layer(&self, layer: LayerId, x: &Tensor, skip: Option<&Tensor>) -> Result<Tensor>;

    /// Maximum over 3×3, stride 2, padding 1.
    ///
    /// # Errors
    /// As [`Self::layer`].
    fn max_pool(&self, x: &Tensor) -> Result<Tensor>;

    /// `activation` of every value.
    ///
    /// # Errors
    /// As [`Self::layer`].
    fn activate(&self, x: &Tensor, activation: Activation) -> Result<Tensor>;

    /// Mean of every channel: `[1][1][channels]`.
    ///
    /// # Errors
    /// As [`Self::layer`].
    fn global_mean(&self, x: &Tensor) -> Result<Tensor>;

    /// `x` times one gate a channel, `[1][1][channels]`.
    ///
    /// # Errors
    /// As [`Self::layer`].
    fn scale(&self, x: &Tensor, gates: &Tensor) -> Result<Tensor>;
}
