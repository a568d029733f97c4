//! Timing of single int8 layers, for the bench.
//!
//! In: a layer's shape. Out: CPU seconds of all threads together, so that a rate can be set against
//! [`super::ceiling::measure`] of the same run.

use super::activation::Activation;
use super::ceiling::process_seconds;
use super::conv_u8::{
    ConvInput, ConvOutput, Epilogue, EpilogueSpec, KernelU8, OutputKind, PackedU8, SkipInput, SkipKind, convolve,
};
use super::geometry::ConvGeometry;
use super::isa::Isa;
use crate::error::Result;

/// A convolution with its operands, for repeated runs.
#[derive(Debug)]
pub struct LayerU8 {
    packed: PackedU8,
    epilogue: Epilogue,
    height: usize,
    width: usize,
    input: Vec<u8>,
    skip: Vec<u8>,
    output: Vec<u8>,
    macs: u64,
}

impl LayerU8 {
    /// The layer `geometry` on a map of `height` × `width`, with ReLU and, if asked, a residual, run by `kernel`. A
    /// layer of 3 input channels is taken for the first one and reads pixels of 4 bytes.
    ///
    /// # Errors
    ///
    /// As [`PackedU8::with_kernel`].
    pub fn new(
        kernel: &'static KernelU8,
        isa: Isa,
        geometry: ConvGeometry,
        (height, width): (usize, usize),
        residual: bool,
    ) -> Result<Self> {
        let weights = normal_weights(geometry.weights());
        let packed = match geometry.in_channels {
            3 => PackedU8::pixels_with_kernel(kernel, isa, geometry, &weights)?,
            _ => PackedU8::with_kernel(kernel, isa, geometry, &weights)?,
        };
        let channels = geometry.out_channels;
        let spec = EpilogueSpec {
            input_zero_point: 0,
            input_has_low: false,
            bias: &vec![100; channels],
            multiplier: &vec![1e-3; channels],
            outside: None,
            skip: if residual { SkipKind::U8 { zero_point: 0, multiplier: 0.5 } } else { SkipKind::None },
            activation: Activation::Relu,
            steps_per_unit: 1.0,
            output: OutputKind::U8 { zero_point: 0 },
        };
        let epilogue = Epilogue::new(&packed, &spec)?;
        let (rows, columns) = geometry.output(height, width);
        let bytes = |length: usize| (0..length).map(|index| (index * 37 % 101) as u8).collect::<Vec<_>>();
        Ok(Self {
            input: bytes(height * width * packed.geometry().in_channels),
            skip: bytes(if residual { rows * columns * channels } else { 0 }),
            output: vec![0; rows * columns * channels],
            macs: geometry.macs(height, width),
            packed,
            epilogue,
            height,
            width,
        })
    }

    /// Multiply-adds of one run.
    pub fn macs(&self) -> u64 {
        self.macs
    }

    /// Runs once on the current rayon pool: CPU seconds.
    ///
    /// # Errors
    ///
    /// None but faults of the kernels themselves.
    pub fn run(&mut self) -> Result<f64> {
        let input = ConvInput { data: &self.input, count: 1, height: self.height, width: self.width };
        let (rows, columns) = self.packed.geometry().output(self.height, self.width);
        let skip = match self.skip.is_empty() {
            true => SkipInput::None,
            false => SkipInput::U8 { data: &self.skip, height: rows, width: columns },
        };
        let start = process_seconds();
        convolve(&self.packed, &self.epilogue, input, skip, ConvOutput::U8(&mut self.output))?;
        Ok(process_seconds() - start)
    }
}

/// Weights with the distribution of trained ones: normal, standard deviation about 25, pair-safe.
fn normal_weights(length: usize) -> Vec<i8> {
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let mut weights: Vec<i8> =
        (0..length).map(|_| ((uniform() + uniform() + uniform() + uniform()) * 43.0) as i8).collect();
    for pair in weights.chunks_exact_mut(2) {
        let sum = i32::from(pair[0]) + i32::from(pair[1]);
        if sum.abs() > 128 {
            pair[1] = (sum.signum() * 128 - i32::from(pair[0])) as i8;
        }
    }
    weights
}
