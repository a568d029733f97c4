//! Depthwise convolution, and convolution in groups of 4 or 8 channels, over NHWC maps: packing and driver.
//!
//! In: weights once, then maps a call. Out: what [`direct_f32`](super::direct_f32) computes. A task is one output row
//! and a range of channels. The range's weights stay in the first-level cache, the rows that neighbouring tasks share
//! in the second. A row is cut where taps begin or cease to lie in the map, so that the kernel tests no tap.

use std::ops::Range;

use super::aligned::AlignedBuffer;
use super::claim::{share, wanted_tasks};
use super::direct_f32::DirectF32;
use super::geometry::ConvGeometry;
use super::maps_f32::{ConvCallF32, MapsF32};
use super::tile_f32::KernelF32;

/// Channels that a range begins at: a multiple of every kernel's lanes and of the groups.
const UNIT: usize = 16;
/// Weights of a range of channels, in values: 16 KiB, half of a first-level cache.
const NEAR_WEIGHTS: usize = 1 << 12;

/// Packed weights and bias. Immutable.
#[derive(Debug)]
pub struct DepthwiseF32 {
    group: usize,
    weights: AlignedBuffer<f32>,
    bias: AlignedBuffer<f32>,
}

impl DepthwiseF32 {
    /// True if `kernel` computes `geometry` without panels of weights.
    pub fn suits(kernel: &KernelF32, geometry: &ConvGeometry) -> bool {
        let (group, channels) = (geometry.group_channels(), geometry.in_channels);
        geometry.groups > 1
            && channels == geometry.out_channels
            && (group == 1 || (matches!(group, 4 | 8) && group <= kernel.lanes && channels >= kernel.lanes))
    }

    /// Packs `weights` (`[out][tap][in / groups]`) as [`DirectF32::weights`] of `kernel`; `bias` has one value an output,
    /// or none.
    pub fn new(kernel: &KernelF32, geometry: &ConvGeometry, weights: &[f32], bias: &[f32]) -> Self {
        let (group, channels, taps) = (geometry.group_channels(), geometry.in_channels, geometry.taps());
        let lanes = if channels < kernel.lanes { 1 } else { kernel.lanes };
        let vectors = channels.div_ceil(lanes);
        let mut packed = AlignedBuffer::zeroed(vectors * taps * group * lanes);
        for (number, row) in packed.chunks_exact_mut(lanes).enumerate() {
            let (distance, tap, vector) = (number % group, number / group % taps, number / group / taps);
            let first = (vector * lanes).min(channels - lanes);
            for (input, weight) in (first..).zip(row) {
                *weight = weights[((input ^ distance) * taps + tap) * group + input % group];
            }
        }
        Self { group, weights: packed, bias: AlignedBuffer::padded(bias, channels) }
    }

    /// Convolves the maps of `call`. Uses the current rayon pool.
    pub fn run(&self, call: &ConvCallF32<'_>) {
        let outputs = call.geometry.out_channels;
        let (rows, columns) = call.size;
        let lines = call.maps.count * rows;
        let ranges = self.ranges(call.geometry, lines);
        share(lines * ranges, |claims| {
            for task in claims {
                let number = task / ranges;
                let line = Line { call, number, out: call.out.at(number * columns * outputs) };
                self.line(&line, range(outputs, task % ranges, ranges));
            }
        });
    }

    /// Into how many ranges of channels a row is cut.
    fn ranges(&self, geometry: &ConvGeometry, lines: usize) -> usize {
        let near = (geometry.taps() * self.group * geometry.out_channels).div_ceil(NEAR_WEIGHTS);
        let wanted = wanted_tasks().div_ceil(lines);
        // At least two units each, of which the last may be part of one: no range is shorter than a vector.
        near.max(wanted).clamp(1, (geometry.out_channels / UNIT / 2).max(1))
    }

    /// One output row, some channels.
    fn line(&self, line: &Line<'_>, range: Range<usize>) {
        let ConvCallF32 { kernel, geometry, maps, skip, activation, size, .. } = *line.call;
        let MapsF32 { data, height, width, .. } = maps;
        let (rows, columns) = size;
        let (map, y) = (line.number / rows, line.number % rows);
        let row_stride = width * geometry.in_channels;
        let tap_rows = taps(y, geometry.kernel_height, height, geometry);
        let first_row = (y * geometry.stride).wrapping_sub(geometry.padding);
        let map = data[map * height * row_stride..].as_ptr();
        let piece = |x: usize, count: usize| {
            let first_column = (x * geometry.stride).wrapping_sub(geometry.padding);
            let skip = match skip {
                Some(skip) => skip.pixel((y, x), size, geometry.out_channels).as_ptr(),
                None => std::ptr::null(),
            };
            let call = DirectF32 {
                input: map.wrapping_add(
                    first_row.wrapping_mul(row_stride).wrapping_add(first_column.wrapping_mul(geometry.in_channels)),
                ),
                row_stride,
                pixel_stride: geometry.stride * geometry.in_channels,
                channels: geometry.in_channels,
                kernel_width: geometry.kernel_width,
                tap_rows: tap_rows.clone(),
                tap_columns: taps(x, geometry.kernel_width, width, geometry),
                group: self.group,
                weights: &self.weights,
                taps: geometry.taps(),
                bias: &self.bias,
                skip,
                activation,
                range: range.clone(),
                out: line.out.wrapping_add(x * geometry.out_channels),
                count,
            };
            // SAFETY: `Isa` proved the instruction set; the taps lie in the map; these pixels and channels are this
            // task's alone.
            unsafe { (kernel.direct)(&call) }
        };
        // Columns whose taps all lie in the map.
        let left = geometry.padding.div_ceil(geometry.stride).min(columns);
        let right = match (width + geometry.padding).checked_sub(geometry.kernel_width) {
            Some(last) => (last / geometry.stride + 1).clamp(left, columns),
            None => left,
        };
        (0..left).for_each(|x| piece(x, 1));
        if skip.is_some() {
            (left..right).for_each(|x| piece(x, 1));
        } else if left < right {
            piece(left, right - left);
        }
        (right..columns).for_each(|x| piece(x, 1));
    }
}

/// An output row: what a task needs beside its weights.
struct Line<'a> {
    call: &'a ConvCallF32<'a>,
    /// Rows of all maps, one map after the other.
    number: usize,
    out: *mut f32,
}

/// Range `index` of `count` of the channels, in whole units but for the last.
fn range(channels: usize, index: usize, count: usize) -> Range<usize> {
    let units = channels.div_ceil(UNIT);
    index * units / count * UNIT..channels.min((index + 1) * units / count * UNIT)
}

/// Taps of `kernel`, in one direction, that lie in a map of size `size` for the output at `place`.
fn taps(place: usize, kernel: usize, size: usize, geometry: &ConvGeometry) -> Range<usize> {
    let start = place * geometry.stride;
    let end = (size + geometry.padding).saturating_sub(start).min(kernel);
    geometry.padding.saturating_sub(start).min(end)..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_the_channels_and_hold_a_vector() {
        for channels in (1..700).chain([960, 1280, 2048]) {
            for count in 1..=(channels / UNIT / 2).max(1) {
                let mut next = 0;
                for index in 0..count {
                    let range = range(channels, index, count);
                    assert_eq!(range.start, next);
                    assert!(range.len() > UNIT || count == 1, "{channels} in {count}: {range:?}");
                    next = range.end;
                }
                assert_eq!(next, channels);
            }
        }
    }

    #[test]
    fn taps_outside_are_left_out() {
        let geometry = ConvGeometry { padding: 2, stride: 2, ..ConvGeometry::linear(1, 1) };
        let all: Vec<_> = (0..4).map(|place| taps(place, 5, 6, &geometry)).collect();
        assert_eq!(all, [2..5, 0..5, 0..4, 0..2]);
        assert_eq!(taps(0, 1, 6, &geometry), 1..1);
    }
}
