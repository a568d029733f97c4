//! RoIAlign from byte maps to the box head's byte input: torchvision's `aligned=False`, one rounding in all.
//!
//! In: boxes in canvas pixels, the level each is read from, levels with their quantization parameters. Out: for each
//! box `[window][window][channels]` bytes with one set of quantization parameters. With w the bilinear weights of a
//! bin's samples, in order, each operation rounded to f32 on its own:
//!
//! ```text
//! t = (Σ w · f32(q) − f32(z_level) · Σ w) · f32(s_level / (s_out · samples))
//! q = saturate_u8(round_half_even(t) + z_out)
//! ```
//!
//! Samples outside of the level have weight 0: they add the real value 0, as torchvision's do. Every instruction set
//! and any number of threads give the same bytes. Nothing is allocated.

use super::aligned::ALIGNMENT;
use super::claim::share;
use super::isa::Isa;
use super::prefetch::prefetch;
use crate::error::{Error, Kind, Result};

/// Boxes that are put in order before they are read; more are taken as they come.
const ORDERED: usize = 4096;
/// Most samples of a box in one direction.
const SAMPLES: usize = 512;
/// Channels whose sums stay in registers while a bin's samples are added up.
const CHUNK: usize = 64;
/// Samples of a bin whose corners are worked out once rather than for every chunk of channels.
const KNOWN: usize = 16;

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
    /// Scale of the level.
    pub scale: f32,
    /// Zero point.
    pub zero_point: u8,
}

/// Window and sampling of every box, and the quantization parameters of the output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoiAlignParamsU8 {
    /// Channels of every level.
    pub channels: usize,
    /// Bins of a box in each direction.
    pub window: usize,
    /// Samples of a bin in each direction; 0: one a cell, as torchvision's 0 or −1.
    pub sampling_ratio: usize,
    /// Scale of the output.
    pub scale: f32,
    /// Zero point of the output.
    pub zero_point: u8,
}

/// Pools `boxes` (x0, y0, x1, y1 in canvas pixels), box `i` from `levels[level_of[i]]`, into `out`
/// (`[boxes][window][window][channels]`), on the current rayon pool.
///
/// # Errors
///
/// [`Kind::Internal`] where a length is not what the shapes say, or a level does not exist. The same where a box has
/// more samples in a direction than 512: the window times the sampling ratio.
pub fn roi_align(
    isa: Isa,
    levels: &[RoiLevelU8<'_>],
    params: RoiAlignParamsU8,
    boxes: &[[f32; 4]],
    level_of: &[u8],
    out: &mut [u8],
) -> Result<()> {
    let length = params.window * params.window * params.channels;
    let whole = |level: &RoiLevelU8<'_>| level.data.len() == level.height * level.width * params.channels;
    let known = |&level: &u8| levels.get(usize::from(level)).is_some_and(|level| level.height * level.width > 0);
    if out.len() != boxes.len() * length
        || level_of.len() != boxes.len()
        || !levels.iter().all(whole)
        || !level_of.iter().all(known)
        || params.window * params.sampling_ratio.max(1) > SAMPLES
    {
        let text = format!("{} boxes of {params:?} into {} bytes do not fit their levels", boxes.len(), out.len());
        return Err(Error::new(Kind::Internal, text));
    }
    if length == 0 {
        return Ok(());
    }
    // Boxes are processed in spatial order within a level, so that much of the next box's input is in the cache.
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
            axes.set(boxes[index], level, &params);
            // SAFETY: `order` is a permutation, so every window is written by one task; `boxes` windows are there.
            let out = unsafe { out.window(index) };
            match isa.name() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the `Isa` proves AVX-512.
                _ if isa.proves(super::isa::IsaName::Avx512Vnni) => unsafe {
                    super::x86::avx512_plain::pool_box_u8(&axes, level, &params, out)
                },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the `Isa` proves AVX2.
                _ if isa.proves(super::isa::IsaName::Avx2) => unsafe {
                    super::x86::avx2_plain::pool_box_u8(&axes, level, &params, out)
                },
                _ => pool_box(&axes, level, &params, out),
            }
        }
    });
    Ok(())
}

/// Sort key that places neighbouring boxes together: stripes of 64 pixels from the top, each from left to right.
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
    fn set(&mut self, [x0, y0, x1, y1]: [f32; 4], level: &RoiLevelU8<'_>, params: &RoiAlignParamsU8) {
        let scale = level.spatial_scale;
        self.rows.set(y0 * scale, y1 * scale, level.height, params);
        self.columns.set(x0 * scale, x1 * scale, level.width, params);
    }
}

impl Axis {
    /// The samples of `window` bins of a box from `start` to `end` (at least one cell wide) on `size` cells.
    fn set(&mut self, start: f32, end: f32, size: usize, params: &RoiAlignParamsU8) {
        let extent = (end - start).max(1.0);
        let bin = extent / params.window as f32;
        self.per_bin = match params.sampling_ratio {
            0 => (bin.ceil() as usize).clamp(1, SAMPLES / params.window),
            given => given,
        };
        let numbers = (0..params.window).flat_map(|bin| (0..self.per_bin).map(move |sample| (bin, sample)));
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
        // So written, a NaN position is outside too.
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

/// Prefetches the cells of the next bin: the hardware prefetcher cannot predict sample positions.
#[inline(always)]
fn prefetch_bin(axes: &Axes, level: &RoiLevelU8<'_>, params: &RoiAlignParamsU8, bin: usize) {
    for row in axes.rows.bin(bin / params.window) {
        for column in axes.columns.bin(bin % params.window) {
            for y in [row.low, row.high] {
                for x in [column.low, column.high] {
                    let start = (y as usize * level.width + x as usize) * params.channels;
                    for line in (0..params.channels).step_by(ALIGNMENT) {
                        prefetch(level.data.as_ptr().wrapping_add(start + line));
                    }
                }
            }
        }
    }
}

/// The four cells around a sample: where their channels start, and their weights.
#[derive(Debug, Clone, Copy, Default)]
struct Corners {
    starts: [usize; 4],
    weights: [f32; 4],
}

impl Corners {
    #[inline(always)]
    fn new(row: &Sample, column: &Sample, line: usize, channels: usize) -> Self {
        let (top, bottom) = (row.low as usize * line, row.high as usize * line);
        let (left, right) = (column.low as usize * channels, column.high as usize * channels);
        Self {
            starts: [top + left, top + right, bottom + left, bottom + right],
            weights: [
                row.low_weight * column.low_weight,
                row.low_weight * column.high_weight,
                row.high_weight * column.low_weight,
                row.high_weight * column.high_weight,
            ],
        }
    }
}

/// Pools one box; compiled once for each instruction set, so nothing in it may be a closure: that would be called, not
/// inlined.
#[inline(always)]
pub(super) fn pool_box(axes: &Axes, level: &RoiLevelU8<'_>, params: &RoiAlignParamsU8, out: &mut [u8]) {
    let samples = (axes.rows.per_bin * axes.columns.per_bin) as f64;
    let multiplier = (f64::from(level.scale) / (f64::from(params.scale) * samples)) as f32;
    let line = level.width * params.channels;
    let bins = params.window * params.window;
    let mut known = [Corners::default(); KNOWN];
    for (bin, out) in out.chunks_exact_mut(params.channels).enumerate() {
        if bin + 1 < bins {
            prefetch_bin(axes, level, params, bin + 1);
        }
        let (rows, columns) = (axes.rows.bin(bin / params.window), axes.columns.bin(bin % params.window));
        let count = rows.len() * columns.len();
        let mut total = 0f32;
        for number in 0..count {
            let (row, column) = (&rows[number / columns.len()], &columns[number % columns.len()]);
            let corners = Corners::new(row, column, line, params.channels);
            total = total + corners.weights[0] + corners.weights[1] + corners.weights[2] + corners.weights[3];
            if let Some(slot) = known.get_mut(number) {
                *slot = corners;
            }
        }
        let shift = f32::from(level.zero_point) * total;
        let mut first = 0;
        while first < params.channels {
            let length = CHUNK.min(params.channels - first);
            let mut sums = [0f32; CHUNK];
            for number in 0..count {
                let corners = match known.get(number) {
                    Some(corners) => *corners,
                    None => {
                        let (row, column) = (&rows[number / columns.len()], &columns[number % columns.len()]);
                        Corners::new(row, column, line, params.channels)
                    }
                };
                if length == CHUNK {
                    add_whole(&mut sums, level.data, &corners, first);
                } else {
                    add_part(&mut sums[..length], level.data, &corners, first);
                }
            }
            match out[first..first + length].first_chunk_mut() {
                Some(out) => finish(&sums, shift, multiplier, params, out),
                None => {
                    let mut bytes = [0; CHUNK];
                    finish(&sums, shift, multiplier, params, &mut bytes);
                    out[first..first + length].copy_from_slice(&bytes[..length]);
                }
            }
            first += CHUNK;
        }
    }
}

/// Adds one sample of [`CHUNK`] channels.
#[inline(always)]
fn add_whole(sums: &mut [f32; CHUNK], data: &[u8], corners: &Corners, first: usize) {
    let [w0, w1, w2, w3] = corners.weights;
    let [s0, s1, s2, s3] = corners.starts;
    let (c0, c1) = (cell(data, s0 + first), cell(data, s1 + first));
    let (c2, c3) = (cell(data, s2 + first), cell(data, s3 + first));
    for channel in 0..CHUNK {
        let mut sum = sums[channel];
        sum += w0 * f32::from(c0[channel]);
        sum += w1 * f32::from(c1[channel]);
        sum += w2 * f32::from(c2[channel]);
        sum += w3 * f32::from(c3[channel]);
        sums[channel] = sum;
    }
}

/// Adds one sample of fewer channels, in the same order.
#[inline(always)]
fn add_part(sums: &mut [f32], data: &[u8], corners: &Corners, first: usize) {
    for (&start, &weight) in corners.starts.iter().zip(&corners.weights) {
        let cell = &data[start + first..][..sums.len()];
        for (sum, &value) in sums.iter_mut().zip(cell) {
            *sum += weight * f32::from(value);
        }
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

/// From sums of weighted bytes to output bytes.
#[inline(always)]
fn finish(sums: &[f32; CHUNK], shift: f32, multiplier: f32, params: &RoiAlignParamsU8, out: &mut [u8; CHUNK]) {
    // Added to a number this near to 0, it leaves the number rounded half to even in its low bits.
    const ROUND: f32 = 12_582_912.0;
    let zero_point = i32::from(params.zero_point).wrapping_sub(ROUND.to_bits() as i32);
    let (floor, ceiling) = (-f32::from(params.zero_point), 255.0 - f32::from(params.zero_point));
    for (out, sum) in out.iter_mut().zip(sums) {
        let t = (sum - shift) * multiplier;
        let raised = if t > floor { t } else { floor };
        let clamped = if raised < ceiling { raised } else { ceiling };
        *out = ((clamped + ROUND).to_bits() as i32).wrapping_add(zero_point) as u8;
    }
}
