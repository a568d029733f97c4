//! Depthwise u8 × s8 convolution with AVX2: the bytes of two taps side by side, widened to 16 bits, `vpmaddwd` into 32.
//!
//! Nothing here may be a closure: it would not inherit the target feature, and be called instead of inlined.

use std::arch::x86_64::*;

use super::avx2_u8_epilogue::{MR, Sums, finish, prefetch};
use crate::kernel::conv_u8::TileU8;

const NR: usize = 16;

/// 6 pixels × 16 channels.
///
/// # Safety
///
/// As [`TileU8`] says, on a CPU with AVX2.
#[target_feature(enable = "avx2")]
pub(in crate::kernel) unsafe fn tile_6x16t2(tile: &TileU8) {
    // SAFETY: passed on from the caller.
    unsafe {
        prefetch(tile);
        let sums = match tile.channels {
            NR => sum::<16>(tile),
            8 => sum::<8>(tile),
            _ => sum::<0>(tile),
        };
        finish(tile, &sums);
    }
}

/// Start values plus every product of the tile, of `CHANNELS` channels; 0 stands for any number.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn sum<const CHANNELS: usize>(tile: &TileU8) -> Sums {
    // SAFETY: `start` points at 16 values, `rows` at 6 pointers a tap, each of which may be read for `channels` bytes
    // from `offset` on; the panel holds 32 bytes for two taps.
    unsafe {
        let start = tile.start.cast::<__m256i>();
        let mut sums = [[_mm256_loadu_si256(start), _mm256_loadu_si256(start.add(1))]; MR];
        for pair in 0..tile.taps.div_ceil(2) {
            let panel = tile.panel.add(pair * 2 * NR).cast::<__m128i>();
            let low = _mm256_cvtepi8_epi16(_mm_load_si128(panel));
            let high = _mm256_cvtepi8_epi16(_mm_load_si128(panel.add(1)));
            // A tap that does not exist has weight 0, whatever is read.
            let first = tile.rows.add(2 * pair * MR);
            let second = tile.rows.add((2 * pair + 1).min(tile.taps - 1) * MR);
            for (pixel, sums) in sums.iter_mut().enumerate() {
                let one = channels::<CHANNELS>((*first.add(pixel)).add(tile.offset), tile.channels);
                let other = channels::<CHANNELS>((*second.add(pixel)).add(tile.offset), tile.channels);
                let words = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(one, other));
                sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(words, low));
                if CHANNELS != 8 {
                    let words = _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(one, other));
                    sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(words, high));
                }
            }
        }
        sums
    }
}

/// `count` bytes, 16 at most; the others are 0.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn channels<const CHANNELS: usize>(from: *const u8, count: usize) -> __m128i {
    // SAFETY: the caller has `count` bytes here, which is `CHANNELS` if that is not 0.
    unsafe {
        match CHANNELS {
            NR => _mm_loadu_si128(from.cast()),
            8 => _mm_loadl_epi64(from.cast()),
            _ => {
                let mut bytes = [0u8; NR];
                bytes.as_mut_ptr().copy_from_nonoverlapping(from, count);
                _mm_loadu_si128(bytes.as_ptr().cast())
            }
        }
    }
}
