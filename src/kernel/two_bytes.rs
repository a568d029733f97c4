//! Values of two bytes: 16 bits, the high bytes in one map and the low ones in another of the same shape.
//!
//! In: f32 values in steps of the low byte, or both bytes. Out: the other. `q = 256 · high + low`; the value is
//! `q − zero_point` steps. Plain Rust that LLVM vectorises, compiled again for AVX2 and AVX-512 on x86-64. Every
//! operation is exact or rounds one value on its own, so every instruction set gives the same bytes.

use super::isa::{Isa, IsaName};

/// Rows of two bytes: where the first value of the first row lies, and values from one row to the next.
#[derive(Clone, Copy)]
pub(crate) struct Rows16 {
    pub(crate) high: *mut u8,
    pub(crate) low: *mut u8,
    pub(crate) stride: usize,
}

/// Rounds `rows` rows of `columns` values half to even, shifts them by `zero_point` and writes their two bytes. A row of
/// `values` is `width` long; all lie in `−zero_point … 65535 − zero_point`.
///
/// # Safety
///
/// The rows of `out` may be written, and nothing else writes them.
pub(crate) unsafe fn split(
    isa: IsaName,
    values: &[f32],
    (rows, columns, width): (usize, usize, usize),
    zero_point: i32,
    out: Rows16,
) {
    for (row, values) in values.chunks_exact(width).enumerate().take(rows) {
        // SAFETY: as the caller promises.
        let (high, low) = unsafe {
            let at = row * out.stride;
            (
                std::slice::from_raw_parts_mut(out.high.add(at), columns),
                std::slice::from_raw_parts_mut(out.low.add(at), columns),
            )
        };
        let values = &values[..columns];
        match isa {
            // SAFETY: a kernel for this instruction set has just run.
            #[cfg(target_arch = "x86_64")]
            IsaName::Avx512Vnni => unsafe { super::x86::avx512_plain::split_row(values, zero_point, high, low) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            IsaName::Avx2 | IsaName::AvxVnni => unsafe {
                super::x86::avx2_plain::split_row(values, zero_point, high, low)
            },
            _ => split_row(values, zero_point, high, low),
        }
    }
}

/// One row of [`split`].
#[inline(always)]
pub(super) fn split_row(values: &[f32], zero_point: i32, high: &mut [u8], low: &mut [u8]) {
    // Adding 1.5 · 2^23 leaves no room for a fraction: the sum rounds, and its lowest bits are the result.
    const MAGIC: f32 = 12_582_912.0;
    for ((&value, high), low) in values.iter().zip(high).zip(low) {
        let q = ((value + MAGIC).to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32) + zero_point;
        (*high, *low) = ((q >> 8) as u8, q as u8);
    }
}

/// `(q − zero_point) · multiplier` of `columns` values from `offset` on in each of two maps, into `out`.
///
/// # Safety
///
/// `columns` values from `high` and from `low` on may be read.
pub(crate) unsafe fn join(
    isa: IsaName,
    (high, low): (*const u8, *const u8),
    zero_point: i32,
    multiplier: f32,
    out: &mut [f32],
) {
    // SAFETY: as the caller promises.
    let (high, low) =
        unsafe { (std::slice::from_raw_parts(high, out.len()), std::slice::from_raw_parts(low, out.len())) };
    match isa {
        // SAFETY: a kernel for this instruction set is about to run.
        #[cfg(target_arch = "x86_64")]
        IsaName::Avx512Vnni => unsafe { super::x86::avx512_plain::join_row(high, low, zero_point, multiplier, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        IsaName::Avx2 | IsaName::AvxVnni => unsafe {
            super::x86::avx2_plain::join_row(high, low, zero_point, multiplier, out)
        },
        _ => join_row(high, low, zero_point, multiplier, out),
    }
}

/// [`join`] for whatever instructions the caller is compiled for.
#[inline(always)]
pub(super) fn join_row(high: &[u8], low: &[u8], zero_point: i32, multiplier: f32, out: &mut [f32]) {
    for ((&high, &low), out) in high.iter().zip(low).zip(out) {
        let q = (i32::from(high) << 8) + i32::from(low);
        *out = (q - zero_point) as f32 * multiplier;
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
        let q = ((low * rest + high * weight) * 256.0 + MAGIC).to_bits() as u16 + 128;
        (*out_high, *out_low) = ((q >> 8) as u8, q as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_values_convert_both_ways_on_every_instruction_set() {
        let zero_point = 256 * 17 + 128;
        let mut values: Vec<f32> = (0..1 << 12).map(|i| (i * 16 - zero_point) as f32 + [0.0, 0.5, -0.25][i as usize % 3]).collect();
        values.push((65_535 - zero_point) as f32);
        let width = values.len();
        for isa in Isa::available() {
            let (mut high, mut low) = (vec![0; width], vec![0; width]);
            let out = Rows16 { high: high.as_mut_ptr(), low: low.as_mut_ptr(), stride: width };
            // SAFETY: `out` is a row of `width` values.
            unsafe { split(isa.name(), &values, (1, width, width), zero_point, out) };
            let mut back = vec![0.0; width];
            // SAFETY: both have `width` values.
            unsafe { join(isa.name(), (high.as_ptr(), low.as_ptr()), zero_point, 1.0, &mut back) };
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
