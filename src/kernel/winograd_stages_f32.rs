//! Transforms of Winograd's algorithm for filters of 3×3, around the products: contracts and kernels.
//!
//! An output patch is 2×2 pixels and reads 4×4. The input transform is `Bᵀ d B` with
//! `Bᵀ = [1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1]`, the output transform `Aᵀ m A` with `Aᵀ = [1 1 1 0; 0 1 -1 -1]` (Lavin
//! and Gray 2016, F(2×2, 3×3)). Both work on one row of the 4×4 positions at a time, so that the scratch of a block stays
//! in the second-level cache. The sums of the four rows meet in the output itself.

use super::activation::Activation;
use super::lanes_f32::{LanesF32, activate};

/// Channels of every operand are a multiple of this: of the lanes of every kernel.
pub const UNIT: usize = 16;

/// Operands of the input transform: one row of positions of some patches.
#[derive(Debug, Clone, Copy)]
pub struct WinogradInputF32 {
    /// `patches × 16` pointers to the pixels that each patch reads, row by row.
    pub pixels: *const *const f32,
    /// Patches.
    pub patches: usize,
    /// Row of positions, 0 to 3.
    pub row: usize,
    /// Channels, a multiple of [`UNIT`].
    pub channels: usize,
    /// `4 × patches × channels` values, one position of the row after the other.
    pub out: *mut f32,
}

/// Operands of the output transform: one row of positions of some patches. Rows come in order from 0 to 3.
#[derive(Debug, Clone)]
pub struct WinogradOutputF32<'a> {
    /// `4 × patches × channels` products, one position of the row after the other.
    pub sums: *const f32,
    /// Patches.
    pub patches: usize,
    /// Row of positions, 0 to 3.
    pub row: usize,
    /// Channels, a multiple of [`UNIT`].
    pub channels: usize,
    /// `patches × 4` pointers to output pixels, row by row; null where there is no pixel.
    pub pixels: *const *mut f32,
    /// One value a channel.
    pub bias: &'a [f32],
    /// `patches × 4` pointers to the values that are added to each pixel, or null.
    pub skips: *const *const f32,
    /// Function of the sum.
    pub activation: Activation,
}

/// Computes one row of `Bᵀ d B`.
///
/// # Safety
///
/// The CPU has the kernel's instruction set. Every pointer of the [`WinogradInputF32`] is valid for what its field says,
/// and `out` overlaps nothing that is read.
pub type InputFunctionF32 = unsafe fn(&WinogradInputF32);

/// Adds one row of `Aᵀ m A` to the output pixels; their last row also adds bias and skip, and applies the activation.
///
/// # Safety
///
/// The CPU has the kernel's instruction set. Every pointer of the [`WinogradOutputF32`] is valid for what its field says.
/// Output pixels overlap nothing else that is read.
pub type OutputFunctionF32 = unsafe fn(&WinogradOutputF32<'_>);

/// The input transform, to be inlined where `V`'s instruction set is enabled.
///
/// # Safety
///
/// See [`InputFunctionF32`].
#[inline(always)]
pub unsafe fn transform_input<V: LanesF32>(call: &WinogradInputF32) {
    // SAFETY: as the caller promises.
    unsafe {
        match call.row {
            0 => input_row::<V, false>(call, 0, 2),
            1 => input_row::<V, true>(call, 1, 2),
            2 => input_row::<V, false>(call, 2, 1),
            _ => input_row::<V, false>(call, 1, 3),
        }
    }
}

/// Pixel row `first` plus or minus row `second`, then the same rule along the columns.
#[inline(always)]
unsafe fn input_row<V: LanesF32, const PLUS: bool>(call: &WinogradInputF32, first: usize, second: usize) {
    let stride = call.patches * call.channels;
    for patch in 0..call.patches {
        // SAFETY: each patch has 16 pointers to pixels of `channels` values; `out` has as many in four positions.
        unsafe {
            let rows = call.pixels.add(patch * 16).cast::<[[*const f32; 4]; 4]>();
            let (first, second) = ((*rows)[first], (*rows)[second]);
            let out = call.out.add(patch * call.channels);
            for channel in (0..call.channels).step_by(V::LANES) {
                let column = |index: usize| {
                    let (a, b) = (V::load(first[index].add(channel)), V::load(second[index].add(channel)));
                    if PLUS { a.plus(b) } else { a.minus(b) }
                };
                let [a, b, c, d] = [column(0), column(1), column(2), column(3)];
                let out = out.add(channel);
                a.minus(c).store(out);
                b.plus(c).store(out.add(stride));
                c.minus(b).store(out.add(2 * stride));
                b.minus(d).store(out.add(3 * stride));
            }
        }
    }
}

/// The output transform, to be inlined where `V`'s instruction set is enabled.
///
/// # Safety
///
/// See [`OutputFunctionF32`].
#[inline(always)]
pub unsafe fn transform_output<V: LanesF32>(call: &WinogradOutputF32<'_>) {
    let stride = call.patches * call.channels;
    for patch in 0..call.patches {
        // SAFETY: each patch has four pointers to pixels and, where not null, to skips; all are of `channels` values, as
        // are the bias and each position of the sums.
        unsafe {
            let pixels = *call.pixels.add(patch * 4).cast::<[*mut f32; 4]>();
            let skips = match call.skips.is_null() {
                true => [std::ptr::null(); 4],
                false => *call.skips.add(patch * 4).cast::<[*const f32; 4]>(),
            };
            let sums = call.sums.add(patch * call.channels);
            for channel in (0..call.channels).step_by(V::LANES) {
                let sum = |position: usize| V::load(sums.add(position * stride + channel));
                let [a, b, c, d] = [sum(0), sum(1), sum(2), sum(3)];
                let columns = [a.plus(b).plus(c), b.minus(c).minus(d)];
                for (column, value) in columns.into_iter().enumerate() {
                    let finish = |pixel: usize, sum: V| {
                        let mut sum = sum.plus(V::load(call.bias.as_ptr().add(channel)));
                        if !skips[pixel].is_null() {
                            sum = sum.plus(V::load(skips[pixel].add(channel)));
                        }
                        activate(call.activation, sum)
                    };
                    let (upper, lower) =
                        (pixels[column].wrapping_add(channel), pixels[2 + column].wrapping_add(channel));
                    let (has_upper, has_lower) = (!pixels[column].is_null(), !pixels[2 + column].is_null());
                    match call.row {
                        0 if has_upper => value.store(upper),
                        1 => {
                            if has_upper {
                                V::load(upper).plus(value).store(upper);
                            }
                            if has_lower {
                                value.store(lower);
                            }
                        }
                        2 => {
                            if has_upper {
                                finish(column, V::load(upper).plus(value)).store(upper);
                            }
                            if has_lower {
                                V::load(lower).minus(value).store(lower);
                            }
                        }
                        3 if has_lower => finish(2 + column, V::load(lower).minus(value)).store(lower),
                        _ => {}
                    }
                }
            }
        }
    }
}

/// The input transform of the scalar row.
///
/// # Safety
///
/// See [`InputFunctionF32`].
pub(super) unsafe fn winograd_input_scalar(call: &WinogradInputF32) {
    // SAFETY: as the caller promises; arrays need no instruction set.
    unsafe { transform_input::<[f32; 8]>(call) }
}

/// The output transform of the scalar row.
///
/// # Safety
///
/// See [`OutputFunctionF32`].
pub(super) unsafe fn winograd_output_scalar(call: &WinogradOutputF32<'_>) {
    // SAFETY: as the caller promises; arrays need no instruction set.
    unsafe { transform_output::<[f32; 8]>(call) }
}
