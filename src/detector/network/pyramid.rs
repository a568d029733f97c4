//! Neck, between body and heads: the feature pyramid (`torchvision/ops/feature_pyramid_network.py`), a 1×1 convolution, or
//! nothing.

use serde::{Deserialize, Serialize};

use super::shapes::{Shapes, child_count, extent};
use crate::detector::plan::builder::{Builder, Conv, Features};
use crate::detector::plan::step::{Op, Part};
use crate::error::{Error, Kind, Result};
use crate::kernel::activation::Activation;

/// Module of the pyramid.
const MODULE: &str = "backbone.fpn";

/// The part between body and heads.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Neck {
    /// Nothing: the heads read the body's last map.
    None,
    /// A 1×1 convolution, as `mobilenet_backbone(…, fpn=False)` has.
    Conv {
        /// torchvision's module name.
        module: String,
        /// Output channels.
        channels: usize,
    },
    /// A feature pyramid.
    Fpn(Pyramid),
}

/// A feature pyramid.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pyramid {
    /// Output channels of every level.
    pub channels: usize,
    /// True if its convolutions have a batch norm instead of a bias.
    pub batch_norm: bool,
    /// Levels above the body's coarsest map.
    pub extra: ExtraLevels,
}

/// Levels above the body's coarsest map (`extra_blocks`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExtraLevels {
    /// None.
    None,
    /// `LastLevelMaxPool`: every second row and column of the coarsest level.
    Pool,
    /// `LastLevelP6P7` over the pyramid's coarsest level.
    P6P7,
    /// `LastLevelP6P7` over the body's coarsest map.
    P6P7OfBody,
}

/// A map for the heads, with torchvision's name of it.
pub(super) type Named = (String, Features);

impl Neck {
    /// Adds the neck. Returns the maps for the heads, finest first.
    pub(super) fn lay(&self, builder: &mut Builder, body: &[Features]) -> Vec<Named> {
        match (self, body.last()) {
            (_, None) => Vec::new(),
            (Self::None, Some(&last)) => vec![("0".to_owned(), last)],
            (Self::Conv { module, channels }, Some(&last)) => {
                vec![("0".to_owned(), builder.conv(Part::Fpn, Conv::new(module, *channels, 1), last, None))]
            }
            (Self::Fpn(pyramid), Some(_)) => pyramid.lay(builder, body),
        }
    }

    /// Channels of the maps for the heads; `body` are those of the body's last map.
    pub(super) fn channels(&self, body: usize) -> usize {
        match self {
            Self::None => body,
            Self::Conv { channels, .. } | Self::Fpn(Pyramid { channels, .. }) => *channels,
        }
    }
}

impl Pyramid {
    /// Adds the pyramid, coarsest level first: lateral 1×1 plus the upsampled coarser level, then 3×3.
    fn lay(&self, builder: &mut Builder, body: &[Features]) -> Vec<Named> {
        let conv = |blocks: &str, level: usize, size: usize| {
            let name = format!("{MODULE}.{blocks}.{level}");
            let conv = Conv::new(format!("{name}.0"), self.channels, size);
            if self.batch_norm { conv.norm(format!("{name}.1")) } else { conv }
        };
        let mut levels: Vec<Named> = Vec::with_capacity(body.len() + 2);
        let mut coarser = None;
        for (level, &input) in body.iter().enumerate().rev() {
            let lateral = builder.conv(Part::Fpn, conv("inner_blocks", level, 1), input, coarser);
            coarser = Some(lateral.step);
            levels.push((level.to_string(), builder.conv(Part::Fpn, conv("layer_blocks", level, 3), lateral, None)));
        }
        levels.reverse();
        if let (Some(&(_, coarsest)), Some(&last)) = (levels.last(), body.last()) {
            self.lay_extra(builder, coarsest, last, &mut levels);
        }
        levels
    }

    fn lay_extra(&self, builder: &mut Builder, coarsest: Features, last: Features, levels: &mut Vec<Named>) {
        let extra = format!("{MODULE}.extra_blocks");
        let input = match self.extra {
            ExtraLevels::None => return,
            ExtraLevels::Pool => {
                let step = builder.step(Part::Fpn, extra, Op::Subsample, vec![coarsest.step]);
                levels.push(("pool".to_owned(), Features { step, stride: coarsest.stride * 2, ..coarsest }));
                return;
            }
            ExtraLevels::P6P7 => coarsest,
            ExtraLevels::P6P7OfBody => last,
        };
        let conv = |name: &str| Conv::new(format!("{extra}.{name}"), self.channels, 3).stride(2);
        let p6 = builder.conv(Part::Fpn, conv("p6"), input, None);
        // P6 itself is a level; only P7 reads it through ReLU.
        let op = Op::Activate(Activation::Relu);
        let step = builder.step(Part::Fpn, format!("{extra}.p6.relu"), op, vec![p6.step]);
        let p7 = builder.conv(Part::Fpn, conv("p7"), Features { step, ..p6 }, None);
        levels.extend([("p6".to_owned(), p6), ("p7".to_owned(), p7)]);
    }

    /// Finds the pyramid; `None` if there is none. Also returns the channels of the maps that it reads.
    ///
    /// # Errors
    /// [`Kind::Data`], naming the tensor that is missing or has a shape that no pyramid has.
    pub(super) fn recognize(shapes: &Shapes) -> Result<Option<(Self, Vec<usize>)>> {
        let inner = format!("{MODULE}.inner_blocks");
        let levels = child_count(shapes, &inner);
        if levels == 0 {
            return Ok(None);
        }
        let weight = |level: usize| format!("{inner}.{level}.0.weight");
        let channels = extent(shapes, &weight(0), 0, 4)?;
        let read: Vec<usize> = (0..levels).map(|level| extent(shapes, &weight(level), 1, 4)).collect::<Result<_>>()?;
        let batch_norm = shapes.contains_key(&format!("{inner}.0.1.running_mean"));
        let p6 = format!("{MODULE}.extra_blocks.p6.weight");
        let extra = if shapes.contains_key(&p6) {
            // torchvision's rule: P5 where it has as many channels as the body's map, else that map.
            let body = read.last().copied().unwrap_or_default();
            match extent(shapes, &p6, 1, 4)? {
                inputs if inputs == channels => ExtraLevels::P6P7,
                inputs if inputs == body => ExtraLevels::P6P7OfBody,
                inputs => {
                    let text = format!(
                        "tensor {p6} reads {inputs} channels; expected {channels} of the pyramid or {body} of the body"
                    );
                    return Err(Error::new(Kind::Data, text));
                }
            }
        } else {
            // `LastLevelMaxPool` has no weights, and torchvision's builders always add it.
            ExtraLevels::Pool
        };
        Ok(Some((Self { channels, batch_norm, extra }, read)))
    }
}
