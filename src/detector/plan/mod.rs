//! Plan: the network as a list of steps.
//!
//! In: an [`Architecture`] (derived from the weights) and [`Settings`] (hyper-parameters). Out: named steps from the
//! canvas to the detections, with links to their inputs, in topological order. Both executors, calibration, monitor,
//! inspect and bench iterate over this list; there is no other description of the network. What a checkpoint must hold
//! follows from its layers.
//!
//! A step has torchvision's module name: `backbone.body.layer2.0.conv1`, `rpn.head.conv.0.0@P3`,
//! `roi_heads.box_head.fc6`. The suffix `@P3` distinguishes steps that share one [`Layer`] on several levels. The step of
//! a convolution is fused: it includes batch norm, the residual (or the upsampled coarser level) and the activation
//! function.

pub mod builder;
mod shapes;
pub mod step;

use super::network::Architecture;
use super::settings::Settings;
use builder::Builder;

pub use step::{Layer, LayerId, LayerKind, Level, Op, Part, Step, StepId};

/// The network with its hyper-parameters.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Parts, widths and class count.
    pub architecture: Architecture,
    /// Transform, anchors, proposal and detection settings.
    pub settings: Settings,
    /// Weight sets in the order in which they are first used.
    pub layers: Vec<Layer>,
    /// Steps in execution order.
    pub steps: Vec<Step>,
    /// The maps that the region proposal network reads, in its order: finest first.
    pub levels: Vec<Level>,
    /// Steps at the boundaries of stages.
    pub key_steps: KeySteps,
}

/// Steps at the boundaries of stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySteps {
    /// The canvas.
    pub image: StepId,
    /// Maps that leave the body, finest first: C2 … C5 of a ResNet-FPN.
    pub body: Vec<StepId>,
    /// Objectness of each level.
    pub objectness: Vec<StepId>,
    /// Box deltas of each level.
    pub deltas: Vec<StepId>,
    /// The proposals.
    pub proposals: StepId,
    /// RoIAlign's output.
    pub roi_features: StepId,
    /// Output of the box head.
    pub box_head: StepId,
    /// Class logits.
    pub class_logits: StepId,
    /// Second-stage box deltas.
    pub box_deltas: StepId,
    /// The detections.
    pub detections: StepId,
}

impl Plan {
    /// The network that `architecture` and `settings` describe.
    pub fn new(architecture: Architecture, settings: Settings) -> Self {
        let mut builder = Builder::default();
        let image = builder.step(Part::Body, "transform", Op::Image, vec![]);
        let (body, levels) = architecture.lay_features(&mut builder, image);
        let (objectness, deltas) = architecture.proposal_head.lay(&mut builder, &levels);
        let scores = objectness.iter().chain(&deltas).copied().collect();
        let proposals = builder.step(Part::Rpn, "rpn.filter_proposals", Op::Proposals, scores);
        // The pooled levels in the order of the feature maps, as torchvision filters them.
        let pooled = levels.iter().filter(|(level, _)| settings.roi.levels.contains(&level.feature));
        let roi_inputs = pooled.map(|(level, _)| level.step).chain([proposals]).collect();
        let roi_features = builder.step(Part::Roi, "roi_heads.box_roi_pool", Op::RoiAlign, roi_inputs);
        let (box_head, class_logits, box_deltas) = architecture.lay_box_head(&mut builder, roi_features);
        let detections = builder.step(
            Part::Roi,
            "roi_heads.postprocess_detections",
            Op::Detections,
            vec![class_logits, box_deltas, proposals],
        );
        let key_steps = KeySteps {
            image,
            body,
            objectness,
            deltas,
            proposals,
            roi_features,
            box_head,
            class_logits,
            box_deltas,
            detections,
        };
        let levels = levels.into_iter().map(|(level, _)| level).collect();
        let Builder { layers, steps } = builder;
        Self { architecture, settings, layers, steps, levels, key_steps }
    }

    /// The step called `name`.
    pub fn find(&self, name: &str) -> Option<StepId> {
        self.steps.iter().position(|step| step.name == name)
    }

    /// First steps of the stages whose outputs leave the body, and their names in it, as `layer2`.
    pub fn body_stages(&self) -> impl Iterator<Item = (StepId, &str)> {
        let module = self.architecture.body_module();
        let child =
            move |step: &Step| Some(step.name.strip_prefix(module)?.strip_prefix('.')?.split('.').next()?.len());
        let start = move |&output: &StepId| {
            let name = &self.steps[output].name;
            let stage = &name[..module.len() + 1 + child(&self.steps[output])?];
            let is_in = |step: &Step| step.name.strip_prefix(stage).is_some_and(|rest| rest.starts_with('.'));
            Some((self.steps.iter().position(is_in)?, &stage[module.len() + 1..]))
        };
        self.key_steps.body.iter().filter_map(start)
    }

    /// The level whose map is the output of `step`.
    pub fn level_of(&self, step: StepId) -> Option<&Level> {
        self.levels.iter().find(|level| level.step == step)
    }

    /// Levels that RoIAlign reads, in the order of its inputs.
    pub fn pooled_levels(&self) -> impl Iterator<Item = &Level> {
        let inputs = &self.steps[self.key_steps.roi_features].inputs;
        inputs.iter().filter_map(|&step| self.level_of(step))
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
