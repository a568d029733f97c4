//! Bilinear resampling of RGBx bytes: one direction a call, `f32` between the two.
//!
//! In: a row of pixels of four bytes and where its samples lie; then two such rows and their weights. Out: a row of
//! bytes, rounded half to even. The arithmetic is `low · (1 − w) + high · w` in `f32` with a rounding after each
//! operation and no fused multiply-add, so every instruction set gives the same bytes. Plain Rust that LLVM vectorises;
//! on x86-64 compiled once more for AVX2, with the row resampled eight values at a time.

use super::isa::{Isa, IsaName};

/// Values of a pixel.
pub const CHANNELS: usize = 4;

/// One sample: `(1 − weight) · in[low] + weight · in[low + 1]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tap {
    /// The pixel at or before the sample.
    pub low: u32,
    /// Share of the pixel after it, 0 to 1.
    pub weight: f32,
}

/// Resamples a row in width: one sample a tap, four values each, into `out`. `row` has one pixel more than the picture
/// is wide, so that every tap has a pixel after it.
///
/// # Panics
/// If a tap lies outside `row`, or `out` has no room.
pub fn across(isa: Isa, row: &[u8], taps: &[Tap], out: &mut [f32]) {
    let last = taps.iter().map(|tap| tap.low as usize).max().unwrap_or(0);
    assert!((last + 2) * CHANNELS <= row.len() && taps.len() * CHANNELS <= out.len(), "a tap outside its row");
    #[cfg(target_arch = "x86_64")]
    if isa.proves(IsaName::Avx2) {
        // SAFETY: `isa` proves that this CPU has AVX2, and every tap was seen to lie inside.
        return unsafe { super::x86::avx2_resample::across(row, taps, out) };
    }
    let _ = isa.proves(IsaName::Scalar);
    across_anywhere(row, taps, out);
}

/// The oracle.
#[inline(always)]
fn across_anywhere(row: &[u8], taps: &[Tap], out: &mut [f32]) {
    for (out, tap) in out.chunks_exact_mut(CHANNELS).zip(taps) {
        let pair = &row[tap.low as usize * CHANNELS..][..2 * CHANNELS];
        for channel in 0..CHANNELS {
            let (low, high) = (f32::from(pair[channel]), f32::from(pair[channel + CHANNELS]));
            out[channel] = low * (1.0 - tap.weight) + high * tap.weight;
        }
    }
}

/// Blends two rows into bytes: `low · (1 − weight) + high · weight`, 0 to 255, rounded half to even.
pub fn blend(isa: Isa, low: &[f32], high: &[f32], weight: f32, out: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if isa.proves(IsaName::Avx2) {
        // SAFETY: `isa` proves that this CPU has AVX2.
        return unsafe { super::x86::avx2_plain::blend(low, high, weight, out) };
    }
    let _ = isa.proves(IsaName::Scalar);
    blend_anywhere(low, high, weight, out);
}

/// [`blend`] for whatever instructions the caller is compiled for.
#[inline(always)]
pub(super) fn blend_anywhere(low: &[f32], high: &[f32], weight: f32, out: &mut [u8]) {
    let rest = 1.0 - weight;
    for ((out, &low), &high) in out.iter_mut().zip(low).zip(high) {
        *out = rounded(low * rest + high * weight);
    }
}

/// `level`, 0 to 255, rounded half to even. At 2^23 and above numbers are whole, so the sum rounds, in instructions
/// that every CPU has. Its lowest bits are the result.
#[inline(always)]
fn rounded(level: f32) -> u8 {
    (level + 8_388_608.0).to_bits() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_half_to_even() {
        for step in 0..=255 * 64 {
            let level = step as f32 / 64.0;
            assert_eq!(rounded(level), level.round_ties_even() as u8, "{level}");
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let row: Vec<u8> = (0..4 * 41).map(|index| (index * 89 % 256) as u8).collect();
        for count in [1, 2, 3, 7, 8, 39, 120] {
            let taps: Vec<Tap> = (0..count)
                .map(|index| Tap { low: (index * 13 % 40) as u32, weight: (index * 7 % 31) as f32 / 30.0 })
                .collect();
            let mut expected = vec![0.0; count * 4];
            across_anywhere(&row, &taps, &mut expected);
            let other: Vec<f32> = expected.iter().map(|level| 255.0 - level).collect();
            let mut bytes = vec![0; count * 4];
            blend_anywhere(&expected, &other, 0.3, &mut bytes);
            for isa in Isa::available() {
                let mut found = vec![9.0; count * 4];
                across(isa, &row, &taps, &mut found);
                assert!(found.iter().zip(&expected).all(|(one, other)| one.to_bits() == other.to_bits()));
                let mut out = vec![9; count * 4];
                blend(isa, &found, &other, 0.3, &mut out);
                assert_eq!(out, bytes, "{} taps, {}", count, isa.name().name());
            }
        }
    }

    #[test]
    #[should_panic(expected = "outside")]
    fn a_tap_beyond_the_row_is_refused() {
        across(Isa::best(), &[0; 8], &[Tap { low: 1, weight: 0.0 }], &mut [0.0; 4]);
    }
}
