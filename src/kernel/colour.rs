//! Rows of camera pixels to rows of RGBx bytes (red, green, blue and a byte of 0).
//!
//! In: a row as cameras pack it, or its luma and chroma. Out: four bytes a pixel. Conversion is in integers with
//! sixteen bits after the point, rounded once, half up. So it gives the same bytes on every CPU and lies within 0.51 of
//! the exact value. Chroma that two pixels share counts for both. Plain Rust that LLVM vectorises; on x86-64 compiled
//! once more for AVX2.

use super::isa::{Isa, IsaName};

/// Bits after the point of [`Conversion`]'s factors.
const POINT: u32 = 16;

/// YCbCr matrix, defined by the weights of red and blue in luma.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Matrix {
    /// ITU-R BT.601: most USB cameras, and JPEG.
    Bt601,
    /// ITU-R BT.709: high definition.
    Bt709,
    /// ITU-R BT.2020, non-constant luminance: ultra-high definition.
    Bt2020,
}

/// Quantization range of luma and chroma (V4L2: limited or full).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Range {
    /// 16 to 235, chroma 16 to 240.
    Limited,
    /// 0 to 255.
    Full,
}

/// Factors from YCbCr to RGB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conversion {
    black: i32,
    luma: i32,
    red_cr: i32,
    green_cb: i32,
    green_cr: i32,
    blue_cb: i32,
}

impl Conversion {
    /// The factors of `matrix` and `range`, after ITU-R BT.601-7, 2.5.1 to 2.5.3, and its like.
    pub const fn new(matrix: Matrix, range: Range) -> Self {
        let (red, blue) = match matrix {
            Matrix::Bt601 => (0.299, 0.114),
            Matrix::Bt709 => (0.2126, 0.0722),
            Matrix::Bt2020 => (0.2627, 0.0593),
        };
        let (black, luma, chroma) = match range {
            Range::Limited => (16, 255.0 / 219.0, 255.0 / 224.0),
            Range::Full => (0, 1.0, 1.0),
        };
        let green = 1.0 - red - blue;
        Self {
            black,
            luma: fixed(luma),
            red_cr: fixed(2.0 * (1.0 - red) * chroma),
            green_cb: fixed(-2.0 * (1.0 - blue) * blue / green * chroma),
            green_cr: fixed(-2.0 * (1.0 - red) * red / green * chroma),
            blue_cb: fixed(2.0 * (1.0 - blue) * chroma),
        }
    }

    /// One pixel as the four bytes of an RGBx word.
    #[inline(always)]
    fn pixel(&self, luma: u8, cb: u8, cr: u8) -> u32 {
        let luma = (luma as i32 - self.black) * self.luma + (1 << (POINT - 1));
        let (cb, cr) = (cb as i32 - 128, cr as i32 - 128);
        let red = ((luma + self.red_cr * cr) >> POINT).clamp(0, 255) as u32;
        let green = ((luma + self.green_cb * cb + self.green_cr * cr) >> POINT).clamp(0, 255) as u32;
        let blue = ((luma + self.blue_cb * cb) >> POINT).clamp(0, 255) as u32;
        red | green << 8 | blue << 16
    }
}

/// `value` with [`POINT`] bits after the point, rounded.
const fn fixed(value: f64) -> i32 {
    let scaled = value * (1 << POINT) as f64;
    if scaled < 0.0 { (scaled - 0.5) as i32 } else { (scaled + 0.5) as i32 }
}

/// A row in one of the pixel formats. With an odd number of columns, the last pair is stored completely.
#[derive(Debug, Clone, Copy)]
pub enum Row<'a> {
    /// Luma, Cb, luma, Cr for two pixels.
    Yuyv(&'a [u8]),
    /// Cb, luma, Cr, luma for two pixels.
    Uyvy(&'a [u8]),
    /// Luma; and Cb, Cr for two pixels.
    Nv12(&'a [u8], &'a [u8]),
    /// Luma; and Cr, Cb for two pixels.
    Nv21(&'a [u8], &'a [u8]),
    /// Luma; Cb, each for `1 << shift` pixels; Cr likewise.
    Planar(&'a [u8], &'a [u8], &'a [u8], u32),
    /// Luma alone.
    Grey(&'a [u8]),
    /// Red, green, blue.
    Rgb(&'a [u8]),
    /// Blue, green, red.
    Bgr(&'a [u8]),
}

/// Rows of luma and chroma at full width, kept between rows.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    luma: Vec<u8>,
    cb: Vec<u8>,
    cr: Vec<u8>,
}

/// Converts a row into `out`, four bytes a pixel, as many pixels as `out` has room for.
pub fn to_rgbx(isa: Isa, conversion: &Conversion, row: Row<'_>, scratch: &mut Scratch, out: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if isa.proves(IsaName::Avx2) {
        // SAFETY: `isa` proves that this CPU has AVX2.
        return unsafe { super::x86::avx2_plain::to_rgbx(conversion, row, scratch, out) };
    }
    let _ = isa.proves(IsaName::Scalar);
    to_rgbx_anywhere(conversion, row, scratch, out);
}

/// [`to_rgbx`] for whatever instructions the caller is compiled for.
#[inline(always)]
pub(super) fn to_rgbx_anywhere(conversion: &Conversion, row: Row<'_>, scratch: &mut Scratch, out: &mut [u8]) {
    let width = out.len() / 4;
    match row {
        Row::Rgb(row) => {
            for (out, pixel) in out.chunks_exact_mut(4).zip(row.chunks_exact(3)) {
                out.copy_from_slice(&[pixel[0], pixel[1], pixel[2], 0]);
            }
        }
        Row::Bgr(row) => {
            for (out, pixel) in out.chunks_exact_mut(4).zip(row.chunks_exact(3)) {
                out.copy_from_slice(&[pixel[2], pixel[1], pixel[0], 0]);
            }
        }
        Row::Grey(luma) => {
            for (out, &luma) in out.chunks_exact_mut(4).zip(luma) {
                out.copy_from_slice(&conversion.pixel(luma, 128, 128).to_le_bytes());
            }
        }
        Row::Yuyv(row) => {
            scratch.spread_packed(width, row, |quad| (quad[0], quad[2], quad[1], quad[3]));
            mix(conversion, &scratch.luma, &scratch.cb, &scratch.cr, out);
        }
        Row::Uyvy(row) => {
            scratch.spread_packed(width, row, |quad| (quad[1], quad[3], quad[0], quad[2]));
            mix(conversion, &scratch.luma, &scratch.cb, &scratch.cr, out);
        }
        Row::Nv12(luma, chroma) => {
            scratch.spread_pairs(width, chroma, |pair| (pair[0], pair[1]));
            mix(conversion, luma, &scratch.cb, &scratch.cr, out);
        }
        Row::Nv21(luma, chroma) => {
            scratch.spread_pairs(width, chroma, |pair| (pair[1], pair[0]));
            mix(conversion, luma, &scratch.cb, &scratch.cr, out);
        }
        Row::Planar(luma, cb, cr, 0) => mix(conversion, luma, cb, cr, out),
        Row::Planar(luma, cb, cr, shift) => {
            scratch.room(width);
            for (wide, narrow) in [(&mut scratch.cb, cb), (&mut scratch.cr, cr)] {
                for (out, &value) in wide.chunks_mut(1 << shift).zip(narrow) {
                    out.fill(value);
                }
            }
            mix(conversion, luma, &scratch.cb, &scratch.cr, out);
        }
    }
}

/// Rows of one width to pixels.
#[inline(always)]
fn mix(conversion: &Conversion, luma: &[u8], cb: &[u8], cr: &[u8], out: &mut [u8]) {
    let factors = *conversion;
    for (((out, &luma), &cb), &cr) in out.chunks_exact_mut(4).zip(luma).zip(cb).zip(cr) {
        out.copy_from_slice(&factors.pixel(luma, cb, cr).to_le_bytes());
    }
}

impl Scratch {
    /// Allocates rows of `width` pixels, rounded up to whole pairs.
    #[inline(always)]
    fn room(&mut self, width: usize) {
        for row in [&mut self.luma, &mut self.cb, &mut self.cr] {
            row.resize(width.next_multiple_of(2), 0);
        }
    }

    /// Four bytes, two pixels: `order` gives luma, luma, Cb, Cr.
    #[inline(always)]
    fn spread_packed(&mut self, width: usize, row: &[u8], order: impl Fn(&[u8; 4]) -> (u8, u8, u8, u8)) {
        self.room(width);
        let (quads, _) = row.as_chunks::<4>();
        let (luma, cb, cr) =
            (self.luma.as_chunks_mut::<2>().0, self.cb.as_chunks_mut::<2>().0, self.cr.as_chunks_mut::<2>().0);
        for (((quad, luma), cb), cr) in quads.iter().zip(luma).zip(cb).zip(cr) {
            let (first, second, blue, red) = order(quad);
            *luma = [first, second];
            *cb = [blue; 2];
            *cr = [red; 2];
        }
    }

    /// Two bytes, chroma of two pixels: `order` gives Cb, Cr.
    #[inline(always)]
    fn spread_pairs(&mut self, width: usize, row: &[u8], order: impl Fn(&[u8; 2]) -> (u8, u8)) {
        self.room(width);
        let (pairs, _) = row.as_chunks::<2>();
        let (cb, cr) = (self.cb.as_chunks_mut::<2>().0, self.cr.as_chunks_mut::<2>().0);
        for ((pair, cb), cr) in pairs.iter().zip(cb).zip(cr) {
            let (blue, red) = order(pair);
            *cb = [blue; 2];
            *cr = [red; 2];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [(Matrix, Range, f64, f64); 6] = [
        (Matrix::Bt601, Range::Limited, 0.299, 0.114),
        (Matrix::Bt601, Range::Full, 0.299, 0.114),
        (Matrix::Bt709, Range::Limited, 0.2126, 0.0722),
        (Matrix::Bt709, Range::Full, 0.2126, 0.0722),
        (Matrix::Bt2020, Range::Limited, 0.2627, 0.0593),
        (Matrix::Bt2020, Range::Full, 0.2627, 0.0593),
    ];

    /// The definition, in real numbers: luma is the weighted mean of the colours, chroma the scaled differences to it.
    fn real(range: Range, kr: f64, kb: f64, [luma, cb, cr]: [u8; 3]) -> [f64; 3] {
        let (luma, cb, cr) = (f64::from(luma), f64::from(cb), f64::from(cr));
        let (luma, cb, cr) = match range {
            Range::Limited => ((luma - 16.0) / 219.0, (cb - 128.0) / 224.0, (cr - 128.0) / 224.0),
            Range::Full => (luma / 255.0, (cb - 128.0) / 255.0, (cr - 128.0) / 255.0),
        };
        let red = luma + cr * 2.0 * (1.0 - kr);
        let blue = luma + cb * 2.0 * (1.0 - kb);
        let green = (luma - kr * red - kb * blue) / (1.0 - kr - kb);
        [red, green, blue].map(|level| (level * 255.0).clamp(0.0, 255.0))
    }

    #[test]
    fn every_matrix_is_its_definition_rounded() {
        for (matrix, range, kr, kb) in ALL {
            let conversion = Conversion::new(matrix, range);
            for luma in (0..=255).step_by(5) {
                for cb in (0..=255).step_by(3) {
                    for cr in (0..=255).step_by(3) {
                        let found = conversion.pixel(luma, cb, cr).to_le_bytes();
                        let real = real(range, kr, kb, [luma, cb, cr]);
                        for (found, real) in found.into_iter().zip(real) {
                            let error = (f64::from(found) - real).abs();
                            assert!(error <= 0.51, "{matrix:?} {range:?} {luma} {cb} {cr}: {found} for {real}");
                        }
                        assert_eq!(found[3], 0);
                    }
                }
            }
        }
    }

    #[test]
    fn black_white_and_primaries_are_exact() {
        let limited = Conversion::new(Matrix::Bt601, Range::Limited);
        assert_eq!(limited.pixel(16, 128, 128).to_le_bytes(), [0, 0, 0, 0]);
        assert_eq!(limited.pixel(235, 128, 128).to_le_bytes(), [255, 255, 255, 0]);
        assert_eq!(limited.pixel(82, 90, 240).to_le_bytes(), [255, 1, 0, 0]);
        let full = Conversion::new(Matrix::Bt601, Range::Full);
        for level in 0..=255 {
            assert_eq!(full.pixel(level, 128, 128).to_le_bytes(), [level, level, level, 0]);
        }
    }

    /// Every way of packing the same samples gives the same row, on every instruction set and at every width.
    #[test]
    fn every_layout_gives_the_same_pixels() {
        for width in [1, 2, 3, 7, 8, 31, 64, 65] {
            let pairs = usize::div_ceil(width, 2);
            let sample = |seed: usize, index: usize| ((index + 3) * (seed * 37 + 11) % 251) as u8;
            let luma: Vec<u8> = (0..2 * pairs).map(|x| sample(1, x)).collect();
            let cb: Vec<u8> = (0..pairs).map(|x| sample(2, x)).collect();
            let cr: Vec<u8> = (0..pairs).map(|x| sample(3, x)).collect();
            let conversion = Conversion::new(Matrix::Bt709, Range::Limited);
            let expected: Vec<u8> =
                (0..width).flat_map(|x| conversion.pixel(luma[x], cb[x / 2], cr[x / 2]).to_le_bytes()).collect();
            let packed = |order: [usize; 4]| -> Vec<u8> {
                let quad = |x: usize| [luma[2 * x], luma[2 * x + 1], cb[x], cr[x]];
                (0..pairs).flat_map(|x| order.map(|index| quad(x)[index])).collect()
            };
            let woven = |one: &[u8], other: &[u8]| -> Vec<u8> {
                one.iter().zip(other).flat_map(|(&one, &other)| [one, other]).collect()
            };
            let (yuyv, uyvy) = (packed([0, 2, 1, 3]), packed([2, 0, 3, 1]));
            let (uv, vu) = (woven(&cb, &cr), woven(&cr, &cb));
            let wide = |narrow: &[u8]| -> Vec<u8> { narrow.iter().flat_map(|&value| [value; 2]).collect() };
            let (wide_cb, wide_cr) = (wide(&cb), wide(&cr));
            let rows = [
                Row::Yuyv(&yuyv),
                Row::Uyvy(&uyvy),
                Row::Nv12(&luma, &uv),
                Row::Nv21(&luma, &vu),
                Row::Planar(&luma, &cb, &cr, 1),
                Row::Planar(&luma, &wide_cb, &wide_cr, 0),
            ];
            for isa in Isa::available() {
                let mut scratch = Scratch::default();
                for row in rows {
                    let mut out = vec![9; width * 4];
                    to_rgbx(isa, &conversion, row, &mut scratch, &mut out);
                    assert_eq!(out, expected, "{row:?}, {width} wide, {}", isa.name().name());
                }
            }
        }
    }

    #[test]
    fn colours_that_are_already_red_green_and_blue_are_reordered() {
        let conversion = Conversion::new(Matrix::Bt601, Range::Full);
        let mut out = [0; 8];
        let mut scratch = Scratch::default();
        for isa in Isa::available() {
            to_rgbx(isa, &conversion, Row::Rgb(&[1, 2, 3, 4, 5, 6]), &mut scratch, &mut out);
            assert_eq!(out, [1, 2, 3, 0, 4, 5, 6, 0]);
            to_rgbx(isa, &conversion, Row::Bgr(&[1, 2, 3, 4, 5, 6]), &mut scratch, &mut out);
            assert_eq!(out, [3, 2, 1, 0, 6, 5, 4, 0]);
            to_rgbx(isa, &conversion, Row::Grey(&[7, 200]), &mut scratch, &mut out);
            assert_eq!(out, [7, 7, 7, 0, 200, 200, 200, 0]);
        }
    }
}
