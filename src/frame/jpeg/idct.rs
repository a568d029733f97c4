//! Inverse DCT of a block of 8 × 8 coefficients.
//!
//! The algorithm is that of Loeffler, Ligtenberg and Moschytz (1989) in integers. Constants have 13 fractional bits, and
//! 2 are kept between the passes, as in libjpeg's accurate transform. Integer sums are exact, so the same constants and
//! the same two roundings give the same samples on every machine.

/// Fractional bits of the constants.
const POINT: u32 = 13;
/// Fractional bits kept between the passes.
const KEPT: u32 = 2;

/// √2 times cosines of multiples of π/16, and sums of them along the flow graph, times 2^13.
mod constant {
    pub const C6: i32 = 4_433;
    pub const C2_LESS_C6: i32 = 6_270;
    pub const C2_AND_C6: i32 = 15_137;
    pub const C3: i32 = 9_633;
    pub const PAIR_17: i32 = 7_373;
    pub const PAIR_35: i32 = 20_995;
    pub const PAIR_37: i32 = 16_069;
    pub const PAIR_15: i32 = 3_196;
    pub const ONE: i32 = 12_299;
    pub const THREE: i32 = 25_172;
    pub const FIVE: i32 = 16_819;
    pub const SEVEN: i32 = 2_446;
}

/// Transforms a row or column. Results are divided by 2^`shift`, halves rounded up. Sums wrap, which only damaged files
/// cause.
#[inline(always)]
fn pass([c0, c1, c2, c3, c4, c5, c6, c7]: [i32; 8], shift: u32) -> [i32; 8] {
    use constant::*;
    let add = i32::wrapping_add;
    let sub = i32::wrapping_sub;
    let times = i32::wrapping_mul;

    let half = 1 << (shift - 1);
    let sum = add(add(c0, c4) << POINT, half);
    let difference = add(sub(c0, c4) << POINT, half);
    let turned = times(add(c2, c6), C6);
    let outer = add(turned, times(c2, C2_LESS_C6));
    let inner = sub(turned, times(c6, C2_AND_C6));
    let even = [add(sum, outer), add(difference, inner), sub(difference, inner), sub(sum, outer)];

    let all = times(add(add(c1, c3), add(c5, c7)), C3);
    let one_seven = times(add(c1, c7), PAIR_17);
    let three_five = times(add(c3, c5), PAIR_35);
    let three_seven = sub(all, times(add(c3, c7), PAIR_37));
    let one_five = sub(all, times(add(c1, c5), PAIR_15));
    let odd = [
        add(sub(times(c1, ONE), one_seven), one_five),
        add(sub(times(c3, THREE), three_five), three_seven),
        add(sub(times(c5, FIVE), three_five), one_five),
        add(sub(times(c7, SEVEN), one_seven), three_seven),
    ];
    std::array::from_fn(|index| {
        let (even, odd) = (even[index.min(7 - index)], odd[index.min(7 - index)]);
        if index < 4 { add(even, odd) >> shift } else { sub(even, odd) >> shift }
    })
}

/// Sample level: 128 is added, the result clamped to 0 to 255.
#[inline]
fn level(value: i32) -> u8 {
    value.wrapping_add(128).clamp(0, 255) as u8
}

/// Transforms the dequantized, row-major coefficients in `block` and writes 8 × 8 samples into `plane` from index `at` on,
/// with rows `stride` apart.
pub(super) fn transform(block: &[i32; 64], plane: &mut [u8], at: usize, stride: usize) {
    let mut rows = [0; 64];
    for column in 0..8 {
        let line: [i32; 8] = std::array::from_fn(|row| block[row * 8 + column]);
        // Most columns of a picture have no coefficient except the mean.
        let done = if line[1..].iter().all(|&value| value == 0) {
            [line[0].wrapping_shl(KEPT); 8]
        } else {
            pass(line, POINT - KEPT)
        };
        for (row, value) in done.into_iter().enumerate() {
            rows[row * 8 + column] = value;
        }
    }
    for (row, line) in rows.as_chunks::<8>().0.iter().enumerate() {
        plane[at + row * stride..][..8].copy_from_slice(&pass(*line, POINT + KEPT + 3).map(level));
    }
}

/// Transforms a block whose only non-zero coefficient is the first, the mean.
pub(super) fn transform_flat(mean: i32, plane: &mut [u8], at: usize, stride: usize) {
    let value = level(mean.wrapping_shl(KEPT).wrapping_add(1 << (KEPT + 2)) >> (KEPT + 3));
    for row in 0..8 {
        plane[at + row * stride..][..8].fill(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The transform by its definition, in f64.
    fn exact(block: &[i32; 64]) -> [f64; 64] {
        let cosine = |position: usize, frequency: usize| {
            let scale = if frequency == 0 { (0.5_f64).sqrt() } else { 1.0 };
            scale * ((2 * position + 1) as f64 * frequency as f64 * std::f64::consts::PI / 16.0).cos() / 2.0
        };
        std::array::from_fn(|place| {
            let (y, x) = (place / 8, place % 8);
            let term = |index: usize| f64::from(block[index]) * cosine(y, index / 8) * cosine(x, index % 8);
            (0..64).map(term).sum::<f64>() + 128.0
        })
    }

    #[test]
    fn samples_are_those_of_the_definition() {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as i32
        };
        for _ in 0..500 {
            let mut block = [0; 64];
            for _ in 0..1 + next() % 12 {
                block[(next() % 64) as usize] = next() % 201 - 100;
            }
            let mut plane = [0; 64];
            transform(&block, &mut plane, 0, 8);
            for (&sample, exact) in plane.iter().zip(exact(&block)) {
                assert!((f64::from(sample) - exact.clamp(0.0, 255.0)).abs() < 0.55, "{sample} for {exact}");
            }
        }
    }

    #[test]
    fn a_flat_block_needs_no_transform() {
        for mean in -1100..1100 {
            let mut block = [0; 64];
            block[0] = mean;
            let (mut whole, mut flat) = ([0; 64], [0; 64]);
            transform(&block, &mut whole, 0, 8);
            transform_flat(mean, &mut flat, 0, 8);
            assert_eq!(whole, flat, "{mean}");
        }
    }

    #[test]
    fn absurd_coefficients_do_no_harm() {
        for value in [i32::MAX, i32::MIN, -1] {
            transform(&[value; 64], &mut [0; 64], 0, 8);
            transform_flat(value, &mut [0; 64], 0, 8);
        }
    }
}
