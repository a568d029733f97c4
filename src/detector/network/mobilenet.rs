//! MobileNetV2 and MobileNetV3 bodies (`torchvision/models/mobilenetv2.py`, `mobilenetv3.py`).
//!
//! Weights show widths, filters and squeeze-and-excitation. Strides and activation functions are not in them: they come
//! from torchvision's tables, whose filters must be those of the weights.

use serde::{Deserialize, Serialize};

use super::shapes::{Output, Recognized, Shapes, child_count, children, extent};
use crate::detector::plan::builder::{Builder, Conv, Features};
use crate::detector::plan::step::{Op, Part};
use crate::error::{Error, Kind, Result};
use crate::kernel::activation::Activation;

/// The features of a MobileNet: stem, inverted residuals, and a last 1×1 convolution where the body goes so far.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MobileNet {
    /// Module that holds the features, as `backbone.body`.
    pub module: String,
    /// Version, which decides the names inside a block.
    pub version: Version,
    /// Output channels of features.0, a 3×3 convolution of stride 2.
    pub stem: usize,
    /// features.1 and those after it.
    pub blocks: Vec<InvertedResidual>,
    /// Output channels of the last 1×1 convolution, if the body contains it.
    pub last: Option<usize>,
    /// Numbers of the features whose outputs leave the body, ascending.
    pub returned: Vec<usize>,
}

/// Version of a MobileNet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// MobileNetV2: ReLU6 everywhere.
    V2,
    /// MobileNetV3, large or small.
    V3,
}

/// An inverted residual: expansion, depthwise convolution, squeeze-and-excitation, projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InvertedResidual {
    /// Channels of the depthwise convolution. Where the input has as many there is no expansion.
    pub expanded: usize,
    /// Rows and columns of the depthwise filter.
    pub kernel: usize,
    /// Stride of the depthwise convolution.
    pub stride: usize,
    /// Channels between the two convolutions of squeeze-and-excitation; `None` without it.
    pub squeeze: Option<usize>,
    /// The function after expansion and depthwise convolution.
    pub activation: Activation,
    /// Output channels.
    pub output: usize,
}

/// A row of torchvision's tables: filter, stride, squeeze-and-excitation, hardswish instead of ReLU.
pub(super) type Row = (usize, usize, bool, bool);

/// `_mobilenet_v3_conf` for mobilenet_v3_large.
pub(super) const V3_LARGE: &[Row] = &[
    (3, 1, false, false),
    (3, 2, false, false),
    (3, 1, false, false),
    (5, 2, true, false),
    (5, 1, true, false),
    (5, 1, true, false),
    (3, 2, false, true),
    (3, 1, false, true),
    (3, 1, false, true),
    (3, 1, false, true),
    (3, 1, true, true),
    (3, 1, true, true),
    (5, 2, true, true),
    (5, 1, true, true),
    (5, 1, true, true),
];

/// `_mobilenet_v3_conf` for mobilenet_v3_small.
const V3_SMALL: &[Row] = &[
    (3, 2, true, false),
    (3, 2, false, false),
    (3, 1, false, false),
    (5, 2, true, true),
    (5, 1, true, true),
    (5, 1, true, true),
    (5, 1, true, true),
    (5, 1, true, true),
    (5, 2, true, true),
    (5, 1, true, true),
    (5, 1, true, true),
];

/// Strides of MobileNetV2's `inverted_residual_setting`, one a block.
pub(super) const V2_STRIDES: &[usize] = &[1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1];

/// Most features of a MobileNet in a header.
const MAX_BLOCKS: usize = 200;

impl MobileNet {
    /// Adds the body. Returns the outputs of the returned features.
    pub fn lay(&self, builder: &mut Builder, image: Features) -> Vec<Features> {
        let ends = match self.version {
            Version::V2 => Activation::Relu6,
            Version::V3 => Activation::Hardswish,
        };
        let unit = |feature: usize, channels: usize, size: usize| {
            let name = format!("{}.{feature}", self.module);
            Conv::new(format!("{name}.0"), channels, size).norm(format!("{name}.1")).then(ends)
        };
        let mut x = builder.conv(Part::Body, unit(0, self.stem, 3).stride(2), image, None);
        let mut outputs = Vec::new();
        let mut leave = |feature: usize, x: Features| {
            if self.returned.contains(&feature) {
                outputs.push(x);
            }
        };
        leave(0, x);
        for (index, block) in self.blocks.iter().enumerate() {
            let feature = index + 1;
            x = self.block(builder, &format!("{}.{feature}", self.module), x, block);
            leave(feature, x);
        }
        if let Some(channels) = self.last {
            let feature = self.blocks.len() + 1;
            x = builder.conv(Part::Body, unit(feature, channels, 1), x, None);
            leave(feature, x);
        }
        outputs
    }

    /// Adds one inverted residual. The projection adds the block's input where size and channels stay.
    fn block(&self, builder: &mut Builder, name: &str, x: Features, block: &InvertedResidual) -> Features {
        let InvertedResidual { expanded, kernel, stride, squeeze, activation, output } = *block;
        let names = BlockNames { version: self.version, block: name };
        let has_expansion = x.channels != expanded;
        let mut at = 0;
        let mut unit = |channels: usize, size: usize| {
            let (conv, norm) = names.unit(at);
            at += 1;
            Conv::new(conv, channels, size).norm(norm).then(activation)
        };
        let mut inner = x;
        if has_expansion {
            inner = builder.conv(Part::Body, unit(expanded, 1), inner, None);
        }
        let depthwise = unit(expanded, kernel).stride(stride).groups(expanded);
        inner = builder.conv(Part::Body, depthwise, inner, None);
        if let Some(channels) = squeeze {
            inner = squeeze_and_excite(builder, &names.child(at), inner, channels);
            at += 1;
        }
        let (conv, norm) = names.projection(at);
        let skip = (stride == 1 && x.channels == output).then_some(x.step);
        builder.conv(Part::Body, Conv::new(conv, output, 1).norm(norm), inner, skip)
    }

    /// The usual name.
    pub fn describe(&self) -> String {
        let blocks = self.blocks.len();
        match self.version {
            Version::V2 => "MobileNetV2".to_owned(),
            Version::V3 if self.matches(V3_LARGE) => "MobileNetV3-Large".to_owned(),
            Version::V3 if self.matches(V3_SMALL) => "MobileNetV3-Small".to_owned(),
            Version::V3 => format!("MobileNetV3 with {blocks} blocks"),
        }
    }

    fn matches(&self, table: &[Row]) -> bool {
        let row = |block: &InvertedResidual| {
            (block.kernel, block.stride, block.squeeze.is_some(), block.activation == Activation::Hardswish)
        };
        self.blocks.len() <= table.len() && self.blocks.iter().map(row).eq(table[..self.blocks.len()].iter().copied())
    }

    /// Finds the features below `module`; `None` if there is no MobileNet.
    ///
    /// # Errors
    /// [`Kind::Data`], naming the tensor that is missing or has a shape that no MobileNet of torchvision has.
    pub(super) fn recognize(shapes: &Shapes, module: &str, recognized: &Recognized<'_>) -> Result<Option<Self>> {
        let holds = |feature: usize, child: &str| children(shapes, &format!("{module}.{feature}")).any(|c| c == child);
        let version = match (holds(1, "conv"), holds(1, "block")) {
            (true, _) => Version::V2,
            (_, true) => Version::V3,
            _ => return Ok(None),
        };
        let stem = extent(shapes, &format!("{module}.0.0.weight"), 0, 4)?;
        let features = child_count(shapes, module).min(MAX_BLOCKS);
        let mut blocks: Vec<InvertedResidual> = Vec::new();
        for feature in 1..features {
            if feature + 1 == features && !holds(feature, "conv") && !holds(feature, "block") {
                break; // the last 1×1 convolution
            }
            let block = format!("{module}.{feature}");
            blocks.push(measure(shapes, &BlockNames { version, block: &block })?);
        }
        complete(&mut blocks, version, module)?;
        let last = (blocks.len() + 1 < features).then(|| format!("{module}.{}.0.weight", blocks.len() + 1));
        let last = last.map(|name| extent(shapes, &name, 0, 4)).transpose()?;
        // torchvision's stages: the stem, every block with a stride, the last convolution.
        let output = |number: usize, channels: usize| Output { number, name: number.to_string(), channels };
        let is_end = |number: usize| last.is_none() && number == blocks.len();
        let mut outputs = vec![output(0, stem)];
        for (number, block) in blocks.iter().enumerate().map(|(index, block)| (index + 1, block)) {
            if block.stride > 1 || is_end(number) || recognized.given.is_some() {
                outputs.push(output(number, block.output));
            }
        }
        outputs.extend(last.map(|channels| output(blocks.len() + 1, channels)));
        let returned = recognized.returned(&outputs)?;
        Ok(Some(Self { module: module.to_owned(), version, stem, blocks, last, returned }))
    }

    /// Extents of the body, for a check of their range.
    pub(super) fn extents(&self) -> impl Iterator<Item = usize> + '_ {
        let of_block = |block: &InvertedResidual| [block.expanded, block.output, block.squeeze.unwrap_or(1)];
        self.blocks.iter().flat_map(of_block).chain([self.stem, self.last.unwrap_or(1)])
    }

    /// Checks what the extents alone do not show.
    ///
    /// # Errors
    /// [`Kind::Data`], naming the value.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |text: String| Err(Error::new(Kind::Data, text));
        if self.blocks.is_empty() || self.blocks.len() > MAX_BLOCKS {
            return refuse(format!("a MobileNet of {} blocks; expected 1 to {MAX_BLOCKS}", self.blocks.len()));
        }
        for block in &self.blocks {
            if !(1..=2).contains(&block.stride) || block.kernel.is_multiple_of(2) || block.kernel > 15 {
                let (kernel, stride) = (block.kernel, block.stride);
                return refuse(format!(
                    "a depthwise filter of {kernel}×{kernel} with stride {stride}; expected an odd size up to 15 and a \
                     stride of 1 or 2"
                ));
            }
        }
        super::shapes::check_returned(&self.returned, 0, self.blocks.len() + usize::from(self.last.is_some()))
    }
}

/// torchvision's names inside a block.
struct BlockNames<'a> {
    version: Version,
    block: &'a str,
}

impl BlockNames<'_> {
    fn child(&self, at: usize) -> String {
        let inner = match self.version {
            Version::V2 => "conv",
            Version::V3 => "block",
        };
        format!("{}.{inner}.{at}", self.block)
    }

    /// Convolution and batch norm of the unit at place `at`.
    fn unit(&self, at: usize) -> (String, String) {
        let child = self.child(at);
        (format!("{child}.0"), format!("{child}.1"))
    }

    /// Convolution and batch norm of the projection at place `at`; version 2 has them side by side.
    fn projection(&self, at: usize) -> (String, String) {
        match self.version {
            Version::V2 => (self.child(at), self.child(at + 1)),
            Version::V3 => self.unit(at),
        }
    }
}

/// Adds squeeze-and-excitation: the mean over the padded map, two 1×1 convolutions, and the product with the map
/// (`torchvision.ops.SqueezeExcitation`).
fn squeeze_and_excite(builder: &mut Builder, name: &str, x: Features, channels: usize) -> Features {
    let mean = builder.step(Part::Body, format!("{name}.avgpool"), Op::GlobalMean, vec![x.step]);
    let mean = Features { step: mean, ..x };
    let fc1 = Conv::new(format!("{name}.fc1"), channels, 1).then(Activation::Relu);
    let hidden = builder.conv(Part::Body, fc1, mean, None);
    let fc2 = Conv::new(format!("{name}.fc2"), x.channels, 1).then(Activation::Hardsigmoid);
    let gates = builder.conv(Part::Body, fc2, hidden, None);
    let step = builder.step(Part::Body, name, Op::Scale, vec![x.step, gates.step]);
    Features { step, ..x }
}

/// The block that weights show; stride and activation function are filled in later.
fn measure(shapes: &Shapes, names: &BlockNames<'_>) -> Result<InvertedResidual> {
    let weight = |name: &str| format!("{name}.weight");
    // A depthwise filter reads one channel.
    let is_depthwise = |at: usize| -> Result<bool> {
        let name = weight(&names.unit(at).0);
        Ok(extent(shapes, &name, 1, 4)? == 1 && extent(shapes, &name, 2, 4)? > 1)
    };
    let mut at = if is_depthwise(0)? { 0 } else { 1 };
    let depthwise = weight(&names.unit(at).0);
    let (expanded, kernel) = (extent(shapes, &depthwise, 0, 4)?, extent(shapes, &depthwise, 2, 4)?);
    at += 1;
    let excitation = names.child(at);
    let has_squeeze = children(shapes, &excitation).any(|child| matches!(child, "fc1" | "fc2"));
    let squeeze = has_squeeze.then(|| extent(shapes, &weight(&format!("{excitation}.fc1")), 0, 4)).transpose()?;
    at += usize::from(squeeze.is_some());
    let output = extent(shapes, &weight(&names.projection(at).0), 0, 4)?;
    let activation = Activation::Relu6;
    Ok(InvertedResidual { expanded, kernel, stride: 1, squeeze, activation, output })
}

/// Fills in strides and activation functions from torchvision's tables.
fn complete(blocks: &mut [InvertedResidual], version: Version, module: &str) -> Result<()> {
    let refuse = |text: String| Err(Error::new(Kind::Data, text));
    let count = blocks.len();
    if version == Version::V2 {
        if count > V2_STRIDES.len() {
            return refuse(format!(
                "{module} has {count} inverted residuals; expected at most {}, as torchvision's mobilenet_v2 has: \
                 weights do not show the strides of another",
                V2_STRIDES.len()
            ));
        }
        blocks.iter_mut().zip(V2_STRIDES).for_each(|(block, &stride)| block.stride = stride);
        return Ok(());
    }
    let fits = |table: &[Row]| {
        count <= table.len()
            && blocks.iter().zip(table).all(|(block, row)| (block.kernel, block.squeeze.is_some()) == (row.0, row.2))
    };
    let Some(table) = [V3_LARGE, V3_SMALL].into_iter().find(|table| fits(table)) else {
        let filters: Vec<String> = blocks
            .iter()
            .map(|block| format!("{}{}", block.kernel, if block.squeeze.is_some() { " SE" } else { "" }))
            .collect();
        return refuse(format!(
            "{module} has inverted residuals with filters {}; expected those of torchvision's mobilenet_v3_large or \
             mobilenet_v3_small: weights do not show the strides of another",
            filters.join(", ")
        ));
    };
    for (block, &(_, stride, _, is_hardswish)) in blocks.iter_mut().zip(table) {
        block.stride = stride;
        block.activation = if is_hardswish { Activation::Hardswish } else { Activation::Relu };
    }
    Ok(())
}
