//! Timing of single fp32 layers, for the bench.
//!
//! In: a layer's shape. Out: its best rate of several runs, in CPU time of all threads together, so that a rate can be
//! set against [`super::ceiling::measure`] of the same run.

use super::ceiling::process_seconds;
use super::conv_f32::{ConvF32, SkipF32};
use super::geometry::ConvGeometry;
use super::isa::Isa;
use crate::error::Result;

/// GMAC/s of CPU time of a convolution over a map of `height` × `width`, best of `runs`, with bias and ReLU and, if
/// asked, a residual, on the current rayon pool. The layer runs once more before, to fault its memory in.
///
/// # Errors
///
/// As [`ConvF32::new`].
pub fn conv_f32(
    isa: Isa,
    geometry: ConvGeometry,
    (height, width): (usize, usize),
    residual: bool,
    runs: usize,
) -> Result<f64> {
    let weights = pattern(geometry.weights(), 0.01);
    let conv = ConvF32::new(isa, geometry, &weights, &pattern(geometry.out_channels, 0.1))?;
    let (rows, columns) = geometry.output(height, width);
    let input = pattern(height * width * geometry.in_channels, 1.0);
    let skip = pattern(if residual { rows * columns * geometry.out_channels } else { 0 }, 1.0);
    let skip = residual.then_some(SkipF32 { data: &skip, height: rows, width: columns });
    let mut out = vec![0f32; rows * columns * geometry.out_channels];
    conv.run(&input, height, width, skip, true, &mut out);
    let best = (0..runs)
        .map(|_| {
            let start = process_seconds();
            conv.run(&input, height, width, skip, true, &mut out);
            process_seconds() - start
        })
        .fold(f64::INFINITY, f64::min);
    Ok(geometry.macs(height, width) as f64 / best * 1e-9)
}

/// Values of both signs and no denormals; what they are does not matter.
fn pattern(length: usize, scale: f32) -> Vec<f32> {
    (0..length).map(|index| ((index * 37 % 101) as f32 - 50.5) * scale).collect()
}
