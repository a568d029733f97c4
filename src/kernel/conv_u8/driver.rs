//! Driver of the u8 convolution: checks every extent once, partitions the map into blocks, runs the tiles of each.
//!
//! A block is some consecutive output pixels × some panels. For each block the driver fills a table on the stack, one
//! pointer for each pixel and tap. It runs the table against one panel after the other. So a panel is fetched once a
//! block, and the block's input stays in the second-level cache. Blocks are the tasks that threads share.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::epilogue::LowTerm;
use super::map::{ConvInput, ConvOutput, Map, MapOutput, SkipInput};
use super::pack::{Reads, TABLE};
use super::point::{BLOCK_PIXELS, EDGE_PIXELS, Edge};
use super::{
    Clipped, Curve, Epilogue, MAX_MR, OutputKind, PackedU8, RawObserver, SkipKind, SkipTile, TileOutput, TileU8,
};
use crate::error::Result;
use crate::kernel::claim::{share, wanted_tasks};
use crate::kernel::prefetch::prefetch;
use crate::kernel::two_bytes::{self, Extents, Rows16, Scaled16};
use crate::tensor::zero_point_16;

/// Bytes of input that a block reads, about: a share of the second-level cache.
const BLOCK_BYTES: usize = 192 << 10;
/// Tiles that a block has even where they read more: fewer would not pay for fetching a deep layer's panels.
const BLOCK_TILES: usize = 32;
/// Bytes of weights that are used together, a tile at a time, and of input that is fetched for the next tile. They stay in
/// the first-level cache, and whole cache lines of the output are written at once.
const NEAR_BYTES: usize = 16 << 10;
/// Widest panel: size of the buffer of observed tiles.
const MAX_NR: usize = 32;

/// Convolves whole maps on the current rayon pool.
///
/// # Errors
///
/// [`Kind::Internal`](crate::error::Kind::Internal) where a map's length is not what the shapes say, or skip and output are of other types than the
/// epilogue's.
pub fn convolve(
    packed: &PackedU8,
    epilogue: &Epilogue,
    input: ConvInput<'_>,
    skip: SkipInput<'_>,
    output: ConvOutput<'_>,
) -> Result<()> {
    Map::new(packed, epilogue, input, skip, output)?.run(|map, pixels, panels| map.block::<()>(pixels, panels, None));
    Ok(())
}

/// [`convolve`], the same bytes, passing every value to `observer` before it is clamped and rounded, and counting what the
/// output quantization range does not hold. Slower.
///
/// # Errors
///
/// As [`convolve`].
pub fn convolve_observed<W: RawObserver>(
    packed: &PackedU8,
    epilogue: &Epilogue,
    input: ConvInput<'_>,
    skip: SkipInput<'_>,
    output: ConvOutput<'_>,
    observer: &W,
) -> Result<Clipped> {
    let (below, above) = (AtomicU64::new(0), AtomicU64::new(0));
    Map::new(packed, epilogue, input, skip, output)?.run(|map, pixels, panels| {
        let mut observed = Observation { observer, clipped: Clipped::default() };
        map.block(pixels, panels, Some(&mut observed));
        below.fetch_add(observed.clipped.below, Ordering::Relaxed);
        above.fetch_add(observed.clipped.above, Ordering::Relaxed);
    });
    Ok(Clipped { below: below.into_inner(), above: above.into_inner() })
}

/// A tile's place in its block.
struct Here {
    /// Number of the tile.
    index: usize,
    panel: usize,
    /// The panel's first channel.
    channel: usize,
    /// Pixels that are there.
    pixels: usize,
    /// Values of a row of the tile.
    nr: usize,
}

/// An observer, and the counts of clipped values.
struct Observation<'a, W> {
    observer: &'a W,
    clipped: Clipped,
}

impl Map<'_> {
    /// Cuts the map into blocks and hands each to `work`.
    fn run(&self, work: impl Fn(&Self, Range<usize>, Range<usize>) + Sync) {
        let pixels = self.input.count * self.rows * self.columns;
        let panels = self.packed.places().len();
        if pixels == 0 {
            return;
        }
        let mr = self.packed.kernel().mr;
        let geometry = self.packed.geometry();
        // New input bytes that each further output pixel brings along a row, of all rows under the filter.
        let step = geometry.stride.min(geometry.kernel_width) * geometry.kernel_height * geometry.in_channels;
        let limit = match self.packed.reads() {
            Reads::Pixel(_) | Reads::Channels => BLOCK_PIXELS.min(TABLE / self.packed.taps()),
            Reads::FilterRow => EDGE_PIXELS,
        };
        let tiles = pixels.div_ceil(mr);
        let most = (BLOCK_BYTES / step).div_ceil(mr).max(BLOCK_TILES).min(limit / mr).max(1);
        // Never so small that panels are fetched in vain.
        let wanted = wanted_tasks();
        let block = tiles.div_ceil(wanted).clamp(most.min(8), most);
        let blocks = tiles.div_ceil(block);
        let cuts = wanted.div_ceil(blocks).clamp(1, panels.div_ceil(2));
        let width = panels.div_ceil(cuts);
        let cuts = panels.div_ceil(width);
        share(blocks * cuts, |tasks| {
            for task in tasks {
                let (at, cut) = (task / cuts * block * mr, task % cuts * width);
                work(self, at..pixels.min(at + block * mr), cut..panels.min(cut + width));
            }
        });
    }

    /// Computes `panels` of the output pixels `pixels`, at most [`BLOCK_PIXELS`].
    fn block<W: RawObserver>(
        &self,
        pixels: Range<usize>,
        panels: Range<usize>,
        mut observed: Option<&mut Observation<'_, W>>,
    ) {
        let kernel = self.packed.kernel();
        let (mr, nr) = (kernel.mr, kernel.nr);
        let taps = self.packed.taps();
        let mut table = [const { MaybeUninit::<*const u8>::uninit() }; TABLE];
        let mut edges = [const { MaybeUninit::<Edge>::uninit() }; EDGE_PIXELS];
        let mut low_table = [const { MaybeUninit::<*const u8>::uninit() }; TABLE];
        let mut low_edges = [const { MaybeUninit::<Edge>::uninit() }; EDGE_PIXELS];
        let mut offsets = [0usize; BLOCK_PIXELS + MAX_MR];
        self.point(self.plane(false), pixels.clone(), &mut table, &mut edges);
        if self.epilogue.reads_low_bytes() {
            self.point(self.plane(true), pixels.clone(), &mut low_table, &mut low_edges);
        }
        self.skip_offsets(pixels.clone(), &mut offsets);
        let (floor, ceiling) = match observed {
            None => self.epilogue.clamp(),
            Some(_) => (f32::NEG_INFINITY, f32::INFINITY),
        };
        let curve = if observed.is_some() { Curve::None } else { self.epilogue.curve() };
        let zero_point = match self.epilogue.output {
            OutputKind::U8 { zero_point } => i32::from(zero_point),
            OutputKind::U16 { zero_point } => i32::from(zero_point_16(zero_point)),
            OutputKind::F32 => 0,
        };
        let channels = self.packed.geometry().out_channels;
        // A tile before it is clamped and rounded: values for the observer, sums of low terms, and values that become
        // two bytes.
        let mut tile_values = [0f32; MAX_MR * MAX_NR];
        let rows_of_tile: [usize; 2 * MAX_MR] = std::array::from_fn(|row| row * nr);
        let together = (NEAR_BYTES / self.packed.panel(0).len()).max(1);
        for near in panels.clone().step_by(together) {
            let near = near..panels.end.min(near + together);
            let tiles = pixels.clone().step_by(mr).enumerate();
            for (panel, (index, pixel)) in tiles.flat_map(|tile| near.clone().map(move |panel| (panel, tile))) {
                let place = self.packed.places()[panel];
                let channel = place.column;
                let first = pixel * channels + channel;
                let here = Here { index, panel, channel, pixels: mr.min(pixels.end - pixel), nr };
                let values = tile_values.as_mut_ptr();
                let so_far = SkipTile::F32 { base: values, offsets: rows_of_tile.as_ptr(), multiplier: 1.0 };
                // SAFETY: the offsets lie inside the output, whose length `new` checked.
                let (output, stride) = unsafe {
                    match self.output {
                        MapOutput::U8(out) if observed.is_none() => (TileOutput::U8(out.add(first)), channels),
                        MapOutput::F32(out) if observed.is_none() => (TileOutput::F32(out.add(first)), channels),
                        _ => (TileOutput::F32(values), nr),
                    }
                };
                let rows = table.as_ptr().cast::<*const u8>().wrapping_add(index * taps * mr);
                // The next tile of a 1×1 convolution reads what follows in memory. It is fetched by the first panel. A tile
                // as large as the first-level cache would only displace this one.
                let has_next = taps == 1 && panel == near.start && pixel + mr < pixels.end;
                let is_small = mr * self.packed.run() <= NEAR_BYTES;
                // SAFETY: the table is filled for every tile of the block.
                let ahead = (has_next && is_small).then(|| unsafe { *rows.add(mr) });
                let mut tile = TileU8 {
                    rows,
                    offset: place.offset,
                    ahead,
                    taps,
                    run: self.packed.run(),
                    panel: self.packed.panel(panel).as_ptr(),
                    start: self.epilogue.start[panel * nr..][..nr].as_ptr(),
                    multiplier: self.epilogue.multiplier[panel * nr..][..nr].as_ptr(),
                    skip: self.skip_tile(&here, &offsets, &mut tile_values).unwrap_or(so_far),
                    curve,
                    floor,
                    ceiling,
                    zero_point,
                    output,
                    stride,
                    pixels: here.pixels,
                    channels: place.filled,
                };
                if let MapOutput::U16 { high, low } = self.output {
                    for row in 0..here.pixels {
                        prefetch(high.wrapping_add(first + row * channels));
                        prefetch(low.wrapping_add(first + row * channels));
                    }
                }
                for term in &self.epilogue.low_terms {
                    let low_rows = low_table.as_ptr().cast::<*const u8>().wrapping_add(index * taps * mr);
                    let term = self.low_tile(term, &tile, &here, low_rows, values);
                    // SAFETY: as below; the table of low bytes is filled where a term reads it. A kernel reads each of
                    // the tile's values before it writes it.
                    unsafe { (kernel.run)(&term) };
                    tile.skip = so_far;
                }
                // SAFETY: `PackedU8` was made with proof of the kernel's instruction set; the fields are as `TileU8`
                // says: `table` and `offsets` are filled for every tile of the block.
                unsafe { (kernel.run)(&tile) };
                if let Some(observed) = &mut observed {
                    self.observe_tile(observed, &tile, &tile_values, pixel, channel);
                } else if let MapOutput::U16 { high, low } = self.output {
                    // SAFETY: the tile's part of the output, which no other block writes.
                    unsafe {
                        let out = Rows16 { high: high.add(first), low: low.add(first), stride: channels };
                        let extents = Extents { rows: tile.pixels, columns: tile.channels, width: nr };
                        two_bytes::split(kernel.isa, &tile_values, extents, zero_point, out);
                    }
                }
            }
        }
    }

    /// The residual of a tile; `None` where it is now in `values`: one of two bytes.
    fn skip_tile(
        &self,
        here: &Here,
        offsets: &[usize; BLOCK_PIXELS + MAX_MR],
        values: &mut [f32; MAX_MR * MAX_NR],
    ) -> Option<SkipTile> {
        let mr = self.packed.kernel().mr;
        let place = self.packed.places()[here.panel];
        // Each leaves a whole pixel of the residual, of which `channel` is one.
        let offsets = &offsets[here.index * mr..];
        match (self.skip, self.epilogue.skip) {
            (SkipInput::U8 { data, .. }, SkipKind::U8 { zero_point, multiplier }) => {
                let base = data[here.channel..].as_ptr();
                Some(SkipTile::U8 { base, offsets: offsets.as_ptr(), zero_point: i32::from(zero_point), multiplier })
            }
            (SkipInput::F32 { data, .. }, SkipKind::F32 { multiplier }) => {
                Some(SkipTile::F32 { base: data[here.channel..].as_ptr(), offsets: offsets.as_ptr(), multiplier })
            }
            (SkipInput::U16 { data, .. }, SkipKind::U16 { zero_point, multiplier }) => {
                let (high, low) = data.split_at(data.len() / 2);
                let (high, low) = (&high[here.channel..], &low[here.channel..]);
                let from = Scaled16 { high, low, zero_point: i32::from(zero_point_16(zero_point)), multiplier };
                let extents = Extents { rows: here.pixels, columns: place.filled, width: here.nr };
                two_bytes::join(self.packed.kernel().isa, from, offsets, extents, values);
                None
            }
            // `new` let nothing else pass.
            _ => Some(SkipTile::None),
        }
    }

    /// The operands of a term with a low part, which adds `tile`'s residual and leaves its values in `values`.
    fn low_tile(
        &self,
        term: &LowTerm,
        tile: &TileU8,
        here: &Here,
        low_rows: *const *const u8,
        values: *mut f32,
    ) -> TileU8 {
        let Here { panel, nr, .. } = *here;
        let weights = if term.reads_low_bytes { self.packed } else { self.packed.low().unwrap_or(self.packed) };
        TileU8 {
            rows: if term.reads_low_bytes { low_rows } else { tile.rows },
            panel: weights.panel(panel).as_ptr(),
            start: term.start[panel * nr..][..nr].as_ptr(),
            multiplier: term.multiplier[panel * nr..][..nr].as_ptr(),
            curve: Curve::None,
            floor: f32::NEG_INFINITY,
            ceiling: f32::INFINITY,
            zero_point: 0,
            output: TileOutput::F32(values),
            stride: nr,
            ..*tile
        }
    }

    /// Passes a tile's values to the observer, then counts, clamps, rounds and writes them as the kernels do.
    fn observe_tile<W: RawObserver>(
        &self,
        observed: &mut Observation<'_, W>,
        tile: &TileU8,
        values: &[f32],
        pixel: usize,
        channel: usize,
    ) {
        let (floor, ceiling) = self.epilogue.range();
        let channels = self.packed.geometry().out_channels;
        let Clipped { mut below, mut above } = observed.clipped;
        for (row, values) in values.chunks_exact(tile.stride).take(tile.pixels).enumerate() {
            let values = &values[..tile.channels];
            observed.observer.observe(pixel + row, channel, values);
            let first = (pixel + row) * channels + channel;
            let activated = values.iter().map(|&t| self.epilogue.activated(t)).enumerate();
            // One step outside is as clipped as any further, and no number is too large to round.
            let mut level = |t: f32| {
                let level = rounded(clamped(t, floor - 1.0, ceiling + 1.0));
                below += u64::from(level < floor);
                above += u64::from(level > ceiling);
                clamped(level, floor, ceiling) as i32 + tile.zero_point
            };
            match self.output {
                MapOutput::U8(out) => {
                    for (column, t) in activated {
                        // SAFETY: as in `block`, inside the output and of this block alone.
                        unsafe { *out.add(first + column) = level(t) as u8 }
                    }
                }
                MapOutput::U16 { high, low } => {
                    for (column, t) in activated {
                        let q = level(t);
                        // SAFETY: as above.
                        unsafe {
                            *high.add(first + column) = (q >> 8) as u8;
                            *low.add(first + column) = q as u8;
                        }
                    }
                }
                MapOutput::F32(out) => {
                    for (column, t) in activated {
                        // SAFETY: as above.
                        unsafe { *out.add(first + column) = clamped(t, floor, ceiling) }
                    }
                }
            }
        }
        observed.clipped = Clipped { below, above };
    }
}

/// Comparisons, not `clamp`, which keeps NaN where the kernels do not.
fn clamped(t: f32, floor: f32, ceiling: f32) -> f32 {
    let raised = if t > floor { t } else { floor };
    if raised < ceiling { raised } else { ceiling }
}

/// `level`, within ±2^22, rounded half to even. Near 1.5 · 2^23 numbers are whole, so the sum does the rounding, in
/// instructions that every CPU has; `round_ties_even` is a call where the baseline has none.
fn rounded(level: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    level + MAGIC - MAGIC
}

#[cfg(test)]
mod tests {
    use super::rounded;

    #[test]
    fn rounding_is_half_to_even() {
        for step in -300 * 64..=300 * 64 {
            let level = step as f32 / 64.0;
            assert_eq!(rounded(level), level.round_ties_even(), "{level}");
        }
    }
}
