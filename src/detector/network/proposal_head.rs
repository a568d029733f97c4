//! Head of the region proposal network (`RPNHead` in `torchvision/models/detection/rpn.py`).

use serde::{Deserialize, Serialize};

use super::shapes::{Shapes, child_count, extent};
use crate::detector::plan::builder::{Builder, Conv, Features};
use crate::detector::plan::step::{Layer, LayerId, LayerKind, Level, Op, Part, StepId};
use crate::error::Result;
use crate::kernel::activation::Activation;

/// Module of the head.
const MODULE: &str = "rpn.head";

/// The head of the region proposal network, which all levels share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProposalHead {
    /// Number of 3×3 convolutions with ReLU before the predictors.
    pub convs: usize,
    /// Anchors at each cell of a level.
    pub anchors_per_cell: usize,
}

impl ProposalHead {
    /// Adds the head on every level. Returns objectness and deltas, one a level.
    pub(in super::super) fn lay(
        &self,
        builder: &mut Builder,
        levels: &[(Level, Features)],
    ) -> (Vec<StepId>, Vec<StepId>) {
        let channels = levels.first().map_or(0, |(_, features)| features.channels);
        let hidden =
            (0..self.convs).map(|n| Conv::new(format!("{MODULE}.conv.{n}.0"), channels, 3).then(Activation::Relu));
        let predictors = [("cls_logits", 1), ("bbox_pred", 4)]
            .map(|(name, values)| Conv::new(format!("{MODULE}.{name}"), self.anchors_per_cell * values, 1));
        let convs: Vec<(LayerId, Activation)> = hidden
            .chain(predictors)
            .map(|conv| (builder.layer(Part::Rpn, LayerKind::Convolution, &conv, channels), conv.activation))
            .collect();
        let (hidden, predictors) = convs.split_at(self.convs);
        let has_suffix = levels.len() > 1;
        let (mut objectness, mut deltas) = (Vec::new(), Vec::new());
        for (level, features) in levels {
            let mut on_level = |&(layer, activation): &(LayerId, Activation), input: StepId| {
                let Layer { name, .. } = &builder.layers[layer];
                let name = if has_suffix { format!("{name}@{}", level.name) } else { name.clone() };
                builder.step(Part::Rpn, name, Op::Layer { layer, activation, skip: false }, vec![input])
            };
            let last = hidden.iter().fold(features.step, |input, conv| on_level(conv, input));
            objectness.push(on_level(&predictors[0], last));
            deltas.push(on_level(&predictors[1], last));
        }
        (objectness, deltas)
    }

    /// Finds the head.
    ///
    /// # Errors
    /// [`Kind::Data`](crate::error::Kind::Data), naming the tensor that is missing or has another rank.
    pub(super) fn recognize(shapes: &Shapes) -> Result<Self> {
        let convs = child_count(shapes, &format!("{MODULE}.conv"));
        let anchors_per_cell = extent(shapes, &format!("{MODULE}.cls_logits.weight"), 0, 4)?;
        Ok(Self { convs, anchors_per_cell })
    }
}
