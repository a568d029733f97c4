//! Architecture of a Faster R-CNN: depth, widths and classes, derived from tensor shapes.
//!
//! In: the names and shapes of a state dict under torchvision's current names. Out: an [`Architecture`], small enough
//! to store in a header, from which [`Architecture::expected`] derives every tensor of the network. Promise: weights that
//! pass [`Architecture::check`] are exactly that list: no tensor missing, none extra, none of another shape.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

mod depth;

pub use depth::Depth;

/// Tensor shapes by name.
pub type Shapes = BTreeMap<String, Vec<usize>>;

/// Number of pyramid levels of the region proposal network: P2 … P6.
pub const LEVELS: usize = 5;

/// The largest extent of a tensor: limits the allocations that a damaged header can cause.
const MAX_EXTENT: usize = 1 << 20;

/// The channels of one of the body's four stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Channels between the convolutions of a block: of a bottleneck's 3×3, of a basic block's first 3×3.
    pub middle: usize,
    /// Output channels of a block.
    pub output: usize,
}

/// The shape of a Faster R-CNN with a ResNet-FPN body.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Depth of the ResNet.
    pub depth: Depth,
    /// Output channels of the 7×7 stem.
    pub stem: usize,
    /// Channels of layer1 … layer4.
    pub stages: [Stage; 4],
    /// Channels of the feature pyramid, and of the 3×3 convolution of the region proposal network.
    pub fpn: usize,
    /// Anchors at each cell of a level.
    pub anchors_per_cell: usize,
    /// Rows and columns of the pooled features of a proposal.
    pub roi_output: usize,
    /// Outputs of fc6 and of fc7.
    pub head: usize,
    /// Number of classes, including the background (class 0).
    pub classes: usize,
}

impl Architecture {
    /// torchvision's `fasterrcnn_resnet50_fpn` with `classes` classes, including the background.
    pub fn resnet50_fpn(classes: usize) -> Self {
        let stage = |middle| Stage { middle, output: 4 * middle };
        Self {
            depth: Depth::R50,
            stem: 64,
            stages: [stage(64), stage(128), stage(256), stage(512)],
            fpn: 256,
            anchors_per_cell: 3,
            roi_output: 7,
            head: 1024,
            classes,
        }
    }

    /// Input channels of block `block` of stage `stage`, both counted from 0.
    fn block_input(&self, stage: usize, block: usize) -> usize {
        match (stage, block) {
            (0, 0) => self.stem,
            (_, 0) => self.stages[stage - 1].output,
            _ => self.stages[stage].output,
        }
    }

    /// The stride of block `block` of stage `stage`: on the first 3×3 convolution and on the shortcut.
    pub fn block_stride(&self, stage: usize, block: usize) -> usize {
        if stage > 0 && block == 0 { 2 } else { 1 }
    }

    /// True if the shortcut of a block is a 1×1 convolution: where stride or channels change.
    fn has_downsample(&self, stage: usize, block: usize) -> bool {
        self.block_stride(stage, block) != 1 || self.block_input(stage, block) != self.stages[stage].output
    }

    /// Every tensor of the network under torchvision's names, with its shape, in order of use.
    /// Convolutions are `[out, in, kh, kw]`, linear layers `[out, in]`; a frozen batch norm is four vectors.
    pub fn expected(&self) -> Vec<(String, Vec<usize>)> {
        let mut list = Expected(Vec::new());
        list.conv_bn("backbone.body.conv1", "backbone.body.bn1", [self.stem, 3, 7, 7]);
        for (stage, &blocks) in self.depth.blocks().iter().enumerate() {
            for block in 0..blocks {
                self.expect_block(&mut list, stage, block);
            }
        }
        for (level, stage) in self.stages.iter().enumerate() {
            list.weight_bias(&format!("backbone.fpn.inner_blocks.{level}.0"), &[self.fpn, stage.output, 1, 1]);
        }
        for level in 0..self.stages.len() {
            list.weight_bias(&format!("backbone.fpn.layer_blocks.{level}.0"), &[self.fpn, self.fpn, 3, 3]);
        }
        list.weight_bias("rpn.head.conv.0.0", &[self.fpn, self.fpn, 3, 3]);
        list.weight_bias("rpn.head.cls_logits", &[self.anchors_per_cell, self.fpn, 1, 1]);
        list.weight_bias("rpn.head.bbox_pred", &[self.anchors_per_cell * 4, self.fpn, 1, 1]);
        let pooled = self.fpn * self.roi_output * self.roi_output;
        list.weight_bias("roi_heads.box_head.fc6", &[self.head, pooled]);
        list.weight_bias("roi_heads.box_head.fc7", &[self.head, self.head]);
        list.weight_bias("roi_heads.box_predictor.cls_score", &[self.classes, self.head]);
        list.weight_bias("roi_heads.box_predictor.bbox_pred", &[self.classes * 4, self.head]);
        list.0
    }

    /// Adds the tensors of one residual block.
    fn expect_block(&self, list: &mut Expected, stage: usize, block: usize) {
        let name = format!("backbone.body.layer{}.{block}", stage + 1);
        let input = self.block_input(stage, block);
        let Stage { middle, output } = self.stages[stage];
        let shapes = if self.depth.is_bottleneck() {
            vec![[middle, input, 1, 1], [middle, middle, 3, 3], [output, middle, 1, 1]]
        } else {
            vec![[middle, input, 3, 3], [output, middle, 3, 3]]
        };
        for (i, shape) in shapes.into_iter().enumerate() {
            list.conv_bn(&format!("{name}.conv{}", i + 1), &format!("{name}.bn{}", i + 1), shape);
        }
        if self.has_downsample(stage, block) {
            list.conv_bn(&format!("{name}.downsample.0"), &format!("{name}.downsample.1"), [output, input, 1, 1]);
        }
    }

    /// Derives the architecture from the shapes of a state dict and checks every tensor against it.
    ///
    /// # Errors
    /// [`Kind::Data`], naming the first tensor that is missing, has a shape that contradicts the others, or belongs to no
    /// Faster R-CNN of this kind.
    pub fn from_shapes(shapes: &Shapes) -> Result<Self> {
        let depth = depth(shapes)?;
        let extent = |name: &str, axis: usize, rank: usize| -> Result<usize> {
            let shape = shapes.get(name).ok_or_else(|| missing(name, None))?;
            if shape.len() != rank {
                let found = format!("tensor {name} has shape {shape:?}; expected {rank} dimensions");
                return Err(Error::new(Kind::Data, found));
            }
            match shape[axis] {
                n if (1..=MAX_EXTENT).contains(&n) => Ok(n),
                _ => {
                    let found = format!("tensor {name} has shape {shape:?}; extents go from 1 to {MAX_EXTENT}");
                    Err(Error::new(Kind::Data, found))
                }
            }
        };
        let last = if depth.is_bottleneck() { "conv3" } else { "conv2" };
        let mut stages = [Stage { middle: 0, output: 0 }; 4];
        for (i, stage) in stages.iter_mut().enumerate() {
            let block = format!("backbone.body.layer{}.0", i + 1);
            stage.middle = extent(&format!("{block}.conv1.weight"), 0, 4)?;
            stage.output = extent(&format!("{block}.{last}.weight"), 0, 4)?;
        }
        let fpn = extent("backbone.fpn.inner_blocks.0.0.weight", 0, 4)?;
        let pooled = extent("roi_heads.box_head.fc6.weight", 1, 2)?;
        let roi_output = (pooled / fpn).isqrt();
        if roi_output == 0 || fpn.checked_mul(roi_output * roi_output) != Some(pooled) {
            let found = format!(
                "tensor roi_heads.box_head.fc6.weight has {pooled} inputs; expected {fpn} channels of the feature \
                 pyramid times a square, as 7 × 7"
            );
            return Err(Error::new(Kind::Data, found));
        }
        let architecture = Self {
            depth,
            stem: extent("backbone.body.conv1.weight", 0, 4)?,
            stages,
            fpn,
            anchors_per_cell: extent("rpn.head.cls_logits.weight", 0, 4)?,
            roi_output,
            head: extent("roi_heads.box_head.fc6.weight", 0, 2)?,
            classes: extent("roi_heads.box_predictor.cls_score.weight", 0, 2)?,
        };
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
            "tensor {name} {shape:?}{others} has no place in a Faster R-CNN with a ResNet-{} FPN body; expected {} \
             tensors, found {}",
            u8::from(self.depth),
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
        let extents = [self.stem, self.fpn, self.anchors_per_cell, self.roi_output, self.head, self.classes];
        let stages = self.stages.iter().flat_map(|stage| [stage.middle, stage.output]);
        for extent in extents.into_iter().chain(stages) {
            if !(1..=MAX_EXTENT).contains(&extent) {
                let text = format!("the architecture has an extent of {extent}; they go from 1 to {MAX_EXTENT}");
                return Err(Error::new(Kind::Data, text));
            }
        }
        if self.roi_output > 64 || self.classes < 2 {
            let text = format!(
                "the architecture pools proposals to {0} × {0} and has {1} classes; expected at most 64 × 64, and a \
                 class besides the background",
                self.roi_output, self.classes
            );
            return Err(Error::new(Kind::Data, text));
        }
        Ok(())
    }
}

/// The error for a missing tensor.
fn missing(name: &str, shape: Option<&Vec<usize>>) -> Error {
    let shape = shape.map(|shape| format!("; expected one of shape {shape:?}")).unwrap_or_default();
    Error::new(Kind::Data, format!("tensor {name} is missing{shape}"))
}

/// The depth, from the number of blocks of each stage and the presence of a third convolution.
fn depth(shapes: &Shapes) -> Result<Depth> {
    let mut blocks = [0usize; 4];
    for name in shapes.keys() {
        let Some(rest) = name.strip_prefix("backbone.body.layer") else { continue };
        let mut parts = rest.split('.');
        let (Some(Ok(stage @ 1..=4)), Some(Ok(block))) =
            (parts.next().map(str::parse::<usize>), parts.next().map(str::parse::<usize>))
        else {
            continue;
        };
        blocks[stage - 1] = blocks[stage - 1].max(block.saturating_add(1));
    }
    if blocks.contains(&0) {
        let stage = blocks.iter().position(|&n| n == 0).unwrap_or(0) + 1;
        return Err(missing(&format!("backbone.body.layer{stage}.0.conv1.weight"), None));
    }
    let bottleneck = shapes.keys().any(|name| name.starts_with("backbone.body.layer") && name.contains(".conv3."));
    Depth::ALL.into_iter().find(|d| d.blocks() == blocks && d.is_bottleneck() == bottleneck).ok_or_else(|| {
        let kind = if bottleneck { "bottleneck" } else { "basic" };
        let text = format!(
            "backbone.body.layer1 to layer4 have {blocks:?} {kind} blocks; expected ResNet-18 ([2, 2, 2, 2] basic), \
             ResNet-34 ([3, 4, 6, 3] basic), ResNet-50 ([3, 4, 6, 3] bottleneck) or ResNet-101 ([3, 4, 23, 3] \
             bottleneck)"
        );
        Error::new(Kind::Data, text)
    })
}

/// The tensors listed so far by [`Architecture::expected`].
struct Expected(Vec<(String, Vec<usize>)>);

impl Expected {
    fn conv_bn(&mut self, conv: &str, norm: &str, shape: [usize; 4]) {
        self.0.push((format!("{conv}.weight"), shape.to_vec()));
        for part in ["weight", "bias", "running_mean", "running_var"] {
            self.0.push((format!("{norm}.{part}"), vec![shape[0]]));
        }
    }

    fn weight_bias(&mut self, name: &str, shape: &[usize]) {
        self.0.push((format!("{name}.weight"), shape.to_vec()));
        self.0.push((format!("{name}.bias"), vec![shape[0]]));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A ResNet-18 body a few channels wide, for tests that need some network.
    pub(crate) fn narrow() -> Architecture {
        let stage = |output| Stage { middle: output, output };
        Architecture {
            depth: Depth::R18,
            stem: 8,
            stages: [stage(8), stage(12), stage(16), stage(24)],
            fpn: 8,
            anchors_per_cell: 3,
            roi_output: 7,
            head: 16,
            classes: 4,
        }
    }

    fn shapes(architecture: &Architecture) -> Shapes {
        architecture.expected().into_iter().collect()
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
    fn every_depth_is_read_back_from_its_own_shapes() {
        for depth in Depth::ALL {
            let mut architecture = Architecture { depth, ..narrow() };
            if depth.is_bottleneck() {
                architecture.stages =
                    [(4, 16), (6, 24), (8, 32), (10, 40)].map(|(m, o)| Stage { middle: m, output: o });
            }
            assert_eq!(Architecture::from_shapes(&shapes(&architecture)).unwrap(), architecture);
            let json = serde_json::to_string(&architecture).unwrap();
            assert_eq!(serde_json::from_str::<Architecture>(&json).unwrap(), architecture);
        }
    }

    #[test]
    fn a_missing_extra_or_misshapen_tensor_is_named() {
        let whole = shapes(&narrow());
        for name in whole.keys() {
            let mut less = whole.clone();
            less.remove(name);
            let error = Architecture::from_shapes(&less).unwrap_err();
            assert!(error.message().contains(&format!("tensor {name} is missing")), "{}", error.message());
        }
        let mut more = whole.clone();
        more.insert("rpn.head.conv.1.0.weight".into(), vec![8, 8, 3, 3]);
        let error = Architecture::from_shapes(&more).unwrap_err();
        assert!(error.message().starts_with("tensor rpn.head.conv.1.0.weight [8, 8, 3, 3]"), "{}", error.message());
        let mut other = whole;
        other.insert("backbone.body.layer2.1.bn2.bias".into(), vec![13]);
        let error = Architecture::from_shapes(&other).unwrap_err();
        assert_eq!(error.message(), "tensor backbone.body.layer2.1.bn2.bias has shape [13]; expected [12]");
    }

    #[test]
    fn grouped_convolutions_and_other_depths_are_refused() {
        let bottleneck = Architecture::resnet50_fpn(3);
        let mut grouped = shapes(&bottleneck);
        grouped.insert("backbone.body.layer1.0.conv2.weight".into(), vec![64, 2, 3, 3]);
        let error = Architecture::from_shapes(&grouped).unwrap_err();
        assert!(error.message().contains("layer1.0.conv2.weight has shape [64, 2, 3, 3]; expected [64, 64, 3, 3]"));
        let mut deeper = shapes(&bottleneck);
        deeper.insert("backbone.body.layer3.35.conv1.weight".into(), vec![256, 1024, 1, 1]);
        assert!(Architecture::from_shapes(&deeper).unwrap_err().message().contains("[3, 4, 36, 3] bottleneck blocks"));
        let mut zero = shapes(&narrow());
        zero.insert("backbone.body.conv1.weight".into(), vec![0, 3, 7, 7]);
        assert!(Architecture::from_shapes(&zero).is_err());
    }
}
