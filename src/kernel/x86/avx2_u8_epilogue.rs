//! The epilogue of u8 × s8 convolution with AVX2: from a tile's sums to bytes or floats in the output map.
//!
//! Nothing here may be a closure: it would not inherit the target feature, and be called instead of inlined.

use std::arch::x86_64::*;

use crate::kernel::conv_u8::{Curve, SkipTile, TileOutput, TileU8};

const NR: usize = 16;

/// Pixels of a tile.
pub(super) const MR: usize = 6;
/// Depth steps that lie together in a panel.
pub(super) const KR: usize = 4;

/// Sums of 6 pixels × (8 + 8) channels.
pub(super) type Sums = [[__m256i; 2]; MR];

/// Prefetches the operands and the output of [`finish`] while the sums are computed.
#[inline]
#[target_feature(enable = "avx2")]
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
/// As [`TileU8`] says, on a CPU with AVX2.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn finish(tile: &TileU8, sums: &Sums) {
    // SAFETY: passed on from the caller.
    unsafe {
        match (tile.output, tile.pixels == MR && tile.channels == NR) {
            (TileOutput::U8(out), true) => match tile.skip {
                SkipTile::None => whole_bytes::<0>(tile, sums, out),
                SkipTile::U8 { .. } => whole_bytes::<1>(tile, sums, out),
                SkipTile::F32 { .. } => whole_bytes::<2>(tile, sums, out),
            },
            _ => any(tile, sums),
        }
    }
}

/// A complete tile of bytes, the frequent case: two pixels at a time, all in registers. `SKIP` is 0 for no
/// residual, 1 for bytes, 2 for floats.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn whole_bytes<const SKIP: usize>(tile: &TileU8, sums: &Sums, out: *mut u8) {
    // SAFETY: as for `finish`; all 6 × 16 values are there.
    unsafe {
        let scaling = Scaling::new(tile);
        let zero_point = _mm256_set1_epi16(tile.zero_point as i16);
        for pixel in [0, 2, 4] {
            let first = scaling.values::<SKIP, true>(tile, pixel, sums[pixel]);
            let second = scaling.values::<SKIP, true>(tile, pixel + 1, sums[pixel + 1]);
            // Packing works inside 128-bit halves; the permutation puts channels and pixels in order afterwards.
            let bytes = _mm256_packus_epi16(words(first, zero_point), words(second, zero_point));
            let bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
            let out = out.add(pixel * tile.stride);
            _mm_storeu_si128(out.cast(), _mm256_castsi256_si128(bytes));
            _mm_storeu_si128(out.add(tile.stride).cast(), _mm256_extracti128_si256::<1>(bytes));
        }
    }
}

/// Any tile, value by value through buffers where it is not whole.
#[target_feature(enable = "avx2")]
unsafe fn any(tile: &TileU8, sums: &Sums) {
    // SAFETY: as for `finish`; what is written is copied from buffers of 16 values, `channels` at most.
    unsafe {
        let scaling = Scaling::new(tile);
        let zero_point = _mm256_set1_epi16(tile.zero_point as i16);
        for (pixel, &sums) in sums.iter().enumerate().take(tile.pixels) {
            let t = match tile.skip {
                SkipTile::None => scaling.values::<0, false>(tile, pixel, sums),
                SkipTile::U8 { .. } => scaling.values::<1, false>(tile, pixel, sums),
                SkipTile::F32 { .. } => scaling.values::<2, false>(tile, pixel, sums),
            };
            match tile.output {
                TileOutput::U8(out) => {
                    let words = words(t, zero_point);
                    let bytes = _mm256_packus_epi16(words, words);
                    let bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 0, 4, 1, 5));
                    let (bytes, out) = (_mm256_castsi256_si128(bytes), out.add(pixel * tile.stride));
                    match tile.channels {
                        NR => _mm_storeu_si128(out.cast(), bytes),
                        8 => _mm_storel_epi64(out.cast(), bytes),
                        _ => {
                            let mut buffer = [0u8; NR];
                            _mm_storeu_si128(buffer.as_mut_ptr().cast(), bytes);
                            out.copy_from_nonoverlapping(buffer.as_ptr(), tile.channels);
                        }
                    }
                }
                TileOutput::F32(out) => {
                    let mut buffer = [0f32; NR];
                    _mm256_storeu_ps(buffer.as_mut_ptr(), t[0]);
                    _mm256_storeu_ps(buffer.as_mut_ptr().add(8), t[1]);
                    out.add(pixel * tile.stride).copy_from_nonoverlapping(buffer.as_ptr(), tile.channels);
                }
            }
        }
    }
}

/// Constants of a tile's epilogue.
struct Scaling {
    multiplier: [__m256; 2],
    skip_zero_point: __m256i,
    skip_multiplier: __m256,
    floor: __m256,
    ceiling: __m256,
}

impl Scaling {
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn new(tile: &TileU8) -> Self {
        let (zero_point, multiplier) = match tile.skip {
            SkipTile::None => (0, 0.0),
            SkipTile::U8 { zero_point, multiplier, .. } => (zero_point, multiplier),
            SkipTile::F32 { multiplier, .. } => (0, multiplier),
        };
        Self {
            // SAFETY: `multiplier` points at 16 values.
            multiplier: unsafe { [_mm256_loadu_ps(tile.multiplier), _mm256_loadu_ps(tile.multiplier.add(8))] },
            skip_zero_point: _mm256_set1_epi32(zero_point),
            skip_multiplier: _mm256_set1_ps(multiplier),
            floor: _mm256_set1_ps(tile.floor),
            ceiling: _mm256_set1_ps(tile.ceiling),
        }
    }

    /// One pixel's values, scaled, with its residual, clamped. `WHOLE`: all 16 channels are there.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn values<const SKIP: usize, const WHOLE: bool>(
        &self,
        tile: &TileU8,
        pixel: usize,
        sums: [__m256i; 2],
    ) -> [__m256; 2] {
        let mut low = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[0]), self.multiplier[0]);
        let mut high = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[1]), self.multiplier[1]);
        if SKIP > 0 {
            // SAFETY: passed on from the caller.
            let skip = unsafe { self.skip::<SKIP, WHOLE>(tile, pixel) };
            low = _mm256_add_ps(low, skip[0]);
            high = _mm256_add_ps(high, skip[1]);
        }
        if tile.curve != Curve::None {
            (low, high) = (curve(tile.curve, low), curve(tile.curve, high));
        }
        // `max` and `min` give their second operand where the first is NaN, as the scalar kernel does.
        [
            _mm256_min_ps(_mm256_max_ps(low, self.floor), self.ceiling),
            _mm256_min_ps(_mm256_max_ps(high, self.floor), self.ceiling),
        ]
    }

    /// One pixel's residual, scaled.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn skip<const SKIP: usize, const WHOLE: bool>(&self, tile: &TileU8, pixel: usize) -> [__m256; 2] {
        // SAFETY: an offset may be read for `channels` values: 16 where `WHOLE`, else they are copied first.
        unsafe {
            match tile.skip {
                SkipTile::U8 { base, offsets, .. } if SKIP == 1 => {
                    let mut from = base.add(*offsets.add(pixel));
                    let mut buffer = [0u8; NR];
                    if !WHOLE {
                        buffer.as_mut_ptr().copy_from_nonoverlapping(from, tile.channels);
                        from = buffer.as_ptr();
                    }
                    let low = _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast()));
                    let high = _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.add(8).cast()));
                    let low = _mm256_cvtepi32_ps(_mm256_sub_epi32(low, self.skip_zero_point));
                    let high = _mm256_cvtepi32_ps(_mm256_sub_epi32(high, self.skip_zero_point));
                    [_mm256_mul_ps(low, self.skip_multiplier), _mm256_mul_ps(high, self.skip_multiplier)]
                }
                SkipTile::F32 { base, offsets, .. } if SKIP == 2 => {
                    let mut from = base.add(*offsets.add(pixel));
                    let mut buffer = [0f32; NR];
                    if !WHOLE {
                        buffer.as_mut_ptr().copy_from_nonoverlapping(from, tile.channels);
                        from = buffer.as_ptr();
                    }
                    let (low, high) = (_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8)));
                    [_mm256_mul_ps(low, self.skip_multiplier), _mm256_mul_ps(high, self.skip_multiplier)]
                }
                _ => [_mm256_setzero_ps(); 2],
            }
        }
    }
}

/// [`Curve::apply`].
#[inline]
#[target_feature(enable = "avx2")]
fn curve(curve: Curve, t: __m256) -> __m256 {
    let (Curve::Hardswish { multiplier } | Curve::Hardsigmoid { multiplier }) = curve else { return t };
    // `max` and `min` give their second operand where the first is NaN.
    let h = _mm256_max_ps(_mm256_add_ps(t, _mm256_set1_ps(3.0)), _mm256_setzero_ps());
    let h = _mm256_min_ps(h, _mm256_set1_ps(6.0));
    let value = if matches!(curve, Curve::Hardswish { .. }) { _mm256_mul_ps(t, h) } else { h };
    _mm256_mul_ps(value, _mm256_set1_ps(multiplier))
}

/// Rounds half to even, narrows to 16 bits and adds the zero point; the values are clamped already, so nothing
/// saturates. Channels 0–3, 8–11, 4–7, 12–15.
#[inline]
#[target_feature(enable = "avx2")]
fn words(t: [__m256; 2], zero_point: __m256i) -> __m256i {
    _mm256_add_epi16(_mm256_packs_epi32(_mm256_cvtps_epi32(t[0]), _mm256_cvtps_epi32(t[1])), zero_point)
}
