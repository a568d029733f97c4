//! The fp32 tile with AVX-512: 14 rows × 32 columns in 28 registers, weights in two, the broadcast input in one. With
//! 16 columns every product would load an operand, and loads would limit it.

use std::arch::x86_64::*;

use crate::kernel::activation::Activation;
use crate::kernel::direct_f32::{DirectF32, direct};
use crate::kernel::lanes_f32::activate;
use crate::kernel::tile_f32::{NR, TileF32};
use crate::kernel::winograd_stages_f32::{WinogradInputF32, WinogradOutputF32, transform_input, transform_output};

const MR: usize = 14;

/// See [`crate::kernel::winograd_stages_f32::InputFunctionF32`].
///
/// # Safety
///
/// As there; the CPU has AVX-512F.
#[target_feature(enable = "avx512f")]
pub(in crate::kernel) unsafe fn winograd_input(call: &WinogradInputF32) {
    // SAFETY: as the contract says.
    unsafe { transform_input::<__m512>(call) }
}

/// See [`crate::kernel::winograd_stages_f32::OutputFunctionF32`].
///
/// # Safety
///
/// As there; the CPU has AVX-512F.
#[target_feature(enable = "avx512f")]
pub(in crate::kernel) unsafe fn winograd_output(call: &WinogradOutputF32<'_>) {
    // SAFETY: as the contract says.
    unsafe { transform_output::<__m512>(call) }
}

/// See [`crate::kernel::direct_f32::DirectFunctionF32`].
///
/// # Safety
///
/// As there; the CPU has AVX-512F.
#[target_feature(enable = "avx512f")]
pub(in crate::kernel) unsafe fn direct_16(call: &DirectF32<'_>) {
    // SAFETY: as the contract says.
    unsafe { direct::<__m512>(call) }
}

/// See [`crate::kernel::tile_f32::TileFunctionF32`].
///
/// # Safety
///
/// As there; the CPU has AVX-512F.
#[target_feature(enable = "avx512f")]
pub(in crate::kernel) unsafe fn tile_14x32(tile: &TileF32) {
    // SAFETY: as the contract says.
    unsafe { if tile.columns <= NR { panels::<1>(tile) } else { panels::<2>(tile) } }
}

/// The tile's columns, which lie in `PANELS` panels.
///
/// The rows are written out: at `opt-level` 2 the compiler leaves a loop over so many, and the sums lie in memory.
#[inline]
#[target_feature(enable = "avx512f")]
#[allow(clippy::needless_range_loop)] // a zip is a call where another unit of the crate holds it
unsafe fn panels<const PANELS: usize>(tile: &TileF32) {
    let mut sums = [[_mm512_setzero_ps(); PANELS]; MR];
    let mut weights = tile.weights;
    for segment in 0..tile.segments {
        // SAFETY: `rows` holds `segments × MR` pointers, each to `offset + depth` values; `weights` a row of NR a value
        // in each panel.
        unsafe {
            let rows = tile.rows.add(segment * MR).cast::<[*const f32; MR]>().read();
            for channel in tile.offset..tile.offset + tile.depth {
                let mut columns = [_mm512_setzero_ps(); PANELS];
                for (panel, columns) in columns.iter_mut().enumerate() {
                    *columns = _mm512_loadu_ps(weights.add(panel * tile.panel_stride));
                }
                weights = weights.add(NR);
                macro_rules! multiply {
                    ($($row:literal)*) => {$(
                        let value = _mm512_set1_ps(*rows[$row].add(channel));
                        for panel in 0..PANELS {
                            sums[$row][panel] = _mm512_fmadd_ps(value, columns[panel], sums[$row][panel]);
                        }
                    )*};
                }
                multiply!(0 1 2 3 4 5 6 7 8 9 10 11 12 13);
            }
        }
    }
    // SAFETY: as the contract says.
    unsafe {
        macro_rules! column {
            ($panel:expr; $($row:literal)*) => { [$(sums[$row][$panel]),*] };
        }
        finish(tile, 0, &column!(0; 0 1 2 3 4 5 6 7 8 9 10 11 12 13));
        if PANELS > 1 {
            finish(tile, 1, &column!(PANELS - 1; 0 1 2 3 4 5 6 7 8 9 10 11 12 13));
        }
        activate_columns(tile);
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn finish(tile: &TileF32, panel: usize, sums: &[__m512; MR]) {
    let first = panel * NR;
    let mask = mask_of(tile, first);
    for (row, &sum) in sums.iter().enumerate() {
        // SAFETY: `out` has MR rows of `columns` values; the bias, where not null, has NR values a panel; `skip` holds
        // MR pointers to rows of `skip_offset + columns` values.
        unsafe {
            let out = tile.out.add(row * tile.out_stride + first);
            let start = if tile.bias.is_null() { out.cast_const() } else { tile.bias.add(first) };
            let mut sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, start));
            if !tile.skip.is_null() {
                let skip = (*tile.skip.add(row)).add(tile.skip_offset + first);
                sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, skip));
            }
            if tile.activation == Activation::Relu {
                // NaN gives the second operand, 0, as in the scalar kernel.
                sum = _mm512_max_ps(sum, _mm512_setzero_ps());
            }
            _mm512_mask_storeu_ps(out, mask, sum);
        }
    }
}

/// [`activate_tile`](crate::kernel::tile_f32::activate_tile) for any number of columns.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn activate_columns(tile: &TileF32) {
    if matches!(tile.activation, Activation::Identity | Activation::Relu) {
        return;
    }
    for first in (0..tile.columns).step_by(NR) {
        let mask = mask_of(tile, first);
        for row in 0..MR {
            // SAFETY: `out` has MR rows of `columns` values.
            unsafe {
                let out = tile.out.add(row * tile.out_stride + first);
                let sum = _mm512_maskz_loadu_ps(mask, out);
                _mm512_mask_storeu_ps(out, mask, activate(tile.activation, sum));
            }
        }
    }
}

/// The columns from `first` on that exist, up to a panel's.
fn mask_of(tile: &TileF32, first: usize) -> __mmask16 {
    ((1u32 << (tile.columns - first).min(NR)) - 1) as __mmask16
}
