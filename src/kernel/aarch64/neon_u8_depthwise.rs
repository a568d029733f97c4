//! Depthwise u8 × s8 convolution with Advanced SIMD: bytes widened to 16 bits, `smlal` into 32.

use std::arch::aarch64::*;

use super::epilogue_u8::finish;
use crate::kernel::conv_u8::TileU8;

const MR: usize = 4;
const NR: usize = 8;

/// 4 pixels × 8 channels.
///
/// # Safety
///
/// As [`TileU8`] says.
#[target_feature(enable = "neon")]
pub(in crate::kernel) unsafe fn tile_4x8t1(tile: &TileU8) {
    // SAFETY: `start` points at 8 values, `rows` at 4 pointers a tap, each of which may be read for `channels` bytes
    // from `offset` on; the panel holds 8 bytes a tap.
    unsafe {
        let mut sums = [[vld1q_s32(tile.start), vld1q_s32(tile.start.add(4))]; MR];
        for tap in 0..tile.taps {
            let weights = vmovl_s8(vld1_s8(tile.panel.add(tap * NR)));
            let rows = tile.rows.add(tap * MR).cast::<[*const u8; MR]>().read();
            for (sums, row) in sums.iter_mut().zip(rows) {
                let bytes = channels(row.add(tile.offset), tile.channels);
                let values = vreinterpretq_s16_u16(vmovl_u8(bytes));
                sums[0] = vmlal_s16(sums[0], vget_low_s16(values), vget_low_s16(weights));
                sums[1] = vmlal_high_s16(sums[1], values, weights);
            }
        }
        // Indexed by a variable, the sums themselves would have to lie in memory: stored anew in every turn of the
        // loop.
        let done = sums;
        for (pixel, sums) in done.iter().enumerate().take(tile.pixels) {
            finish(tile, pixel, sums);
        }
    }
}

/// `count` bytes, 8 at most; the others are 0.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn channels(from: *const u8, count: usize) -> uint8x8_t {
    // SAFETY: the caller has `count` bytes here.
    unsafe {
        if count == NR {
            return vld1_u8(from);
        }
        let mut bytes = [0u8; NR];
        bytes.as_mut_ptr().copy_from_nonoverlapping(from, count);
        vld1_u8(bytes.as_ptr())
    }
}
