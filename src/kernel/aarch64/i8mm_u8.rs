//! u8 × s8 convolution with the 8-bit matrix extension (Cortex-A510, A710, Neoverse V1 and later): `usmmla`.
//!
//! One instruction multiplies 2×8 unsigned bytes by 8×2 signed ones and adds to 32 bits, so nothing is flipped. The
//! intrinsics are not stable yet, so the instruction stands in an assembly wrapper.

use std::arch::aarch64::*;
use std::arch::asm;

use super::epilogue_u8::finish;
use crate::kernel::conv_u8::TileU8;

const MR: usize = 8;
const NR: usize = 8;
const KR: usize = 8;

/// Pairs of pixels × pairs of channels; lanes are (pixel 0, channel 0), (0, 1), (1, 0), (1, 1).
type Sums = [[int32x4_t; NR / 2]; MR / 2];

/// 8 pixels × 8 channels.
///
/// # Safety
///
/// As [`TileU8`] says, on a CPU with the 8-bit matrix extension.
#[target_feature(enable = "neon,i8mm")]
pub(in crate::kernel) unsafe fn tile_8x8c8(tile: &TileU8) {
    // SAFETY: `start` points at 8 values, `rows` at 8 pointers a tap, each to `run` bytes; the panel holds 64 bytes a
    // group.
    unsafe {
        let twice = |pair: usize| vcombine_s32(vld1_s32(tile.start.add(2 * pair)), vld1_s32(tile.start.add(2 * pair)));
        let mut sums: Sums = [[twice(0), twice(1), twice(2), twice(3)]; MR / 2];
        let mut panel = tile.panel;
        let (groups, rest) = (tile.run / KR, tile.run % KR);
        for tap in 0..tile.taps {
            let mut rows = tile.rows.add(tap * MR).cast::<[*const u8; MR]>().read();
            rows.iter_mut().for_each(|row| *row = row.add(tile.offset));
            for group in 0..groups {
                let at = group * KR;
                multiply(&mut sums, rows.map(|row| row.wrapping_add(at)), panel);
                panel = panel.add(NR * KR);
            }
            if rest > 0 {
                // Only bytes of the run are read: memory after it may not be readable. Missing steps have weight 0.
                let mut bytes = [[0u8; KR]; MR];
                for (bytes, row) in bytes.iter_mut().zip(rows) {
                    bytes.as_mut_ptr().copy_from_nonoverlapping(row.add(groups * KR), rest);
                }
                multiply(&mut sums, bytes.each_ref().map(|bytes| bytes.as_ptr()), panel);
                panel = panel.add(NR * KR);
            }
        }
        for (pixel, sums) in (0..tile.pixels).map(|pixel| (pixel, &sums[pixel / 2])) {
            let low = if pixel % 2 == 0 { even(sums[0], sums[1]) } else { odd(sums[0], sums[1]) };
            let high = if pixel % 2 == 0 { even(sums[2], sums[3]) } else { odd(sums[2], sums[3]) };
            finish(tile, pixel, &[low, high]);
        }
    }
}

/// The first pixel of two blocks of sums: four channels.
#[inline]
#[target_feature(enable = "neon")]
fn even(left: int32x4_t, right: int32x4_t) -> int32x4_t {
    vcombine_s32(vget_low_s32(left), vget_low_s32(right))
}

/// The second pixel of two blocks of sums.
#[inline]
#[target_feature(enable = "neon")]
fn odd(left: int32x4_t, right: int32x4_t) -> int32x4_t {
    vcombine_s32(vget_high_s32(left), vget_high_s32(right))
}

/// Adds the products of eight steps.
#[inline]
#[target_feature(enable = "neon,i8mm")]
unsafe fn multiply(sums: &mut Sums, rows: [*const u8; MR], panel: *const i8) {
    // SAFETY: the caller has 64 bytes of a panel and eight of each row here.
    unsafe {
        let weights = [vld1q_s8(panel), vld1q_s8(panel.add(16)), vld1q_s8(panel.add(32)), vld1q_s8(panel.add(48))];
        for (pair, sums) in sums.iter_mut().enumerate() {
            let input = vcombine_u8(vld1_u8(rows[2 * pair]), vld1_u8(rows[2 * pair + 1]));
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = usmmla(*sum, input, weights);
            }
        }
    }
}

/// `sum[2i + j] += Σ input[8i + k] · weights[8j + k]` over k in 0..8.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn usmmla(mut sum: int32x4_t, input: uint8x16_t, weights: int8x16_t) -> int32x4_t {
    // SAFETY: registers only; the target feature holds the instruction.
    unsafe {
        asm!(
            "usmmla {sum:v}.4s, {input:v}.16b, {weights:v}.16b",
            sum = inout(vreg) sum,
            input = in(vreg) input,
            weights = in(vreg) weights,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}
