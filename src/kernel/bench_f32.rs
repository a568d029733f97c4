//! Timing of single fp32 layers, for the bench.
//!
//! In: a layer's shape. Out: its best rate of several runs, in CPU time of all threads together. It can be compared
//! with [`super::ceiling::measure`] of the same run.

use super::activation::Activation;
use super::ceiling::process_seconds;
use super::conv_f32::{ConvF32, MapsF32, SkipF32};
use super::geometry::ConvGeometry;
use super::tile_f32::KernelF32;
use crate::error::Result;

/// A layer with weights, inputs and an output of its own.
#[derive(Debug)]
pub struct LayerF32 {
    conv: ConvF32,
    /// Maps, rows and columns of the input.
    size: (usize, usize, usize),
    activation: Activation,
    input: Vec<f32>,
    skip: Option<Vec<f32>>,
    out: Vec<f32>,
}

impl LayerF32 {
    /// A convolution of `geometry` by `kernel` over maps (count, rows, columns) of `size`, with bias, `activation` and, if
    /// asked, a residual.
    ///
    /// # Errors
    ///
    /// As [`ConvF32::with_kernel`].
    pub fn new(
        kernel: &'static KernelF32,
        geometry: ConvGeometry,
        size: (usize, usize, usize),
        residual: bool,
        activation: Activation,
    ) -> Result<Self> {
        let weights = pattern(geometry.weights(), 0.01);
        let conv = ConvF32::with_kernel(kernel, geometry, &weights, &pattern(geometry.out_channels, 0.1))?;
        let (count, height, width) = size;
        let (rows, columns) = geometry.output(height, width);
        let values = count * rows * columns * geometry.out_channels;
        Ok(Self {
            conv,
            size,
            activation,
            input: pattern(count * height * width * geometry.in_channels, 1.0),
            skip: residual.then(|| pattern(values, 1.0)),
            out: vec![0.0; values],
        })
    }

    /// Multiply-adds of a run.
    pub fn macs(&self) -> u64 {
        let (count, height, width) = self.size;
        count as u64 * self.conv.geometry().macs(height, width)
    }

    /// Runs it on the current rayon pool. Returns the CPU time of all threads, in seconds.
    pub fn run(&mut self) -> f64 {
        let (count, height, width) = self.size;
        let (rows, columns) = self.conv.geometry().output(height, width);
        let skip = self.skip.as_deref().map(|data| SkipF32 { data, height: rows, width: columns });
        let input = MapsF32 { data: &self.input, count, height, width };
        let start = process_seconds();
        self.conv.run(input, skip, self.activation, &mut self.out);
        process_seconds() - start
    }

    /// GMAC/s of CPU time, best of `runs`. It runs once more before, to fault the memory in.
    pub fn rate(&mut self, runs: usize) -> f64 {
        self.run();
        let best = (0..runs).map(|_| self.run()).fold(f64::INFINITY, f64::min);
        self.macs() as f64 / best * 1e-9
    }
}

/// Values of both signs and no denormals; what they are does not matter.
fn pattern(length: usize, scale: f32) -> Vec<f32> {
    (0..length).map(|index| ((index * 37 % 101) as f32 - 50.5) * scale).collect()
}
