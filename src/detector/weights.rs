//! Weights of a layer for the executors: batch norm folded in, channels last.
//!
//! In: a checkpoint's tensors and a [`Layer`]. Out: [`FoldedLayer`] weights `[out][height][width][in]` and one bias an
//! output channel. The fold is computed in f64 and rounded once to f32.

use candle_core::Tensor;
use candle_nn::VarBuilder;

use super::plan::{Layer, LayerKind};
use super::settings::BatchNormEps;
use crate::error::{Error, Kind, Result};

/// Weights and bias of a layer with its batch norm folded in.
#[derive(Debug, Clone, PartialEq)]
pub struct FoldedLayer {
    /// `[out][height][width][in]`.
    pub weights: Vec<f32>,
    /// One an output channel.
    pub bias: Vec<f32>,
}

impl FoldedLayer {
    /// Reads `layer` from `tensors` and folds its batch norm with the `eps` of its part:
    /// w′ = w · γ / √(σ² + eps), b′ = β − μ · γ / √(σ² + eps).
    ///
    /// # Errors
    /// [`Kind::Data`] naming the tensor that is missing or has another shape, or the layer whose folded values are not
    /// finite.
    pub fn read(layer: &Layer, tensors: &VarBuilder<'_>, eps: &BatchNormEps) -> Result<Self> {
        let eps = eps.of(layer.part);
        let vector = |name: &str| read(tensors, name, &[layer.geometry.out_channels]);
        let stored = read(tensors, &format!("{}.weight", layer.name), &layer.weight_shape())?;
        let mut weights = channels_last(layer, &stored);
        let bias = match &layer.batch_norm {
            None => vector(&format!("{}.bias", layer.name))?,
            Some(norm) => {
                let gamma = vector(&format!("{norm}.weight"))?;
                let beta = vector(&format!("{norm}.bias"))?;
                let mean = vector(&format!("{norm}.running_mean"))?;
                let variance = vector(&format!("{norm}.running_var"))?;
                let filter = weights.len() / gamma.len();
                let mut bias = Vec::with_capacity(gamma.len());
                for (channel, weights) in weights.chunks_exact_mut(filter).enumerate() {
                    let scale = f64::from(gamma[channel]) / (f64::from(variance[channel]) + eps).sqrt();
                    for weight in weights {
                        *weight = (f64::from(*weight) * scale) as f32;
                    }
                    bias.push((f64::from(beta[channel]) - f64::from(mean[channel]) * scale) as f32);
                }
                bias
            }
        };
        if weights.iter().chain(&bias).any(|value| !value.is_finite()) {
            return Err(Error::new(
                Kind::Data,
                format!("{} is not finite after its batch norm is folded in (eps {eps:e})", layer.name),
            ));
        }
        Ok(Self { weights, bias })
    }
}

/// The values of tensor `name`, which must have this shape.
fn read(tensors: &VarBuilder<'_>, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    tensors
        .get(shape, name)
        .and_then(|tensor: Tensor| tensor.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1())
        .map_err(|source| Error::new(Kind::Data, format!("tensor {name}, expected {shape:?}")).because(source))
}

/// `[out][in / groups][height][width]` (or a linear layer over such a window) as `[out][height][width][in / groups]`.
fn channels_last(layer: &Layer, stored: &[f32]) -> Vec<f32> {
    let g = &layer.geometry;
    let (channels, window) = match layer.kind {
        LayerKind::Convolution | LayerKind::WindowConvolution => (g.group_channels(), g.taps()),
        LayerKind::Linear => return stored.to_vec(),
        LayerKind::WindowLinear(rows, columns) => (g.in_channels / (rows * columns), rows * columns),
    };
    let mut weights = vec![0.0; stored.len()];
    for (from, to) in stored.chunks_exact(channels * window).zip(weights.chunks_exact_mut(channels * window)) {
        for tap in 0..window {
            for channel in 0..channels {
                to[tap * channels + channel] = from[channel * window + tap];
            }
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::geometry::ConvGeometry;
    use candle_core::{DType, Device};
    use std::collections::HashMap;

    fn layer() -> Layer {
        Layer {
            name: "conv1".into(),
            geometry: ConvGeometry {
                in_channels: 2,
                out_channels: 1,
                kernel_height: 1,
                kernel_width: 3,
                stride: 1,
                padding: 0,
                groups: 1,
            },
            part: super::super::plan::Part::Body,
            kind: LayerKind::Convolution,
            batch_norm: Some("bn1".into()),
        }
    }

    fn tensors(variance: f32) -> HashMap<String, Tensor> {
        let vector = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
        let weight = vector(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).reshape((1, 2, 1, 3)).unwrap();
        HashMap::from([
            ("conv1.weight".to_owned(), weight),
            ("bn1.weight".to_owned(), vector(&[3.0])),
            ("bn1.bias".to_owned(), vector(&[0.5])),
            ("bn1.running_mean".to_owned(), vector(&[2.0])),
            ("bn1.running_var".to_owned(), vector(&[variance])),
        ])
    }

    #[test]
    fn batch_norm_folds_and_channels_move_last() {
        let builder = VarBuilder::from_tensors(tensors(1.25), DType::F32, &Device::Cpu);
        let folded = FoldedLayer::read(&layer(), &builder, &BatchNormEps::all(1.0)).unwrap();
        // √(1.25 + 1) = 1.5, so the scale is 2.
        assert_eq!(folded.weights, [2.0, 8.0, 4.0, 10.0, 6.0, 12.0]);
        assert_eq!(folded.bias, [-3.5]);
    }

    #[test]
    fn a_variance_of_0_without_eps_is_an_error_that_names_the_layer() {
        let builder = VarBuilder::from_tensors(tensors(0.0), DType::F32, &Device::Cpu);
        let error = FoldedLayer::read(&layer(), &builder, &BatchNormEps::all(0.0)).unwrap_err();
        assert_eq!(error.kind(), Kind::Data);
        assert!(error.message().starts_with("conv1 is not finite"), "{}", error.message());
    }

    #[test]
    fn a_missing_tensor_is_named() {
        let mut some = tensors(1.0);
        some.remove("bn1.running_mean");
        let builder = VarBuilder::from_tensors(some, DType::F32, &Device::Cpu);
        let error = FoldedLayer::read(&layer(), &builder, &BatchNormEps::all(1e-5)).unwrap_err();
        assert_eq!(error.message(), "tensor bn1.running_mean, expected [1]");
    }
}
