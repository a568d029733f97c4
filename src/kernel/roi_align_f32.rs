//! RoIAlign over fp32 pyramid levels, with the arithmetic of `torchvision.ops.roi_align(aligned=False)`.
//!
//! In: boxes in canvas pixels, the level each is read from, the levels. Out: for each box `[window][window][channels]`:
//! NHWC like every other map, so that bins are sums of whole pixels. torchvision flattens `[channels][window][window]`,
//! so the weights of the layer that follows are permuted when they are loaded. Sums run in one fixed order with
//! separate multiply and add: every instruction set and thread count gives the same bits, within rounding of
//! torchvision's.

use rayon::prelude::*;

use super::isa::Isa;
use crate::precedence::yield_point;

/// Boxes that a thread takes at a time.
const BOXES_PER_TASK: usize = 8;
/// Most samples of a bin in one direction where the sampling ratio is 0: more would mean a box thousands of cells wide.
const MAX_ADAPTIVE_GRID: usize = 1024;
/// Channels that stay in registers while a bin's samples are added up.
const CHUNK: usize = 64;

/// A level of the pyramid.
#[derive(Debug, Clone, Copy)]
pub struct RoiLevel<'a> {
    /// `height × width × channels` values, NHWC.
    pub data: &'a [f32],
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Cells of the level for one pixel of the canvas: 1/4 for P2.
    pub scale: f32,
}

/// RoIAlign parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoiAlignParams {
    /// Channels of every level.
    pub channels: usize,
    /// Bins of a box in each direction.
    pub window: usize,
    /// Samples of a bin in each direction; 0: one a cell, as torchvision's 0 or −1.
    pub sampling_ratio: usize,
}

/// Pools `boxes` (x0, y0, x1, y1 in canvas pixels), box `i` from `levels[level_of[i]]`, into `out`
/// (`[boxes][window][window][channels]`). Uses the current rayon pool.
///
/// # Panics
///
/// Where a slice is shorter than its shape says, or a level does not exist.
pub fn roi_align(
    isa: Isa,
    levels: &[RoiLevel<'_>],
    params: RoiAlignParams,
    boxes: &[[f32; 4]],
    level_of: &[u8],
    out: &mut [f32],
) {
    let length = params.window * params.window * params.channels;
    if boxes.is_empty() || length == 0 {
        return;
    }
    for level in levels {
        assert!(level.data.len() >= level.height * level.width * params.channels, "level shorter than its shape");
    }
    // Boxes are processed in spatial order within a level, so that much of the next box's input is in the cache.
    let mut work: Vec<_> = out[..boxes.len() * length].chunks_exact_mut(length).enumerate().collect();
    work.sort_by_cached_key(|(index, _)| (level_of[*index], place(boxes[*index])));
    work.par_chunks_mut(BOXES_PER_TASK).for_each_init(Axes::default, |axes, work| {
        yield_point();
        for (index, out) in work {
            let level = &levels[usize::from(level_of[*index])];
            axes.set(boxes[*index], level, params);
            match isa.name() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the `Isa` proves AVX-512.
                _ if isa.proves(super::isa::IsaName::Avx512Vnni) => unsafe {
                    super::x86::avx512_plain::pool_box(axes, level, params, out)
                },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the `Isa` proves AVX2 and FMA.
                _ if isa.proves(super::isa::IsaName::Avx2) => unsafe {
                    super::x86::avx2_plain::pool_box(axes, level, params, out)
                },
                _ => pool_box(axes, level, params, out),
            }
        }
    });
}

/// Sort key that places neighbouring boxes together: stripes of 64 pixels from the top, each from left to right.
fn place([x0, y0, x1, y1]: [f32; 4]) -> (u32, u32) {
    (((y0 + y1) * 0.5 / 64.0) as u32, ((x0 + x1) * 0.5) as u32)
}

/// One sample in one direction: two cells and their weights; both 0 outside of the level.
#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    low: usize,
    high: usize,
    low_weight: f32,
    high_weight: f32,
}

/// The samples of one box, and room for the corners of one bin.
#[derive(Debug, Default)]
pub(super) struct Axes {
    rows: Vec<Sample>,
    columns: Vec<Sample>,
    corners: Vec<(usize, f32)>,
}

impl Axes {
    fn set(&mut self, [x0, y0, x1, y1]: [f32; 4], level: &RoiLevel<'_>, params: RoiAlignParams) {
        fill(&mut self.rows, y0 * level.scale, y1 * level.scale, level.height, params);
        fill(&mut self.columns, x0 * level.scale, x1 * level.scale, level.width, params);
    }
}

/// The samples of one direction: `window` bins of a box from `start` to `end` (at least one cell wide) on a level of
/// `size` cells.
fn fill(samples: &mut Vec<Sample>, start: f32, end: f32, size: usize, params: RoiAlignParams) {
    let extent = (end - start).max(1.0);
    let bin = extent / params.window as f32;
    let per_bin = match params.sampling_ratio {
        0 => ((extent / params.window as f32).ceil() as usize).clamp(1, MAX_ADAPTIVE_GRID),
        given => given,
    };
    samples.clear();
    for index in 0..params.window {
        for sample in 0..per_bin {
            let position = start + index as f32 * bin + (sample as f32 + 0.5) * bin / per_bin as f32;
            samples.push(Sample::at(position, size));
        }
    }
}

impl Sample {
    fn at(position: f32, size: usize) -> Self {
        if size == 0 || position < -1.0 || position > size as f32 {
            return Self::default();
        }
        let position = position.max(0.0);
        let low = position as usize;
        if low + 1 >= size {
            return Self { low: size - 1, high: size - 1, low_weight: 1.0, high_weight: 0.0 };
        }
        let high_weight = position - low as f32;
        Self { low, high: low + 1, low_weight: 1.0 - high_weight, high_weight }
    }
}

/// Pools one box; compiled once for each instruction set.
#[inline(always)]
pub(super) fn pool_box(axes: &mut Axes, level: &RoiLevel<'_>, params: RoiAlignParams, out: &mut [f32]) {
    let Axes { rows, columns, corners } = axes;
    let (down, across) = (rows.len() / params.window, columns.len() / params.window);
    let count = (down * across) as f32;
    for (bin, out) in out.chunks_exact_mut(params.channels).enumerate() {
        let (y, x) = (bin / params.window, bin % params.window);
        corners.clear();
        for row in &rows[y * down..][..down] {
            for column in &columns[x * across..][..across] {
                for (line, line_weight) in [(row.low, row.low_weight), (row.high, row.high_weight)] {
                    let start = line * level.width;
                    corners.push(((start + column.low) * params.channels, line_weight * column.low_weight));
                    corners.push(((start + column.high) * params.channels, line_weight * column.high_weight));
                }
            }
        }
        sum_corners(corners, level.data, count, out);
    }
}

/// `out[c] = Σ weight · data[start + c] / count`, chunk by chunk of channels.
#[inline(always)]
fn sum_corners(corners: &[(usize, f32)], data: &[f32], count: f32, out: &mut [f32]) {
    let mut chunks = out.chunks_exact_mut(CHUNK);
    let mut offset = 0;
    for out in &mut chunks {
        let mut sums = [0f32; CHUNK];
        for &(start, weight) in corners {
            for (sum, value) in sums.iter_mut().zip(&data[start + offset..][..CHUNK]) {
                *sum += weight * value;
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = sum / count;
        }
        offset += CHUNK;
    }
    let rest = chunks.into_remainder();
    rest.fill(0.0);
    for &(start, weight) in corners {
        for (sum, value) in rest.iter_mut().zip(&data[start + offset..]) {
            *sum += weight * value;
        }
    }
    for sum in rest {
        *sum /= count;
    }
}
