//! What rounding took from the weights of the first layer.
//!
//! In: f32 filters and what they became in s8. Out: for every pair of an output and an input channel the sum over the
//! taps of what was lost. It moves the mean of an output channel by Σ residual · mean of the input channel. Bias
//! correction makes up for that in the light of the calibration pictures; a picture's means, alone among the inputs of
//! all layers, are far from zero and follow the light, and what the first layer errs everything behind it does. With the
//! residual a device that has no checkpoint can tell what another light needs. It is a few hundred numbers.

use super::weights::{FilterBank, QuantizedWeights};

/// Residuals of one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Residual {
    /// `[out][in]`, in units of the weights.
    values: Vec<f32>,
    channels: usize,
}

impl Residual {
    /// Of `bank` and its quantized form.
    pub fn of(bank: &FilterBank<'_>, quantized: &QuantizedWeights) -> Self {
        let (channels, depth) = (bank.channels.max(1), bank.depth().max(1));
        let filters = bank.values.chunks_exact(depth).zip(quantized.values.chunks_exact(depth));
        let mut values = Vec::with_capacity(bank.out * channels);
        for ((filter, bytes), &scale) in filters.zip(&quantized.scales) {
            let mut sums = vec![0.0f64; channels];
            for (place, (&weight, &byte)) in filter.iter().zip(bytes).enumerate() {
                sums[place % channels] += f64::from(weight) - f64::from(byte) * f64::from(scale);
            }
            values.extend(sums.into_iter().map(|sum| sum as f32));
        }
        Self { values, channels }
    }

    /// From the rows of an artifact; `None` where they are no whole rows.
    pub fn from_rows(values: Vec<f32>, channels: usize) -> Option<Self> {
        (channels > 0 && values.len().is_multiple_of(channels)).then_some(Self { values, channels })
    }

    /// The rows, output channel by output channel.
    pub fn rows(&self) -> &[f32] {
        &self.values
    }

    /// By how much the mean of every output channel, before ReLU, is too low where the input channels' means are
    /// `means`: the bias that is missing.
    pub fn shift(&self, means: &[f64]) -> Vec<f64> {
        let of_row = |row: &[f32]| row.iter().zip(means).map(|(&value, mean)| f64::from(value) * mean).sum();
        self.values.chunks_exact(self.channels).map(of_row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::{Granularity, ScaleRule};

    #[test]
    fn it_gives_back_what_rounding_moved() {
        let values: Vec<f32> = (0..4 * 49 * 3).map(|at| ((at * 7919 % 1009) as f32 / 504.5 - 1.0) * 0.01).collect();
        let bank = FilterBank { values: &values, out: 4, channels: 3 };
        let quantized = bank.quantize(ScaleRule::default(), Granularity::PerChannel, &[]).unwrap();
        let residual = Residual::of(&bank, &quantized);
        let means = [120.0, 80.5, 3.0];
        for (out, shift) in residual.shift(&means).into_iter().enumerate() {
            let places = out * 147..(out + 1) * 147;
            let exact: f64 = places.clone().map(|place| f64::from(values[place]) * means[place % 3]).sum();
            let scale = f64::from(quantized.scales[out]);
            let rounded: f64 = places.map(|p| f64::from(quantized.values[p]) * scale * means[p % 3]).sum();
            assert!((rounded + shift - exact).abs() < 1e-5, "{rounded} {shift} {exact}");
        }
        assert_eq!(Residual::from_rows(residual.rows().to_vec(), 3), Some(residual));
    }

    #[test]
    fn rows_that_are_not_whole_are_none() {
        assert!(Residual::from_rows(vec![0.0; 7], 3).is_none() && Residual::from_rows(vec![], 0).is_none());
    }
}
