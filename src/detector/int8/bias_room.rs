//! Room of the biases: the largest ones that leave 32 bits for the products of their channel.
//!
//! The scale of a channel is chosen with a margin for corrections ([`scale_floor`](crate::quant::scale_floor)). A
//! correction beyond it is cut off at the room, so that it never makes a network unusable.

use super::{EdgeStorage, LayerWeights, Quantized};
use crate::quant::{Precision, bias_room};

impl Quantized {
    /// Moves every bias of a step in static int8 into the room that its input scale and weights leave. Returns the number of
    /// biases that were outside.
    pub fn limit_biases(&mut self) -> usize {
        let mixed_precision = self.mixed_precision();
        let mut moved = 0;
        for (step, biases) in self.plan.steps.iter().zip(&mut self.biases) {
            let Some(layer) = step.layer().map(|layer| &self.layers[layer]) else { continue };
            let LayerWeights::S8 { values, scales, .. } = &layer.weights else { continue };
            if layer.precision != Precision::Int8Static || biases.is_empty() {
                continue;
            }
            let input = match mixed_precision.storage[step.inputs[0]] {
                EdgeStorage::U8(owner) => self.edge_qparams[owner].map(|qparams| qparams.scale),
                EdgeStorage::Pixels => Some(1.0),
                EdgeStorage::F32 | EdgeStorage::Boxes => None,
            };
            let Some(input) = input else { continue };
            let filter = values.len() / biases.len();
            for ((bias, &scale), weights) in biases.iter_mut().zip(scales).zip(values.chunks_exact(filter.max(1))) {
                let magnitude: u32 = weights.iter().map(|weight| u32::from(weight.unsigned_abs())).sum();
                let room = bias_room(input, scale, magnitude);
                if bias.abs() > room {
                    *bias = bias.signum() * room;
                    moved += 1;
                }
            }
        }
        moved
    }
}
