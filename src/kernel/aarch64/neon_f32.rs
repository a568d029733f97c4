//! The fp32 tile with Advanced SIMD: 5 rows × 16 columns in twenty registers, four for weights, five for the input.

use std::arch::aarch64::*;

use crate::kernel::activation::Activation;
use crate::kernel::direct_f32::{DirectF32, direct};
use crate::kernel::tile_f32::{NR, TileF32, activate_tile};
use crate::kernel::winograd_stages_f32::{WinogradInputF32, WinogradOutputF32, transform_input, transform_output};

const MR: usize = 5;

type Sums = [[float32x4_t; NR / 4]; MR];

/// See [`crate::kernel::winograd_stages_f32::InputFunctionF32`].
///
/// # Safety
///
/// As there.
#[target_feature(enable = "neon")]
pub(in crate::kernel) unsafe fn winograd_input(call: &WinogradInputF32) {
    // SAFETY: as the contract says.
    unsafe { transform_input::<float32x4_t>(call) }
}

/// See [`crate::kernel::winograd_stages_f32::OutputFunctionF32`].
///
/// # Safety
///
/// As there.
#[target_feature(enable = "neon")]
pub(in crate::kernel) unsafe fn winograd_output(call: &WinogradOutputF32<'_>) {
    // SAFETY: as the contract says.
    unsafe { transform_output::<float32x4_t>(call) }
}

/// See [`crate::kernel::direct_f32::DirectFunctionF32`].
///
/// # Safety
///
/// As there.
#[target_feature(enable = "neon")]
pub(in crate::kernel) unsafe fn direct_4(call: &DirectF32<'_>) {
    // SAFETY: as the contract says.
    unsafe { direct::<float32x4_t>(call) }
}

/// See [`crate::kernel::tile_f32::TileFunctionF32`].
///
/// # Safety
///
/// As there.
#[target_feature(enable = "neon")]
pub(in crate::kernel) unsafe fn tile_5x16(tile: &TileF32) {
    let mut sums: Sums = [[vdupq_n_f32(0.0); NR / 4]; MR];
    let mut weights = tile.weights;
    for segment in 0..tile.segments {
        // SAFETY: `rows` holds `segments × MR` pointers, each to `offset + depth` values; `weights` a row of NR a value.
        unsafe {
            let rows = tile.rows.add(segment * MR).cast::<[*const f32; MR]>().read();
            let mut channel = tile.offset;
            let end = tile.offset + tile.depth;
            while channel + 4 <= end {
                let input = [
                    vld1q_f32(rows[0].add(channel)),
                    vld1q_f32(rows[1].add(channel)),
                    vld1q_f32(rows[2].add(channel)),
                    vld1q_f32(rows[3].add(channel)),
                    vld1q_f32(rows[4].add(channel)),
                ];
                step::<0>(&mut sums, &input, weights);
                step::<1>(&mut sums, &input, weights.add(NR));
                step::<2>(&mut sums, &input, weights.add(2 * NR));
                step::<3>(&mut sums, &input, weights.add(3 * NR));
                weights = weights.add(4 * NR);
                channel += 4;
            }
            while channel < end {
                let input = [
                    vld1q_dup_f32(rows[0].add(channel)),
                    vld1q_dup_f32(rows[1].add(channel)),
                    vld1q_dup_f32(rows[2].add(channel)),
                    vld1q_dup_f32(rows[3].add(channel)),
                    vld1q_dup_f32(rows[4].add(channel)),
                ];
                step::<0>(&mut sums, &input, weights);
                weights = weights.add(NR);
                channel += 1;
            }
        }
    }
    // SAFETY: as the contract says.
    unsafe {
        finish(tile, &sums);
        activate_tile::<float32x4_t>(tile, MR);
    }
}

/// One value of K, lane `LANE` of the input.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn step<const LANE: i32>(sums: &mut Sums, input: &[float32x4_t; MR], weights: *const f32) {
    for quad in 0..NR / 4 {
        // SAFETY: the caller has a row of NR weights here.
        let weights = unsafe { vld1q_f32(weights.add(4 * quad)) };
        for (sums, &input) in sums.iter_mut().zip(input) {
            sums[quad] = vfmaq_laneq_f32::<LANE>(sums[quad], weights, input);
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
unsafe fn finish(tile: &TileF32, sums: &Sums) {
    for (row, sums) in sums.iter().enumerate() {
        for (quad, &sum) in sums.iter().enumerate() {
            // SAFETY: `out` has MR rows of NR values; the bias, where not null, has NR values; `skip` holds MR pointers
            // to rows of `skip_offset + NR` values.
            unsafe {
                let out = tile.out.add(row * tile.out_stride + 4 * quad);
                let start = if tile.bias.is_null() { out.cast_const() } else { tile.bias.add(4 * quad) };
                let mut sum = vaddq_f32(sum, vld1q_f32(start));
                if !tile.skip.is_null() {
                    sum = vaddq_f32(sum, vld1q_f32((*tile.skip.add(row)).add(tile.skip_offset + 4 * quad)));
                }
                if tile.activation == Activation::Relu {
                    // The operand that is not NaN: NaN gives 0, as in the scalar kernel.
                    sum = vmaxnmq_f32(sum, vdupq_n_f32(0.0));
                }
                vst1q_f32(out, sum);
            }
        }
    }
}
