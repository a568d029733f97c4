//! ResNet, ResNeXt and Wide ResNet bodies (`torchvision/models/resnet.py`).

use serde::{Deserialize, Serialize};

use super::shapes::{Output, Recognized, Shapes, child_count, children, extent};
use crate::detector::plan::builder::{Builder, Conv, Features};
use crate::detector::plan::step::{Op, Part};
use crate::error::{Error, Kind, Result};
use crate::kernel::activation::Activation;

/// A ResNet without its classifier: stem, then up to four stages of residual blocks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResNet {
    /// Module that holds the layers, as `backbone.body`.
    pub module: String,
    /// Names of the layers in that module.
    pub children: Children,
    /// Kind of the residual blocks.
    pub block: Block,
    /// Output channels of the 7×7 stem.
    pub stem: usize,
    /// layer1 and those after it.
    pub stages: Vec<Stage>,
    /// Numbers of the stages whose outputs leave the body, ascending; 1 is layer1.
    pub returned: Vec<usize>,
}

/// Names of the layers of a ResNet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Children {
    /// `conv1`, `bn1`, `layer1`, …
    Named,
    /// `0`, `1`, `4`, …: places in an `nn.Sequential` of a ResNet's children.
    Indexed,
}

/// Kind of a residual block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Block {
    /// 3×3, 3×3.
    Basic,
    /// 1×1, 3×3, 1×1.
    Bottleneck,
}

/// A stage of residual blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Number of blocks.
    pub blocks: usize,
    /// Channels between the convolutions of a block: of a bottleneck's 3×3, of a basic block's first 3×3.
    pub middle: usize,
    /// Groups of a bottleneck's 3×3.
    pub groups: usize,
    /// Output channels of a block.
    pub output: usize,
}

/// Most stages of a ResNet.
const MAX_STAGES: usize = 4;

/// Most blocks of a stage in a header.
const MAX_BLOCKS: usize = 200;

impl ResNet {
    /// The name of stage `stage`, counted from 1.
    pub fn stage_name(&self, stage: usize) -> String {
        stage_name(&self.module, self.children, stage)
    }

    /// Adds the body. Returns the outputs of the returned stages.
    pub fn lay(&self, builder: &mut Builder, image: Features) -> Vec<Features> {
        let [conv1, bn1, maxpool] = match self.children {
            Children::Named => ["conv1", "bn1", "maxpool"],
            Children::Indexed => ["0", "1", "3"],
        }
        .map(|name| format!("{}.{name}", self.module));
        let stem = Conv::new(conv1, self.stem, 7).norm(bn1).stride(2).then(Activation::Relu);
        let stem = builder.conv(Part::Body, stem, image, None);
        let step = builder.step(Part::Body, maxpool, Op::MaxPool, vec![stem.step]);
        let mut x = Features { step, stride: stem.stride * 2, ..stem };
        let mut outputs = Vec::new();
        for (number, stage) in self.stages.iter().enumerate().map(|(index, stage)| (index + 1, stage)) {
            for block in 0..stage.blocks {
                let stride = if number > 1 && block == 0 { 2 } else { 1 };
                x = self.block(builder, &format!("{}.{block}", self.stage_name(number)), x, stage, stride);
            }
            if self.returned.contains(&number) {
                outputs.push(x);
            }
        }
        outputs
    }

    /// Adds one residual block. The projection of the shortcut precedes the last convolution, which adds it.
    fn block(&self, builder: &mut Builder, name: &str, x: Features, stage: &Stage, stride: usize) -> Features {
        let conv = |n: usize, channels: usize, size: usize| {
            Conv::new(format!("{name}.conv{n}"), channels, size).norm(format!("{name}.bn{n}")).then(Activation::Relu)
        };
        let Stage { middle, groups, output, .. } = *stage;
        let (inner, last) = match self.block {
            Block::Basic => (builder.conv(Part::Body, conv(1, middle, 3).stride(stride), x, None), conv(2, output, 3)),
            Block::Bottleneck => {
                let reduced = builder.conv(Part::Body, conv(1, middle, 1), x, None);
                let second = conv(2, middle, 3).stride(stride).groups(groups);
                (builder.conv(Part::Body, second, reduced, None), conv(3, output, 1))
            }
        };
        let skip = if stride == 1 && x.channels == output {
            x.step
        } else {
            let projection = Conv::new(format!("{name}.downsample.0"), output, 1).stride(stride);
            builder.conv(Part::Body, projection.norm(format!("{name}.downsample.1")), x, None).step
        };
        builder.conv(Part::Body, last, inner, Some(skip))
    }

    /// The usual name, as `ResNet-50`, with the widths that it does not say.
    pub fn describe(&self) -> String {
        let blocks: Vec<usize> = self.stages.iter().map(|stage| stage.blocks).collect();
        let depths: &[(&[usize], usize)] = match self.block {
            Block::Basic => &[(&[2, 2, 2, 2], 18), (&[3, 4, 6, 3], 34)],
            Block::Bottleneck => &[(&[3, 4, 6, 3], 50), (&[3, 4, 23, 3], 101), (&[3, 8, 36, 3], 152)],
        };
        // A body ends where the last returned stage ends.
        let depth = depths.iter().find(|(known, _)| known.starts_with(&blocks));
        let family = if self.stages.iter().any(|stage| stage.groups > 1) {
            "ResNeXt"
        } else if self.block == Block::Bottleneck && self.stages.iter().any(|stage| stage.output == 2 * stage.middle) {
            "Wide ResNet"
        } else {
            "ResNet"
        };
        match depth {
            Some((_, depth)) => format!("{family}-{depth}"),
            None => format!("{family} with {blocks:?} blocks"),
        }
    }

    /// Finds the body below `module`; `None` if there is no ResNet.
    ///
    /// # Errors
    /// [`Kind::Data`], naming the tensor that is missing or has a shape that no ResNet has.
    pub(super) fn recognize(shapes: &Shapes, module: &str, recognized: &Recognized<'_>) -> Result<Option<Self>> {
        let is_named = shapes.contains_key(&format!("{module}.conv1.weight"))
            || children(shapes, module).any(|child| child == "layer1");
        let is_indexed =
            shapes.contains_key(&format!("{module}.0.weight")) && !shapes.contains_key(&format!("{module}.0.bias"));
        let children = match (is_named, is_indexed) {
            (true, _) => Children::Named,
            (false, true) => Children::Indexed,
            (false, false) => return Ok(None),
        };
        let stem = match children {
            Children::Named => "conv1",
            Children::Indexed => "0",
        };
        let stem = extent(shapes, &format!("{module}.{stem}.weight"), 0, 4)?;
        let last_stage = (1..=MAX_STAGES).rev().find(|&n| child_count(shapes, &stage_name(module, children, n)) > 0);
        let blocks_of = |n: usize| child_count(shapes, &stage_name(module, children, n));
        let first = format!("{}.0", stage_name(module, children, 1));
        let has_conv3 = super::shapes::children(shapes, &first).any(|child| matches!(child, "conv3" | "bn3"));
        let block = if has_conv3 { Block::Bottleneck } else { Block::Basic };
        let last = if block == Block::Bottleneck { "conv3" } else { "conv2" };
        let mut stages = Vec::new();
        for number in 1..=last_stage.unwrap_or(1) {
            let name = format!("{}.0", stage_name(module, children, number));
            let middle = extent(shapes, &format!("{name}.conv1.weight"), 0, 4)?;
            let output = extent(shapes, &format!("{name}.{last}.weight"), 0, 4)?;
            let groups = match block {
                Block::Basic => 1,
                Block::Bottleneck => {
                    let inputs = extent(shapes, &format!("{name}.conv2.weight"), 1, 4)?;
                    if !middle.is_multiple_of(inputs) {
                        let found = format!(
                            "tensor {name}.conv2.weight reads {inputs} channels at once; expected a divisor of the \
                             {middle} that {name}.conv1 gives"
                        );
                        return Err(Error::new(Kind::Data, found));
                    }
                    middle / inputs
                }
            };
            stages.push(Stage { blocks: blocks_of(number), middle, groups, output });
        }
        let output = |(index, stage): (usize, &Stage)| Output {
            number: index + 1,
            name: stage_name("", children, index + 1),
            channels: stage.output,
        };
        let outputs: Vec<Output> = stages.iter().enumerate().map(output).collect();
        let returned = recognized.returned(&outputs)?;
        let module = module.to_owned();
        Ok(Some(Self { module, children, block, stem, stages, returned }))
    }

    /// Extents of the body, for a check of their range.
    pub(super) fn extents(&self) -> impl Iterator<Item = usize> + '_ {
        let stages = self.stages.iter().flat_map(|stage| [stage.blocks, stage.middle, stage.groups, stage.output]);
        stages.chain([self.stem])
    }

    /// Checks what the extents alone do not show.
    ///
    /// # Errors
    /// [`Kind::Data`], naming the value.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |text: String| Err(Error::new(Kind::Data, text));
        if self.stages.is_empty() || self.stages.len() > MAX_STAGES {
            return refuse(format!("a ResNet of {} stages; expected 1 to {MAX_STAGES}", self.stages.len()));
        }
        if let Some(stage) = self.stages.iter().find(|stage| stage.blocks > MAX_BLOCKS) {
            return refuse(format!("a stage of {} blocks; expected at most {MAX_BLOCKS}", stage.blocks));
        }
        if self.block == Block::Basic && self.stages.iter().any(|stage| stage.groups != 1) {
            return refuse("basic blocks with groups; torchvision has them only in bottlenecks".to_owned());
        }
        if let Some(stage) = self.stages.iter().find(|stage| !stage.middle.is_multiple_of(stage.groups)) {
            return refuse(format!("{} channels in {} groups; expected a divisor", stage.middle, stage.groups));
        }
        super::shapes::check_returned(&self.returned, 1, self.stages.len())
    }
}

fn stage_name(module: &str, children: Children, stage: usize) -> String {
    let name = match children {
        Children::Named => format!("layer{stage}"),
        Children::Indexed => (stage + 3).to_string(),
    };
    if module.is_empty() { name } else { format!("{module}.{name}") }
}
