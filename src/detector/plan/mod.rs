//! Plan: the network as a list of steps.
//!
//! In: an [`Architecture`] (derived from the weights) and [`Settings`] (hyper-parameters). Out: named steps from the
//! canvas to the detections, with links to their inputs, in topological order. Both executors, calibration, monitor,
//! inspect and bench iterate over this list; there is no other description of the network.
//!
//! A step has torchvision's module name: `backbone.body.layer2.0.conv1`, `rpn.head.conv.0.0@P3`,
//! `roi_heads.box_head.fc6`. The suffix `@P3` distinguishes steps that share one [`Layer`] on several pyramid levels. The
//! step of a convolution is fused: it includes batch norm, the residual (or the upsampled coarser level) and ReLU.

mod build;
mod shapes;

use super::architecture::Architecture;
use super::settings::Settings;
use crate::kernel::geometry::ConvGeometry;

/// Number of a step in [`Plan::steps`].
pub type StepId = usize;

/// Number of a weight set in [`Plan::layers`].
pub type LayerId = usize;

/// Names of the pyramid levels, finest first; the last is the subsampled one.
pub const LEVELS: [&str; 5] = ["P2", "P3", "P4", "P5", "P6"];

/// The network with its hyper-parameters.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Depth, widths and class count.
    pub architecture: Architecture,
    /// Transform, anchors, proposal and detection settings.
    pub settings: Settings,
    /// Weight sets in the order in which they are first used.
    pub layers: Vec<Layer>,
    /// Steps in execution order.
    pub steps: Vec<Step>,
    /// Steps at the boundaries of stages.
    pub key_steps: KeySteps,
}

/// One weight set: a convolution or a fully connected layer, with the batch norm that folds into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// torchvision's module name; its parameters are `.weight` and `.bias`.
    pub name: String,
    /// Filter and channels; a fully connected layer is 1×1.
    pub geometry: ConvGeometry,
    /// Layout of the weight in the checkpoint.
    pub weight_layout: WeightLayout,
    /// Module name of the batch norm after a convolution without bias.
    pub batch_norm: Option<String>,
}

/// Layout of a layer's weight in a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightLayout {
    /// `[out][in][height][width]`.
    Convolution,
    /// `[out][in]`.
    Linear,
    /// `[out][channels · height · width]` over a flattened window of this many rows and columns; executors read the
    /// window as `[height][width][channels]`.
    LinearOverWindow(usize, usize),
}

/// One step of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Unique name.
    pub name: String,
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
    /// nearest neighbour), then ReLU if `relu`.
    Layer {
        /// The weight set.
        layer: LayerId,
        /// True if the layer ends in ReLU.
        relu: bool,
        /// True if a second input is added.
        skip: bool,
    },
    /// 3×3 maximum, stride 2, padding 1.
    MaxPool,
    /// Every second row and column.
    Subsample,
    /// Proposals in canvas pixels, best first, from the objectness of every level, then the deltas of every level.
    Proposals,
    /// One window of features a proposal, from the finer pyramid levels and the proposals.
    RoiAlign,
    /// Detections, from class logits, box deltas and proposals.
    Detections,
}

/// Steps at the boundaries of stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySteps {
    /// The canvas.
    pub image: StepId,
    /// Outputs of `layer1` … `layer4`: C2 … C5.
    pub stages: [StepId; 4],
    /// P2 … P6.
    pub pyramid: [StepId; 5],
    /// Objectness of P2 … P6.
    pub objectness: [StepId; 5],
    /// Box deltas of P2 … P6.
    pub deltas: [StepId; 5],
    /// The proposals.
    pub proposals: StepId,
    /// RoIAlign's output.
    pub roi_features: StepId,
    /// Output of `fc7`.
    pub box_head: StepId,
    /// Class logits.
    pub class_logits: StepId,
    /// Second-stage box deltas.
    pub box_deltas: StepId,
    /// The detections.
    pub detections: StepId,
}

/// The four modules of torchvision's Faster R-CNN, for totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// ResNet.
    Body,
    /// Feature pyramid.
    Fpn,
    /// Region proposal network.
    Rpn,
    /// RoIAlign, box head and predictors.
    Roi,
}

impl Part {
    /// Every part in the order of the network.
    pub const ALL: [Self; 4] = [Self::Body, Self::Fpn, Self::Rpn, Self::Roi];

    /// torchvision's module prefix.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Body => "backbone.body",
            Self::Fpn => "backbone.fpn",
            Self::Rpn => "rpn",
            Self::Roi => "roi_heads",
        }
    }
}

impl Layer {
    /// The shape of the weight in the checkpoint.
    pub fn weight_shape(&self) -> Vec<usize> {
        let g = &self.geometry;
        match self.weight_layout {
            WeightLayout::Convolution => vec![g.out_channels, g.in_channels, g.kernel_height, g.kernel_width],
            WeightLayout::Linear | WeightLayout::LinearOverWindow(..) => vec![g.out_channels, g.in_channels],
        }
    }

    /// Number of parameters as torchvision counts them: the weight, and the bias if there is one, but not the buffers of
    /// the batch norm.
    pub fn parameters(&self) -> u64 {
        let bias = if self.batch_norm.is_none() { self.geometry.out_channels } else { 0 };
        (self.geometry.weights() + bias) as u64
    }
}

impl Step {
    /// The module of the step.
    pub fn part(&self) -> Part {
        Part::ALL.into_iter().find(|part| self.name.starts_with(part.name())).unwrap_or(Part::Body)
    }

    /// The step's weight set, if it has one.
    pub fn layer(&self) -> Option<LayerId> {
        match self.op {
            Op::Layer { layer, .. } => Some(layer),
            _ => None,
        }
    }

    /// True for a layer that ends in ReLU.
    pub fn has_relu(&self) -> bool {
        matches!(self.op, Op::Layer { relu: true, .. })
    }
}

impl Plan {
    /// The step called `name`.
    pub fn find(&self, name: &str) -> Option<StepId> {
        self.steps.iter().position(|step| step.name == name)
    }

    /// By step: the number of later steps that read its output.
    pub fn readers(&self) -> Vec<usize> {
        let mut readers = vec![0; self.steps.len()];
        for &input in self.steps.iter().flat_map(|step| &step.inputs) {
            readers[input] += 1;
        }
        readers
    }

    /// The steps whose output a layer reads, each once and in order, without the canvas.
    pub fn read_by_layers(&self) -> Vec<StepId> {
        let layers = self.steps.iter().filter(|step| step.layer().is_some());
        let mut read: Vec<StepId> = layers.filter_map(|step| step.inputs.first().copied()).collect();
        read.sort_unstable();
        read.dedup();
        read.retain(|&step| step != self.key_steps.image);
        read
    }
}
