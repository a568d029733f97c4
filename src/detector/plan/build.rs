//! Builder of the plan: body, pyramid, proposal network, box head.

use super::{KeySteps, LEVELS, Layer, LayerId, Op, Plan, Step, StepId, WeightLayout};
use crate::detector::architecture::{Architecture, Stage};
use crate::detector::settings::Settings;
use crate::kernel::geometry::ConvGeometry;

impl Plan {
    /// The network that `architecture` and `settings` describe.
    pub fn new(architecture: Architecture, settings: Settings) -> Self {
        let mut builder = Builder { architecture: &architecture, layers: Vec::new(), steps: Vec::new() };
        let image = builder.step("transform", Op::Image, vec![]);
        let stages = builder.body(image);
        let pyramid = builder.pyramid(stages);
        let (objectness, deltas) = builder.proposal_head(pyramid);
        let proposals =
            builder.step("rpn.filter_proposals", Op::Proposals, objectness.iter().chain(&deltas).copied().collect());
        let roi_inputs = pyramid[..4].iter().copied().chain([proposals]).collect();
        let roi_features = builder.step("roi_heads.box_roi_pool", Op::RoiAlign, roi_inputs);
        let (box_head, class_logits, box_deltas) = builder.box_head(roi_features);
        let detections =
            builder.step("roi_heads.postprocess_detections", Op::Detections, vec![class_logits, box_deltas, proposals]);
        let key_steps = KeySteps {
            image,
            stages,
            pyramid,
            objectness,
            deltas,
            proposals,
            roi_features,
            box_head,
            class_logits,
            box_deltas,
            detections,
        };
        let (layers, steps) = (builder.layers, builder.steps);
        Self { architecture, settings, layers, steps, key_steps }
    }
}

/// The layers and steps added so far.
struct Builder<'a> {
    architecture: &'a Architecture,
    layers: Vec<Layer>,
    steps: Vec<Step>,
}

/// A convolution to add: channels in and out, size of the square filter, stride.
struct Filter {
    channels: [usize; 2],
    size: usize,
    stride: usize,
}

impl Filter {
    const fn new(channels_in: usize, channels_out: usize, size: usize, stride: usize) -> Self {
        Self { channels: [channels_in, channels_out], size, stride }
    }

    const fn geometry(&self) -> ConvGeometry {
        ConvGeometry {
            in_channels: self.channels[0],
            out_channels: self.channels[1],
            kernel_height: self.size,
            kernel_width: self.size,
            stride: self.stride,
            padding: self.size / 2,
            groups: 1,
        }
    }
}

impl Builder<'_> {
    fn step(&mut self, name: impl Into<String>, op: Op, inputs: Vec<StepId>) -> StepId {
        self.steps.push(Step { name: name.into(), op, inputs });
        self.steps.len() - 1
    }

    fn layer(
        &mut self,
        name: &str,
        geometry: ConvGeometry,
        weight_layout: WeightLayout,
        batch_norm: Option<String>,
    ) -> LayerId {
        self.layers.push(Layer { name: name.to_owned(), geometry, weight_layout, batch_norm });
        self.layers.len() - 1
    }

    /// Adds a convolution of the body with the batch norm `norm`.
    fn normed(&mut self, name: &str, norm: &str, filter: Filter, relu: bool, inputs: Vec<StepId>) -> StepId {
        let layer = self.layer(name, filter.geometry(), WeightLayout::Convolution, Some(norm.to_owned()));
        let skip = inputs.len() == 2;
        self.step(name, Op::Layer { layer, relu, skip }, inputs)
    }

    /// Adds the ResNet: stem, then four stages. Returns the outputs of the stages.
    fn body(&mut self, image: StepId) -> [StepId; 4] {
        let body = "backbone.body";
        let stem = self.architecture.stem;
        let conv1 = self.normed(
            &format!("{body}.conv1"),
            &format!("{body}.bn1"),
            Filter::new(3, stem, 7, 2),
            true,
            vec![image],
        );
        let mut x = self.step(format!("{body}.maxpool"), Op::MaxPool, vec![conv1]);
        let mut channels = stem;
        let blocks = self.architecture.depth.blocks();
        let stages = self.architecture.stages;
        std::array::from_fn(|stage| {
            for block in 0..blocks[stage] {
                let stride = self.architecture.block_stride(stage, block);
                let name = format!("{body}.layer{}.{block}", stage + 1);
                x = self.block(&name, x, channels, stages[stage], stride);
                channels = stages[stage].output;
            }
            x
        })
    }

    /// Adds one residual block. The projection of the shortcut precedes the last convolution, which adds it.
    fn block(&mut self, name: &str, x: StepId, channels: usize, stage: Stage, stride: usize) -> StepId {
        let conv = |n: usize| (format!("{name}.conv{n}"), format!("{name}.bn{n}"));
        let Stage { middle: mid, output: out } = stage;
        let (conv1, bn1) = conv(1);
        let (conv2, bn2) = conv(2);
        let has_projection = stride != 1 || channels != out;
        let project = |builder: &mut Self| {
            if !has_projection {
                return x;
            }
            let filter = Filter::new(channels, out, 1, stride);
            builder.normed(&format!("{name}.downsample.0"), &format!("{name}.downsample.1"), filter, false, vec![x])
        };
        if self.architecture.depth.is_bottleneck() {
            let (conv3, bn3) = conv(3);
            let first = self.normed(&conv1, &bn1, Filter::new(channels, mid, 1, 1), true, vec![x]);
            let second = self.normed(&conv2, &bn2, Filter::new(mid, mid, 3, stride), true, vec![first]);
            let skip = project(self);
            self.normed(&conv3, &bn3, Filter::new(mid, out, 1, 1), true, vec![second, skip])
        } else {
            let first = self.normed(&conv1, &bn1, Filter::new(channels, mid, 3, stride), true, vec![x]);
            let skip = project(self);
            self.normed(&conv2, &bn2, Filter::new(mid, out, 3, 1), true, vec![first, skip])
        }
    }

    /// Adds the feature pyramid, coarsest level first: lateral 1×1 plus the upsampled coarser level, then 3×3. P6 is P5
    /// subsampled.
    fn pyramid(&mut self, stages: [StepId; 4]) -> [StepId; 5] {
        let width = self.architecture.fpn;
        let mut pyramid = [0; 5];
        let mut coarser = None;
        for level in (0..4).rev() {
            let channels = self.architecture.stages[level].output;
            let name = format!("backbone.fpn.inner_blocks.{level}.0");
            let inner = Filter::new(channels, width, 1, 1);
            let layer = self.layer(&name, inner.geometry(), WeightLayout::Convolution, None);
            let inputs: Vec<StepId> = [stages[level]].into_iter().chain(coarser).collect();
            let lateral = self.step(&name, Op::Layer { layer, relu: false, skip: coarser.is_some() }, inputs);
            coarser = Some(lateral);

            let name = format!("backbone.fpn.layer_blocks.{level}.0");
            let layer = self.layer(&name, Filter::new(width, width, 3, 1).geometry(), WeightLayout::Convolution, None);
            pyramid[level] = self.step(&name, Op::Layer { layer, relu: false, skip: false }, vec![lateral]);
        }
        pyramid[4] = self.step("backbone.fpn.extra_blocks", Op::Subsample, vec![pyramid[3]]);
        pyramid
    }

    /// Adds the head of the proposal network on five levels, which share its layers. Returns objectness and deltas.
    fn proposal_head(&mut self, pyramid: [StepId; 5]) -> ([StepId; 5], [StepId; 5]) {
        let (width, anchors) = (self.architecture.fpn, self.architecture.anchors_per_cell);
        let named = |builder: &mut Self, name: &'static str, filter: Filter| {
            (name, builder.layer(name, filter.geometry(), WeightLayout::Convolution, None))
        };
        let conv = named(self, "rpn.head.conv.0.0", Filter::new(width, width, 3, 1));
        let logits = named(self, "rpn.head.cls_logits", Filter::new(width, anchors, 1, 1));
        let deltas = named(self, "rpn.head.bbox_pred", Filter::new(width, anchors * 4, 1, 1));
        let (mut objectness, mut offsets) = ([0; 5], [0; 5]);
        for (level, &features) in pyramid.iter().enumerate() {
            let mut on_level = |(name, layer): (&str, LayerId), relu: bool, input: StepId| {
                let op = Op::Layer { layer, relu, skip: false };
                self.step(format!("{name}@{}", LEVELS[level]), op, vec![input])
            };
            let hidden = on_level(conv, true, features);
            objectness[level] = on_level(logits, false, hidden);
            offsets[level] = on_level(deltas, false, hidden);
        }
        (objectness, offsets)
    }

    /// Adds two fully connected layers and the two predictors. Returns the steps of `fc7`, `cls_score` and `bbox_pred`.
    fn box_head(&mut self, features: StepId) -> (StepId, StepId, StepId) {
        let Architecture { fpn, head, classes, .. } = *self.architecture;
        let window = self.architecture.roi_output;
        let mut linear = |name: &str, channels: [usize; 2], layout: WeightLayout, relu: bool, input: StepId| {
            let layer = self.layer(name, ConvGeometry::linear(channels[0], channels[1]), layout, None);
            self.step(name, Op::Layer { layer, relu, skip: false }, vec![input])
        };
        let flat = fpn * window * window;
        let over_window = WeightLayout::LinearOverWindow(window, window);
        let fc6 = linear("roi_heads.box_head.fc6", [flat, head], over_window, true, features);
        let fc7 = linear("roi_heads.box_head.fc7", [head, head], WeightLayout::Linear, true, fc6);
        let predictor = "roi_heads.box_predictor";
        let logits = linear(&format!("{predictor}.cls_score"), [head, classes], WeightLayout::Linear, false, fc7);
        let deltas = linear(&format!("{predictor}.bbox_pred"), [head, classes * 4], WeightLayout::Linear, false, fc7);
        (fc7, logits, deltas)
    }
}
