//! u8 × s8 convolution with the dot product extension (Cortex-A55, A76 and later): `sdot` by lane.
//!
//! Bit 7 of the activations is flipped as they are loaded, as in [`super::neon_u8`]; `sdot` adds four products to 32
//! bits at once. The intrinsics are not stable yet, so the instruction stands in an assembly wrapper.

use std::arch::aarch64::*;
use std::arch::asm;

use super::epilogue_u8::finish;
use crate::kernel::conv_u8::TileU8;

const MR: usize = 4;
const NR: usize = 16;
const KR: usize = 4;

type Sums = [[int32x4_t; NR / 4]; MR];

/// 4 pixels × 16 channels.
///
/// # Safety
///
/// As [`TileU8`] says, with start values for flipped activations, on a CPU with the dot product extension.
#[target_feature(enable = "neon,dotprod")]
pub(in crate::kernel) unsafe fn tile_4x16c4(tile: &TileU8) {
    // SAFETY: `start` points at 16 values, `rows` at 4 pointers a tap, each to `run` bytes; the panel holds 64 bytes a
    // group.
    unsafe {
        let start = tile.start;
        let start = [vld1q_s32(start), vld1q_s32(start.add(4)), vld1q_s32(start.add(8)), vld1q_s32(start.add(12))];
        let mut sums: Sums = [start; MR];
        let mut panel = tile.panel;
        let whole = tile.run / 16 * 16;
        for tap in 0..tile.taps {
            let mut rows = tile.rows.add(tap * MR).cast::<[*const u8; MR]>().read();
            rows.iter_mut().for_each(|row| *row = row.add(tile.offset));
            let mut at = 0;
            while at < whole {
                let input = [
                    vld1q_u8(rows[0].add(at)),
                    vld1q_u8(rows[1].add(at)),
                    vld1q_u8(rows[2].add(at)),
                    vld1q_u8(rows[3].add(at)),
                ];
                let input = flip(input);
                group::<0>(&mut sums, &input, panel);
                group::<1>(&mut sums, &input, panel.add(NR * KR));
                group::<2>(&mut sums, &input, panel.add(2 * NR * KR));
                group::<3>(&mut sums, &input, panel.add(3 * NR * KR));
                panel = panel.add(4 * NR * KR);
                at += 16;
            }
            while at < tile.run {
                // Only bytes of the run are read: memory after it may not be readable. Missing steps have weight 0.
                let length = KR.min(tile.run - at);
                let mut bytes = [[0u8; 16]; MR];
                for (bytes, row) in bytes.iter_mut().zip(rows) {
                    bytes.as_mut_ptr().copy_from_nonoverlapping(row.add(at), length);
                }
                let input = [
                    vld1q_u8(bytes[0].as_ptr()),
                    vld1q_u8(bytes[1].as_ptr()),
                    vld1q_u8(bytes[2].as_ptr()),
                    vld1q_u8(bytes[3].as_ptr()),
                ];
                group::<0>(&mut sums, &flip(input), panel);
                panel = panel.add(NR * KR);
                at += KR;
            }
        }
        // Indexed by a variable, the sums themselves would have to lie in memory: stored anew in every turn of the loop.
        let done = sums;
        for (pixel, sums) in done.iter().enumerate().take(tile.pixels) {
            finish(tile, pixel, sums);
        }
    }
}

/// From bytes to bytes − 128.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn flip(input: [uint8x16_t; MR]) -> [uint8x16_t; MR] {
    let bit = vdupq_n_u8(0x80);
    [veorq_u8(input[0], bit), veorq_u8(input[1], bit), veorq_u8(input[2], bit), veorq_u8(input[3], bit)]
}

/// Adds the products of four steps, those of lane `LANE` of the input.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn group<const LANE: i32>(sums: &mut Sums, input: &[uint8x16_t; MR], panel: *const i8) {
    for quad in 0..NR / 4 {
        // SAFETY: the caller has 64 bytes of a panel here.
        let weights = unsafe { vld1q_s8(panel.add(16 * quad)) };
        for (sums, &input) in sums.iter_mut().zip(input) {
            sums[quad] = sdot::<LANE>(sums[quad], weights, input);
        }
    }
}

/// `sum[i] += Σ weights[4i + j] · input[4 LANE + j]` over j in 0..4.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot<const LANE: i32>(mut sum: int32x4_t, weights: int8x16_t, input: uint8x16_t) -> int32x4_t {
    // SAFETY: registers only; the target feature holds the instruction.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {weights:v}.16b, {input:v}.4b[{lane}]",
            sum = inout(vreg) sum,
            weights = in(vreg) weights,
            input = in(vreg) input,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}
