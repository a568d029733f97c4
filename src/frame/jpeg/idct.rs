//! Coefficients of a block to its 64 samples.
//!
//! The transform of Loeffler, Ligtenberg and Moschytz (1989) in integers, with thirteen bits after the point and two
//! kept between the passes, as libjpeg's accurate one has it: integer sums are exact, so the same constants and the same
//! two roundings give the same samples whatever the order of the sums. Here both passes are written as the products of
//! the even and the odd coefficients with a fixed matrix.

/// Bits after the point of the constants.
const POINT: i32 = 13;
/// Bits kept from the first pass to the second.
const KEPT: i32 = 2;

/// What coefficients 2 and 6 contribute to the outer and the inner even part.
const EVEN: [[i32; 2]; 2] = [[4433 + 6270, 4433], [4433, 4433 - 15137]];

/// What coefficients 1, 3, 5 and 7 contribute to the differences of samples 0–7, 1–6, 2–5 and 3–4: the products of the
/// constants along the paths of the graph.
const ODD: [[i32; 4]; 4] = [
    [12299 - 7373 + 9633 - 3196, 9633, 9633 - 3196, 9633 - 7373],
    [9633, 25172 - 20995 + 9633 - 16069, 9633 - 20995, 9633 - 16069],
    [9633 - 3196, 9633 - 20995, 16819 - 20995 + 9633 - 3196, 9633],
    [9633 - 7373, 9633 - 16069, 9633, 2446 - 7373 + 9633 - 16069],
];

/// Eight numbers of one row or column, for eight columns or rows side by side.
type Lanes = [[i32; 8]; 8];

/// One direction: eight transforms side by side; each result is divided by 2^`shift`, rounding halves up.
#[inline]
fn pass(input: &Lanes, shift: i32) -> Lanes {
    let mut output = [[0; 8]; 8];
    let half = 1 << (shift - 1);
    for lane in 0..8 {
        let [c0, c1, c2, c3, c4, c5, c6, c7] = [0, 1, 2, 3, 4, 5, 6, 7].map(|index: usize| input[index][lane]);
        // Sums wrap: only a damaged file gets that far.
        let product = |row: &[i32; 4]| {
            let sum = c1.wrapping_mul(row[0]).wrapping_add(c3.wrapping_mul(row[1]));
            sum.wrapping_add(c5.wrapping_mul(row[2])).wrapping_add(c7.wrapping_mul(row[3]))
        };
        let outer = c2.wrapping_mul(EVEN[0][0]).wrapping_add(c6.wrapping_mul(EVEN[0][1]));
        let inner = c2.wrapping_mul(EVEN[1][0]).wrapping_add(c6.wrapping_mul(EVEN[1][1]));
        let sum = c0.wrapping_add(c4).wrapping_shl(POINT as u32).wrapping_add(half);
        let difference = c0.wrapping_sub(c4).wrapping_shl(POINT as u32).wrapping_add(half);
        let even = [
            sum.wrapping_add(outer),
            difference.wrapping_add(inner),
            difference.wrapping_sub(inner),
            sum.wrapping_sub(outer),
        ];
        for index in 0..4 {
            let odd = product(&ODD[index]);
            output[index][lane] = even[index].wrapping_add(odd) >> shift;
            output[7 - index][lane] = even[index].wrapping_sub(odd) >> shift;
        }
    }
    output
}

#[inline]
fn transposed(lanes: &Lanes) -> Lanes {
    std::array::from_fn(|row| std::array::from_fn(|column| lanes[column][row]))
}

/// The level of a sample: 128 is the middle.
#[inline]
fn level(value: i32) -> u8 {
    value.wrapping_add(128).clamp(0, 255) as u8
}

/// Writes the 8 × 8 samples of a block, whose dequantized coefficients stand row by row in `block`, into `plane` from
/// place `at` on, whose rows are `stride` apart.
pub(super) fn transform(block: &[i32; 64], plane: &mut [u8], at: usize, stride: usize) {
    let rows: Lanes = std::array::from_fn(|row| std::array::from_fn(|column| block[row * 8 + column]));
    let columns_done = pass(&rows, POINT - KEPT);
    let samples = transposed(&pass(&transposed(&columns_done), POINT + KEPT + 3));
    for (row, values) in samples.iter().enumerate() {
        plane[at + row * stride..][..8].copy_from_slice(&values.map(level));
    }
}

/// The same for a block of which only the first coefficient, the mean, is not zero.
pub(super) fn transform_flat(mean: i32, plane: &mut [u8], at: usize, stride: usize) {
    let value = level(mean.wrapping_shl(KEPT as u32).wrapping_add(1 << (KEPT + 2)) >> (KEPT + 3));
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
