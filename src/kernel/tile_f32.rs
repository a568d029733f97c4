//! Contract of the fp32 micro-kernels; [`super::table_f32`] lists them.
//!
//! In: pointers to the pixels that the rows of a tile read, one panel of packed weights. Out: a tile of sums with bias,
//! skip and activation applied. A micro-kernel neither allocates nor starts threads nor keeps state, and always writes
//! the whole tile. The driver gives it scratch where fewer rows, or an odd number of columns, exist.

use super::activation::Activation;
use super::direct_f32::DirectFunctionF32;
use super::isa::IsaName;
use super::lanes_f32::{LanesF32, activate};
use super::winograd_stages_f32::{InputFunctionF32, OutputFunctionF32};

/// Largest number of rows of any kernel in [`KERNELS_F32`](super::table_f32::KERNELS_F32); sizes the driver's scratch.
pub const MAX_MR: usize = 14;
/// Columns of a panel, the same for every kernel: weights are packed once for all of them.
pub const NR: usize = 16;
/// Most panels that a tile of any kernel spans; sizes the driver's scratch.
pub const MAX_PANELS: usize = 2;

/// Operands of one kernel call. It computes, for each of the kernel's `mr` rows and the tile's columns, `sum = Σ
/// segment Σ channel rows[segment][row][offset + channel] · weights[segment][channel][column]`, then `sum += bias`, or
/// what `out` holds, then the skip, then the activation.
#[derive(Debug, Clone, Copy)]
pub struct TileF32 {
    /// `segments × mr` pointers, one segment after the other.
    pub rows: *const *const f32,
    /// Pixels that a row reads, one after the other.
    pub segments: usize,
    /// Values to step over at the start of each pixel.
    pub offset: usize,
    /// Values to read of each pixel.
    pub depth: usize,
    /// `segments × depth × NR` weights, 64-byte aligned.
    pub weights: *const f32,
    /// Values from the weights of one panel to those of the next. Read only where the tile spans several.
    pub panel_stride: usize,
    /// `NR` values a panel, added to every row, or null where `out` holds partial sums to go on from.
    pub bias: *const f32,
    /// Columns that exist: those of up to [`KernelF32::panels`] panels, or fewer in whole [`KernelF32::columns`]. The
    /// weights and the bias of the others are 0.
    pub columns: usize,
    /// `mr` pointers to rows of `columns` values to add, or null.
    pub skip: *const *const f32,
    /// Values to step over at the start of each skip row.
    pub skip_offset: usize,
    /// Function of the sum; ReLU makes 0 of NaN as well.
    pub activation: Activation,
    /// The tile: row `i` starts at `out + i · out_stride`.
    pub out: *mut f32,
    /// Values from one row of the tile to the next.
    pub out_stride: usize,
}

/// Computes one tile.
///
/// # Safety
///
/// The CPU has the kernel's instruction set. Every pointer of the [`TileF32`] is valid for what its field says for a
/// kernel of this `mr`, and `out` overlaps nothing that is read except itself.
pub type TileFunctionF32 = unsafe fn(&TileF32);

/// A micro-kernel and what the driver must know about it.
#[derive(Debug, Clone, Copy)]
pub struct KernelF32 {
    /// Unique name: type, tile and instruction set.
    pub name: &'static str,
    /// Required instruction set.
    pub isa: IsaName,
    /// Rows of a tile; at most [`MAX_MR`].
    pub mr: usize,
    /// Computes a tile.
    pub function: TileFunctionF32,
    /// Panels that a tile spans at most; at most [`MAX_PANELS`].
    pub panels: usize,
    /// A tile of fewer than [`NR`] columns has a multiple of this many.
    pub columns: usize,
    /// Values of a vector of `direct`.
    pub lanes: usize,
    /// Convolves single channels and small groups.
    pub direct: DirectFunctionF32,
    /// Transforms what Winograd's algorithm reads.
    pub winograd_input: InputFunctionF32,
    /// Transforms its sums to output pixels.
    pub winograd_output: OutputFunctionF32,
}

/// Applies a tile's activation to what is written already, unless it is one that kernels apply to their sums: none, or
/// ReLU. In the loop over the sums it would keep them from staying in registers.
///
/// # Safety
///
/// `out` has `rows` rows of `columns` values, a multiple of `V`'s lanes; the CPU has its instruction set.
#[inline(always)]
pub(super) unsafe fn activate_tile<V: LanesF32>(tile: &TileF32, rows: usize) {
    if matches!(tile.activation, Activation::Identity | Activation::Relu) {
        return;
    }
    for row in 0..rows {
        for column in (0..tile.columns).step_by(V::LANES) {
            // SAFETY: as the caller promises.
            unsafe {
                let out = tile.out.add(row * tile.out_stride + column);
                activate(tile.activation, V::load(out)).store(out);
            }
        }
    }
}

/// The oracle: the contract in plain Rust, separate multiply and add.
///
/// # Safety
///
/// See [`TileFunctionF32`].
pub(super) unsafe fn scalar_4x16(tile: &TileF32) {
    const MR: usize = 4;
    let mut sums = [[0f32; NR]; MR];
    let mut weights = tile.weights;
    for segment in 0..tile.segments {
        // SAFETY: `rows` holds `segments × MR` pointers.
        let rows: [*const f32; MR] = std::array::from_fn(|row| unsafe { *tile.rows.add(segment * MR + row) });
        for channel in 0..tile.depth {
            // SAFETY: `weights` holds `segments × depth` rows of NR values; this is the next of them.
            let column = unsafe { &*weights.cast::<[f32; NR]>() };
            // SAFETY: as above; one past the end after the last.
            weights = unsafe { weights.add(NR) };
            for (sums, row) in sums.iter_mut().zip(rows) {
                // SAFETY: each pixel has `offset + depth` values.
                let value = unsafe { *row.add(tile.offset + channel) };
                for (sum, weight) in sums.iter_mut().zip(column) {
                    *sum += value * weight;
                }
            }
        }
    }
    for (row, sums) in sums.iter_mut().enumerate() {
        // SAFETY: `out` has MR rows of NR values, `out_stride` apart, which nothing else refers to.
        let out = unsafe { &mut *tile.out.add(row * tile.out_stride).cast::<[f32; NR]>() };
        // SAFETY: the bias holds NR values where it is not null.
        let start = unsafe { tile.bias.cast::<[f32; NR]>().as_ref() }.unwrap_or(out);
        for (sum, start) in sums.iter_mut().zip(start) {
            *sum += start;
        }
        if !tile.skip.is_null() {
            // SAFETY: `skip` holds MR pointers to rows of `skip_offset + NR` values.
            let skip = unsafe { &*(*tile.skip.add(row)).add(tile.skip_offset).cast::<[f32; NR]>() };
            for (sum, skip) in sums.iter_mut().zip(skip) {
                *sum += skip;
            }
        }
        for (out, &mut sum) in out.iter_mut().zip(sums) {
            *out = if tile.activation == Activation::Relu { if sum > 0.0 { sum } else { 0.0 } } else { sum };
        }
    }
    // SAFETY: the whole tile is written; arrays need no instruction set.
    unsafe { activate_tile::<[f32; 8]>(tile, MR) }
}
