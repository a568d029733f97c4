//! The epilogue of u8 × s8 convolution with AVX-512: from a tile's sums to bytes or floats in the output map.
//!
//! Nothing here may be a closure: it would not inherit the target features, and be called instead of inlined.

use std::arch::x86_64::*;

use crate::kernel::conv_u8::{Curve, SkipTile, TileOutput, TileU8};

/// Pixels of a tile.
pub(super) const MR: usize = 14;
/// Channels of a tile.
pub(super) const NR: usize = 32;

/// Sums of 14 pixels × (16 + 16) channels.
pub(super) type Sums = [[__m512i; 2]; MR];

/// Prefetches the operands and the output of [`finish`] while the sums are computed.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn prefetch(tile: &TileU8) {
    for pixel in 0..tile.pixels {
        // SAFETY: a prefetch reads nothing; the addresses are those of the tile's pixels.
        unsafe {
            match tile.output {
                TileOutput::U8(out) => _mm_prefetch::<_MM_HINT_ET0>(out.add(pixel * tile.stride).cast()),
                TileOutput::F32(out) => _mm_prefetch::<_MM_HINT_ET0>(out.add(pixel * tile.stride).cast()),
            }
            match tile.skip {
                SkipTile::None => {}
                SkipTile::U8 { base, offsets, .. } => {
                    _mm_prefetch::<_MM_HINT_T0>(base.add(*offsets.add(pixel)).cast());
                }
                SkipTile::F32 { base, offsets, .. } => {
                    _mm_prefetch::<_MM_HINT_T0>(base.add(*offsets.add(pixel)).cast());
                }
            }
        }
    }
}

/// Scales, adds the residual, clamps, rounds and writes.
///
/// # Safety
///
/// As [`TileU8`] says, on a CPU with AVX-512 (F, BW, VL, DQ).
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn finish(tile: &TileU8, sums: &Sums) {
    let TileOutput::U8(out) = tile.output else {
        // SAFETY: passed on from the caller.
        return unsafe { floats(tile, sums) };
    };
    // SAFETY: passed on from the caller.
    unsafe {
        match (tile.skip, tile.pixels == MR && tile.channels == NR) {
            (SkipTile::None, true) => bytes::<0, true>(tile, sums, out),
            (SkipTile::U8 { .. }, true) => bytes::<1, true>(tile, sums, out),
            (SkipTile::F32 { .. }, true) => bytes::<2, true>(tile, sums, out),
            (SkipTile::None, false) => bytes::<0, false>(tile, sums, out),
            (SkipTile::U8 { .. }, false) => bytes::<1, false>(tile, sums, out),
            (SkipTile::F32 { .. }, false) => bytes::<2, false>(tile, sums, out),
        }
    }
}

/// A tile of bytes, two pixels at a time, all in registers. `SKIP` is 0 for no residual, 1 for bytes, 2 for floats;
/// `WHOLE`: all 14 × 32 values are there. Where they are not, pixels are left out, and channels masked.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn bytes<const SKIP: usize, const WHOLE: bool>(tile: &TileU8, sums: &Sums, out: *mut u8) {
    let scaling = Scaling::new(tile);
    // Written out, so that the sums stay in their registers.
    macro_rules! pairs {
        ($($pixel:literal)*) => {$(
            if WHOLE || $pixel < tile.pixels {
                // SAFETY: as for `finish`; the pixel is there, and `pair` leaves out the second one if it is not.
                unsafe { scaling.pair::<SKIP, WHOLE>(tile, $pixel, sums[$pixel], sums[$pixel + 1], out) }
            }
        )*};
    }
    pairs!(0 2 4 6 8 10 12);
}

/// A tile of floats: reads and writes under masks.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn floats(tile: &TileU8, sums: &Sums) {
    let TileOutput::F32(out) = tile.output else { return };
    // SAFETY: as for `finish`; masks leave out the channels that are not there.
    unsafe {
        let scaling = Scaling::new(tile);
        for (pixel, &sums) in sums.iter().enumerate().take(tile.pixels) {
            let t = match tile.skip {
                SkipTile::None => scaling.values::<0>(tile, pixel, sums, scaling.masks),
                SkipTile::U8 { .. } => scaling.values::<1>(tile, pixel, sums, scaling.masks),
                SkipTile::F32 { .. } => scaling.values::<2>(tile, pixel, sums, scaling.masks),
            };
            for (half, (t, mask)) in t.into_iter().zip(scaling.masks).enumerate() {
                // `max` gives its second operand where one is NaN, as the scalar kernel does.
                let t = _mm512_min_ps(_mm512_max_ps(t, scaling.floor), scaling.ceiling);
                _mm512_mask_storeu_ps(out.add(pixel * tile.stride).wrapping_add(16 * half), mask, t);
            }
        }
    }
}

/// Constants of a tile's epilogue.
struct Scaling {
    multiplier: [__m512; 2],
    skip_zero_point: __m512i,
    skip_multiplier: __m512,
    floor: __m512,
    ceiling: __m512,
    /// The output's zero point in 16 bits, and the least byte.
    zero_point: __m512i,
    least: __m512i,
    /// The channels that are there, by half.
    masks: [u16; 2],
}

impl Scaling {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    fn new(tile: &TileU8) -> Self {
        let (zero_point, multiplier) = match tile.skip {
            SkipTile::None => (0, 0.0),
            SkipTile::U8 { zero_point, multiplier, .. } => (zero_point, multiplier),
            SkipTile::F32 { multiplier, .. } => (0, multiplier),
        };
        let all = ((1u64 << tile.channels) - 1) as u32;
        Self {
            // SAFETY: `multiplier` points at 32 values.
            multiplier: unsafe { [_mm512_loadu_ps(tile.multiplier), _mm512_loadu_ps(tile.multiplier.add(16))] },
            skip_zero_point: _mm512_set1_epi32(zero_point),
            skip_multiplier: _mm512_set1_ps(multiplier),
            floor: _mm512_set1_ps(tile.floor),
            ceiling: _mm512_set1_ps(tile.ceiling),
            zero_point: _mm512_set1_epi16(tile.zero_point as i16),
            least: _mm512_set1_epi8((tile.floor as i32 + tile.zero_point) as i8),
            masks: [all as u16, (all >> 16) as u16],
        }
    }

    /// Two pixels' bytes, written to the output, where they are there. Only the upper clamp comes before rounding;
    /// below, narrowing saturates: what is too small for 32 bits, or NaN, rounds to the least of them.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn pair<const SKIP: usize, const WHOLE: bool>(
        &self,
        tile: &TileU8,
        pixel: usize,
        first: [__m512i; 2],
        second: [__m512i; 2],
        out: *mut u8,
    ) {
        // SAFETY: passed on from the caller.
        unsafe {
            let masks = if WHOLE { [u16::MAX; 2] } else { self.masks };
            // A second pixel that is not there is computed like the first, but its residual is not read.
            let other = if WHOLE || pixel + 1 < tile.pixels { pixel + 1 } else { pixel };
            let first = self.words(self.values::<SKIP>(tile, pixel, first, masks));
            let second = self.words(self.values::<SKIP>(tile, other, second, masks));
            let bytes = _mm512_max_epu8(_mm512_packus_epi16(first, second), self.least);
            // Packing works inside 128-bit quarters; this puts channels and pixels in order.
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            let bytes = _mm512_permutexvar_epi32(order, bytes);
            let out = out.add(pixel * tile.stride);
            let (first, second) = (_mm512_castsi512_si256(bytes), _mm512_extracti64x4_epi64::<1>(bytes));
            if WHOLE {
                _mm256_storeu_si256(out.cast(), first);
                _mm256_storeu_si256(out.add(tile.stride).cast(), second);
                return;
            }
            let mask = u32::from(masks[0]) | u32::from(masks[1]) << 16;
            _mm256_mask_storeu_epi8(out.cast(), mask, first);
            if other > pixel {
                _mm256_mask_storeu_epi8(out.add(tile.stride).cast(), mask, second);
            }
        }
    }

    /// Clamps above, rounds half to even, narrows to 16 bits and adds the zero point. Channels 0–3, 16–19, 4–7, 20–23
    /// and so on.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    fn words(&self, t: [__m512; 2]) -> __m512i {
        // `min` gives its second operand where one is NaN.
        let low = _mm512_cvtps_epi32(_mm512_min_ps(self.ceiling, t[0]));
        let high = _mm512_cvtps_epi32(_mm512_min_ps(self.ceiling, t[1]));
        _mm512_adds_epi16(_mm512_packs_epi32(low, high), self.zero_point)
    }

    /// One pixel's values, scaled, with its residual. `masks` tell which channels are there.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn values<const SKIP: usize>(
        &self,
        tile: &TileU8,
        pixel: usize,
        sums: [__m512i; 2],
        masks: [u16; 2],
    ) -> [__m512; 2] {
        let mut low = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[0]), self.multiplier[0]);
        let mut high = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[1]), self.multiplier[1]);
        if SKIP > 0 {
            // SAFETY: passed on from the caller.
            let skip = unsafe { self.skip::<SKIP>(tile, pixel, masks) };
            low = _mm512_add_ps(low, skip[0]);
            high = _mm512_add_ps(high, skip[1]);
        }
        if tile.curve != Curve::None {
            (low, high) = (curve(tile.curve, low), curve(tile.curve, high));
        }
        [low, high]
    }

    /// One pixel's residual, scaled.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn skip<const SKIP: usize>(&self, tile: &TileU8, pixel: usize, masks: [u16; 2]) -> [__m512; 2] {
        // SAFETY: an offset may be read for `channels` values, the ones that the masks leave in.
        unsafe {
            match tile.skip {
                SkipTile::U8 { base, offsets, .. } if SKIP == 1 => {
                    let from = base.add(*offsets.add(pixel));
                    let low = _mm_maskz_loadu_epi8(masks[0], from.cast());
                    let high = _mm_maskz_loadu_epi8(masks[1], from.wrapping_add(16).cast());
                    let low = _mm512_sub_epi32(_mm512_cvtepu8_epi32(low), self.skip_zero_point);
                    let high = _mm512_sub_epi32(_mm512_cvtepu8_epi32(high), self.skip_zero_point);
                    [
                        _mm512_mul_ps(_mm512_cvtepi32_ps(low), self.skip_multiplier),
                        _mm512_mul_ps(_mm512_cvtepi32_ps(high), self.skip_multiplier),
                    ]
                }
                SkipTile::F32 { base, offsets, .. } if SKIP == 2 => {
                    let from = base.add(*offsets.add(pixel));
                    let low = _mm512_maskz_loadu_ps(masks[0], from);
                    let high = _mm512_maskz_loadu_ps(masks[1], from.wrapping_add(16));
                    [_mm512_mul_ps(low, self.skip_multiplier), _mm512_mul_ps(high, self.skip_multiplier)]
                }
                _ => [_mm512_setzero_ps(); 2],
            }
        }
    }
}

/// [`Curve::apply`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn curve(curve: Curve, t: __m512) -> __m512 {
    let (Curve::Hardswish { multiplier } | Curve::Hardsigmoid { multiplier }) = curve else { return t };
    // `max` and `min` give their second operand where the first is NaN.
    let h = _mm512_max_ps(_mm512_add_ps(t, _mm512_set1_ps(3.0)), _mm512_setzero_ps());
    let h = _mm512_min_ps(h, _mm512_set1_ps(6.0));
    let value = if matches!(curve, Curve::Hardswish { .. }) { _mm512_mul_ps(t, h) } else { h };
    _mm512_mul_ps(value, _mm512_set1_ps(multiplier))
}
