//! Builder of a plan: the layers and steps that the parts of a network have added.

use super::step::{Layer, LayerId, LayerKind, Op, Part, Step, StepId};
use crate::kernel::activation::Activation;
use crate::kernel::geometry::ConvGeometry;

/// The layers and steps added so far.
#[derive(Debug, Default)]
pub struct Builder {
    /// Weight sets in the order in which they are first used.
    pub layers: Vec<Layer>,
    /// Steps in execution order.
    pub steps: Vec<Step>,
}

/// A map that a step leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// The step.
    pub step: StepId,
    /// Channels of the map.
    pub channels: usize,
    /// Canvas pixels a cell.
    pub stride: usize,
}

/// A convolution to add, with a square filter and a padding that keeps the size at stride 1.
#[derive(Debug, Clone)]
pub struct Conv {
    /// torchvision's module name.
    pub name: String,
    /// Module name of its batch norm; without one it has a bias.
    pub batch_norm: Option<String>,
    /// Output channels.
    pub channels: usize,
    /// Rows and columns of the filter; odd.
    pub size: usize,
    /// Step in both directions.
    pub stride: usize,
    /// Groups of channels.
    pub groups: usize,
    /// The function of each output.
    pub activation: Activation,
}

impl Conv {
    /// A convolution with a bias, stride 1, one group and no activation function.
    pub fn new(name: impl Into<String>, channels: usize, size: usize) -> Self {
        let (name, activation) = (name.into(), Activation::Identity);
        Self { name, batch_norm: None, channels, size, stride: 1, groups: 1, activation }
    }

    /// The same convolution with the batch norm `name` instead of a bias.
    #[must_use]
    pub fn norm(self, name: impl Into<String>) -> Self {
        Self { batch_norm: Some(name.into()), ..self }
    }

    /// The same convolution with this stride.
    #[must_use]
    pub fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// The same convolution with this many groups.
    #[must_use]
    pub fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// The same convolution, followed by `activation`.
    #[must_use]
    pub fn then(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    fn geometry(&self, in_channels: usize) -> ConvGeometry {
        let plain = ConvGeometry::square(in_channels, self.channels, self.size, self.stride);
        ConvGeometry { groups: self.groups, ..plain }
    }
}

impl Builder {
    /// Adds a step.
    pub fn step(&mut self, part: Part, name: impl Into<String>, op: Op, inputs: Vec<StepId>) -> StepId {
        self.steps.push(Step { name: name.into(), part, op, inputs });
        self.steps.len() - 1
    }

    /// Adds a weight set: `conv` over `in_channels` channels.
    pub fn layer(&mut self, part: Part, kind: LayerKind, conv: &Conv, in_channels: usize) -> LayerId {
        let (name, batch_norm) = (conv.name.clone(), conv.batch_norm.clone());
        self.layers.push(Layer { name, part, geometry: conv.geometry(in_channels), kind, batch_norm });
        self.layers.len() - 1
    }

    /// Adds a convolution over a map, and the step that runs it. `skip` is added before the activation function.
    pub fn conv(&mut self, part: Part, conv: Conv, input: Features, skip: Option<StepId>) -> Features {
        let layer = self.layer(part, LayerKind::Convolution, &conv, input.channels);
        let op = Op::Layer { layer, activation: conv.activation, skip: skip.is_some() };
        let inputs = [input.step].into_iter().chain(skip).collect();
        let step = self.step(part, conv.name, op, inputs);
        Features { step, channels: conv.channels, stride: input.stride * conv.stride }
    }

    /// Adds a fully connected layer over `in_channels` values, and the step that runs it.
    pub fn linear(&mut self, kind: LayerKind, conv: Conv, in_channels: usize, input: StepId) -> StepId {
        let layer = self.layer(Part::Roi, kind, &conv, in_channels);
        let op = Op::Layer { layer, activation: conv.activation, skip: false };
        self.step(Part::Roi, conv.name, op, vec![input])
    }
}
