//! The operands of a block: a pointer for each output pixel and filter tap, an offset for each pixel's residual.
//!
//! In: output pixels of a map whose extents are checked. Out: tables on the caller's stack, in the order the kernels
//! read them. Taps outside the picture point at the epilogue's row of it, so that no kernel knows of padding.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::MAX_MR;
use super::map::{Map, Plane, SkipInput};
use super::pack::{PIXEL_BYTES, PIXEL_TAPS, Reads, TABLE};
use crate::kernel::geometry::ConvGeometry;

/// Most pixels of a block.
pub(super) const BLOCK_PIXELS: usize = 512;
/// Most pixels of a block of the first layer, each of which may need a copy of what it reads.
pub(super) const EDGE_PIXELS: usize = 96;

/// Copies of the filter rows of one pixel at the picture's side.
pub(super) type Edge = [[u8; PIXEL_TAPS * PIXEL_BYTES]; PIXEL_TAPS];

impl Map<'_> {
    /// Fills the table for `pixels` of one byte of the values: `[tile][tap][mr]`, the last tile's missing pixels
    /// repeating the last one.
    pub(super) fn point(
        &self,
        plane: Plane<'_>,
        pixels: Range<usize>,
        table: &mut [MaybeUninit<*const u8>; TABLE],
        edges: &mut [MaybeUninit<Edge>; EDGE_PIXELS],
    ) {
        let geometry = self.packed.geometry();
        let (mr, taps) = (self.packed.kernel().mr, self.packed.taps());
        let whole = self.whole_columns();
        // Counted on from pixel to pixel: divisions would take as long as a small layer's sums.
        let (row, mut x) = (pixels.start / self.columns, pixels.start % self.columns);
        let (mut map, mut y) = (row / self.rows, row % self.rows);
        let (mut first, mut lane, mut index) = (0, 0, 0);
        while index < pixels.len() {
            let top = (y * geometry.stride) as isize - geometry.padding as isize;
            let left = (x * geometry.stride) as isize - geometry.padding as isize;
            let slots = &mut table[first + lane..];
            let mut done = 1;
            if whole.contains(&x) && (0..=self.input.height as isize - geometry.kernel_height as isize).contains(&top) {
                done = (mr - lane).min(pixels.len() - index).min(whole.end - x);
                let pixel = (map * self.input.height + top as usize) * self.input.width + left as usize;
                self.point_run(plane, pixel, done, slots);
            } else if let Reads::FilterRow = self.packed.reads() {
                self.point_rows(plane, (top, left), slots, &mut edges[index]);
            } else {
                self.point_pixel(plane, map, (top, left), slots);
            }
            index += done;
            lane += done;
            if lane == mr {
                (lane, first) = (0, first + taps * mr);
            }
            x += done;
            if x == self.columns {
                (x, y) = (0, y + 1);
                if y == self.rows {
                    (y, map) = (0, map + 1);
                }
            }
        }
        if lane > 0 {
            for tap in table[first..][..taps * mr].chunks_exact_mut(mr) {
                let (there, missing) = tap.split_at_mut(lane);
                missing.fill(there[lane - 1]);
            }
        }
    }

    /// Output columns whose filter lies inside of the picture's width.
    fn whole_columns(&self) -> Range<usize> {
        let ConvGeometry { kernel_width, stride, padding, .. } = *self.packed.geometry();
        let end = (self.input.width + padding).checked_sub(kernel_width).map_or(0, |last| last / stride + 1);
        padding.div_ceil(stride)..end.min(self.columns)
    }

    /// One pointer a tap for each of `count` neighbouring outputs of one tile, whose filters lie inside of the picture.
    /// That of the first starts at input pixel `pixel`.
    fn point_run(&self, plane: Plane<'_>, pixel: usize, count: usize, slots: &mut [MaybeUninit<*const u8>]) {
        let ConvGeometry { in_channels, kernel_height, stride, .. } = *self.packed.geometry();
        let mr = self.packed.kernel().mr;
        // A filter row in one piece has one pointer.
        let columns = self.packed.taps() / kernel_height;
        let start = plane.data[pixel * in_channels..].as_ptr();
        let mut taps = slots.chunks_mut(mr);
        for y in 0..kernel_height {
            for (x, slots) in (0..columns).zip(taps.by_ref()) {
                // Inside of the picture, for every output.
                let tap = start.wrapping_add((y * self.input.width + x) * in_channels);
                for (output, slot) in slots[..count].iter_mut().enumerate() {
                    slot.write(tap.wrapping_add(output * stride * in_channels));
                }
            }
        }
    }

    /// One pointer a tap: to the input pixel under it, or to the row outside the picture.
    fn point_pixel(
        &self,
        plane: Plane<'_>,
        map: usize,
        (top, left): (isize, isize),
        slots: &mut [MaybeUninit<*const u8>],
    ) {
        let geometry = self.packed.geometry();
        let mr = self.packed.kernel().mr;
        let first = map * self.input.height * self.input.width;
        let mut slot = 0;
        for y in top..top + geometry.kernel_height as isize {
            for x in left..left + geometry.kernel_width as isize {
                let inside =
                    (0..self.input.height as isize).contains(&y) && (0..self.input.width as isize).contains(&x);
                slots[slot].write(if inside {
                    let at = first + y as usize * self.input.width + x as usize;
                    plane.data[at * geometry.in_channels..].as_ptr()
                } else {
                    plane.outside.as_ptr()
                });
                slot += mr;
            }
        }
    }

    /// One pointer a filter row: into the input, to the row outside, or to a copy where the picture's side cuts it.
    fn point_rows(
        &self,
        plane: Plane<'_>,
        (top, left): (isize, isize),
        slots: &mut [MaybeUninit<*const u8>],
        edge: &mut MaybeUninit<Edge>,
    ) {
        let geometry = self.packed.geometry();
        let mr = self.packed.kernel().mr;
        let columns = left..left + geometry.kernel_width as isize;
        let width = self.input.width as isize;
        let whole = columns.start >= 0 && columns.end <= width;
        let copies = if whole { None } else { Some(edge.write([[0; PIXEL_TAPS * PIXEL_BYTES]; PIXEL_TAPS])) };
        let mut copies = copies.into_iter().flatten();
        for (row, y) in (top..top + geometry.kernel_height as isize).enumerate() {
            let copy = copies.next();
            let pointer = if !(0..self.input.height as isize).contains(&y) {
                plane.outside.as_ptr()
            } else if let Some(copy) = copy {
                copy[..plane.outside.len()].copy_from_slice(plane.outside);
                let inside = columns.start.max(0)..columns.end.min(width);
                if !inside.is_empty() {
                    let from = (y * width + inside.start) as usize * PIXEL_BYTES;
                    let to = (inside.start - columns.start) as usize * PIXEL_BYTES;
                    let bytes = inside.len() * PIXEL_BYTES;
                    copy[to..to + bytes].copy_from_slice(&plane.data[from..from + bytes]);
                }
                copy.as_ptr()
            } else {
                plane.data[(y * width + columns.start) as usize * PIXEL_BYTES..].as_ptr()
            };
            slots[row * mr].write(pointer);
        }
    }

    /// Fills `offsets` with where each pixel's residual lies.
    pub(super) fn skip_offsets(&self, pixels: Range<usize>, offsets: &mut [usize; BLOCK_PIXELS + MAX_MR]) {
        let (height, width) = match self.skip {
            SkipInput::None => return,
            SkipInput::U8 { height, width, .. }
            | SkipInput::U16 { height, width, .. }
            | SkipInput::F32 { height, width, .. } => (height, width),
        };
        let channels = self.packed.geometry().out_channels;
        if (height, width) == (self.rows, self.columns) {
            offsets.iter_mut().zip(pixels).for_each(|(offset, pixel)| *offset = pixel * channels);
        } else {
            for (offset, pixel) in offsets.iter_mut().zip(pixels) {
                let (y, x) = (pixel / self.columns * height / self.rows, pixel % self.columns * width / self.columns);
                *offset = (y * width + x) * channels;
            }
        }
    }
}
