//! Parts of a Faster R-CNN: body, neck, proposal head, box head.
//!
//! In: the names and shapes of a state dict under torchvision's current names. Out: an [`Architecture`], small enough
//! to store in a header. Each part lays its layers and steps, with torchvision's names, in one place. What a checkpoint
//! must hold follows from the plan's layers. Promise: weights that pass [`Architecture::check`] are exactly that list: no
//! tensor missing, none extra, none of another shape.

mod box_head;
mod mobilenet;
mod proposal_head;
mod pyramid;
mod resnet;
mod shapes;

use serde::{Deserialize, Serialize};

use super::plan::builder::{Builder, Features};
use super::plan::step::{Layer, Level, StepId};
use crate::error::{Error, Kind, Result};
use shapes::{MAX_EXTENT, Recognized, extent, missing};

pub use box_head::BoxHead;
pub use mobilenet::{InvertedResidual, MobileNet, Version};
pub use proposal_head::ProposalHead;
pub use pyramid::{ExtraLevels, Neck, Pyramid};
pub use resnet::{Block, Children, ResNet, Stage};
pub use shapes::Shapes;

/// The shape of a Faster R-CNN.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Convolutions that make features of the picture.
    pub body: Body,
    /// The part between body and heads.
    pub neck: Neck,
    /// Head of the region proposal network.
    pub proposal_head: ProposalHead,
    /// Rows and columns of the pooled features of a proposal.
    pub roi_output: usize,
    /// Layers over the pooled features.
    pub box_head: BoxHead,
    /// Number of classes, including the background (class 0).
    pub classes: usize,
}

/// The body of a detector.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Body {
    /// ResNet, ResNeXt or Wide ResNet.
    ResNet(ResNet),
    /// MobileNetV2 or MobileNetV3.
    MobileNet(MobileNet),
}

/// Facts that the shapes of a state dict do not show.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ArchitectureHints {
    /// Modules of the body whose outputs leave it, as keys of torchvision's `return_layers`.
    pub returned: Option<Vec<String>>,
    /// Rows and columns of the pooled features of a proposal.
    pub roi_output: Option<usize>,
}

impl Architecture {
    /// torchvision's `fasterrcnn_resnet50_fpn` with `classes` classes, including the background.
    pub fn resnet50_fpn(classes: usize) -> Self {
        let stage = |blocks, middle| Stage { blocks, middle, groups: 1, output: 4 * middle };
        let body = ResNet {
            module: "backbone.body".to_owned(),
            children: Children::Named,
            block: Block::Bottleneck,
            stem: 64,
            stages: vec![stage(3, 64), stage(4, 128), stage(6, 256), stage(3, 512)],
            returned: vec![1, 2, 3, 4],
        };
        Self {
            body: Body::ResNet(body),
            neck: Neck::Fpn(Pyramid { channels: 256, batch_norm: false, extra: ExtraLevels::Pool }),
            proposal_head: ProposalHead { convs: 1, anchors_per_cell: 3 },
            roi_output: 7,
            box_head: BoxHead::Mlp { fc6: 1024, fc7: 1024 },
            classes,
        }
    }

    /// Adds body and neck to a plan. Returns the maps that leave the body, and the levels that the heads read.
    pub(super) fn lay_features(&self, builder: &mut Builder, image: StepId) -> (Vec<StepId>, Vec<(Level, Features)>) {
        let image = Features { step: image, channels: 3, stride: 1 };
        let body = match &self.body {
            Body::ResNet(body) => body.lay(builder, image),
            Body::MobileNet(body) => body.lay(builder, image),
        };
        let letter = if matches!(self.neck, Neck::Fpn(_)) { 'P' } else { 'C' };
        let mut levels: Vec<(Level, Features)> = Vec::new();
        for (feature, features) in self.neck.lay(builder, &body) {
            let Features { step, stride, .. } = features;
            let same = levels.iter().filter(|(level, _)| level.stride == stride).count();
            let suffix = if same > 0 { format!(".{same}") } else { String::new() };
            let name = format!("{letter}{}{suffix}", stride.ilog2());
            levels.push((Level { name, feature, step, stride }, features));
        }
        (body.iter().map(|features| features.step).collect(), levels)
    }

    /// Adds the box head over RoIAlign's output to a plan. Returns the steps of the head, the class logits and the deltas.
    pub(super) fn lay_box_head(&self, builder: &mut Builder, features: StepId) -> (StepId, StepId, StepId) {
        self.box_head.lay(builder, features, [self.feature_channels(), self.roi_output, self.classes])
    }

    /// Module that holds the body, as `backbone.body`.
    pub fn body_module(&self) -> &str {
        match &self.body {
            Body::ResNet(body) => &body.module,
            Body::MobileNet(body) => &body.module,
        }
    }

    /// Channels of the maps that the heads read.
    pub fn feature_channels(&self) -> usize {
        let body = match &self.body {
            Body::ResNet(body) => body.stages.last().map(|stage| stage.output),
            Body::MobileNet(body) => body.last.or(body.blocks.last().map(|block| block.output)),
        };
        self.neck.channels(body.unwrap_or_default())
    }

    /// Weight sets in order of use.
    pub fn layers(&self) -> Vec<Layer> {
        let mut builder = Builder::default();
        let (_, levels) = self.lay_features(&mut builder, 0);
        self.proposal_head.lay(&mut builder, &levels);
        self.lay_box_head(&mut builder, 0);
        builder.layers
    }

    /// Names of the maps that the heads read, finest first: torchvision's `0`, `1`, …, `pool`, `p6`, `p7`.
    pub fn features(&self) -> Vec<String> {
        let (_, levels) = self.lay_features(&mut Builder::default(), 0);
        levels.into_iter().map(|(level, _)| level.feature).collect()
    }

    /// Every tensor of the network under torchvision's names, with its shape, in order of use.
    /// Convolutions are `[out, in / groups, kh, kw]`, linear layers `[out, in]`; a batch norm is four vectors.
    pub fn expected(&self) -> Vec<(String, Vec<usize>)> {
        self.layers().iter().flat_map(Layer::tensors).collect()
    }

    /// Number of anchors that the settings must have on every level.
    pub fn anchors_per_cell(&self) -> usize {
        self.proposal_head.anchors_per_cell
    }

    /// The network in a few words, as `ResNet-50 FPN`.
    pub fn describe(&self) -> String {
        let body = match &self.body {
            Body::ResNet(body) => body.describe(),
            Body::MobileNet(body) => body.describe(),
        };
        let neck = if matches!(self.neck, Neck::Fpn(_)) { " FPN" } else { "" };
        format!("{body}{neck}")
    }

    /// Derives the architecture from the shapes of a state dict and checks every tensor against it. `hints` has facts that
    /// the shapes do not show.
    ///
    /// # Errors
    /// [`Kind::Data`], naming the first tensor that is missing, has a shape that contradicts the others, or belongs to no
    /// Faster R-CNN of torchvision; or the hint that does not fit.
    pub fn recognize(shapes: &Shapes, hints: &ArchitectureHints) -> Result<Self> {
        let pyramid = Pyramid::recognize(shapes)?;
        let read = pyramid.as_ref().map(|(_, read)| read.clone());
        let recognized = Recognized { read, given: hints.returned.as_deref() };
        let body = recognize_body(shapes, pyramid.is_some(), &recognized)?;
        let neck = match (pyramid, &body) {
            (Some((pyramid, _)), _) => Neck::Fpn(pyramid),
            (None, Body::MobileNet(MobileNet { module, .. })) if module == BODY_AND_CONV => {
                let module = "backbone.1".to_owned();
                let channels = extent(shapes, &format!("{module}.weight"), 0, 4)?;
                Neck::Conv { module, channels }
            }
            _ => Neck::None,
        };
        let proposal_head = ProposalHead::recognize(shapes)?;
        let (box_head, window) = BoxHead::recognize(shapes)?;
        let classes = extent(shapes, "roi_heads.box_predictor.cls_score.weight", 0, 2)?;
        let mut architecture = Self { body, neck, proposal_head, roi_output: 1, box_head, classes };
        let channels = window.channels.unwrap_or_else(|| architecture.feature_channels());
        let roi_output = hints.roi_output.unwrap_or((window.values / channels.max(1)).isqrt());
        if roi_output == 0 || channels.checked_mul(roi_output * roi_output) != Some(window.values) {
            let (tensor, values) = (window.tensor, window.values);
            let found = format!(
                "tensor {tensor} has {values} inputs; expected {channels} channels of the features times a square, as \
                 7 × 7"
            );
            return Err(Error::new(Kind::Data, found));
        }
        architecture.roi_output = roi_output;
        architecture.check(shapes)?;
        Ok(architecture)
    }

    /// Checks that `shapes` are exactly the tensors of this architecture.
    ///
    /// # Errors
    /// [`Kind::Data`]: the first tensor that is missing or has another shape, in order of use; then the first extra one.
    pub fn check(&self, shapes: &Shapes) -> Result<()> {
        self.check_extents()?;
        let expected = self.expected();
        for (name, shape) in &expected {
            let found = shapes.get(name).ok_or_else(|| missing(name, Some(shape)))?;
            if found != shape {
                let text = format!("tensor {name} has shape {found:?}; expected {shape:?}");
                return Err(Error::new(Kind::Data, text));
            }
        }
        if shapes.len() == expected.len() {
            return Ok(());
        }
        let known: std::collections::BTreeSet<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
        let extra: Vec<_> = shapes.iter().filter(|(name, _)| !known.contains(name.as_str())).collect();
        let Some((name, shape)) = extra.first() else { return Ok(()) };
        let others = if extra.len() > 1 { format!(" (and {} more)", extra.len() - 1) } else { String::new() };
        let text = format!(
            "tensor {name} {shape:?}{others} has no place in a Faster R-CNN with a {} body; expected {} tensors, found {}",
            self.describe(),
            expected.len(),
            shapes.len(),
        );
        Err(Error::new(Kind::Data, text))
    }

    /// Checks that every extent is within its limits; a stored header is trusted no more than a state dict.
    ///
    /// # Errors
    /// [`Kind::Data`], naming the extent.
    pub(crate) fn check_extents(&self) -> Result<()> {
        let refuse = |text: String| Err(Error::new(Kind::Data, text));
        let (body, module): (Vec<usize>, _) = match &self.body {
            Body::ResNet(body) => (body.extents().collect(), &body.module),
            Body::MobileNet(body) => (body.extents().collect(), &body.module),
        };
        let mut extents = vec![self.proposal_head.anchors_per_cell, self.roi_output, self.classes];
        extents.extend(body.into_iter().chain(self.box_head.extents()).chain([self.feature_channels()]));
        if let Some(extent) = extents.into_iter().find(|extent| !(1..=MAX_EXTENT).contains(extent)) {
            return refuse(format!("the architecture has an extent of {extent}; they go from 1 to {MAX_EXTENT}"));
        }
        match &self.body {
            Body::ResNet(body) => body.check()?,
            Body::MobileNet(body) => body.check()?,
        }
        let neck = match &self.neck {
            Neck::Conv { module, .. } => module.as_str(),
            Neck::None | Neck::Fpn(_) => "backbone",
        };
        for module in [module, neck] {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '_';
            if !module.starts_with("backbone") || module.len() > 100 || !module.chars().all(is_plain) {
                return refuse(format!("the architecture has a module {module:?}; expected a name below backbone"));
            }
        }
        if self.proposal_head.convs > MAX_PROPOSAL_CONVS || !self.box_head.has_few_layers() {
            return refuse("the architecture's heads have more layers than any of torchvision's".to_owned());
        }
        if self.roi_output > 64 || self.classes < 2 {
            return refuse(format!(
                "the architecture pools proposals to {0} × {0} and has {1} classes; expected at most 64 × 64, and a \
                 class besides the background",
                self.roi_output, self.classes
            ));
        }
        let weights = |layer: &Layer| layer.weight_shape().iter().map(|&extent| extent as u64).product::<u64>();
        if self.layers().iter().any(|layer| weights(layer) > MAX_WEIGHTS) {
            return refuse(format!("a layer of the architecture has more than {MAX_WEIGHTS} weights"));
        }
        Ok(())
    }
}

/// Module of a MobileNet's features with a 1×1 convolution after them, as `mobilenet_backbone(…, fpn=False)` names it.
const BODY_AND_CONV: &str = "backbone.0";

/// Most convolutions of a proposal head in a header.
const MAX_PROPOSAL_CONVS: usize = 32;

/// Most weights of a layer: limits the allocations that a damaged header can cause.
const MAX_WEIGHTS: u64 = 1 << 32;

/// Finds the body, wherever torchvision's ways of building a backbone put it.
fn recognize_body(shapes: &Shapes, has_pyramid: bool, recognized: &Recognized<'_>) -> Result<Body> {
    let modules: &[&str] = if has_pyramid { &["backbone.body"] } else { &["backbone", BODY_AND_CONV, "backbone.body"] };
    for module in modules {
        if let Some(body) = MobileNet::recognize(shapes, module, recognized)? {
            return Ok(Body::MobileNet(body));
        }
    }
    for module in modules {
        if let Some(body) = ResNet::recognize(shapes, module, recognized)? {
            return Ok(Body::ResNet(body));
        }
    }
    Err(missing(&format!("{}.conv1.weight", modules[0]), None))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn from_shapes(shapes: &Shapes) -> Result<Architecture> {
        Architecture::recognize(shapes, &ArchitectureHints::default())
    }

    /// A ResNet-18 body a few channels wide, for tests that need some network.
    pub(crate) fn narrow() -> Architecture {
        let stage = |output| Stage { blocks: 2, middle: output, groups: 1, output };
        let body = ResNet {
            module: "backbone.body".to_owned(),
            children: Children::Named,
            block: Block::Basic,
            stem: 8,
            stages: vec![stage(8), stage(12), stage(16), stage(24)],
            returned: vec![1, 2, 3, 4],
        };
        Architecture {
            body: Body::ResNet(body),
            neck: Neck::Fpn(Pyramid { channels: 8, batch_norm: false, extra: ExtraLevels::Pool }),
            box_head: BoxHead::Mlp { fc6: 16, fc7: 16 },
            classes: 4,
            ..Architecture::resnet50_fpn(4)
        }
    }

    fn shapes(architecture: &Architecture) -> Shapes {
        architecture.expected().into_iter().collect()
    }

    fn with_body(body: Body, neck: Neck) -> Architecture {
        Architecture { body, neck, ..narrow() }
    }

    fn pyramid(extra: ExtraLevels) -> Neck {
        Neck::Fpn(Pyramid { channels: 8, batch_norm: false, extra })
    }

    fn resnet(block: Block, blocks: [usize; 4], groups: usize) -> ResNet {
        let scale = if block == Block::Bottleneck { 4 } else { 1 };
        let stage = |(blocks, width): (usize, usize)| Stage { blocks, middle: width, groups, output: scale * width };
        let stages = blocks.into_iter().zip([8, 12, 16, 24]).map(stage).collect();
        let Body::ResNet(body) = narrow().body else { unreachable!() };
        ResNet { block, stages, ..body }
    }

    /// A MobileNet with torchvision's filters and a few channels.
    fn mobilenet(version: Version, module: &str, returned: Vec<usize>, last: Option<usize>) -> MobileNet {
        let rows = match version {
            Version::V2 => mobilenet::V2_STRIDES.iter().map(|&stride| (3, stride, false, false)).collect(),
            Version::V3 => mobilenet::V3_LARGE.to_vec(),
        };
        let mut input = 8;
        let block = |(index, (kernel, stride, has_squeeze, is_hardswish)): (usize, (usize, usize, bool, bool))| {
            let expanded = if index == 0 { input } else { 2 * input };
            input = 8 + 2 * index;
            let activation = match (version, is_hardswish) {
                (Version::V2, _) => crate::kernel::activation::Activation::Relu6,
                (_, true) => crate::kernel::activation::Activation::Hardswish,
                (_, false) => crate::kernel::activation::Activation::Relu,
            };
            let squeeze = has_squeeze.then_some(4);
            InvertedResidual { expanded, kernel, stride, squeeze, activation, output: input }
        };
        let end = returned.last().copied().unwrap_or_default();
        let blocks = rows.into_iter().enumerate().map(block).take(end).collect();
        MobileNet { module: module.to_owned(), version, stem: 8, blocks, last, returned }
    }

    #[test]
    fn resnet50_has_torchvisions_295_tensors_and_parameters() {
        let expected = Architecture::resnet50_fpn(91).expected();
        assert_eq!(expected.len(), 295);
        let parameters: usize = expected
            .iter()
            .filter(|(name, _)| !name.contains(".bn") && !name.contains("downsample.1"))
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum();
        // As torchvision counts COCO_V1: its frozen norms are buffers and no parameters.
        assert_eq!(parameters, 41_755_286);
    }

    #[test]
    fn every_kind_is_read_back_from_its_own_shapes() {
        use Block::{Basic, Bottleneck};
        let narrow_resnet = |block, blocks, groups| Body::ResNet(resnet(block, blocks, groups));
        let returning = |body: ResNet, returned: Vec<usize>| {
            let stages = body.stages[..returned.last().copied().unwrap_or(4)].to_vec();
            Body::ResNet(ResNet { returned, stages, ..body })
        };
        let whole = |module: &str, children| {
            let body = resnet(Basic, [2, 2, 2, 2], 1);
            Body::ResNet(ResNet { module: module.to_owned(), children, returned: vec![4], ..body })
        };
        let conv = Neck::Conv { module: "backbone.1".to_owned(), channels: 8 };
        let v2 = |module: &str| Body::MobileNet(mobilenet(Version::V2, module, vec![18], Some(40)));
        let v3 = |returned, last| Body::MobileNet(mobilenet(Version::V3, "backbone.body", returned, last));
        for (body, neck) in [
            (narrow_resnet(Basic, [2, 2, 2, 2], 1), pyramid(ExtraLevels::Pool)),
            (narrow_resnet(Basic, [3, 4, 6, 3], 1), pyramid(ExtraLevels::P6P7)),
            (narrow_resnet(Bottleneck, [3, 4, 6, 3], 1), pyramid(ExtraLevels::P6P7OfBody)),
            (narrow_resnet(Bottleneck, [3, 4, 23, 3], 4), pyramid(ExtraLevels::Pool)),
            (narrow_resnet(Bottleneck, [1, 1, 2, 1], 2), pyramid(ExtraLevels::Pool)),
            (returning(resnet(Basic, [2, 2, 2, 2], 1), vec![2, 3, 4]), pyramid(ExtraLevels::Pool)),
            (returning(resnet(Basic, [2, 2, 2, 2], 1), vec![1, 3]), pyramid(ExtraLevels::Pool)),
            (returning(resnet(Basic, [2, 2, 2, 2], 1), vec![3]), pyramid(ExtraLevels::Pool)),
            (whole("backbone", Children::Named), Neck::None),
            (whole("backbone", Children::Indexed), Neck::None),
            (v2("backbone"), Neck::None),
            (v2("backbone.0"), conv),
            (v2("backbone.body"), pyramid(ExtraLevels::Pool)),
            (v3(vec![13, 16], Some(40)), pyramid(ExtraLevels::Pool)),
            (v3(vec![4, 7, 13], None), pyramid(ExtraLevels::Pool)),
        ] {
            let architecture = with_body(body, neck);
            assert_eq!(from_shapes(&shapes(&architecture)).unwrap(), architecture);
            let json = serde_json::to_string(&architecture).unwrap();
            assert_eq!(serde_json::from_str::<Architecture>(&json).unwrap(), architecture);
        }
    }

    #[test]
    fn the_second_generation_is_read_back() {
        let box_head = BoxHead::Conv { convs: vec![8, 12, 8], batch_norm: true, linears: vec![16] };
        let neck = Neck::Fpn(Pyramid { channels: 8, batch_norm: true, extra: ExtraLevels::Pool });
        let proposal_head = ProposalHead { convs: 2, anchors_per_cell: 3 };
        let architecture = Architecture { neck, box_head, proposal_head, ..narrow() };
        assert_eq!(from_shapes(&shapes(&architecture)).unwrap(), architecture);
        let names: Vec<String> = architecture.expected().into_iter().map(|(name, _)| name).collect();
        for name in
            ["backbone.fpn.inner_blocks.3.1.running_var", "roi_heads.box_head.2.0.weight", "roi_heads.box_head.4.bias"]
        {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
    }

    #[test]
    fn a_missing_extra_or_misshapen_tensor_is_named() {
        let v3 = mobilenet(Version::V3, "backbone.body", vec![13, 16], Some(40));
        for architecture in [narrow(), with_body(Body::MobileNet(v3), pyramid(ExtraLevels::Pool))] {
            let whole = shapes(&architecture);
            for name in whole.keys() {
                let mut less = whole.clone();
                less.remove(name);
                let error = from_shapes(&less).unwrap_err();
                assert!(error.message().contains(&format!("tensor {name} is missing")), "{}", error.message());
            }
        }
        let whole = shapes(&narrow());
        let mut more = whole.clone();
        more.insert("rpn.head.surprise.weight".into(), vec![8, 8, 3, 3]);
        let error = from_shapes(&more).unwrap_err();
        assert!(error.message().starts_with("tensor rpn.head.surprise.weight [8, 8, 3, 3]"), "{}", error.message());
        let mut other = whole;
        other.insert("backbone.body.layer2.1.bn2.bias".into(), vec![13]);
        let error = from_shapes(&other).unwrap_err();
        assert_eq!(error.message(), "tensor backbone.body.layer2.1.bn2.bias has shape [13]; expected [12]");
    }

    #[test]
    fn what_no_network_has_is_refused() {
        let refusal = |name: &str, shape: Vec<usize>| {
            let mut shapes = shapes(&Architecture::resnet50_fpn(3));
            shapes.insert(name.into(), shape);
            from_shapes(&shapes).unwrap_err().message().to_owned()
        };
        let found = refusal("backbone.body.layer1.0.conv2.weight", vec![64, 3, 3, 3]);
        assert!(found.contains("reads 3 channels at once; expected a divisor of the 64"), "{found}");
        let found = refusal("backbone.body.conv1.weight", vec![0, 3, 7, 7]);
        assert!(found.contains("extents go from 1"), "{found}");
        let found = refusal("backbone.body.layer3.900.conv1.weight", vec![256, 1024, 1, 1]);
        assert!(found.contains("a stage of 901 blocks"), "{found}");
        let found = refusal("backbone.fpn.inner_blocks.3.0.weight", vec![256, 2000, 1, 1]);
        assert!(found.contains("read maps of [256, 512, 1024, 2000] channels") && found.contains("[body]"), "{found}");
    }

    #[test]
    fn returned_modules_can_be_given() {
        // layer1 and layer2 give as many channels, so the weights do not show which of them the pyramid reads.
        let Body::ResNet(mut body) = narrow().body else { unreachable!() };
        body.stages[1] = body.stages[0];
        body.returned = vec![1, 3, 4];
        let architecture = with_body(Body::ResNet(body), pyramid(ExtraLevels::Pool));
        let shapes = shapes(&architecture);
        let returned = |names: [&str; 3]| {
            let hints = ArchitectureHints { returned: Some(names.map(String::from).into()), roi_output: None };
            Architecture::recognize(&shapes, &hints)
        };
        assert_eq!(returned(["layer1", "layer3", "layer4"]).unwrap(), architecture);
        assert_ne!(from_shapes(&shapes).unwrap(), architecture);
        assert!(returned(["layer1", "layer3", "layer5"]).unwrap_err().message().contains("\"layer5\""));
    }
}
