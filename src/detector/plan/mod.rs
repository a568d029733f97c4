//! The network, once, as data.
//!
//! In: an [`Architecture`] (what the weights say) and [`Settings`] (what torchvision calls hyper-parameters). Out: a
//! list of named steps with links, from the canvas to the detections, in an order in which every step follows its
//! inputs. Both executors, calibration, monitor, inspect and bench walk this list and no other description exists.
//!
//! A step's name is torchvision's: `backbone.body.layer2.0.conv1`, `rpn.head.conv.0.0@P3`, `roi_heads.box_head.fc6`;
//! `@P3` tells apart the steps that share one [`Layer`] on several pyramid levels. A convolution's step is the fused
//! one: batch norm, residual (or the upsampled coarser level) and ReLU belong to it.

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
    /// Where the stages begin and end.
    pub key_steps: KeySteps,
}

/// One weight set: a convolution or a fully connected layer, with the batch norm that folds into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// torchvision's module name; `.weight` and `.bias` hang below it.
    pub name: String,
    /// Filter and channels; a fully connected layer is 1×1.
    pub geometry: ConvGeometry,
    /// How the checkpoint stores the weight.
    pub stored: Stored,
    /// Module name of the batch norm behind a convolution without bias.
    pub batch_norm: Option<String>,
}

/// How a checkpoint stores a layer's weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
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
    /// What it does.
    pub op: Op,
    /// Steps whose outputs it reads.
    pub inputs: Vec<StepId>,
}

/// What a step does with its inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Takes the canvas; no inputs.
    Image,
    /// Convolution or linear layer; with `skip`, adds the second input (of the same size, or coarser and read by the
    /// nearest rule), then ReLU if `relu`.
    Layer {
        /// The weight set.
        layer: LayerId,
        /// Whether negative values become 0.
        relu: bool,
        /// Whether there is a second input to add.
        skip: bool,
    },
    /// 3×3 maximum, stride 2, padding 1.
    MaxPool,
    /// Every second row and column.
    Subsample,
    /// Objectness of every level, then deltas of every level → proposals in canvas pixels, best first.
    Proposals,
    /// The finer pyramid levels and the proposals → one window of features a proposal.
    RoiAlign,
    /// Class logits, box deltas and proposals → detections.
    Detections,
}

/// Steps that stages are told apart by.
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

/// The four modules that coverage tables add up.
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
    pub fn stored_shape(&self) -> Vec<usize> {
        let g = &self.geometry;
        match self.stored {
            Stored::Convolution => vec![g.out_channels, g.in_channels, g.kernel_height, g.kernel_width],
            Stored::Linear | Stored::LinearOverWindow(..) => vec![g.out_channels, g.in_channels],
        }
    }

    /// Learned numbers as torchvision counts parameters: the weight, and the bias where there is one. Batch norm's
    /// buffers are not counted.
    pub fn parameters(&self) -> u64 {
        let bias = if self.batch_norm.is_none() { self.geometry.out_channels } else { 0 };
        (self.geometry.weights() + bias) as u64
    }
}

impl Step {
    /// Which module the step belongs to.
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

    /// Whether it is a layer that ends in ReLU.
    pub fn has_relu(&self) -> bool {
        matches!(self.op, Op::Layer { relu: true, .. })
    }
}

impl Plan {
    /// The step called `name`.
    pub fn find(&self, name: &str) -> Option<StepId> {
        self.steps.iter().position(|step| step.name == name)
    }

    /// For every step, how many later steps read its output.
    pub fn readers(&self) -> Vec<usize> {
        let mut readers = vec![0; self.steps.len()];
        for &input in self.steps.iter().flat_map(|step| &step.inputs) {
            readers[input] += 1;
        }
        readers
    }

    /// The steps whose output a layer reads, each once and in order; the canvas is none of them.
    pub fn read_by_layers(&self) -> Vec<StepId> {
        let layers = self.steps.iter().filter(|step| step.layer().is_some());
        let mut read: Vec<StepId> = layers.filter_map(|step| step.inputs.first().copied()).collect();
        read.sort_unstable();
        read.dedup();
        read.retain(|&step| step != self.key_steps.image);
        read
    }

    /// Learned numbers of all layers, each counted once.
    pub fn parameters(&self) -> u64 {
        self.layers.iter().map(Layer::parameters).sum()
    }
}
