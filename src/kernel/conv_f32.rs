//! fp32 convolution over NHWC maps, with bias, skip and ReLU fused; a linear layer is the 1×1 case.
//!
//! In: weights once, then a map a call. Out: the map the layer leaves. Every output is summed in one fixed order, so
//! the result does not depend on threads or on how the work is cut; across instruction sets it differs by rounding.
//!
//! Work is cut into blocks of output pixels (threads claim them), a block runs over the blocks of K, over groups of
//! panels, over tiles, over the panels of a group: the group's weights and the block's input stay in the second-level
//! cache, a tile's rows in the first. K is cut so that these sizes hold for any layer.

use std::ptr::null;

use super::aligned::{ALIGNMENT, AlignedBuffer};
use super::claim::share;
use super::geometry::{ConvGeometry, nearest_source};
use super::isa::Isa;
use super::pack_f32::{DepthBlock, PanelsF32};
use super::prefetch::prefetch;
use super::rows_f32::{MapF32, RowTable, Segments};
use super::tile_f32::{KernelF32, MAX_MR, NR, TileF32};
use crate::error::{Error, Kind, Result};

/// Output pixels of a block: with 256 values of K each, 192 KiB of input.
const BLOCK_PIXELS: usize = 192;
/// Fewest output pixels of a block, so that loading a panel's piece pays.
const MIN_BLOCK_PIXELS: usize = 48;
/// Weights of a block of K that are used together, in values: 128 KiB, a part of the second-level cache.
const NEAR_WEIGHTS: usize = 1 << 15;
/// Tasks for each thread, so that one which comes late finds little left to wait for.
const TASKS_PER_THREAD: usize = 4;

/// A map added before ReLU: of the output's size a residual; of any other size read by PyTorch's `nearest` rule, as
/// the feature pyramid adds a coarser level.
#[derive(Debug, Clone, Copy)]
pub struct SkipF32<'a> {
    /// `height × width × out_channels` values, NHWC.
    pub data: &'a [f32],
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// A convolution ready to run: geometry, packed weights, bias and the kernel they are packed for.
#[derive(Debug)]
pub struct ConvF32 {
    geometry: ConvGeometry,
    segments: Segments,
    kernel: &'static KernelF32,
    panels: PanelsF32,
    zeros: AlignedBuffer<f32>,
}

/// Inputs that all tasks share.
struct Job<'a> {
    map: MapF32<'a>,
    skip: Option<SkipF32<'a>>,
    relu: bool,
    rows: usize,
    columns: usize,
    out: OutPointer,
}

/// A task: its output block and its scratch.
struct Run<'a> {
    job: &'a Job<'a>,
    table: &'a RowTable,
    skips: &'a [*const f32],
    pixels: std::ops::Range<usize>,
    panels: std::ops::Range<usize>,
}

/// A block of K, and whether it starts the sums or ends them.
struct Stage<'a> {
    block: &'a DepthBlock,
    first: bool,
    last: bool,
}

/// The output, written by all threads at once, each at pixels and columns of its own.
#[derive(Clone, Copy)]
struct OutPointer(*mut f32);

// SAFETY: the tasks write disjoint parts, and the slice behind it is borrowed alone while they run.
unsafe impl Sync for OutPointer {}

impl ConvF32 {
    /// Packs `weights` (`[out][kh][kw][in]`) and `bias` (`[out]`, or empty for none) for `isa`.
    ///
    /// # Errors
    ///
    /// [`Kind::Internal`] where a length does not fit the geometry, or the geometry has a zero in it.
    pub fn new(isa: Isa, geometry: ConvGeometry, weights: &[f32], bias: &[f32]) -> Result<Self> {
        Self::with_kernel(KernelF32::of(isa), geometry, weights, bias)
    }

    /// As [`ConvF32::new`], with a row of the kernel table chosen by name rather than by strength: for tests.
    ///
    /// # Errors
    ///
    /// As there; and [`Kind::Unavailable`] where the CPU lacks what the kernel needs.
    pub fn with_kernel(
        kernel: &'static KernelF32,
        geometry: ConvGeometry,
        weights: &[f32],
        bias: &[f32],
    ) -> Result<Self> {
        if Isa::new(kernel.isa).is_none() {
            let isa = kernel.isa.name();
            return Err(Error::new(
                Kind::Unavailable,
                format!("kernel {} needs {isa}, which this CPU lacks", kernel.name),
            ));
        }
        let wrong = |what: String| Err(Error::new(Kind::Internal, format!("convolution {geometry:?}: {what}")));
        if geometry.groups == 0 || geometry.weights() == 0 || geometry.stride == 0 {
            return wrong("every extent must be at least 1".into());
        }
        if geometry.groups != 1 {
            return wrong("groups are not supported".into());
        }
        if weights.len() != geometry.weights() {
            return wrong(format!("{} weights given, {} expected", weights.len(), geometry.weights()));
        }
        if !bias.is_empty() && bias.len() != geometry.out_channels {
            return wrong(format!("{} biases given, {} expected", bias.len(), geometry.out_channels));
        }
        let segments = Segments::of(&geometry);
        Ok(Self {
            geometry,
            segments,
            kernel,
            panels: PanelsF32::new(geometry.out_channels, segments.count, segments.depth, weights, bias),
            zeros: AlignedBuffer::zeroed(segments.depth),
        })
    }

    /// The shape it was made for.
    pub fn geometry(&self) -> ConvGeometry {
        self.geometry
    }

    /// Convolves `input` (`[height][width][in]`), adds bias and `skip`, applies ReLU if asked, into `out`
    /// (`[oh][ow][out]`, see [`ConvGeometry::output`]; what it held does not matter). Uses the current rayon pool.
    ///
    /// # Panics
    ///
    /// Where a slice is shorter than its shape says: shapes come from the plan and are checked there.
    pub fn run(
        &self,
        input: &[f32],
        height: usize,
        width: usize,
        skip: Option<SkipF32<'_>>,
        relu: bool,
        out: &mut [f32],
    ) {
        let geometry = &self.geometry;
        let (rows, columns) = geometry.output(height, width);
        let pixels = rows * columns;
        assert!(input.len() >= height * width * geometry.in_channels, "input shorter than its shape");
        assert!(out.len() >= pixels * geometry.out_channels, "output shorter than its shape");
        if let Some(skip) = skip {
            assert!(skip.data.len() >= skip.height * skip.width * geometry.out_channels, "skip shorter than its shape");
            assert!(skip.height * skip.width > 0 || pixels == 0, "skip without pixels");
        }
        if pixels == 0 {
            return;
        }
        let cut = Cut::new(pixels, self.panels.panels(), self.kernel.mr, rayon::current_num_threads());
        let job = Job {
            map: MapF32 { data: input, height, width },
            skip,
            relu,
            rows,
            columns,
            out: OutPointer(out.as_mut_ptr()),
        };
        share(cut.tasks(), |claims| {
            let mut table = RowTable::default();
            let mut skips = Vec::new();
            for task in claims {
                let (pixels, panels) = cut.task(task);
                table.fill(geometry, job.map, &self.zeros, (pixels.start, pixels.len()), self.kernel.mr);
                job.skip_rows(pixels.clone(), geometry.out_channels, self.kernel.mr, &mut skips);
                self.block(&Run { job: &job, table: &table, skips: &skips, pixels, panels });
            }
        });
    }

    /// One block of output pixels, some panels of outputs, all of K.
    fn block(&self, run: &Run<'_>) {
        let blocks = self.panels.blocks();
        let tiles = run.pixels.len().div_ceil(self.kernel.mr);
        for (index, block) in blocks.iter().enumerate() {
            let stage = Stage { block, first: index == 0, last: index + 1 == blocks.len() };
            // A tile runs over several panels before the next one's turn, so that its rows go out, and the skip's come
            // in, some cache lines at a time. The panels must stay near meanwhile.
            let together = (NEAR_WEIGHTS / block.panel_len()).max(1);
            for start in run.panels.clone().step_by(together) {
                let group = start..run.panels.end.min(start + together);
                for tile in 0..tiles {
                    for panel in group.clone() {
                        self.tile(run, &stage, panel, tile);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn tile(&self, run: &Run<'_>, stage: &Stage<'_>, panel: usize, tile: usize) {
        let (mr, outputs) = (self.kernel.mr, self.geometry.out_channels);
        let block = stage.block;
        let first = run.pixels.start + tile * mr;
        let count = mr.min(run.pixels.end - first);
        let filled = NR.min(outputs - panel * NR);
        let skip = if stage.last && !run.skips.is_empty() { run.skips[tile * mr..].as_ptr() } else { null() };
        let call = TileF32 {
            rows: run.table.tile(tile, self.segments.count, mr)[block.tap * mr..].as_ptr(),
            segments: block.taps,
            offset: block.offset,
            depth: block.depth,
            weights: self.panels.panel(block, panel).as_ptr(),
            bias: if stage.first { self.panels.bias(panel).as_ptr() } else { null() },
            skip,
            skip_offset: panel * NR,
            relu: stage.last && run.job.relu,
            // SAFETY: pixel `first` and output `panel · NR` exist, so this lies inside of the output.
            out: unsafe { run.job.out.0.add(first * outputs + panel * NR) },
            out_stride: outputs,
        };
        self.prefetch_next(run, &call, tile);
        if count == mr && filled == NR {
            // SAFETY: `Isa` proved the instruction set; table, panel and skips were made for this `mr` and geometry; a
            // full tile lies inside of the output and belongs to this task.
            unsafe { (self.kernel.function)(&call) }
        } else {
            // SAFETY: as above, for the `count × filled` values that exist.
            unsafe { self.edge_tile(call, count, filled) }
        }
    }

    /// Asks for what the same panel's next tile writes and adds, and, with the first panel, for what it reads: six
    /// streams with gaps are more than the hardware foresees. (Taps that overlap are near already.)
    #[inline(always)]
    fn prefetch_next(&self, run: &Run<'_>, call: &TileF32, tile: usize) {
        let mr = self.kernel.mr;
        let next = tile + 1;
        if next * mr >= run.pixels.len() {
            return;
        }
        // The last value's line: where rows start off a line, the panel before asked for the first one's.
        let out = call.out.wrapping_add(mr * call.out_stride + NR - 1);
        for row in 0..mr {
            prefetch(out.wrapping_add(row * call.out_stride));
        }
        if !call.skip.is_null() {
            for row in &run.skips[next * mr..][..mr] {
                prefetch(row.wrapping_add(call.skip_offset + NR - 1));
            }
        }
        if self.segments.count == 1 && call.skip_offset == run.panels.start * NR {
            for row in run.table.tile(next, 1, mr) {
                for value in (0..call.depth).step_by(ALIGNMENT / size_of::<f32>()) {
                    prefetch(row.wrapping_add(call.offset + value));
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
    unsafe fn edge_tile(&self, call: TileF32, count: usize, filled: usize) {
        let mut sums = [[0f32; NR]; MAX_MR];
        let mut added = [[0f32; NR]; MAX_MR];
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
            out_stride: NR,
            skip: if call.skip.is_null() { call.skip } else { pointers.as_ptr() },
            skip_offset: 0,
            ..call
        };
        // SAFETY: whole tile and whole skip rows stand on the stack; the rest as the caller promises.
        unsafe { (self.kernel.function)(&inner) }
        for (row, sums) in sums.iter().take(count).enumerate() {
            // SAFETY: `filled` values of this task's own output.
            let out = unsafe { std::slice::from_raw_parts_mut(call.out.add(row * call.out_stride), filled) };
            out.copy_from_slice(&sums[..filled]);
        }
    }
}

impl Job<'_> {
    /// Pointers to what is added to each pixel, padded to whole tiles; empty without a skip.
    fn skip_rows(&self, pixels: std::ops::Range<usize>, outputs: usize, mr: usize, rows: &mut Vec<*const f32>) {
        rows.clear();
        let Some(skip) = self.skip else { return };
        let padded = pixels.len().next_multiple_of(mr);
        for pixel in pixels {
            let y = nearest_source(pixel / self.columns, skip.height, self.rows);
            let x = nearest_source(pixel % self.columns, skip.width, self.columns);
            rows.push(skip.data[(y * skip.width + x) * outputs..].as_ptr());
        }
        // Rows that do not exist are never read: edge tiles take only those that do.
        rows.resize(padded, skip.data.as_ptr());
    }
}

/// Partition of a layer into tasks: blocks of pixels, and groups of panels if there are too few pixels.
struct Cut {
    pixels: usize,
    panels: usize,
    block: usize,
    group: usize,
}

impl Cut {
    fn new(pixels: usize, panels: usize, mr: usize, threads: usize) -> Self {
        let wanted = if threads > 1 { threads * TASKS_PER_THREAD } else { 1 };
        let block = pixels.div_ceil(wanted).clamp(MIN_BLOCK_PIXELS, BLOCK_PIXELS).next_multiple_of(mr);
        let groups = wanted.div_ceil(pixels.div_ceil(block)).clamp(1, panels);
        Self { pixels, panels, block, group: panels.div_ceil(groups) }
    }

    fn tasks(&self) -> usize {
        self.pixels.div_ceil(self.block) * self.panels.div_ceil(self.group)
    }

    /// Pixels and panels of a task; the groups of one block follow one another, for its input's sake.
    fn task(&self, task: usize) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
        let groups = self.panels.div_ceil(self.group);
        let (block, group) = (task / groups * self.block, task % groups * self.group);
        (block..self.pixels.min(block + self.block), group..self.panels.min(group + self.group))
    }
}
