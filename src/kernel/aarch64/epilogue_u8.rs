//! The epilogue of u8 × s8 convolution with Advanced SIMD: from one pixel's sums to bytes or floats in the output map.

use std::arch::aarch64::*;

use crate::kernel::conv_u8::{Curve, SkipTile, TileOutput, TileU8};

/// Most channels of a tile, in vectors of four.
pub(super) const QUADS: usize = 4;

/// Scales the sums of `pixel`, adds its residual, clamps, rounds and writes. `sums` are `nr / 4` vectors, an even number.
///
/// # Safety
///
/// As [`TileU8`] says.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn finish(tile: &TileU8, pixel: usize, sums: &[int32x4_t]) {
    let mut t = [vdupq_n_f32(0.0); QUADS];
    let (floor, ceiling) = (vdupq_n_f32(tile.floor), vdupq_n_f32(tile.ceiling));
    // SAFETY: `multiplier` points at `nr` values; `skip` reads `channels` values.
    unsafe {
        let skip = skip(tile, pixel, sums.len());
        for (quad, &sums) in sums.iter().enumerate() {
            let mut value = vmulq_f32(vcvtq_f32_s32(sums), vld1q_f32(tile.multiplier.add(4 * quad)));
            if let Some(skip) = &skip {
                value = vaddq_f32(value, skip[quad]);
            }
            value = curve(tile.curve, value);
            // Where one is NaN, these give the other one, as the scalar kernel does.
            t[quad] = vminnmq_f32(vmaxnmq_f32(value, floor), ceiling);
        }
        write(tile, pixel, &t[..sums.len()]);
    }
}

/// [`Curve::apply`].
#[inline]
#[target_feature(enable = "neon")]
fn curve(curve: Curve, t: float32x4_t) -> float32x4_t {
    let (Curve::Hardswish { multiplier } | Curve::Hardsigmoid { multiplier }) = curve else { return t };
    // Where one is NaN, these give the other one.
    let h = vmaxnmq_f32(vaddq_f32(t, vdupq_n_f32(3.0)), vdupq_n_f32(0.0));
    let h = vminnmq_f32(h, vdupq_n_f32(6.0));
    let value = if matches!(curve, Curve::Hardswish { .. }) { vmulq_f32(t, h) } else { h };
    vmulq_f32(value, vdupq_n_f32(multiplier))
}

/// One pixel's residual, scaled.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn skip(tile: &TileU8, pixel: usize, quads: usize) -> Option<[float32x4_t; QUADS]> {
    let mut scaled = [vdupq_n_f32(0.0); QUADS];
    let whole = tile.channels == 4 * quads;
    // SAFETY: an offset may be read for `channels` values; where they are not whole quads, they are copied first.
    unsafe {
        match tile.skip {
            SkipTile::None => return None,
            SkipTile::U8 { base, offsets, zero_point, multiplier } => {
                let mut from = base.add(*offsets.add(pixel));
                let mut buffer = [0u8; 4 * QUADS];
                if !whole {
                    buffer.as_mut_ptr().copy_from_nonoverlapping(from, tile.channels);
                    from = buffer.as_ptr();
                }
                let zero_point = vdupq_n_s32(zero_point);
                for half in 0..quads / 2 {
                    let wide = vmovl_u8(vld1_u8(from.add(8 * half)));
                    let low = vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(wide)));
                    let high = vreinterpretq_s32_u32(vmovl_high_u16(wide));
                    scaled[2 * half] = vmulq_n_f32(vcvtq_f32_s32(vsubq_s32(low, zero_point)), multiplier);
                    scaled[2 * half + 1] = vmulq_n_f32(vcvtq_f32_s32(vsubq_s32(high, zero_point)), multiplier);
                }
            }
            SkipTile::F32 { base, offsets, multiplier } => {
                let mut from = base.add(*offsets.add(pixel));
                let mut buffer = [0f32; 4 * QUADS];
                if !whole {
                    buffer.as_mut_ptr().copy_from_nonoverlapping(from, tile.channels);
                    from = buffer.as_ptr();
                }
                for (quad, scaled) in scaled.iter_mut().enumerate().take(quads) {
                    *scaled = vmulq_n_f32(vld1q_f32(from.add(4 * quad)), multiplier);
                }
            }
        }
    }
    Some(scaled)
}

/// Rounds half to even where the output is bytes, and writes the channels that exist.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn write(tile: &TileU8, pixel: usize, t: &[float32x4_t]) {
    let whole = tile.channels == 4 * t.len();
    // SAFETY: `channels` values may be written; where they are not whole quads, they go through a buffer.
    unsafe {
        match tile.output {
            TileOutput::U8(out) => {
                let out = out.add(pixel * tile.stride);
                let mut buffer = [0u8; 4 * QUADS];
                let into = if whole { out } else { buffer.as_mut_ptr() };
                let zero_point = vdupq_n_s32(tile.zero_point);
                for (half, t) in t.chunks_exact(2).enumerate() {
                    // Clamped values are bytes once the zero point is added: narrowing loses nothing.
                    let low = vmovn_s32(vaddq_s32(vcvtnq_s32_f32(t[0]), zero_point));
                    let high = vmovn_s32(vaddq_s32(vcvtnq_s32_f32(t[1]), zero_point));
                    vst1_u8(into.add(8 * half), vmovn_u16(vreinterpretq_u16_s16(vcombine_s16(low, high))));
                }
                if !whole {
                    out.copy_from_nonoverlapping(buffer.as_ptr(), tile.channels);
                }
            }
            TileOutput::F32(out) => {
                let out = out.add(pixel * tile.stride);
                let mut buffer = [0f32; 4 * QUADS];
                let into = if whole { out } else { buffer.as_mut_ptr() };
                for (quad, &t) in t.iter().enumerate() {
                    vst1q_f32(into.add(4 * quad), t);
                }
                if !whole {
                    out.copy_from_nonoverlapping(buffer.as_ptr(), tile.channels);
                }
            }
        }
    }
}
