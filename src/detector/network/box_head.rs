//! Box heads of the second stage (`TwoMLPHead`, `FastRCNNConvFCHead` and `FastRCNNPredictor` in
//! `torchvision/models/detection/faster_rcnn.py`).

use serde::{Deserialize, Serialize};

use super::shapes::{Shapes, child_count, extent};
use crate::detector::plan::builder::{Builder, Conv};
use crate::detector::plan::step::{LayerKind, Op, Part, StepId};
use crate::error::Result;
use crate::kernel::activation::Activation;

/// Module of the box head.
const MODULE: &str = "roi_heads.box_head";
/// Module of the predictors.
const PREDICTOR: &str = "roi_heads.box_predictor";

/// The box head, without its predictors.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum BoxHead {
    /// `TwoMLPHead`: fc6 and fc7, with ReLU.
    Mlp {
        /// Outputs of fc6.
        fc6: usize,
        /// Outputs of fc7.
        fc7: usize,
    },
    /// `FastRCNNConvFCHead`: 3×3 convolutions over the window of each proposal, then fully connected layers; all with
    /// ReLU.
    Conv {
        /// Output channels of the convolutions.
        convs: Vec<usize>,
        /// True if the convolutions have a batch norm instead of a bias.
        batch_norm: bool,
        /// Outputs of the fully connected layers.
        linears: Vec<usize>,
    },
}

/// Most convolutions or fully connected layers of a box head in a header.
const MAX_LAYERS: usize = 32;

impl BoxHead {
    /// Adds the head over `channels` channels of windows of `window` rows and columns, and the two predictors of
    /// `classes` classes. Returns the steps of the head, the class logits and the box deltas.
    pub(super) fn lay(
        &self,
        builder: &mut Builder,
        features: StepId,
        [channels, window, classes]: [usize; 3],
    ) -> (StepId, StepId, StepId) {
        let (mut x, mut channels) = (features, channels);
        let linears: Vec<(String, usize)> = match self {
            Self::Mlp { fc6, fc7 } => vec![(format!("{MODULE}.fc6"), *fc6), (format!("{MODULE}.fc7"), *fc7)],
            Self::Conv { convs, batch_norm, linears } => {
                for (index, &outputs) in convs.iter().enumerate() {
                    let conv = Conv::new(format!("{MODULE}.{index}.0"), outputs, 3).then(Activation::Relu);
                    let conv = if *batch_norm { conv.norm(format!("{MODULE}.{index}.1")) } else { conv };
                    let layer = builder.layer(Part::Roi, LayerKind::WindowConvolution, &conv, channels);
                    let op = Op::Layer { layer, activation: conv.activation, skip: false };
                    x = builder.step(Part::Roi, conv.name, op, vec![x]);
                    channels = outputs;
                }
                // A flattening comes first, then each layer and its ReLU.
                let place = |index: usize| convs.len() + 1 + 2 * index;
                let named = |(index, &outputs): (usize, &usize)| (format!("{MODULE}.{}", place(index)), outputs);
                linears.iter().enumerate().map(named).collect()
            }
        };
        let mut kind = LayerKind::WindowLinear(window, window);
        let mut inputs = channels * window * window;
        for (name, outputs) in linears {
            x = builder.linear(kind, Conv::new(name, outputs, 1).then(Activation::Relu), inputs, x);
            (kind, inputs) = (LayerKind::Linear, outputs);
        }
        let mut predictor = |name: &str, outputs: usize| {
            builder.linear(kind, Conv::new(format!("{PREDICTOR}.{name}"), outputs, 1), inputs, x)
        };
        let logits = predictor("cls_score", classes);
        let deltas = predictor("bbox_pred", classes * 4);
        (x, logits, deltas)
    }

    /// Finds the head. Also returns the channels and the values of a window that its first fully connected layer reads,
    /// if its convolutions show the channels.
    ///
    /// # Errors
    /// [`Kind::Data`](crate::error::Kind::Data), naming the tensor that is missing or has another rank.
    pub(super) fn recognize(shapes: &Shapes) -> Result<(Self, WindowInputs)> {
        let weight = |name: String| format!("{MODULE}.{name}.weight");
        if !shapes.contains_key(&weight("0.0".into())) {
            let fc6 = weight("fc6".into());
            let inputs = WindowInputs { channels: None, values: extent(shapes, &fc6, 1, 2)?, tensor: fc6.clone() };
            let (fc6, fc7) = (extent(shapes, &fc6, 0, 2)?, extent(shapes, &weight("fc7".into()), 0, 2)?);
            return Ok((Self::Mlp { fc6, fc7 }, inputs));
        }
        let places = child_count(shapes, MODULE).min(2 * MAX_LAYERS);
        let is_conv = |&place: &usize| shapes.contains_key(&weight(format!("{place}.0")));
        let convs: Vec<usize> = (0..places)
            .take_while(is_conv)
            .map(|place| extent(shapes, &weight(format!("{place}.0")), 0, 4))
            .collect::<Result<_>>()?;
        let first = weight((convs.len() + 1).to_string());
        let linears: Vec<usize> = (convs.len() + 1..places)
            .step_by(2)
            .map(|place| extent(shapes, &weight(place.to_string()), 0, 2))
            .collect::<Result<_>>()?;
        let values = extent(shapes, &first, 1, 2)?;
        let batch_norm = shapes.contains_key(&format!("{MODULE}.0.1.running_mean"));
        let inputs = WindowInputs { channels: convs.last().copied(), values, tensor: first };
        Ok((Self::Conv { convs, batch_norm, linears }, inputs))
    }

    /// Extents of the head, for a check of their range.
    pub(super) fn extents(&self) -> Vec<usize> {
        match self {
            Self::Mlp { fc6, fc7 } => vec![*fc6, *fc7],
            // Their numbers as well: each has a limit of its own below that of a tensor.
            Self::Conv { convs, linears, .. } => convs.iter().chain(linears).copied().collect(),
        }
    }

    /// Numbers of convolutions and fully connected layers are within their limits.
    pub(super) fn has_few_layers(&self) -> bool {
        match self {
            Self::Mlp { .. } => true,
            Self::Conv { convs, linears, .. } => convs.len() <= MAX_LAYERS && (1..=MAX_LAYERS).contains(&linears.len()),
        }
    }
}

/// Input of the first fully connected layer of a box head.
#[derive(Debug)]
pub(super) struct WindowInputs {
    /// Channels of a window, if the head's own convolutions show them.
    pub channels: Option<usize>,
    /// Values of a window: channels · rows · columns.
    pub values: usize,
    /// The tensor that shows it.
    pub tensor: String,
}
