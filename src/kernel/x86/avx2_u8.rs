//! u8 × s8 convolution with AVX2: `vpmaddubsw`, `vpmaddwd`, `vpaddd`.
//!
//! `vpmaddubsw` adds two u8 × s8 products in 16 bits and saturates; the weights are pair-safe, which is checked when
//! they are packed, so it never does and the sums are exact.

use std::arch::asm;
use std::arch::x86_64::*;

use crate::kernel::conv_u8::{SkipTile, TileOutput, TileU8};

const MR: usize = 6;
const NR: usize = 16;
const KR: usize = 4;

/// Sums of 6 pixels × (8 + 8) channels.
type Sums = [[__m256i; 2]; MR];

/// 6 pixels × 16 channels.
///
/// # Safety
///
/// As [`TileU8`] says, on a CPU with AVX2.
#[target_feature(enable = "avx2")]
pub(in crate::kernel) unsafe fn tile_6x16c4(tile: &TileU8) {
    // SAFETY: passed on from the caller.
    unsafe {
        let sums = sum(tile);
        match tile.skip {
            SkipTile::None => finish::<0>(tile, &sums),
            SkipTile::U8 { .. } => finish::<1>(tile, &sums),
            SkipTile::F32 { .. } => finish::<2>(tile, &sums),
        }
    }
}

/// Start values plus every product of the tile.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn sum(tile: &TileU8) -> Sums {
    // SAFETY: `start` points at 16 values, `rows` at 6 pointers a tap; every read of a row is below `run`; the panel
    // holds 64 bytes a group.
    unsafe {
        let start = tile.start.cast::<__m256i>();
        let mut sums = [[_mm256_loadu_si256(start), _mm256_loadu_si256(start.add(1))]; MR];
        let mut panel = tile.panel;
        let (groups, rest) = (tile.run / KR, tile.run % KR);
        for tap in 0..tile.taps {
            let rows = tile.rows.add(tap * MR).cast::<[*const u8; MR]>().read();
            if groups > 0 {
                multiply(&mut sums, rows, panel, groups);
            }
            panel = panel.add(groups * NR * KR);
            if rest > 0 {
                // Only bytes of the run are read: the next ones may not be there.
                let mut bytes = [[0u8; KR]; MR];
                let mut ends = rows;
                for ((bytes, end), row) in bytes.iter_mut().zip(&mut ends).zip(rows) {
                    for (at, byte) in bytes.iter_mut().enumerate().take(rest) {
                        *byte = row.add(groups * KR + at).read();
                    }
                    *end = bytes.as_ptr();
                }
                multiply(&mut sums, ends, panel, 1);
                panel = panel.add(NR * KR);
            }
        }
        sums
    }
}

/// Adds the products of `groups` (not 0) times 4 steps of 6 rows with a panel.
///
/// In assembly because it takes all 16 registers: 12 sums, one of two weight vectors (the other is an operand in
/// memory), the ones that `vpmaddwd` widens with, the input and a product. Compiled from intrinsics, some of the sums
/// go through memory at every step.
///
/// # Safety
///
/// AVX2; each row may be read for `4 · groups` bytes, the panel, 32-byte aligned, for `64 · groups`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn multiply(sums: &mut Sums, rows: [*const u8; MR], panel: *const i8, groups: usize) {
    macro_rules! row {
        ($row:literal, $low:literal, $high:literal) => {
            concat!(
                "vpbroadcastd {input}, [{",
                $row,
                "} + {at}]\n",
                "vpmaddubsw {product}, {input}, {weights}\n",
                "vpmaddubsw {input}, {input}, [{panel} + 32]\n",
                "vpmaddwd {product}, {product}, {ones}\n",
                "vpmaddwd {input}, {input}, {ones}\n",
                "vpaddd {",
                $low,
                "}, {",
                $low,
                "}, {product}\n",
                "vpaddd {",
                $high,
                "}, {",
                $high,
                "}, {input}",
            )
        };
    }
    let [s0, s1, s2, s3, s4, s5] = sums;
    // SAFETY: reads what the caller allows, nothing else; the ends of the rows are addressed from below.
    unsafe {
        let length = groups * KR;
        asm!(
            "2:",
            "vmovdqa {weights}, [{panel}]",
            row!("r0", "l0", "h0"),
            row!("r1", "l1", "h1"),
            row!("r2", "l2", "h2"),
            row!("r3", "l3", "h3"),
            row!("r4", "l4", "h4"),
            row!("r5", "l5", "h5"),
            "add {panel}, 64",
            "add {at}, 4",
            "jnz 2b",
            r0 = in(reg) rows[0].add(length),
            r1 = in(reg) rows[1].add(length),
            r2 = in(reg) rows[2].add(length),
            r3 = in(reg) rows[3].add(length),
            r4 = in(reg) rows[4].add(length),
            r5 = in(reg) rows[5].add(length),
            at = inout(reg) -(length as isize) => _,
            panel = inout(reg) panel => _,
            ones = in(ymm_reg) _mm256_set1_epi16(1),
            input = out(ymm_reg) _,
            product = out(ymm_reg) _,
            weights = out(ymm_reg) _,
            l0 = inout(ymm_reg) s0[0], h0 = inout(ymm_reg) s0[1],
            l1 = inout(ymm_reg) s1[0], h1 = inout(ymm_reg) s1[1],
            l2 = inout(ymm_reg) s2[0], h2 = inout(ymm_reg) s2[1],
            l3 = inout(ymm_reg) s3[0], h3 = inout(ymm_reg) s3[1],
            l4 = inout(ymm_reg) s4[0], h4 = inout(ymm_reg) s4[1],
            l5 = inout(ymm_reg) s5[0], h5 = inout(ymm_reg) s5[1],
            options(readonly, nostack),
        );
    }
}

/// The epilogue; `SKIP` is 0 for none, 1 for bytes, 2 for floats.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn finish<const SKIP: usize>(tile: &TileU8, sums: &Sums) {
    // SAFETY: `multiplier` points at 16 values. Offsets and outputs are those of the tile's pixels; whole vectors are
    // read and written only where there are 16 channels, else through buffers.
    unsafe {
        let multiplier = [_mm256_loadu_ps(tile.multiplier), _mm256_loadu_ps(tile.multiplier.add(8))];
        let (floor, ceiling) = (_mm256_set1_ps(tile.floor), _mm256_set1_ps(tile.ceiling));
        let zero_point = _mm256_set1_epi32(tile.zero_point);
        let whole = tile.channels == NR;
        for (pixel, sums) in sums.iter().enumerate().take(tile.pixels) {
            let mut t = [
                _mm256_mul_ps(_mm256_cvtepi32_ps(sums[0]), multiplier[0]),
                _mm256_mul_ps(_mm256_cvtepi32_ps(sums[1]), multiplier[1]),
            ];
            if SKIP > 0 {
                let added = skip::<SKIP>(tile, pixel, whole);
                t = [_mm256_add_ps(t[0], added[0]), _mm256_add_ps(t[1], added[1])];
            }
            // `max` and `min` give their second operand where the first is no number, as the scalar kernel does.
            for t in &mut t {
                *t = _mm256_min_ps(_mm256_max_ps(*t, floor), ceiling);
            }
            match tile.output {
                TileOutput::U8(out) => {
                    let bytes = to_bytes(t, zero_point);
                    let out = out.add(pixel * tile.stride);
                    if whole {
                        _mm_storeu_si128(out.cast(), bytes);
                    } else {
                        let mut buffer = [0u8; NR];
                        _mm_storeu_si128(buffer.as_mut_ptr().cast(), bytes);
                        out.copy_from_nonoverlapping(buffer.as_ptr(), tile.channels);
                    }
                }
                TileOutput::F32(out) => {
                    let out = out.add(pixel * tile.stride);
                    if whole {
                        _mm256_storeu_ps(out, t[0]);
                        _mm256_storeu_ps(out.add(8), t[1]);
                    } else {
                        let mut buffer = [0f32; NR];
                        _mm256_storeu_ps(buffer.as_mut_ptr(), t[0]);
                        _mm256_storeu_ps(buffer.as_mut_ptr().add(8), t[1]);
                        out.copy_from_nonoverlapping(buffer.as_ptr(), tile.channels);
                    }
                }
            }
        }
    }
}

/// One pixel's residual, scaled.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn skip<const SKIP: usize>(tile: &TileU8, pixel: usize, whole: bool) -> [__m256; 2] {
    // SAFETY: an offset may be read for `channels` values: 16 where `whole`, else they are copied first.
    unsafe {
        match tile.skip {
            SkipTile::U8 { base, offsets, zero_point, multiplier } if SKIP == 1 => {
                let from = base.add(*offsets.add(pixel));
                let mut buffer = [0u8; NR];
                if !whole {
                    buffer.as_mut_ptr().copy_from_nonoverlapping(from, tile.channels);
                }
                let bytes = _mm_loadu_si128(if whole { from } else { buffer.as_ptr() }.cast());
                let zero_point = _mm256_set1_epi32(zero_point);
                let multiplier = _mm256_set1_ps(multiplier);
                let low = _mm256_sub_epi32(_mm256_cvtepu8_epi32(bytes), zero_point);
                let high = _mm256_sub_epi32(_mm256_cvtepu8_epi32(_mm_srli_si128::<8>(bytes)), zero_point);
                [
                    _mm256_mul_ps(_mm256_cvtepi32_ps(low), multiplier),
                    _mm256_mul_ps(_mm256_cvtepi32_ps(high), multiplier),
                ]
            }
            SkipTile::F32 { base, offsets, multiplier } if SKIP == 2 => {
                let from = base.add(*offsets.add(pixel));
                let mut buffer = [0f32; NR];
                if !whole {
                    buffer.as_mut_ptr().copy_from_nonoverlapping(from, tile.channels);
                }
                let from = if whole { from } else { buffer.as_ptr() };
                let multiplier = _mm256_set1_ps(multiplier);
                [
                    _mm256_mul_ps(_mm256_loadu_ps(from), multiplier),
                    _mm256_mul_ps(_mm256_loadu_ps(from.add(8)), multiplier),
                ]
            }
            _ => [_mm256_setzero_ps(); 2],
        }
    }
}

/// Rounds half to even, adds the zero point and narrows; the values are clamped already.
#[inline]
#[target_feature(enable = "avx2")]
fn to_bytes(t: [__m256; 2], zero_point: __m256i) -> __m128i {
    // No closure here or above: it would not inherit the target feature, and be called instead of inlined.
    let low = _mm256_add_epi32(_mm256_cvtps_epi32(t[0]), zero_point);
    let high = _mm256_add_epi32(_mm256_cvtps_epi32(t[1]), zero_point);
    // Packing works inside 128-bit halves: channels 0–3, 8–11, 4–7, 12–15, put in order afterwards.
    let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(low, high));
    _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words))
}
