//! Driver of the u8 convolution: checks every extent once, partitions the map into blocks, runs the tiles of each.
//!
//! A block is some consecutive output pixels × some panels. For each block the driver fills a table on the stack, one
//! pointer for each pixel and tap, and runs it against one panel after the other, so that a panel is fetched once a
//! block and the block's input stays in the second-level cache. Blocks are the tasks that threads share.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::map::{ConvInput, ConvOutput, Map, SkipInput};
use super::pack::{Reads, TABLE};
use super::point::{BLOCK_PIXELS, EDGE_PIXELS, Edge};
use super::{Clipped, Curve, Epilogue, MAX_MR, OutputKind, PackedU8, SkipTile, TileOutput, TileU8, Watch};
use crate::error::Result;
use crate::kernel::claim::share;

/// Bytes of input that a block reads, about: a share of the second-level cache.
const BLOCK_BYTES: usize = 192 << 10;
/// Tiles that a block has even where they read more: fewer would not pay for fetching a deep layer's panels.
const BLOCK_TILES: usize = 32;
/// Bytes of weights that are used together, a tile at a time: they stay in the first-level cache, and whole cache lines
/// of the output are written at once.
const NEAR_BYTES: usize = 16 << 10;
/// Widest panel: sizes the buffer of watched tiles.
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

/// [`convolve`], the same bytes, showing every value to `watch` before it is clamped and rounded, and counting what the
/// output quantization range does not hold. Slower.
///
/// # Errors
///
/// As [`convolve`].
pub fn convolve_watched<W: Watch>(
    packed: &PackedU8,
    epilogue: &Epilogue,
    input: ConvInput<'_>,
    skip: SkipInput<'_>,
    output: ConvOutput<'_>,
    watch: &W,
) -> Result<Clipped> {
    let (below, above) = (AtomicU64::new(0), AtomicU64::new(0));
    Map::new(packed, epilogue, input, skip, output)?.run(|map, pixels, panels| {
        let mut watched = Watched { watch, clipped: Clipped::default() };
        map.block(pixels, panels, Some(&mut watched));
        below.fetch_add(watched.clipped.below, Ordering::Relaxed);
        above.fetch_add(watched.clipped.above, Ordering::Relaxed);
    });
    Ok(Clipped { below: below.into_inner(), above: above.into_inner() })
}

struct Watched<'a, W> {
    watch: &'a W,
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
        // Some tasks a thread, so that none waits long for the last; never so small that panels are fetched in vain.
        let threads = rayon::current_num_threads();
        let wanted = if threads > 1 { 4 * threads } else { 1 };
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
    fn block<W: Watch>(&self, pixels: Range<usize>, panels: Range<usize>, mut watched: Option<&mut Watched<'_, W>>) {
        let kernel = self.packed.kernel();
        let (mr, nr) = (kernel.mr, kernel.nr);
        let taps = self.packed.taps();
        let mut table = [const { MaybeUninit::<*const u8>::uninit() }; TABLE];
        let mut edges = [const { MaybeUninit::<Edge>::uninit() }; EDGE_PIXELS];
        let mut offsets = [0usize; BLOCK_PIXELS + MAX_MR];
        self.point(pixels.clone(), &mut table, &mut edges);
        let skip = self.skip_tile(pixels.clone(), &mut offsets);
        let (floor, ceiling) = match watched {
            None => self.epilogue.clamp(),
            Some(_) => (f32::NEG_INFINITY, f32::INFINITY),
        };
        let curve = if watched.is_some() { Curve::None } else { self.epilogue.curve() };
        let zero_point = match self.epilogue.output {
            OutputKind::U8 { zero_point } => i32::from(zero_point),
            OutputKind::F32 => 0,
        };
        let channels = self.packed.geometry().out_channels;
        let mut watch_buffer = [0f32; MAX_MR * MAX_NR];
        let together = (NEAR_BYTES / self.packed.panel(0).len()).max(1);
        for near in panels.clone().step_by(together) {
            let near = near..panels.end.min(near + together);
            let tiles = pixels.clone().step_by(mr).enumerate();
            for (panel, (index, pixel)) in tiles.flat_map(|tile| near.clone().map(move |panel| (panel, tile))) {
                let place = self.packed.places()[panel];
                let channel = place.column;
                let first = pixel * channels + channel;
                // SAFETY: the offsets lie inside the output, whose length `new` checked; `table` and `offsets` are
                // filled for every tile of the block; `skip_tile` offsets leave a whole pixel, of which `channel` is
                // one.
                let (rows, skip, output) = unsafe {
                    let output = match (&watched, self.output) {
                        (Some(_), _) => TileOutput::F32(watch_buffer.as_mut_ptr()),
                        (None, TileOutput::U8(out)) => TileOutput::U8(out.add(first)),
                        (None, TileOutput::F32(out)) => TileOutput::F32(out.add(first)),
                    };
                    let skip = match skip {
                        SkipTile::None => SkipTile::None,
                        SkipTile::U8 { base, offsets, zero_point, multiplier } => {
                            let (base, offsets) = (base.add(channel), offsets.add(index * mr));
                            SkipTile::U8 { base, offsets, zero_point, multiplier }
                        }
                        SkipTile::F32 { base, offsets, multiplier } => {
                            SkipTile::F32 { base: base.add(channel), offsets: offsets.add(index * mr), multiplier }
                        }
                    };
                    (table.as_ptr().cast::<*const u8>().add(index * taps * mr), skip, output)
                };
                let tile = TileU8 {
                    rows,
                    offset: place.offset,
                    taps,
                    run: self.packed.run(),
                    panel: self.packed.panel(panel).as_ptr(),
                    start: self.epilogue.start[panel * nr..][..nr].as_ptr(),
                    multiplier: self.epilogue.multiplier[panel * nr..][..nr].as_ptr(),
                    skip,
                    curve,
                    floor,
                    ceiling,
                    zero_point,
                    output,
                    stride: if watched.is_some() { nr } else { channels },
                    pixels: mr.min(pixels.end - pixel),
                    channels: place.filled,
                };
                // SAFETY: `PackedU8` was made with proof of the kernel's instruction set; the fields are as `TileU8`
                // says, by what precedes.
                unsafe { (kernel.run)(&tile) };
                if let Some(watched) = &mut watched {
                    self.show(watched, &tile, &watch_buffer, pixel, channel);
                }
            }
        }
    }

    /// Shows a tile's values to the watcher, counts, clamps, rounds and writes them as the kernels do.
    fn show<W: Watch>(
        &self,
        watched: &mut Watched<'_, W>,
        tile: &TileU8,
        values: &[f32],
        pixel: usize,
        channel: usize,
    ) {
        let (floor, ceiling) = self.epilogue.range();
        let channels = self.packed.geometry().out_channels;
        let Clipped { mut below, mut above } = watched.clipped;
        for (row, values) in values.chunks_exact(tile.stride).take(tile.pixels).enumerate() {
            let values = &values[..tile.channels];
            watched.watch.row(pixel + row, channel, values);
            let first = (pixel + row) * channels + channel;
            let activated = values.iter().map(|&t| self.epilogue.activated(t)).enumerate();
            match self.output {
                TileOutput::U8(out) => {
                    for (column, t) in activated {
                        // One step outside is as clipped as any further, and no number is too large to round.
                        let level = rounded(clamped(t, floor - 1.0, ceiling + 1.0));
                        below += u64::from(level < floor);
                        above += u64::from(level > ceiling);
                        let byte = (clamped(level, floor, ceiling) as i32 + tile.zero_point) as u8;
                        // SAFETY: as in `block`, inside the output and of this block alone.
                        unsafe { *out.add(first + column) = byte }
                    }
                }
                TileOutput::F32(out) => {
                    for (column, t) in activated {
                        // SAFETY: as above.
                        unsafe { *out.add(first + column) = clamped(t, floor, ceiling) }
                    }
                }
            }
        }
        watched.clipped = Clipped { below, above };
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
