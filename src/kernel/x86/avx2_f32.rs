//! The fp32 tile with AVX2 and FMA: 6 rows × 16 columns in twelve registers, two for weights, one for the broadcast.

use std::arch::x86_64::{
    __m256, _mm256_add_ps, _mm256_broadcast_ss, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_max_ps, _mm256_setzero_ps,
    _mm256_storeu_ps,
};

use crate::kernel::activation::Activation;
use crate::kernel::direct_f32::{DirectF32, direct};
use crate::kernel::tile_f32::{NR, TileF32, activate_tile};
use crate::kernel::winograd_stages_f32::{WinogradInputF32, WinogradOutputF32, transform_input, transform_output};

const MR: usize = 6;

/// See [`crate::kernel::winograd_stages_f32::InputFunctionF32`].
///
/// # Safety
///
/// As there; the CPU has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(in crate::kernel) unsafe fn winograd_input(call: &WinogradInputF32) {
    // SAFETY: as the contract says.
    unsafe { transform_input::<__m256>(call) }
}

/// See [`crate::kernel::winograd_stages_f32::OutputFunctionF32`].
///
/// # Safety
///
/// As there; the CPU has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(in crate::kernel) unsafe fn winograd_output(call: &WinogradOutputF32<'_>) {
    // SAFETY: as the contract says.
    unsafe { transform_output::<__m256>(call) }
}

/// See [`crate::kernel::direct_f32::DirectFunctionF32`].
///
/// # Safety
///
/// As there; the CPU has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(in crate::kernel) unsafe fn direct_8(call: &DirectF32<'_>) {
    // SAFETY: as the contract says.
    unsafe { direct::<__m256>(call) }
}

/// See [`crate::kernel::tile_f32::TileFunctionF32`].
///
/// # Safety
///
/// As there; the CPU has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn tile_6x16(tile: &TileF32) {
    // SAFETY: as the contract says; eight columns are half of a panel.
    unsafe { if tile.columns <= 8 { columns::<1>(tile) } else { columns::<2>(tile) } }
}

/// The tile's first `HALVES` times eight columns.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn columns<const HALVES: usize>(tile: &TileF32) {
    let mut sums = [[_mm256_setzero_ps(); HALVES]; MR];
    let mut weights = tile.weights;
    for segment in 0..tile.segments {
        // SAFETY: `rows` holds `segments × MR` pointers, each to `offset + depth` values.
        let rows: [*const f32; MR] =
            std::array::from_fn(|row| unsafe { (*tile.rows.add(segment * MR + row)).add(tile.offset) });
        let mut channel = 0;
        while channel + 4 <= tile.depth {
            // SAFETY: four more values of each row and four more rows of weights exist.
            unsafe {
                step(&mut sums, &rows, channel, weights);
                step(&mut sums, &rows, channel + 1, weights.add(NR));
                step(&mut sums, &rows, channel + 2, weights.add(2 * NR));
                step(&mut sums, &rows, channel + 3, weights.add(3 * NR));
                weights = weights.add(4 * NR);
            }
            channel += 4;
        }
        while channel < tile.depth {
            // SAFETY: one more value of each row and one more row of weights exist.
            unsafe {
                step(&mut sums, &rows, channel, weights);
                weights = weights.add(NR);
            }
            channel += 1;
        }
    }
    // SAFETY: as the contract says.
    unsafe {
        finish(tile, sums);
        activate_tile::<__m256>(tile, MR);
    }
}

/// One value of K: six broadcasts times two vectors of weights.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn step<const HALVES: usize>(
    sums: &mut [[__m256; HALVES]; MR],
    rows: &[*const f32; MR],
    channel: usize,
    weights: *const f32,
) {
    let mut columns = [_mm256_setzero_ps(); HALVES];
    for (half, columns) in columns.iter_mut().enumerate() {
        // SAFETY: the caller has a row of NR weights here.
        *columns = unsafe { _mm256_loadu_ps(weights.add(8 * half)) };
    }
    for (sums, row) in sums.iter_mut().zip(rows) {
        // SAFETY: the caller has more than `channel` values in each row.
        let value = unsafe { _mm256_broadcast_ss(&*row.add(channel)) };
        for (sum, &columns) in sums.iter_mut().zip(&columns) {
            *sum = _mm256_fmadd_ps(value, columns, *sum);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn finish<const HALVES: usize>(tile: &TileF32, sums: [[__m256; HALVES]; MR]) {
    for (row, sums) in sums.into_iter().enumerate() {
        for (half, mut sum) in sums.into_iter().enumerate() {
            // SAFETY: `out` has MR rows of `columns` values.
            let out = unsafe { tile.out.add(row * tile.out_stride + 8 * half) };
            // SAFETY: the bias, where not null, has NR values.
            let start = if tile.bias.is_null() { out.cast_const() } else { unsafe { tile.bias.add(8 * half) } };
            // SAFETY: either has eight values here.
            sum = _mm256_add_ps(sum, unsafe { _mm256_loadu_ps(start) });
            if !tile.skip.is_null() {
                // SAFETY: `skip` holds MR pointers to rows of `skip_offset + columns` values.
                let skip = unsafe { _mm256_loadu_ps((*tile.skip.add(row)).add(tile.skip_offset + 8 * half)) };
                sum = _mm256_add_ps(sum, skip);
            }
            if tile.activation == Activation::Relu {
                // NaN gives the second operand, 0, as in the scalar kernel.
                sum = _mm256_max_ps(sum, _mm256_setzero_ps());
            }
            // SAFETY: eight values of the tile.
            unsafe { _mm256_storeu_ps(out, sum) };
        }
    }
}
