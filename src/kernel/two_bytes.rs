//! Values of two bytes: 16 bits, the high bytes in one map and the low ones in another of the same shape.
//!
//! In: f32 values in steps of the low byte, or both bytes. Out: the other. `q = 256 · high + low`; the value is
//! `q − zero_point` steps. Plain Rust that LLVM vectorises, compiled again for AVX2 and AVX-512 on x86-64. Every
//! operation is exact or rounds one value on its own, so every instruction set gives the same bytes.

use super::isa::{Isa, IsaName};
use crate::tensor::{LOW_LEVELS, LOW_ZERO_POINT};

/// Rows of two bytes: where the first value of the first row lies, and values from one row to the next.
#[derive(Clone, Copy)]
pub(crate) struct Rows16 {
    pub(crate) high: *mut u8,
    pub(crate) low: *mut u8,
    pub(crate) stride: usize,
}

/// A tile of f32 values: `rows` rows of `columns` values, `width` values from one row to the next.
#[derive(Clone, Copy)]
pub(crate) struct Extents {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) width: usize,
}

/// Rounds a tile half to even, shifts it by `zero_point` and writes its two bytes. All values lie in
/// `−zero_point … 65535 − zero_point`.
///
/// # Safety
///
/// The rows of `out` may be written, and nothing else writes them. `isa` is one that this CPU has.
pub(crate) unsafe fn split(isa: IsaName, values: &[f32], extents: Extents, zero_point: i32, out: Rows16) {
    // SAFETY: passed on from the caller.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            IsaName::Avx512Vnni => super::x86::avx512_plain::split(values, extents, zero_point, out),
            #[cfg(target_arch = "x86_64")]
            IsaName::Avx2 | IsaName::AvxVnni => super::x86::avx2_plain::split(values, extents, zero_point, out),
            _ => split_anywhere(values, extents, zero_point, out),
        }
    }
}

/// [`split`] for whatever instructions the caller is compiled for.
///
/// # Safety
///
/// As [`split`].
#[inline(always)]
pub(super) unsafe fn split_anywhere(values: &[f32], extents: Extents, zero_point: i32, out: Rows16) {
    // Adding 1.5 · 2^23 leaves no room for a fraction: the sum rounds, and its lowest bits are the result.
    const MAGIC: f32 = 12_582_912.0;
    for (row, values) in values.chunks_exact(extents.width).enumerate().take(extents.rows) {
        // SAFETY: as the caller promises.
        let (high, low) = unsafe {
            let at = row * out.stride;
            (
                std::slice::from_raw_parts_mut(out.high.add(at), extents.columns),
                std::slice::from_raw_parts_mut(out.low.add(at), extents.columns),
            )
        };
        for ((&value, high), low) in values.iter().zip(high).zip(low) {
            let q = ((value + MAGIC).to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32) + zero_point;
            (*high, *low) = ((q >> 8) as u8, q as u8);
        }
    }
}

/// Values of two bytes that are read as real numbers, `(q − zero_point) · multiplier`.
#[derive(Clone, Copy)]
pub(crate) struct Scaled16<'a> {
    pub(crate) high: &'a [u8],
    pub(crate) low: &'a [u8],
    pub(crate) zero_point: i32,
    pub(crate) multiplier: f32,
}

/// Fills a tile with values of two bytes: row `r` with those from `offsets[r]` on. `isa` is one that this CPU has.
pub(crate) fn join(isa: IsaName, from: Scaled16<'_>, offsets: &[usize], extents: Extents, out: &mut [f32]) {
    match isa {
        // SAFETY: the CPU has the instruction set.
        #[cfg(target_arch = "x86_64")]
        IsaName::Avx512Vnni => unsafe { super::x86::avx512_plain::join(from, offsets, extents, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        IsaName::Avx2 | IsaName::AvxVnni => unsafe { super::x86::avx2_plain::join(from, offsets, extents, out) },
        _ => join_anywhere(from, offsets, extents, out),
    }
}

/// [`join`] for whatever instructions the caller is compiled for.
#[inline(always)]
pub(super) fn join_anywhere(from: Scaled16<'_>, offsets: &[usize], extents: Extents, out: &mut [f32]) {
    let Scaled16 { high, low, zero_point, multiplier } = from;
    for (row, &at) in out.chunks_exact_mut(extents.width).zip(offsets).take(extents.rows) {
        let bytes = high[at..][..extents.columns].iter().zip(&low[at..][..extents.columns]);
        for (out, (&high, &low)) in row.iter_mut().zip(bytes) {
            let q = (i32::from(high) << 8) + i32::from(low);
            *out = (q - zero_point) as f32 * multiplier;
        }
    }
}

/// Blends two resampled rows of a picture into two bytes a value: `low · (1 − weight) + high · weight`, 0 to 255, in
/// steps of 1/256 with zero point 128, so that the high byte is the nearest level.
pub fn blend(isa: Isa, low: &[f32], high: &[f32], weight: f32, (out_high, out_low): (&mut [u8], &mut [u8])) {
    #[cfg(target_arch = "x86_64")]
    if isa.proves(IsaName::Avx2) {
        // SAFETY: `isa` proves that this CPU has AVX2.
        return unsafe { super::x86::avx2_plain::blend_16(low, high, weight, out_high, out_low) };
    }
    let _ = isa.proves(IsaName::Scalar);
    blend_anywhere(low, high, weight, out_high, out_low);
}

/// [`blend`] for whatever instructions the caller is compiled for.
#[inline(always)]
pub(super) fn blend_anywhere(low: &[f32], high: &[f32], weight: f32, out_high: &mut [u8], out_low: &mut [u8]) {
    const MAGIC: f32 = 8_388_608.0;
    let rest = 1.0 - weight;
    for (((&low, &high), out_high), out_low) in low.iter().zip(high).zip(out_high).zip(out_low) {
        let steps = (low * rest + high * weight) * f32::from(LOW_LEVELS);
        let q = (steps + MAGIC).to_bits() as u16 + u16::from(LOW_ZERO_POINT);
        (*out_high, *out_low) = ((q >> 8) as u8, q as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_values_convert_both_ways_on_every_instruction_set() {
        let zero_point = 256 * 17 + 128;
        let value = |i: i32| (i * 16 - zero_point) as f32 + [0.0, 0.5, -0.25][i as usize % 3];
        let mut values: Vec<f32> = (0..1 << 12).map(value).collect();
        values.push((65_535 - zero_point) as f32);
        let width = values.len();
        let extents = Extents { rows: 1, columns: width, width };
        for isa in Isa::available() {
            let (mut high, mut low) = (vec![0; width], vec![0; width]);
            let out = Rows16 { high: high.as_mut_ptr(), low: low.as_mut_ptr(), stride: width };
            // SAFETY: `out` is a row of `width` values.
            unsafe { split(isa.name(), &values, extents, zero_point, out) };
            let mut back = vec![0.0; width];
            let from = Scaled16 { high: &high, low: &low, zero_point, multiplier: 1.0 };
            join(isa.name(), from, &[0], extents, &mut back);
            for (value, back) in values.iter().zip(&back) {
                assert_eq!(value.round_ties_even(), *back);
            }
        }
    }

    #[test]
    fn the_high_byte_of_a_blend_is_the_nearest_level() {
        let low: Vec<f32> = (0..1021).map(|i| i as f32 / 4.0).collect();
        let high: Vec<f32> = low.iter().map(|level| 255.0 - level).collect();
        for isa in Isa::available() {
            let (mut one, mut two) = (vec![0; low.len()], vec![0; low.len()]);
            blend(isa, &low, &high, 0.3, (&mut one, &mut two));
            for (index, (&one, &two)) in one.iter().zip(&two).enumerate() {
                let level = low[index] * 0.7 + high[index] * 0.3;
                let found = f32::from(one) + (f32::from(two) - 128.0) / 256.0;
                assert!((level - found).abs() <= 0.5 / 256.0 + 1e-4, "{level} {found}");
                assert!((level - f32::from(one)).abs() <= 0.5 + 1.0 / 256.0);
            }
        }
    }
}
