//! Depthwise u8 × s8 convolution with AVX-512-VNNI: four taps of 16 channels in one register, `vpdpbusd` into 32 bits.
//!
//! Nothing here may be a closure: it would not inherit the target features, and be called instead of inlined.

use std::arch::x86_64::*;
use std::hint::black_box;

use super::avx512_u8_epilogue::{MR, NR, Sums, finish, prefetch};
use crate::kernel::conv_u8::TileU8;

/// Taps whose products are added at once.
const KR: usize = 4;

/// 14 pixels × 32 channels.
///
/// # Safety
///
/// As [`TileU8`] says, on a CPU with AVX-512 (F, BW, VL, DQ) and AVX-512-VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(in crate::kernel) unsafe fn tile_14x32t4(tile: &TileU8) {
    // SAFETY: passed on from the caller.
    unsafe {
        prefetch(tile);
        // 3×3 and 5×5 filters are unrolled.
        let sums = match tile.taps {
            9 => by_channels::<9>(tile),
            25 => by_channels::<25>(tile),
            _ => by_channels::<0>(tile),
        };
        finish(tile, &sums);
    }
}

/// [`sum`] for the tile's channels.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn by_channels<const TAPS: usize>(tile: &TileU8) -> Sums {
    // SAFETY: passed on from the caller.
    unsafe {
        match tile.channels {
            NR => sum::<2, true, TAPS>(tile),
            16 => sum::<1, true, TAPS>(tile),
            0..16 => sum::<1, false, TAPS>(tile),
            _ => sum::<2, false, TAPS>(tile),
        }
    }
}

/// Start values plus every product of the tile, of `HALVES` times 16 channels and `TAPS` taps; 0 stands for any number.
/// `WHOLE`: all of the channels are there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn sum<const HALVES: usize, const WHOLE: bool, const TAPS: usize>(tile: &TileU8) -> Sums {
    let taps = if TAPS > 0 { TAPS } else { tile.taps };
    let all = ((1u64 << tile.channels) - 1) as u32;
    let masks = [all as u16, (all >> 16) as u16];
    // Lanes hold a tap each. The first brings four channels of every tap into a lane, the second orders them by
    // channel. Hidden from the compiler, which would replace them by more and slower permutations.
    let order = black_box([
        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15),
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)),
    ]);
    // SAFETY: `start` points at 32 values, `rows` at 14 pointers a tap, each of which may be read for `channels` bytes
    // from `offset` on, those that the masks leave in; the panel holds 128 bytes for four taps.
    unsafe {
        let start = [_mm512_loadu_si512(tile.start.cast()), _mm512_loadu_si512(tile.start.add(16).cast())];
        let mut sums: Sums = [start; MR];
        for (pixel, sums) in sums.iter_mut().enumerate().take(tile.pixels) {
            let mut own = start;
            for group in 0..taps.div_ceil(KR) {
                let panel = tile.panel.add(group * NR * KR);
                let weights = [_mm512_load_si512(panel.cast()), _mm512_load_si512(panel.add(64).cast())];
                // A tap that does not exist has weight 0, whatever is read.
                let mut rows = [tile.panel.cast::<u8>(); KR];
                for (tap, row) in rows.iter_mut().enumerate() {
                    *row = (*tile.rows.add((group * KR + tap).min(taps - 1) * MR + pixel)).add(tile.offset);
                }
                for half in 0..HALVES {
                    let (at, mask) = (16 * half, masks[half]);
                    let lanes = _mm512_castsi128_si512(channels::<WHOLE>(rows[0].wrapping_add(at), mask));
                    let lanes = _mm512_inserti32x4::<1>(lanes, channels::<WHOLE>(rows[1].wrapping_add(at), mask));
                    let lanes = _mm512_inserti32x4::<2>(lanes, channels::<WHOLE>(rows[2].wrapping_add(at), mask));
                    let lanes = _mm512_inserti32x4::<3>(lanes, channels::<WHOLE>(rows[3].wrapping_add(at), mask));
                    let ordered = _mm512_shuffle_epi8(_mm512_permutexvar_epi32(order[0], lanes), order[1]);
                    own[half] = _mm512_dpbusd_epi32(own[half], ordered, weights[half]);
                }
            }
            *sums = own;
        }
        sums
    }
}

/// 16 bytes, or those that `mask` leaves in.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn channels<const WHOLE: bool>(from: *const u8, mask: u16) -> __m128i {
    // SAFETY: the caller has those bytes here.
    unsafe { if WHOLE { _mm_loadu_si128(from.cast()) } else { _mm_maskz_loadu_epi8(mask, from.cast()) } }
}
