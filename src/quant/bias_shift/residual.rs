//! Rounding residual: error of the s8 weights of a layer, summed over the taps of each filter.
//!
//! In: f32 filters and their s8 form. Out: for every pair of an output and an input channel Σ over the taps of (w −
//! scale · q), a few hundred numbers. Artifacts carry it for the first layer, whose input is the picture itself. The mean
//! of that input is far from zero and follows the brightness of the scene. Errors propagate to all later layers.

use crate::quant::{FilterBank, QuantizedWeights};

/// Rounding residual of one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct RoundingResidual {
    /// `[out][in / groups]`, in units of the weights.
    values: Vec<f32>,
    channels: usize,
}

impl RoundingResidual {
    /// Residual of `quantized`, the s8 form of `bank`.
    pub fn of(bank: &FilterBank<'_>, quantized: &QuantizedWeights) -> Self {
        let (channels, depth) = (bank.channels.max(1), bank.depth().max(1));
        let filters = bank.values.chunks_exact(depth).zip(quantized.values.chunks_exact(depth));
        let mut values = Vec::with_capacity(bank.out * channels);
        for (out, ((filter, bytes), &scale)) in filters.zip(&quantized.scales).enumerate() {
            let mut sums = vec![0.0f64; channels];
            let low = quantized.low.get(out * depth..).unwrap_or_default();
            let low = low.iter().copied().chain(std::iter::repeat(0));
            for (at, ((&weight, &byte), low)) in filter.iter().zip(bytes).zip(low).enumerate() {
                let q = f64::from(byte) + f64::from(low) / 128.0;
                sums[at % channels] += f64::from(weight) - q * f64::from(scale);
            }
            values.extend(sums.into_iter().map(|sum| sum as f32));
        }
        Self { values, channels }
    }

    /// Residual from its rows, `[out][in / groups]`; `None` where the length is not a multiple of `channels`.
    pub fn from_rows(values: Vec<f32>, channels: usize) -> Option<Self> {
        (channels > 0 && values.len().is_multiple_of(channels)).then_some(Self { values, channels })
    }

    /// The rows, `[out][in / groups]`, in units of the weights.
    pub fn rows(&self) -> &[f32] {
        &self.values
    }

    /// Bias shift of every output channel, before the activation function, where the means of all input channels change
    /// by `input_change`. There are as many groups as these have times the channels of a row.
    pub fn bias_shift(&self, input_change: &[f64]) -> Vec<f64> {
        let rows = self.values.len() / self.channels;
        let outputs = rows.div_ceil((input_change.len() / self.channels).max(1)).max(1);
        let of_row = |(out, row): (usize, &[f32])| {
            let read = &input_change[(out / outputs * self.channels).min(input_change.len())..];
            row.iter().zip(read).map(|(&value, mean)| f64::from(value) * mean).sum()
        };
        self.values.chunks_exact(self.channels).enumerate().map(of_row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::{Digits, Granularity, ScaleRule};

    #[test]
    fn the_bias_shift_restores_the_exact_mean() {
        let values: Vec<f32> = (0..4 * 49 * 3).map(|at| ((at * 7919 % 1009) as f32 / 504.5 - 1.0) * 0.01).collect();
        let bank = FilterBank { values: &values, out: 4, channels: 3 };
        let quantized = bank.quantize(ScaleRule::default(), Granularity::PerChannel, Digits::One, &[]).unwrap();
        let residual = RoundingResidual::of(&bank, &quantized);
        let means = [120.0, 80.5, 3.0];
        for (out, shift) in residual.bias_shift(&means).into_iter().enumerate() {
            let filter = out * 147..(out + 1) * 147;
            let exact: f64 = filter.clone().map(|at| f64::from(values[at]) * means[at % 3]).sum();
            let scale = f64::from(quantized.scales[out]);
            let rounded: f64 = filter.map(|at| f64::from(quantized.values[at]) * scale * means[at % 3]).sum();
            assert!((rounded + shift - exact).abs() < 1e-5, "{rounded} {shift} {exact}");
        }
        assert_eq!(RoundingResidual::from_rows(residual.rows().to_vec(), 3), Some(residual));
    }

    #[test]
    fn every_group_reads_its_own_channels() {
        let residual = RoundingResidual::from_rows(vec![1.0, 2.0, 3.0, 4.0], 1).unwrap();
        assert_eq!(residual.bias_shift(&[10.0, 100.0]), [10.0, 20.0, 300.0, 400.0]);
        let residual = RoundingResidual::from_rows(vec![1.0, 2.0, 3.0, 4.0], 2).unwrap();
        assert_eq!(residual.bias_shift(&[1.0, 10.0, 100.0, 1000.0]), [21.0, 4300.0]);
        assert_eq!(residual.bias_shift(&[1.0, 10.0]), [21.0, 43.0]);
    }

    #[test]
    fn incomplete_rows_are_refused() {
        assert!(RoundingResidual::from_rows(vec![0.0; 7], 3).is_none());
        assert!(RoundingResidual::from_rows(vec![], 0).is_none());
    }
}
