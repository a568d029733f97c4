//! u8 × s8 convolution with SSE4.1, for boards without AVX: `pmaddubsw`, `pmaddwd`, `paddd` on 128 bits.
//!
//! `pmaddubsw` adds two u8 × s8 products in 16 bits and saturates. The weights are pair-safe, which is checked when
//! they are packed, so nothing saturates and the sums are exact.

use std::arch::x86_64::*;

use crate::kernel::conv_u8::{Curve, SkipTile, TileOutput, TileU8};

const MR: usize = 4;
const NR: usize = 8;
const KR: usize = 4;

type Sums = [[__m128i; 2]; MR];

/// 4 pixels × 8 channels.
///
/// # Safety
///
/// As [`TileU8`] says, on a CPU with SSE4.1.
#[target_feature(enable = "sse4.1")]
pub(in crate::kernel) unsafe fn tile_4x8c4(tile: &TileU8) {
    // SAFETY: passed on from the caller: `start` points at 8 values, `rows` at 4 pointers a tap, every read of a row is
    // below `run`, the panel holds 32 bytes a group.
    unsafe {
        let start = tile.start.cast::<__m128i>();
        let mut sums = [[_mm_loadu_si128(start), _mm_loadu_si128(start.add(1))]; MR];
        let mut panel = tile.panel.cast::<__m128i>();
        let (groups, rest) = (tile.run / KR, tile.run % KR);
        for tap in 0..tile.taps {
            let mut rows = tile.rows.add(tap * MR).cast::<[*const u8; MR]>().read();
            rows.iter_mut().for_each(|row| *row = row.add(tile.offset));
            for group in 0..groups {
                let input = [
                    rows[0].add(group * KR).cast::<i32>().read_unaligned(),
                    rows[1].add(group * KR).cast::<i32>().read_unaligned(),
                    rows[2].add(group * KR).cast::<i32>().read_unaligned(),
                    rows[3].add(group * KR).cast::<i32>().read_unaligned(),
                ];
                multiply(&mut sums, input, panel);
                panel = panel.add(2);
            }
            if rest > 0 {
                // Only bytes of the run are read: memory after it may not be readable.
                let mut input = [0i32; MR];
                for (input, row) in input.iter_mut().zip(rows) {
                    let mut bytes = [0u8; KR];
                    bytes.as_mut_ptr().copy_from_nonoverlapping(row.add(groups * KR), rest);
                    *input = i32::from_le_bytes(bytes);
                }
                multiply(&mut sums, input, panel);
                panel = panel.add(2);
            }
        }
        for (pixel, sums) in sums.into_iter().enumerate().take(tile.pixels) {
            finish(tile, pixel, sums);
        }
    }
}

/// 4 pixels × 8 channels of a depthwise convolution, two taps at a time: `pmaddwd` on widened bytes.
///
/// # Safety
///
/// As [`TileU8`] says, on a CPU with SSE4.1.
#[target_feature(enable = "sse4.1")]
pub(in crate::kernel) unsafe fn depthwise_4x8t2(tile: &TileU8) {
    // SAFETY: passed on from the caller: `start` points at 8 values, `rows` at 4 pointers a tap, each of which may be
    // read for `channels` bytes from `offset` on; the panel holds 16 bytes for two taps.
    unsafe {
        let start = tile.start.cast::<__m128i>();
        let mut sums = [[_mm_loadu_si128(start), _mm_loadu_si128(start.add(1))]; MR];
        for pair in 0..tile.taps.div_ceil(2) {
            let weights = _mm_load_si128(tile.panel.add(pair * 2 * NR).cast());
            let weights = [_mm_cvtepi8_epi16(weights), _mm_cvtepi8_epi16(_mm_srli_si128::<8>(weights))];
            // A tap that does not exist has weight 0, whatever is read.
            let taps = [2 * pair, (2 * pair + 1).min(tile.taps - 1)];
            for (pixel, sums) in sums.iter_mut().enumerate() {
                let [first, second] = taps.map(|tap| (*tile.rows.add(tap * MR + pixel)).add(tile.offset));
                let bytes = _mm_unpacklo_epi8(channels(first, tile.channels), channels(second, tile.channels));
                let words = [_mm_cvtepu8_epi16(bytes), _mm_cvtepu8_epi16(_mm_srli_si128::<8>(bytes))];
                sums[0] = _mm_add_epi32(sums[0], _mm_madd_epi16(words[0], weights[0]));
                sums[1] = _mm_add_epi32(sums[1], _mm_madd_epi16(words[1], weights[1]));
            }
        }
        for (pixel, sums) in sums.into_iter().enumerate().take(tile.pixels) {
            finish(tile, pixel, sums);
        }
    }
}

/// `count` bytes, 8 at most, in the lower half.
#[inline]
#[target_feature(enable = "sse4.1")]
unsafe fn channels(from: *const u8, count: usize) -> __m128i {
    // SAFETY: the caller has `count` bytes here.
    unsafe {
        if count == NR {
            return _mm_loadl_epi64(from.cast());
        }
        let mut bytes = [0u8; NR];
        bytes.as_mut_ptr().copy_from_nonoverlapping(from, count);
        _mm_loadl_epi64(bytes.as_ptr().cast())
    }
}

/// [`Curve::apply`].
#[inline]
#[target_feature(enable = "sse4.1")]
fn curve(curve: Curve, t: __m128) -> __m128 {
    let (Curve::Hardswish { multiplier } | Curve::Hardsigmoid { multiplier }) = curve else { return t };
    // `max` and `min` give their second operand where the first is NaN.
    let h = _mm_max_ps(_mm_add_ps(t, _mm_set1_ps(3.0)), _mm_setzero_ps());
    let h = _mm_min_ps(h, _mm_set1_ps(6.0));
    let value = if matches!(curve, Curve::Hardswish { .. }) { _mm_mul_ps(t, h) } else { h };
    _mm_mul_ps(value, _mm_set1_ps(multiplier))
}

/// Adds the products of four steps of 4 rows with 8 channels.
#[inline]
#[target_feature(enable = "sse4.1")]
unsafe fn multiply(sums: &mut Sums, input: [i32; MR], panel: *const __m128i) {
    // SAFETY: the caller has 32 bytes of a panel, aligned, here.
    let (low, high) = unsafe { (_mm_load_si128(panel), _mm_load_si128(panel.add(1))) };
    let ones = _mm_set1_epi16(1);
    for (sums, input) in sums.iter_mut().zip(input) {
        let input = _mm_set1_epi32(input);
        sums[0] = _mm_add_epi32(sums[0], _mm_madd_epi16(_mm_maddubs_epi16(input, low), ones));
        sums[1] = _mm_add_epi32(sums[1], _mm_madd_epi16(_mm_maddubs_epi16(input, high), ones));
    }
}

/// Scales one pixel's sums, adds its residual, clamps, rounds and writes.
#[inline]
#[target_feature(enable = "sse4.1")]
unsafe fn finish(tile: &TileU8, pixel: usize, sums: [__m128i; 2]) {
    let whole = tile.channels == NR;
    let mut t = [_mm_setzero_ps(); 2];
    // SAFETY: `multiplier` points at 8 values; an offset may be read, and the output written, for `channels` values: 8,
    // or they go through a buffer.
    unsafe {
        let skip = match tile.skip {
            SkipTile::None => None,
            SkipTile::U8 { base, offsets, zero_point, multiplier } => {
                let from = base.add(*offsets.add(pixel));
                let mut bytes = [0u8; NR];
                bytes.as_mut_ptr().copy_from_nonoverlapping(from, if whole { NR } else { tile.channels });
                let bytes = _mm_cvtsi64_si128(i64::from_le_bytes(bytes));
                let zero_point = _mm_set1_epi32(zero_point);
                let low = _mm_sub_epi32(_mm_cvtepu8_epi32(bytes), zero_point);
                let high = _mm_sub_epi32(_mm_cvtepu8_epi32(_mm_srli_si128::<4>(bytes)), zero_point);
                let multiplier = _mm_set1_ps(multiplier);
                Some([_mm_mul_ps(_mm_cvtepi32_ps(low), multiplier), _mm_mul_ps(_mm_cvtepi32_ps(high), multiplier)])
            }
            SkipTile::F32 { base, offsets, multiplier } => {
                let mut values = [0f32; NR];
                let from = base.add(*offsets.add(pixel));
                values.as_mut_ptr().copy_from_nonoverlapping(from, if whole { NR } else { tile.channels });
                let multiplier = _mm_set1_ps(multiplier);
                let (low, high) = (_mm_loadu_ps(values.as_ptr()), _mm_loadu_ps(values.as_ptr().add(4)));
                Some([_mm_mul_ps(low, multiplier), _mm_mul_ps(high, multiplier)])
            }
        };
        for half in [0, 1] {
            let mut value = _mm_mul_ps(_mm_cvtepi32_ps(sums[half]), _mm_loadu_ps(tile.multiplier.add(4 * half)));
            if let Some(skip) = skip {
                value = _mm_add_ps(value, skip[half]);
            }
            value = curve(tile.curve, value);
            // `max` and `min` give their second operand where the first is NaN, as the scalar kernel does.
            t[half] = _mm_min_ps(_mm_max_ps(value, _mm_set1_ps(tile.floor)), _mm_set1_ps(tile.ceiling));
        }
        match tile.output {
            TileOutput::U8(out) => {
                let words = _mm_packs_epi32(_mm_cvtps_epi32(t[0]), _mm_cvtps_epi32(t[1]));
                let words = _mm_add_epi16(words, _mm_set1_epi16(tile.zero_point as i16));
                let bytes = _mm_cvtsi128_si64(_mm_packus_epi16(words, words)).to_le_bytes();
                let out = out.add(pixel * tile.stride);
                out.copy_from_nonoverlapping(bytes.as_ptr(), if whole { NR } else { tile.channels });
            }
            TileOutput::F32(out) => {
                let mut values = [0f32; NR];
                _mm_storeu_ps(values.as_mut_ptr(), t[0]);
                _mm_storeu_ps(values.as_mut_ptr().add(4), t[1]);
                let out = out.add(pixel * tile.stride);
                out.copy_from_nonoverlapping(values.as_ptr(), if whole { NR } else { tile.channels });
            }
        }
    }
}
