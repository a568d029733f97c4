//! Parts of a plan: layers with weights, steps with operations, levels.

use crate::kernel::activation::Activation;
use crate::kernel::geometry::ConvGeometry;
use crate::tensor::Shape;

/// Number of a step in [`Plan::steps`](super::Plan::steps).
pub type StepId = usize;

/// Number of a weight set in [`Plan::layers`](super::Plan::layers).
pub type LayerId = usize;

/// The four modules of torchvision's Faster R-CNN, for totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// ResNet or MobileNet.
    Body,
    /// Feature pyramid, or the convolution that stands in its place.
    Fpn,
    /// Region proposal network.
    Rpn,
    /// RoIAlign, box head and predictors.
    Roi,
}

impl Part {
    /// Every part in the order of the network.
    pub const ALL: [Self; 4] = [Self::Body, Self::Fpn, Self::Rpn, Self::Roi];

    /// The name in tables: torchvision's module prefix in a detector with a pyramid.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Body => "backbone.body",
            Self::Fpn => "backbone.fpn",
            Self::Rpn => "rpn",
            Self::Roi => "roi_heads",
        }
    }
}

/// One weight set: a convolution or a fully connected layer, with the batch norm that folds into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// torchvision's module name; its parameters are `.weight` and `.bias`.
    pub name: String,
    /// Module of the network.
    pub part: Part,
    /// Filter and channels; a fully connected layer is 1×1.
    pub geometry: ConvGeometry,
    /// Kind of the layer.
    pub kind: LayerKind,
    /// Module name of the batch norm after a convolution without bias.
    pub batch_norm: Option<String>,
}

/// Kind of a layer: the values that it reads at once, and the layout of its weight in a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerKind {
    /// A convolution over a map: `[out][in / groups][height][width]`.
    Convolution,
    /// A convolution over the window of each proposal, padded on its own: `[out][in / groups][height][width]`.
    WindowConvolution,
    /// A fully connected layer over the channels of a proposal: `[out][in]`.
    Linear,
    /// A fully connected layer over a flattened window of this many rows and columns: `[out][channels · height · width]`.
    /// Executors read the window as `[height][width][channels]`.
    WindowLinear(usize, usize),
}

impl LayerKind {
    /// True for a fully connected layer.
    pub const fn is_linear(self) -> bool {
        matches!(self, Self::Linear | Self::WindowLinear(..))
    }
}

impl Layer {
    /// True if the layer has this name, or one that begins with it and a dot.
    pub fn is_or_is_below(&self, name: &str) -> bool {
        self.name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// The shape of the weight in the checkpoint.
    pub fn weight_shape(&self) -> Vec<usize> {
        let g = &self.geometry;
        if self.kind.is_linear() {
            return vec![g.out_channels, g.in_channels];
        }
        vec![g.out_channels, g.group_channels(), g.kernel_height, g.kernel_width]
    }

    /// The layer's input `from` as it is convolved: maps, each padded on its own, and their rows and columns. A fully
    /// connected layer reads rows, of a window all of it. The windows of all proposals are stacked, and each is as high
    /// as it is wide.
    pub fn maps_read(&self, from: Shape) -> (usize, usize, usize) {
        match self.kind {
            LayerKind::Convolution => (1, from.height, from.width),
            LayerKind::WindowConvolution => (from.height / from.width.max(1), from.width, from.width),
            LayerKind::Linear | LayerKind::WindowLinear(..) => (1, from.len() / self.geometry.in_channels, 1),
        }
    }

    /// The tensors of the layer in a checkpoint, with their shapes: its weight, then its bias or its batch norm.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let channels = vec![self.geometry.out_channels];
        let mut tensors = vec![(format!("{}.weight", self.name), self.weight_shape())];
        match &self.batch_norm {
            None => tensors.push((format!("{}.bias", self.name), channels)),
            Some(norm) => {
                let parts = ["weight", "bias", "running_mean", "running_var"];
                tensors.extend(parts.map(|part| (format!("{norm}.{part}"), channels.clone())));
            }
        }
        tensors
    }

    /// Number of parameters as torchvision counts them where batch norm is frozen: weight and bias, but not the buffers
    /// of the batch norm.
    pub fn parameters(&self) -> u64 {
        let bias = if self.batch_norm.is_none() { self.geometry.out_channels } else { 0 };
        (self.geometry.weights() + bias) as u64
    }
}

/// One step of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Unique name.
    pub name: String,
    /// Module of the network.
    pub part: Part,
    /// Its operation.
    pub op: Op,
    /// Steps whose outputs it reads.
    pub inputs: Vec<StepId>,
}

/// Operation of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// The canvas; no inputs.
    Image,
    /// Convolution or linear layer; with `skip`, adds the second input (of the same size, or coarser and upsampled by
    /// nearest neighbour), then the activation function.
    Layer {
        /// The weight set.
        layer: LayerId,
        /// The function of each output.
        activation: Activation,
        /// True if a second input is added.
        skip: bool,
    },
    /// 3×3 maximum, stride 2, padding 1.
    MaxPool,
    /// Every second row and column.
    Subsample,
    /// A function of each value.
    Activate(Activation),
    /// Mean of each channel over the whole padded map: one row and column.
    GlobalMean,
    /// The first input times the second, which has one value a channel.
    Scale,
    /// Proposals in canvas pixels, best first, from the objectness of every level, then the deltas of every level.
    Proposals,
    /// One window of features a proposal, from some levels and the proposals.
    RoiAlign,
    /// Detections, from class logits, box deltas and proposals.
    Detections,
}

impl Step {
    /// The step's weight set, if it has one.
    pub fn layer(&self) -> Option<LayerId> {
        match self.op {
            Op::Layer { layer, .. } => Some(layer),
            _ => None,
        }
    }

    /// The activation function that ends the step; the identity for all but layers.
    pub fn activation(&self) -> Activation {
        match self.op {
            Op::Layer { activation, .. } => activation,
            _ => Activation::Identity,
        }
    }
}

/// A map that the region proposal network reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    /// `P` and the binary logarithm of the stride, as P2; `C` where there is no pyramid. A second level of the same
    /// stride has the suffix `.1`.
    pub name: String,
    /// torchvision's name of the feature map: `0`, `1`, …, `pool`, `p6`, `p7`.
    pub feature: String,
    /// The step whose output it is.
    pub step: StepId,
    /// Canvas pixels a cell, as the strides of the layers multiply.
    pub stride: usize,
}
