//! Layers on candle's own operations: the oracle for the kernels.

use candle_core::{Device, Module, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, Linear};

use crate::detector::plan::{Layer, WeightLayout};
use crate::detector::weights::FoldedLayer;
use crate::kernel::geometry::ConvGeometry;

/// A `candle_nn` layer for channels-last tensors.
#[derive(Debug)]
pub(super) enum CandleLayer {
    Convolution(Conv2d),
    Linear(Linear),
}

impl CandleLayer {
    /// The layer with its folded weights.
    pub(super) fn new(layer: &Layer, folded: &FoldedLayer) -> candle_core::Result<Self> {
        let geometry = layer.geometry;
        let ConvGeometry { in_channels, out_channels, kernel_height, kernel_width, stride, padding, groups } = geometry;
        let bias = Tensor::from_slice(&folded.bias, out_channels, &Device::Cpu)?;
        if layer.weight_layout != WeightLayout::Convolution {
            let weight = Tensor::from_slice(&folded.weights, (out_channels, in_channels), &Device::Cpu)?;
            return Ok(Self::Linear(Linear::new(weight, Some(bias))));
        }
        let shape = (out_channels, kernel_height, kernel_width, geometry.group_channels());
        let weight = Tensor::from_slice(&folded.weights, shape, &Device::Cpu)?.permute((0, 3, 1, 2))?.contiguous()?;
        let config = Conv2dConfig { padding, stride, groups, ..Conv2dConfig::default() };
        Ok(Self::Convolution(Conv2d::new(weight, Some(bias), config)))
    }

    /// The layer's output `[height][width][out]` before ReLU; `x` is `[height][width][in]`. `skip` is added, upsampled by
    /// nearest neighbour if it is coarser.
    pub(super) fn forward(&self, x: &Tensor, skip: Option<&Tensor>) -> candle_core::Result<Tensor> {
        let y = match self {
            Self::Linear(linear) => {
                let (rows, columns, channels) = x.dims3()?;
                linear.forward(&x.reshape((rows * columns, channels))?)?.unsqueeze(1)?
            }
            Self::Convolution(conv) => {
                let planes = x.permute((2, 0, 1))?.unsqueeze(0)?.contiguous()?;
                conv.forward(&planes)?.squeeze(0)?.permute((1, 2, 0))?.contiguous()?
            }
        };
        match skip {
            None => Ok(y),
            Some(skip) => {
                let (height, width, _) = y.dims3()?;
                let planes = skip.permute((2, 0, 1))?.unsqueeze(0)?.contiguous()?;
                let finer = planes.upsample_nearest2d(height, width)?.squeeze(0)?.permute((1, 2, 0))?;
                (y + finer.contiguous()?)?.contiguous()
            }
        }
    }
}

/// Maximum over 3×3, stride 2, padding 1, of `[height][width][channels]`. candle's pooling has no padding, so a border
/// of −∞ is added first.
pub(super) fn max_pool(x: &Tensor) -> candle_core::Result<Tensor> {
    let (height, width, channels) = x.dims3()?;
    let row = Tensor::full(f32::NEG_INFINITY, (1, width, channels), &Device::Cpu)?;
    let tall = Tensor::cat(&[&row, x, &row], 0)?;
    let column = Tensor::full(f32::NEG_INFINITY, (height + 2, 1, channels), &Device::Cpu)?;
    let framed = Tensor::cat(&[&column, &tall, &column], 1)?;
    let planes = framed.permute((2, 0, 1))?.unsqueeze(0)?.contiguous()?;
    planes.max_pool2d_with_stride(3, 2)?.squeeze(0)?.permute((1, 2, 0))?.contiguous()
}
