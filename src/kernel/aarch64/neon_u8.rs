//! u8 × s8 convolution with plain Advanced SIMD (Cortex-A53, A72): `smull`, `smlal2`, `sadalp`.
//!
//! There is no multiplication of unsigned by signed bytes, so bit 7 of the activations is flipped as they are loaded: q
//! ^ 0x80 is q − 128 as a signed byte, and the start values carry 128 · Σw in return. Two products of a byte in [−128,
//! 127] and a weight in [−127, 127] are at most 2 · 128 · 127 = 32512 in magnitude. So their sum fits 16 bits for any
//! weights, and every sum is exact.

use std::arch::aarch64::*;

use super::epilogue_u8::finish;
use crate::kernel::conv_u8::TileU8;

const MR: usize = 2;
const NR: usize = 8;
const KR: usize = 16;

/// 2 pixels × 8 channels; a sum's four lanes hold parts of it.
type Sums = [[int32x4_t; NR]; MR];

/// 2 pixels × 8 channels, 16 steps at a time.
///
/// # Safety
///
/// As [`TileU8`] says, with start values for flipped activations.
#[target_feature(enable = "neon")]
pub(in crate::kernel) unsafe fn tile_2x8c16(tile: &TileU8) {
    let mut sums: Sums = [[vdupq_n_s32(0); NR]; MR];
    let (groups, rest) = (tile.run / KR, tile.run % KR);
    let mut panel = tile.panel;
    for tap in 0..tile.taps {
        // SAFETY: `rows` holds 2 pointers a tap, each to `run` bytes; the panel holds 128 bytes a group.
        unsafe {
            let mut rows = tile.rows.add(tap * MR).cast::<[*const u8; MR]>().read();
            rows.iter_mut().for_each(|row| *row = row.add(tile.offset));
            for group in 0..groups {
                multiply(&mut sums, [vld1q_u8(rows[0].add(group * KR)), vld1q_u8(rows[1].add(group * KR))], panel);
                panel = panel.add(NR * KR);
            }
            if rest > 0 {
                // Only bytes of the run are read: memory after it may not be readable. Missing steps have weight 0.
                let mut bytes = [[0u8; KR]; MR];
                for (bytes, row) in bytes.iter_mut().zip(rows) {
                    bytes.as_mut_ptr().copy_from_nonoverlapping(row.add(groups * KR), rest);
                }
                multiply(&mut sums, [vld1q_u8(bytes[0].as_ptr()), vld1q_u8(bytes[1].as_ptr())], panel);
                panel = panel.add(NR * KR);
            }
        }
    }
    // Indexed by a variable, the sums themselves would have to lie in memory: stored anew in every turn of the loop.
    let done = sums;
    for (pixel, sums) in done.iter().enumerate().take(tile.pixels) {
        // SAFETY: `start` points at 8 values; the rest is passed on from the caller.
        unsafe {
            let low = vpaddq_s32(vpaddq_s32(sums[0], sums[1]), vpaddq_s32(sums[2], sums[3]));
            let high = vpaddq_s32(vpaddq_s32(sums[4], sums[5]), vpaddq_s32(sums[6], sums[7]));
            let whole = [vaddq_s32(low, vld1q_s32(tile.start)), vaddq_s32(high, vld1q_s32(tile.start.add(4)))];
            finish(tile, pixel, &whole);
        }
    }
}

/// Adds the products of sixteen steps.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn multiply(sums: &mut Sums, input: [uint8x16_t; MR], panel: *const i8) {
    let flip = vdupq_n_u8(0x80);
    let input = [vreinterpretq_s8_u8(veorq_u8(input[0], flip)), vreinterpretq_s8_u8(veorq_u8(input[1], flip))];
    // Two channels at a time: their four products, the sums, and nothing else that must be kept fit the registers.
    for first in (0..NR).step_by(2) {
        // SAFETY: the caller has 128 bytes of a panel here.
        let weights = unsafe { [vld1q_s8(panel.add(first * KR)), vld1q_s8(panel.add((first + 1) * KR))] };
        let mut products = [[vdupq_n_s16(0); MR]; 2];
        for (products, weights) in products.iter_mut().zip(weights) {
            for (product, input) in products.iter_mut().zip(input) {
                *product = vmull_s8(vget_low_s8(input), vget_low_s8(weights));
            }
        }
        for (products, weights) in products.iter_mut().zip(weights) {
            for (product, input) in products.iter_mut().zip(input) {
                *product = vmlal_high_s8(*product, input, weights);
            }
        }
        for (channel, products) in products.iter().enumerate() {
            for (sums, &product) in sums.iter_mut().zip(products) {
                sums[first + channel] = vpadalq_s16(sums[first + channel], product);
            }
        }
    }
}
