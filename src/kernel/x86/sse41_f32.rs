//! The fp32 tile with SSE: 3 rows × 16 columns in twelve registers. There is no fused multiply-add, so each product is
//! rounded before it is added.

use std::arch::x86_64::*;

use crate::kernel::activation::Activation;
use crate::kernel::direct_f32::{DirectF32, direct};
use crate::kernel::tile_f32::{NR, TileF32, activate_tile};
use crate::kernel::winograd_stages_f32::{WinogradInputF32, WinogradOutputF32, transform_input, transform_output};

const MR: usize = 3;

type Sums = [[__m128; NR / 4]; MR];

/// See [`crate::kernel::winograd_stages_f32::InputFunctionF32`].
///
/// # Safety
///
/// As there; the CPU has SSE4.1.
#[target_feature(enable = "sse4.1")]
pub(in crate::kernel) unsafe fn winograd_input(call: &WinogradInputF32) {
    // SAFETY: as the contract says.
    unsafe { transform_input::<__m128>(call) }
}

/// See [`crate::kernel::winograd_stages_f32::OutputFunctionF32`].
///
/// # Safety
///
/// As there; the CPU has SSE4.1.
#[target_feature(enable = "sse4.1")]
pub(in crate::kernel) unsafe fn winograd_output(call: &WinogradOutputF32<'_>) {
    // SAFETY: as the contract says.
    unsafe { transform_output::<__m128>(call) }
}

/// See [`crate::kernel::direct_f32::DirectFunctionF32`].
///
/// # Safety
///
/// As there; the CPU has SSE4.1.
#[target_feature(enable = "sse4.1")]
pub(in crate::kernel) unsafe fn direct_4(call: &DirectF32<'_>) {
    // SAFETY: as the contract says.
    unsafe { direct::<__m128>(call) }
}

/// See [`crate::kernel::tile_f32::TileFunctionF32`].
///
/// # Safety
///
/// As there; the CPU has SSE4.1.
#[target_feature(enable = "sse4.1")]
pub(in crate::kernel) unsafe fn tile_3x16(tile: &TileF32) {
    let mut sums: Sums = [[_mm_setzero_ps(); NR / 4]; MR];
    let mut weights = tile.weights;
    for segment in 0..tile.segments {
        // SAFETY: `rows` holds `segments × MR` pointers, each to `offset + depth` values; `weights`, aligned, a row of
        // NR a value.
        unsafe {
            let rows = tile.rows.add(segment * MR).cast::<[*const f32; MR]>().read();
            for channel in tile.offset..tile.offset + tile.depth {
                let input = [
                    _mm_set1_ps(*rows[0].add(channel)),
                    _mm_set1_ps(*rows[1].add(channel)),
                    _mm_set1_ps(*rows[2].add(channel)),
                ];
                #[allow(clippy::needless_range_loop)] // quad is an offset into the panel too
                for quad in 0..NR / 4 {
                    let column = _mm_load_ps(weights.add(4 * quad));
                    sums[0][quad] = _mm_add_ps(sums[0][quad], _mm_mul_ps(input[0], column));
                    sums[1][quad] = _mm_add_ps(sums[1][quad], _mm_mul_ps(input[1], column));
                    sums[2][quad] = _mm_add_ps(sums[2][quad], _mm_mul_ps(input[2], column));
                }
                weights = weights.add(NR);
            }
        }
    }
    // SAFETY: as the contract says.
    unsafe {
        finish(tile, &sums);
        activate_tile::<__m128>(tile, MR);
    }
}

#[inline]
#[target_feature(enable = "sse4.1")]
unsafe fn finish(tile: &TileF32, sums: &Sums) {
    for (row, sums) in sums.iter().enumerate() {
        for (quad, &sum) in sums.iter().enumerate() {
            // SAFETY: `out` has MR rows of NR values; the bias, where not null, has NR values; `skip` holds MR pointers
            // to rows of `skip_offset + NR` values.
            unsafe {
                let out = tile.out.add(row * tile.out_stride + 4 * quad);
                let start = if tile.bias.is_null() { out.cast_const() } else { tile.bias.add(4 * quad) };
                let mut sum = _mm_add_ps(sum, _mm_loadu_ps(start));
                if !tile.skip.is_null() {
                    sum = _mm_add_ps(sum, _mm_loadu_ps((*tile.skip.add(row)).add(tile.skip_offset + 4 * quad)));
                }
                if tile.activation == Activation::Relu {
                    // NaN gives the second operand, 0, as in the scalar kernel.
                    sum = _mm_max_ps(sum, _mm_setzero_ps());
                }
                _mm_storeu_ps(out, sum);
            }
        }
    }
}
