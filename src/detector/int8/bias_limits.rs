//! Limits of the biases: the largest ones with which the sums of their channel fit into 32 bits.
//!
//! The scale of a channel is chosen with a margin for corrections ([`scale_floor`](crate::quant::scale_floor)). A
//! correction beyond it is clamped to the limit, so that it never makes a network unusable.

use super::{EdgeStorage, LayerWeights, Quantized};
use crate::quant::{Precision, max_bias};

impl Quantized {
    /// Clamps every bias of a step in static int8 to the limit that its input scale and weights set. Returns the number of
    /// clamped biases.
    pub fn limit_biases(&mut self) -> usize {
        let mixed_precision = self.mixed_precision();
        let mut clamped = 0;
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
                let limit = max_bias(input, scale, magnitude);
                if bias.abs() > limit {
                    *bias = bias.signum() * limit;
                    clamped += 1;
                }
            }
        }
        clamped
    }
}
