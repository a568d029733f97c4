//! The two poolings of the network over byte maps: the stem's maximum, and the subsampling that makes P6.
//!
//! In: a map. Out: one of half the rows and columns, rounded up, with the same quantization parameters: neither changes
//! what a byte means.

use super::claim::share;
use super::isa::Isa;

/// Maximum over 3×3, stride 2, padding 1 (padding never wins), on the current rayon pool. `input` is
/// `[height][width][channels]`, `out` `[height / 2][width / 2][channels]`, both halves rounded up.
///
/// # Panics
///
/// Where a slice is shorter than its shape says.
pub fn max_pool(isa: Isa, input: &[u8], height: usize, width: usize, channels: usize, out: &mut [u8]) {
    let (rows, columns) = (height.div_ceil(2), width.div_ceil(2));
    let length = columns * channels;
    if rows * length == 0 {
        return;
    }
    let map = MaxPool { input: &input[..height * width * channels], height, width, channels };
    let out = Rows { start: out[..rows * length].as_mut_ptr(), length };
    share(rows, |tasks| {
        for y in tasks {
            // SAFETY: every row is claimed once, so no other thread has it; `rows` rows were checked to be there.
            let row = unsafe { out.row(y) };
            match isa.name() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the `Isa` proves AVX-512.
                _ if isa.proves(super::isa::IsaName::Avx512Vnni) => unsafe {
                    super::x86::avx512_plain::max_row_u8(&map, y, row)
                },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the `Isa` proves AVX2.
                _ if isa.proves(super::isa::IsaName::Avx2) => unsafe {
                    super::x86::avx2_plain::max_row_u8(&map, y, row)
                },
                _ => map.row(y, row),
            }
        }
    });
}

/// [`max_pool`] of values of two bytes: `input` and `out` hold all high bytes, then all low ones.
///
/// # Panics
///
/// Where a slice is shorter than its shape says.
pub fn max_pool_16(isa: Isa, input: &[u8], height: usize, width: usize, channels: usize, out: &mut [u8]) {
    let (rows, columns) = (height.div_ceil(2), width.div_ceil(2));
    let length = columns * channels;
    if rows * length == 0 {
        return;
    }
    let map = MaxPool { input: &input[..2 * height * width * channels], height, width, channels };
    let (high, low) = out[..2 * rows * length].split_at_mut(rows * length);
    let (high, low) = (Rows { start: high.as_mut_ptr(), length }, Rows { start: low.as_mut_ptr(), length });
    share(rows, |tasks| {
        for y in tasks {
            // SAFETY: every row is claimed once, so no other thread has it; `rows` rows were checked to be there.
            let row = unsafe { [high.row(y), low.row(y)] };
            match isa.name() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the `Isa` proves AVX-512.
                _ if isa.proves(super::isa::IsaName::Avx512Vnni) => unsafe {
                    super::x86::avx512_plain::max_row_u16(&map, y, row)
                },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the `Isa` proves AVX2.
                _ if isa.proves(super::isa::IsaName::Avx2) => unsafe {
                    super::x86::avx2_plain::max_row_u16(&map, y, row)
                },
                _ => map.row_16(y, row),
            }
        }
    });
}

/// Every second row and column, the first included; P6 of P5. Shapes as for [`max_pool`].
///
/// # Panics
///
/// Where a slice is shorter than its shape says.
pub fn subsample(input: &[u8], height: usize, width: usize, channels: usize, out: &mut [u8]) {
    let columns = width.div_ceil(2);
    if height * columns * channels == 0 {
        return;
    }
    let lines = input[..height * width * channels].chunks_exact(width * channels).step_by(2);
    for (line, row) in lines.zip(out[..height.div_ceil(2) * columns * channels].chunks_exact_mut(columns * channels)) {
        for (pixel, out) in line.chunks_exact(channels).step_by(2).zip(row.chunks_exact_mut(channels)) {
            out.copy_from_slice(pixel);
        }
    }
}

/// Output that threads write by rows.
struct Rows {
    start: *mut u8,
    length: usize,
}

// SAFETY: a row is handed out by an unsafe function whose callers promise to ask for each only once.
unsafe impl Sync for Rows {}

impl Rows {
    /// # Safety
    ///
    /// Row `y` exists and nobody else holds it.
    #[allow(clippy::mut_from_ref, reason = "the caller promises that rows are not shared")]
    unsafe fn row(&self, y: usize) -> &mut [u8] {
        // SAFETY: as the caller promises.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(y * self.length), self.length) }
    }
}

/// A map to take maxima of.
pub(super) struct MaxPool<'a> {
    input: &'a [u8],
    height: usize,
    width: usize,
    channels: usize,
}

impl MaxPool<'_> {
    /// Fills row `y` of the output; compiled once for each instruction set.
    #[inline(always)]
    pub(super) fn row(&self, y: usize, row: &mut [u8]) {
        let length = self.width * self.channels;
        for (x, out) in row.chunks_exact_mut(self.channels).enumerate() {
            out.fill(0);
            for line in (2 * y).saturating_sub(1)..(2 * y + 2).min(self.height) {
                let line = &self.input[line * length..][..length];
                for column in (2 * x).saturating_sub(1)..(2 * x + 2).min(self.width) {
                    let pixel = &line[column * self.channels..][..self.channels];
                    for (out, &value) in out.iter_mut().zip(pixel) {
                        *out = (*out).max(value);
                    }
                }
            }
        }
    }

    /// [`MaxPool::row`] of a map of two bytes a value.
    #[inline(always)]
    pub(super) fn row_16(&self, y: usize, [high, low]: [&mut [u8]; 2]) {
        let length = self.width * self.channels;
        let (high_input, low_input) = self.input.split_at(self.height * length);
        let outs = high.chunks_exact_mut(self.channels).zip(low.chunks_exact_mut(self.channels));
        for (x, (high, low)) in outs.enumerate() {
            high.fill(0);
            low.fill(0);
            for line in (2 * y).saturating_sub(1)..(2 * y + 2).min(self.height) {
                for column in (2 * x).saturating_sub(1)..(2 * x + 2).min(self.width) {
                    let at = line * length + column * self.channels;
                    let pixel = high_input[at..][..self.channels].iter().zip(&low_input[at..][..self.channels]);
                    for ((high, low), (&value_high, &value_low)) in high.iter_mut().zip(low.iter_mut()).zip(pixel) {
                        let value = u16::from(value_high) << 8 | u16::from(value_low);
                        let most = (u16::from(*high) << 8 | u16::from(*low)).max(value);
                        (*high, *low) = ((most >> 8) as u8, most as u8);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maxima_and_subsampling_on_every_instruction_set() {
        for isa in Isa::available() {
            for (height, width, channels) in [(1, 1, 1), (2, 3, 5), (7, 8, 64), (6, 5, 33), (9, 1, 3)] {
                let at = |y: usize, x: usize, c: usize| ((y * 31 + x * 17 + c * 7) * 89 % 251) as u8;
                let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
                let input: Vec<u8> = pixels.flat_map(|(y, x)| (0..channels).map(move |c| at(y, x, c))).collect();
                let (rows, columns) = (height.div_ceil(2), width.div_ceil(2));
                let mut maxima = vec![9; rows * columns * channels + 1];
                max_pool(isa, &input, height, width, channels, &mut maxima);
                // The same map as high bytes, over low ones that run the other way.
                let two: Vec<u8> = input.iter().copied().chain(input.iter().map(|byte| !byte)).collect();
                let outs = rows * columns * channels;
                let mut maxima_16 = vec![9; 2 * outs + 1];
                max_pool_16(isa, &two, height, width, channels, &mut maxima_16);
                let mut halved = vec![9; rows * columns * channels + 1];
                subsample(&input, height, width, channels, &mut halved);
                for index in 0..rows * columns * channels {
                    let (y, x, c) = (index / channels / columns, index / channels % columns, index % channels);
                    let window = (0..9).map(|tap| (2 * y + tap / 3, 2 * x + tap % 3));
                    let inside = window.filter(|&(y, x)| (1..=height).contains(&y) && (1..=width).contains(&x));
                    let expected = inside.map(|(y, x)| at(y - 1, x - 1, c)).max();
                    assert_eq!(Some(maxima[index]), expected);
                    assert_eq!((maxima_16[index], maxima_16[outs + index]), (maxima[index], !maxima[index]));
                    assert_eq!(halved[index], at(2 * y, 2 * x, c));
                }
                assert_eq!((maxima.last(), halved.last()), (Some(&9), Some(&9)));
            }
        }
    }
}
