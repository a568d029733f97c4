//! RoIAlign from byte maps to the box head's byte input: torchvision's `aligned=False`, one rounding in all.
//!
//! In: boxes in canvas pixels, the level each is read from, levels with their grids. Out: for each box
//! `[window][window][channels]` bytes on one grid. With w the bilinear weights of a bin's samples, in order, each
//! operation rounded to f32 on its own:
//!
//! ```text
//! t = (Σ w · f32(q) − f32(z_level) · Σ w) · f32(s_level / (s_out · samples))
//! q = saturate_u8(round_half_even(t) + z_out)
//! ```
//!
//! Samples outside of the level have weight 0: they add the real value 0, as torchvision's do. Every instruction set
//! and any number of threads give the same bytes. Nothing is allocated.

use super::claim::share;
use super::isa::{Isa, IsaName};
use crate::error::{Error, Kind, Result};

/// Boxes that are put in order before they are read; more are taken as they come.
const ORDERED: usize = 4096;
/// Most samples of a box in one direction.
const SAMPLES: usize = 512;
/// Channels whose sums stay in registers while a bin's samples are added up.
const CHUNK: usize = 64;

/// A level of the pyramid.
#[derive(Debug, Clone, Copy)]
pub struct RoiLevelU8<'a> {
    /// `height × width × channels` values, NHWC.
    pub data: &'a [u8],
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Cells of the level for one pixel of the canvas: 1/4 for P2.
    pub spatial_scale: f32,
    /// What one step of a byte is worth.
    pub scale: f32,
    /// The byte that means 0.0.
    pub zero_point: u8,
}

/// What is read of every box, and the grid it is written on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoiGridU8 {
    /// Channels of every level.
    pub channels: usize,
    /// Bins of a box in each direction.
    pub window: usize,
    /// Samples of a bin in each direction; 0: one a cell, as torchvision's 0 or −1.
    pub sampling_ratio: usize,
    /// What one step of an output byte is worth.
    pub scale: f32,
    /// The output byte that means 0.0.
    pub zero_point: u8,
}

/// Pools `boxes` (x0, y0, x1, y1 in canvas pixels), box `i` from `levels[level_of[i]]`, into `out`
/// (`[boxes][window][window][channels]`), on the current rayon pool.
///
/// # Errors
///
/// [`Kind::Internal`] where a length is not what the shapes say, where a level does not exist, and where a box has more
/// samples in a direction than 512: the window times the sampling ratio.
pub fn roi_align(
    isa: Isa,
    levels: &[RoiLevelU8<'_>],
    grid: RoiGridU8,
    boxes: &[[f32; 4]],
    level_of: &[u8],
    out: &mut [u8],
) -> Result<()> {
    let length = grid.window * grid.window * grid.channels;
    let whole = |level: &RoiLevelU8<'_>| level.data.len() == level.height * level.width * grid.channels;
    let known = |&level: &u8| levels.get(usize::from(level)).is_some_and(|level| level.height * level.width > 0);
    if out.len() != boxes.len() * length
        || level_of.len() != boxes.len()
        || !levels.iter().all(whole)
        || !level_of.iter().all(known)
        || grid.window * grid.sampling_ratio.max(1) > SAMPLES
    {
        let text = format!("{} boxes of {grid:?} into {} bytes do not fit their levels", boxes.len(), out.len());
        return Err(Error::new(Kind::Internal, text));
    }
    if length == 0 {
        return Ok(());
    }
    // Neighbours on the same level one after the other: much of what the next box reads is still in the cache.
    let mut order = [0u16; ORDERED];
    let order = order.get_mut(..boxes.len()).unwrap_or_default();
    order.iter_mut().zip(0..).for_each(|(slot, index)| *slot = index);
    order.sort_unstable_by_key(|&index| (level_of[usize::from(index)], place(boxes[usize::from(index)]), index));
    let (order, out) = (&*order, Windows { start: out.as_mut_ptr(), length });
    share(boxes.len(), |tasks| {
        let mut axes = Axes::default();
        for task in tasks {
            let index = order.get(task).map_or(task, |&index| usize::from(index));
            let level = &levels[usize::from(level_of[index])];
            axes.set(boxes[index], level, &grid);
            // SAFETY: `order` is a permutation, so every window is written by one task; `boxes` windows are there.
            let out = unsafe { out.window(index) };
            match isa.name() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the `Isa` proves AVX-512.
                _ if isa.proves(IsaName::Avx512Vnni) => unsafe {
                    super::x86::avx512_plain::pool_box_u8(&axes, level, &grid, out)
                },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the `Isa` proves AVX2.
                _ if isa.proves(IsaName::Avx2) => unsafe {
                    super::x86::avx2_plain::pool_box_u8(&axes, level, &grid, out)
                },
                _ => pool_box(&axes, level, &grid, out),
            }
        }
    });
    Ok(())
}

/// A number by which near boxes are near: stripes of 64 pixels from the top, each from left to right.
fn place([x0, y0, x1, y1]: [f32; 4]) -> (u32, u32) {
    (((y0 + y1) * 0.5 / 64.0) as u32, ((x0 + x1) * 0.5) as u32)
}

/// Output that threads write by boxes.
struct Windows {
    start: *mut u8,
    length: usize,
}

// SAFETY: a window is handed out by an unsafe function whose callers promise to ask for each only once.
unsafe impl Sync for Windows {}

impl Windows {
    /// # Safety
    ///
    /// Window `index` exists and nobody else holds it.
    #[allow(clippy::mut_from_ref, reason = "the caller promises that windows are not shared")]
    unsafe fn window(&self, index: usize) -> &mut [u8] {
        // SAFETY: as the caller promises.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(index * self.length), self.length) }
    }
}

/// One sample in one direction: two cells and their weights; both weights 0 outside of the level.
#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    low: u32,
    high: u32,
    low_weight: f32,
    high_weight: f32,
}

/// The samples of one box in one direction.
struct Axis {
    samples: [Sample; SAMPLES],
    per_bin: usize,
}

/// The samples of one box.
pub(super) struct Axes {
    rows: Axis,
    columns: Axis,
}

impl Default for Axes {
    fn default() -> Self {
        let axis = || Axis { samples: [Sample::default(); SAMPLES], per_bin: 0 };
        Self { rows: axis(), columns: axis() }
    }
}

impl Axes {
    fn set(&mut self, [x0, y0, x1, y1]: [f32; 4], level: &RoiLevelU8<'_>, grid: &RoiGridU8) {
        let scale = level.spatial_scale;
        self.rows.set(y0 * scale, y1 * scale, level.height, grid);
        self.columns.set(x0 * scale, x1 * scale, level.width, grid);
    }
}

impl Axis {
    /// The samples of `window` bins of a box from `start` to `end` (at least one cell wide) on `size` cells.
    fn set(&mut self, start: f32, end: f32, size: usize, grid: &RoiGridU8) {
        let extent = (end - start).max(1.0);
        let bin = extent / grid.window as f32;
        self.per_bin = match grid.sampling_ratio {
            0 => (bin.ceil() as usize).clamp(1, SAMPLES / grid.window),
            given => given,
        };
        let numbers = (0..grid.window).flat_map(|bin| (0..self.per_bin).map(move |sample| (bin, sample)));
        for (slot, (index, sample)) in self.samples.iter_mut().zip(numbers) {
            let position = start + index as f32 * bin + (sample as f32 + 0.5) * bin / self.per_bin as f32;
            *slot = Sample::at(position, size);
        }
    }

    fn bin(&self, bin: usize) -> &[Sample] {
        &self.samples[bin * self.per_bin..][..self.per_bin]
    }
}

impl Sample {
    fn at(position: f32, size: usize) -> Self {
        // So written, a position that is no number is outside too.
        if !(position >= -1.0 && position <= size as f32) {
            return Self::default();
        }
        let position = position.max(0.0);
        let (low, last) = (position as u32, size as u32 - 1);
        if low >= last {
            return Self { low: last, high: last, low_weight: 1.0, high_weight: 0.0 };
        }
        let high_weight = position - low as f32;
        Self { low, high: low + 1, low_weight: 1.0 - high_weight, high_weight }
    }
}

/// The four cells around a sample: where their channels start, and their weights.
type Corners = ([usize; 4], [f32; 4]);

/// Pools one box; compiled once for each instruction set.
#[inline(always)]
pub(super) fn pool_box(axes: &Axes, level: &RoiLevelU8<'_>, grid: &RoiGridU8, out: &mut [u8]) {
    let samples = (axes.rows.per_bin * axes.columns.per_bin) as f64;
    let multiplier = (f64::from(level.scale) / (f64::from(grid.scale) * samples)) as f32;
    let line = level.width * grid.channels;
    for (bin, out) in out.chunks_exact_mut(grid.channels).enumerate() {
        let (rows, columns) = (axes.rows.bin(bin / grid.window), axes.columns.bin(bin % grid.window));
        let corners = |row: &Sample, column: &Sample| -> Corners {
            let (top, bottom) = (row.low as usize * line, row.high as usize * line);
            let (left, right) = (column.low as usize * grid.channels, column.high as usize * grid.channels);
            let weights = [
                row.low_weight * column.low_weight,
                row.low_weight * column.high_weight,
                row.high_weight * column.low_weight,
                row.high_weight * column.high_weight,
            ];
            ([top + left, top + right, bottom + left, bottom + right], weights)
        };
        let mut chunks = out.chunks_exact_mut(CHUNK);
        let mut first = 0;
        for out in &mut chunks {
            let mut sums = [0f32; CHUNK];
            let mut total = 0f32;
            for row in rows {
                for column in columns {
                    let (starts, weights) = corners(row, column);
                    let cells: [&[u8; CHUNK]; 4] = starts.map(|start| cell(level.data, start + first));
                    for channel in 0..CHUNK {
                        let mut sum = sums[channel];
                        sum += weights[0] * f32::from(cells[0][channel]);
                        sum += weights[1] * f32::from(cells[1][channel]);
                        sum += weights[2] * f32::from(cells[2][channel]);
                        sum += weights[3] * f32::from(cells[3][channel]);
                        sums[channel] = sum;
                    }
                    total = weights.iter().fold(total, |total, weight| total + weight);
                }
            }
            finish(&sums, total, level, grid, multiplier, out);
            first += CHUNK;
        }
        let rest = chunks.into_remainder();
        let mut sums = [0f32; CHUNK];
        let mut total = 0f32;
        for row in rows {
            for column in columns {
                let (starts, weights) = corners(row, column);
                for (start, weight) in starts.into_iter().zip(weights) {
                    let cell = &level.data[start + first..][..rest.len()];
                    for (sum, &value) in sums.iter_mut().zip(cell) {
                        *sum += weight * f32::from(value);
                    }
                    total += weight;
                }
            }
        }
        finish(&sums, total, level, grid, multiplier, rest);
    }
}

#[inline(always)]
fn cell(data: &[u8], start: usize) -> &[u8; CHUNK] {
    match data[start..].first_chunk() {
        Some(cell) => cell,
        // Levels are checked to be whole, so a pixel's channels are there.
        None => &[0; CHUNK],
    }
}

/// From sums of weighted bytes to the output grid.
#[inline(always)]
fn finish(sums: &[f32; CHUNK], total: f32, level: &RoiLevelU8<'_>, grid: &RoiGridU8, multiplier: f32, out: &mut [u8]) {
    let shift = f32::from(level.zero_point) * total;
    let (floor, ceiling) = (-f32::from(grid.zero_point), 255.0 - f32::from(grid.zero_point));
    for (out, sum) in out.iter_mut().zip(sums) {
        let t = (sum - shift) * multiplier;
        let raised = if t > floor { t } else { floor };
        let clamped = if raised < ceiling { raised } else { ceiling };
        *out = (clamped.round_ties_even() as i32 + i32::from(grid.zero_point)) as u8;
    }
}
