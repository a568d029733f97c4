//! The two poolings of the network over fp32 NHWC maps: the stem's maximum, and the subsampling that makes P6.
//!
//! In: a map. Out: one of half the rows and columns, rounded up. Rows are shared by the current rayon pool; results
//! are the same on every instruction set.

use rayon::prelude::*;

use super::isa::Isa;
use crate::precedence::yield_point;

/// Maximum over 3×3, stride 2, padding 1 (padding never wins). `input` is `[height][width][channels]`, `out`
/// `[height / 2][width / 2][channels]`, both halves rounded up.
///
/// # Panics
///
/// Where a slice is shorter than its shape says.
pub fn max_pool(isa: Isa, input: &[f32], height: usize, width: usize, channels: usize, out: &mut [f32]) {
    let (rows, columns) = (height.div_ceil(2), width.div_ceil(2));
    if rows * columns * channels == 0 {
        return;
    }
    let map = MaxPool { input: &input[..height * width * channels], height, width, channels };
    out[..rows * columns * channels].par_chunks_exact_mut(columns * channels).enumerate().for_each(|(y, row)| {
        yield_point();
        match isa.name() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the `Isa` proves AVX-512.
            _ if isa.proves(super::isa::IsaName::Avx512Vnni) => unsafe {
                super::x86::avx512_plain::max_row(&map, y, row)
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the `Isa` proves AVX2 and FMA.
            _ if isa.proves(super::isa::IsaName::Avx2) => unsafe { super::x86::avx2_plain::max_row(&map, y, row) },
            _ => map.row(y, row),
        }
    });
}

/// Every second row and column, the first included; P6 of P5. Shapes as for [`max_pool`].
///
/// # Panics
///
/// Where a slice is shorter than its shape says.
pub fn subsample(input: &[f32], height: usize, width: usize, channels: usize, out: &mut [f32]) {
    let columns = width.div_ceil(2);
    if height * columns * channels == 0 {
        return;
    }
    let lines = input[..height * width * channels].chunks_exact(width * channels).step_by(2);
    for (line, row) in lines.zip(out[..height.div_ceil(2) * columns * channels].chunks_exact_mut(columns * channels)) {
        for (pixel, out) in line.chunks_exact(channels).step_by(2).zip(row.chunks_exact_mut(channels)) {
            out.copy_from_slice(pixel);
        }
    }
}

/// A map to take maxima of.
pub(super) struct MaxPool<'a> {
    input: &'a [f32],
    height: usize,
    width: usize,
    channels: usize,
}

impl MaxPool<'_> {
    /// Fills row `y` of the output; compiled once for each instruction set.
    #[inline(always)]
    pub(super) fn row(&self, y: usize, row: &mut [f32]) {
        for (x, out) in row.chunks_exact_mut(self.channels).enumerate() {
            out.copy_from_slice(self.pixel(2 * y, 2 * x));
            for line in (2 * y).saturating_sub(1)..(2 * y + 2).min(self.height) {
                for column in (2 * x).saturating_sub(1)..(2 * x + 2).min(self.width) {
                    for (out, &value) in out.iter_mut().zip(self.pixel(line, column)) {
                        *out = if value > *out { value } else { *out };
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn pixel(&self, y: usize, x: usize) -> &[f32] {
        &self.input[(y * self.width + x) * self.channels..][..self.channels]
    }
}
