//! The operations of a network on candle's own layers: the oracle for the kernels.

use candle_core::{D, Device, Module, Result, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, Linear, VarBuilder};
use lookout::detector::fp32::Operations;
use lookout::detector::plan::{Layer, LayerId, LayerKind, Plan};
use lookout::detector::settings::BatchNormEps;
use lookout::detector::weights::FoldedLayer;
use lookout::kernel::activation::Activation;
use lookout::kernel::geometry::ConvGeometry;

/// The layers of a plan.
#[derive(Debug)]
pub struct CandleLayers(Vec<CandleLayer>);

impl CandleLayers {
    /// The layers of `plan` with folded weights.
    pub fn new(plan: &Plan, tensors: &VarBuilder<'_>, eps: &BatchNormEps) -> Self {
        let layer = |layer| CandleLayer::new(layer, &FoldedLayer::read(layer, tensors, eps).unwrap()).unwrap();
        Self(plan.layers.iter().map(layer).collect())
    }
}

impl Operations for CandleLayers {
    fn layer(&self, layer: LayerId, x: &Tensor, skip: Option<&Tensor>) -> Result<Tensor> {
        self.0[layer].forward(x, skip)
    }

    fn max_pool(&self, x: &Tensor) -> Result<Tensor> {
        max_pool(x)
    }

    fn activate(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        activate(x, activation)
    }

    fn global_mean(&self, x: &Tensor) -> Result<Tensor> {
        x.mean_keepdim((0, 1))
    }

    fn scale(&self, x: &Tensor, gates: &Tensor) -> Result<Tensor> {
        x.broadcast_mul(gates)
    }
}

/// A `candle_nn` layer for channels-last tensors.
#[derive(Debug)]
enum CandleLayer {
    Convolution(Conv2d),
    /// Over windows of as many rows as columns.
    WindowConvolution(Conv2d),
    Linear(Linear),
}

impl CandleLayer {
    /// The layer with its folded weights.
    fn new(layer: &Layer, folded: &FoldedLayer) -> Result<Self> {
        let geometry = layer.geometry;
        let ConvGeometry { in_channels, out_channels, kernel_height, kernel_width, stride, padding, groups } = geometry;
        let bias = Tensor::from_slice(&folded.bias, out_channels, &Device::Cpu)?;
        if layer.kind.is_linear() {
            let weight = Tensor::from_slice(&folded.weights, (out_channels, in_channels), &Device::Cpu)?;
            return Ok(Self::Linear(Linear::new(weight, Some(bias))));
        }
        let shape = (out_channels, kernel_height, kernel_width, geometry.group_channels());
        let weight = Tensor::from_slice(&folded.weights, shape, &Device::Cpu)?.permute((0, 3, 1, 2))?.contiguous()?;
        let config = Conv2dConfig { padding, stride, groups, ..Conv2dConfig::default() };
        let conv = Conv2d::new(weight, Some(bias), config);
        Ok(if layer.kind == LayerKind::WindowConvolution {
            Self::WindowConvolution(conv)
        } else {
            Self::Convolution(conv)
        })
    }

    fn forward(&self, x: &Tensor, skip: Option<&Tensor>) -> Result<Tensor> {
        let y = match self {
            Self::Linear(linear) => {
                let (rows, columns, channels) = x.dims3()?;
                linear.forward(&x.reshape((rows * columns, channels))?)?.unsqueeze(1)?
            }
            Self::Convolution(conv) => {
                let planes = x.permute((2, 0, 1))?.unsqueeze(0)?.contiguous()?;
                conv.forward(&planes)?.squeeze(0)?.permute((1, 2, 0))?.contiguous()?
            }
            Self::WindowConvolution(conv) => {
                let (rows, window, channels) = x.dims3()?;
                let planes =
                    x.reshape((rows / window, window, window, channels))?.permute((0, 3, 1, 2))?.contiguous()?;
                let maps = conv.forward(&planes)?.permute((0, 2, 3, 1))?.contiguous()?;
                let outputs = maps.dim(D::Minus1)?;
                maps.reshape((rows, window, outputs))?
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
fn max_pool(x: &Tensor) -> Result<Tensor> {
    let (height, width, channels) = x.dims3()?;
    let row = Tensor::full(f32::NEG_INFINITY, (1, width, channels), &Device::Cpu)?;
    let tall = Tensor::cat(&[&row, x, &row], 0)?;
    let column = Tensor::full(f32::NEG_INFINITY, (height + 2, 1, channels), &Device::Cpu)?;
    let framed = Tensor::cat(&[&column, &tall, &column], 1)?;
    let planes = framed.permute((2, 0, 1))?.unsqueeze(0)?.contiguous()?;
    planes.max_pool2d_with_stride(3, 2)?.squeeze(0)?.permute((1, 2, 0))?.contiguous()
}

/// `activation` of every value.
fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    // min(max(x + 3, 0), 6) / 6
    let gate = |x: &Tensor| (x + 3.0)?.clamp(0f32, 6f32)? / 6.0;
    match activation {
        Activation::Identity => Ok(x.clone()),
        Activation::Relu => x.relu(),
        Activation::Relu6 => x.clamp(0f32, 6f32),
        Activation::Hardswish => x * gate(x)?,
        Activation::Hardsigmoid => gate(x),
    }
}
