//! Pointers to the input pixels of a convolution's tiles: implicit GEMM without an im2col copy.
//!
//! In: maps and a run of output pixels, through all maps. Out: for every tile, tap and row the pointer to the input
//! pixel, or to a pixel of zeros outside of the picture. Of maps with very few channels (the stem's three), the rows
//! that the run reads are first copied. The copy is a padded strip where a whole filter row is contiguous. So a tap is
//! `kernel width × channels` values, and the kernel's inner loop is long enough.

use super::geometry::ConvGeometry;
use super::maps_f32::MapsF32;

/// Below this many channels a filter wider than one column is read row by row from a strip.
const STRIP_CHANNELS: usize = 16;

/// Access pattern of the taps: single pixels, or rows of a strip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segments {
    /// Contiguous runs that one output reads.
    pub count: usize,
    /// Values of a run.
    pub depth: usize,
    strip: bool,
}

impl Segments {
    /// The faster access for `geometry`, of which each output reads `channels`: all of them, or those of its groups.
    /// Both keep the weights' order `[kh][kw][in]`.
    pub fn of(geometry: &ConvGeometry, channels: usize) -> Self {
        let strip = geometry.in_channels < STRIP_CHANNELS && geometry.kernel_width > 1 && geometry.groups == 1;
        if strip {
            Self { count: geometry.kernel_height, depth: geometry.kernel_width * geometry.in_channels, strip }
        } else {
            Self { count: geometry.taps(), depth: channels, strip }
        }
    }
}

/// Pointer table of one thread, refilled for every run of output pixels.
#[derive(Debug, Default)]
pub struct RowTable {
    pointers: Vec<*const f32>,
    strip: Vec<f32>,
}

impl RowTable {
    /// Fills the table for the output pixels `first..first + count` (numbered row by row, map by map) in tiles of `mr`;
    /// rows past the last read `zeros`. `zeros` has at least as many values as a segment or pixel and stays where it is.
    pub fn fill(
        &mut self,
        geometry: &ConvGeometry,
        segments: Segments,
        maps: MapsF32<'_>,
        zeros: &[f32],
        (first, count): (usize, usize),
        mr: usize,
    ) {
        debug_assert!(zeros.len() >= segments.depth.max(geometry.in_channels));
        self.pointers.clear();
        self.pointers.resize(count.next_multiple_of(mr) * segments.count, zeros.as_ptr());
        let size = geometry.output(maps.height, maps.width);
        if segments.strip {
            self.fill_from_strip(geometry, maps, (first, count), mr, size);
        } else {
            self.fill_from_map(geometry, maps, (first, count), mr, size);
        }
    }

    /// The `segments × mr` pointers of one tile.
    pub fn tile(&self, tile: usize, segments: usize, mr: usize) -> &[*const f32] {
        &self.pointers[tile * segments * mr..][..segments * mr]
    }

    fn fill_from_map(
        &mut self,
        geometry: &ConvGeometry,
        maps: MapsF32<'_>,
        (first, count): (usize, usize),
        mr: usize,
        (rows, columns): (usize, usize),
    ) {
        let taps = geometry.taps();
        let length = maps.height * maps.width * geometry.in_channels;
        let (mut row, mut column) = (first / columns % rows, first % columns);
        let mut map = &maps.data[first / (rows * columns) * length..];
        for pixel in 0..count {
            let slots = &mut self.pointers[pixel / mr * taps * mr + pixel % mr..];
            let mut slot = 0;
            for ky in 0..geometry.kernel_height {
                let y = (row * geometry.stride + ky).wrapping_sub(geometry.padding);
                for kx in 0..geometry.kernel_width {
                    let x = (column * geometry.stride + kx).wrapping_sub(geometry.padding);
                    if y < maps.height && x < maps.width {
                        slots[slot] = map[(y * maps.width + x) * geometry.in_channels..].as_ptr();
                    }
                    slot += mr;
                }
            }
            column += 1;
            if column == columns {
                (row, column) = (row + 1, 0);
                if row == rows {
                    row = 0;
                    map = &map[length..];
                }
            }
        }
    }

    fn fill_from_strip(
        &mut self,
        geometry: &ConvGeometry,
        maps: MapsF32<'_>,
        (first, count): (usize, usize),
        mr: usize,
        (rows, columns): (usize, usize),
    ) {
        let channels = geometry.in_channels;
        let end = first + count;
        // Where each output row's part of the run starts in the strip; the pointers follow once it stands still.
        self.strip.clear();
        for (row, from, to) in row_parts(first, end, columns) {
            let (map, row) = (row / rows, row % rows);
            for ky in 0..geometry.kernel_height {
                let width = (to - from - 1) * geometry.stride + geometry.kernel_width;
                let start = self.strip.len();
                self.strip.resize(start + width * channels, 0.0);
                let y = (row * geometry.stride + ky).wrapping_sub(geometry.padding);
                // Columns of the map that the part reads, cut to those that exist.
                let left = from * geometry.stride;
                let begin = left.max(geometry.padding);
                let stop = (left + width).min(maps.width + geometry.padding);
                if y < maps.height && begin < stop {
                    let source = ((map * maps.height + y) * maps.width + begin - geometry.padding) * channels;
                    let length = (stop - begin) * channels;
                    self.strip[start + (begin - left) * channels..][..length]
                        .copy_from_slice(&maps.data[source..source + length]);
                }
            }
        }
        let mut start = 0;
        let mut pixel = 0;
        for (_, from, to) in row_parts(first, end, columns) {
            let width = ((to - from - 1) * geometry.stride + geometry.kernel_width) * channels;
            for column in 0..to - from {
                for ky in 0..geometry.kernel_height {
                    let slot = (pixel / mr * geometry.kernel_height + ky) * mr + pixel % mr;
                    self.pointers[slot] =
                        self.strip[start + ky * width + column * geometry.stride * channels..].as_ptr();
                }
                pixel += 1;
            }
            start += geometry.kernel_height * width;
        }
    }
}

/// The run `first..end` of pixels cut where rows end: (row, of all maps; first column; end column).
fn row_parts(first: usize, end: usize, columns: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (first / columns..end.div_ceil(columns)).map(move |row| {
        let start = row * columns;
        (row, first.max(start) - start, end.min(start + columns) - start)
    })
}
