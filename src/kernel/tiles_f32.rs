//! fp32 convolution by tiles over panels of weights: implicit GEMM.
//!
//! In: weights once, then maps a call. Out: the maps the layer leaves. Work is cut into blocks of output pixels, which
//! threads claim. The loops of a block run over blocks of K, groups of panels, tiles, and panels of a group. So the
//! group's weights and the block's input stay in the second-level cache, a tile's rows in the first. K is cut so that
//! these sizes hold for any layer. Groups of channels have panels of their own.

use std::ops::Range;
use std::ptr::null;

use super::activation::Activation;
use super::aligned::{ALIGNMENT, AlignedBuffer};
use super::bundles::Bundles;
use super::claim::{share, wanted_tasks};
use super::geometry::ConvGeometry;
use super::maps_f32::ConvCallF32;
use super::pack_f32::{DepthBlock, PanelsF32};
use super::prefetch::prefetch;
use super::rows_f32::{RowTable, Segments};
use super::tile_f32::{KernelF32, MAX_MR, MAX_PANELS, NR, TileF32, TileFunctionF32};

/// Output pixels of a block: with 256 values of K each, 192 KiB of input.
const BLOCK_PIXELS: usize = 192;
/// Fewest output pixels of a block, so that loading a panel's piece pays.
const MIN_BLOCK_PIXELS: usize = 48;
/// Weights of a block of K that are used together, in values: 128 KiB, a part of the second-level cache.
const NEAR_WEIGHTS: usize = 1 << 15;

/// Weights for the tiles, and what the tiles read outside of the map. Immutable.
#[derive(Debug)]
pub struct TilesF32 {
    segments: Segments,
    panels: PanelsF32,
    zeros: AlignedBuffer<f32>,
}

/// A task: its output block and its scratch.
struct Run<'a> {
    call: &'a ConvCallF32<'a>,
    table: &'a RowTable,
    skips: &'a [*const f32],
    pixels: Range<usize>,
    panels: Range<usize>,
}

/// Panels that one tile spans: the first, how many, and their output columns.
#[derive(Clone, Copy)]
struct Span {
    panel: usize,
    panels: usize,
    columns: usize,
}

/// A block of K, and whether it starts the sums or ends them.
struct Stage<'a> {
    block: &'a DepthBlock,
    first: bool,
    last: bool,
}

impl TilesF32 {
    /// Packs `weights` (`[out][tap][in / groups]`) and `bias` (one value an output, or none).
    pub fn new(geometry: &ConvGeometry, weights: &[f32], bias: &[f32]) -> Self {
        let bundles = Bundles::of(geometry, NR);
        let segments = Segments::of(geometry, bundles.channels);
        let weights = bundles.spread(geometry.taps(), weights);
        Self {
            segments,
            panels: PanelsF32::new(&bundles, segments.count, segments.depth, &weights, bias),
            zeros: AlignedBuffer::zeroed(segments.depth.max(geometry.in_channels)),
        }
    }

    /// Convolves the maps of `call`. Uses the current rayon pool.
    pub fn run(&self, call: &ConvCallF32<'_>) {
        let mr = call.kernel.mr;
        let cut = Cut::new(call.maps.count * call.size.0 * call.size.1, self.panels.places().len(), mr);
        share(cut.tasks(), |claims| {
            let mut table = RowTable::default();
            let mut skips = Vec::new();
            for task in claims {
                let (pixels, panels) = cut.task(task);
                self.fill(call, &pixels, &mut table);
                skip_rows(call, pixels.clone(), &mut skips);
                self.block(&Run { call, table: &table, skips: &skips, pixels, panels });
            }
        });
    }

    /// As [`TilesF32::run`], on this thread and without a skip. `table` is scratch.
    pub fn run_alone(&self, call: &ConvCallF32<'_>, table: &mut RowTable) {
        let pixels = 0..call.maps.count * call.size.0 * call.size.1;
        self.fill(call, &pixels, table);
        self.block(&Run { call, table, skips: &[], pixels, panels: 0..self.panels.places().len() });
    }

    fn fill(&self, call: &ConvCallF32<'_>, pixels: &Range<usize>, table: &mut RowTable) {
        let run = (pixels.start, pixels.len());
        table.fill(call.geometry, self.segments, call.maps, &self.zeros, run, call.kernel.mr);
    }

    /// One block of output pixels, some panels of outputs, all of K.
    fn block(&self, run: &Run<'_>) {
        let blocks = self.panels.blocks();
        let tiles = run.pixels.len().div_ceil(run.call.kernel.mr);
        for (index, block) in blocks.iter().enumerate() {
            let stage = Stage { block, first: index == 0, last: index + 1 == blocks.len() };
            // A tile runs over several panels before the next tile. So its rows are written, and the skip's read, some
            // cache lines at a time. The panels must stay near meanwhile.
            let wide = run.call.kernel.panels;
            let together = (NEAR_WEIGHTS / block.panel_len()).next_multiple_of(wide).max(wide);
            for start in run.panels.clone().step_by(together) {
                let group = start..run.panels.end.min(start + together);
                // The weights that follow, a part with each tile: they come from the third level or from memory.
                let next = self.panels.after(block, group.end, group.len() * block.panel_len());
                let mut lines = next.chunks(ALIGNMENT / size_of::<f32>());
                let each = (lines.len() / (tiles * group.len()).max(1)) + 1;
                for tile in 0..tiles {
                    let mut panel = group.start;
                    while panel < group.end {
                        let span = self.span(panel, group.end.min(panel + wide));
                        lines.by_ref().take(each * span.panels).for_each(|line| prefetch(line.as_ptr()));
                        self.tile(run, &stage, span, tile);
                        panel += span.panels;
                    }
                }
            }
        }
    }

    /// The panels from `panel` to before `end` whose outputs follow one another and read the same inputs.
    #[inline(always)]
    fn span(&self, panel: usize, end: usize) -> Span {
        let places = &self.panels.places()[panel..end];
        let mut span = Span { panel, panels: 1, columns: places[0].filled };
        for place in &places[1..] {
            if place.offset != places[0].offset {
                break;
            }
            span = Span { panels: span.panels + 1, columns: span.columns + place.filled, ..span };
        }
        span
    }

    #[inline(always)]
    fn tile(&self, run: &Run<'_>, stage: &Stage<'_>, span: Span, tile: usize) {
        let KernelF32 { mr, function, columns, .. } = *run.call.kernel;
        let Span { panel, columns: filled, .. } = span;
        let (block, outputs, place) = (stage.block, run.call.geometry.out_channels, self.panels.places()[panel]);
        let first = run.pixels.start + tile * mr;
        let count = mr.min(run.pixels.end - first);
        let skip = if stage.last && !run.skips.is_empty() { run.skips[tile * mr..].as_ptr() } else { null() };
        let call = TileF32 {
            rows: run.table.tile(tile, self.segments.count, mr)[block.tap * mr..].as_ptr(),
            segments: block.taps,
            offset: place.offset + block.offset,
            depth: block.depth,
            weights: self.panels.panel(block, panel).as_ptr(),
            panel_stride: block.panel_len(),
            bias: if stage.first { self.panels.bias(panel).as_ptr() } else { null() },
            columns: filled,
            skip,
            skip_offset: place.column,
            activation: if stage.last { run.call.activation } else { Activation::Identity },
            // Pixel `first` and output `column` exist, so this lies inside of the output.
            out: run.call.out.at(first * outputs + place.column),
            out_stride: outputs,
        };
        self.prefetch_next(run, &call, span, tile);
        if count == mr && filled.is_multiple_of(columns) {
            // SAFETY: `Isa` proved the instruction set; table, panel and skips were made for this `mr` and geometry; a
            // full tile lies inside of the output and belongs to this task.
            unsafe { function(&call) }
        } else {
            // SAFETY: as above, for the `count × filled` values that exist.
            unsafe { edge_tile(function, call, count, filled) }
        }
    }

    /// Prefetches what the same panels' next tile writes and adds, and, with the first panel, what it reads. Six
    /// streams with gaps are more than the hardware prefetches. Taps that overlap are in the cache already.
    #[inline(always)]
    fn prefetch_next(&self, run: &Run<'_>, call: &TileF32, span: Span, tile: usize) {
        let mr = run.call.kernel.mr;
        let next = tile + 1;
        if next * mr >= run.pixels.len() {
            return;
        }
        for number in 0..span.panels {
            // The last value's line: where rows start off a line, the panel before asked for the first one's.
            let last = number * NR + NR - 1;
            let out = call.out.wrapping_add(mr * call.out_stride + last);
            for row in 0..mr {
                prefetch(out.wrapping_add(row * call.out_stride));
            }
            if !call.skip.is_null() {
                for row in &run.skips[next * mr..][..mr] {
                    prefetch(row.wrapping_add(call.skip_offset + last));
                }
            }
        }
        if self.segments.count == 1 && span.panel == run.panels.start {
            for row in run.table.tile(next, 1, mr) {
                for value in (0..call.depth).step_by(ALIGNMENT / size_of::<f32>()) {
                    prefetch(row.wrapping_add(call.offset + value));
                }
            }
        }
    }
}

/// A tile of which only `count` rows and `filled` columns exist: computed beside the output and copied.
///
/// # Safety
///
/// As for a whole tile, but output and skip rows need only hold `count × filled` values.
#[inline(never)]
unsafe fn edge_tile(function: TileFunctionF32, call: TileF32, count: usize, filled: usize) {
    let mut sums = [[0f32; NR * MAX_PANELS]; MAX_MR];
    let mut added = [[0f32; NR * MAX_PANELS]; MAX_MR];
    for row in 0..count {
        if call.bias.is_null() {
            // SAFETY: `filled` partial sums of this task's own output.
            let partial = unsafe { std::slice::from_raw_parts(call.out.add(row * call.out_stride), filled) };
            sums[row][..filled].copy_from_slice(partial);
        }
        if !call.skip.is_null() {
            // SAFETY: the skip row of an existing pixel has `filled` values from this column on.
            let values = unsafe { std::slice::from_raw_parts((*call.skip.add(row)).add(call.skip_offset), filled) };
            added[row][..filled].copy_from_slice(values);
        }
    }
    let pointers = added.each_ref().map(|row| row.as_ptr());
    let inner = TileF32 {
        out: sums.as_mut_ptr().cast(),
        out_stride: NR * MAX_PANELS,
        columns: filled.next_multiple_of(NR),
        skip: if call.skip.is_null() { call.skip } else { pointers.as_ptr() },
        skip_offset: 0,
        ..call
    };
    // SAFETY: whole tile and whole skip rows stand on the stack; the rest as the caller promises.
    unsafe { function(&inner) }
    for (row, sums) in sums.iter().take(count).enumerate() {
        // SAFETY: `filled` values of this task's own output.
        let out = unsafe { std::slice::from_raw_parts_mut(call.out.add(row * call.out_stride), filled) };
        out.copy_from_slice(&sums[..filled]);
    }
}

/// Pointers to what is added to each pixel, padded to whole tiles; empty without a skip.
fn skip_rows(call: &ConvCallF32<'_>, pixels: Range<usize>, rows: &mut Vec<*const f32>) {
    rows.clear();
    let Some(skip) = call.skip else { return };
    let padded = pixels.len().next_multiple_of(call.kernel.mr);
    let columns = call.size.1;
    let values = |pixel| skip.pixel((pixel / columns, pixel % columns), call.size, call.geometry.out_channels);
    rows.extend(pixels.map(|pixel| values(pixel).as_ptr()));
    // Rows that do not exist are never read: edge tiles take only those that do.
    rows.resize(padded, skip.data.as_ptr());
}

/// Partition of a layer into tasks: blocks of pixels, and groups of panels if there are too few pixels.
struct Cut {
    pixels: usize,
    panels: usize,
    block: usize,
    group: usize,
}

impl Cut {
    fn new(pixels: usize, panels: usize, mr: usize) -> Self {
        let wanted = wanted_tasks();
        let block = pixels.div_ceil(wanted).clamp(MIN_BLOCK_PIXELS, BLOCK_PIXELS).next_multiple_of(mr);
        let groups = wanted.div_ceil(pixels.div_ceil(block)).clamp(1, panels);
        Self { pixels, panels, block, group: panels.div_ceil(groups) }
    }

    fn tasks(&self) -> usize {
        self.pixels.div_ceil(self.block) * self.panels.div_ceil(self.group)
    }

    /// Pixels and panels of a task; the groups of one block follow one another, for its input's sake.
    fn task(&self, task: usize) -> (Range<usize>, Range<usize>) {
        let groups = self.panels.div_ceil(self.group);
        let (block, group) = (task / groups * self.block, task % groups * self.group);
        (block..self.pixels.min(block + self.block), group..self.panels.min(group + self.group))
    }
}
