//! Raw image of a camera: packed bytes with pixel format, colour encoding and rotation.

use super::{Picture, Turn};
use crate::error::{Error, Kind, Result};
use crate::kernel::colour::{self, Conversion, Row, Scratch};
use crate::kernel::isa::Isa;

pub use crate::kernel::colour::{Matrix, Range};

/// Pixel format. Rows are contiguous. With an odd width, the last pixel pair or chroma sample is stored completely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// 4:2:2, luma first: two bytes a pixel.
    Yuyv,
    /// 4:2:2, chroma first: two bytes a pixel.
    Uyvy,
    /// 4:2:0: a plane of luma, a plane of Cb, Cr pairs.
    Nv12,
    /// 4:2:0: a plane of luma, a plane of Cr, Cb pairs.
    Nv21,
    /// 4:2:0: planes of luma, Cb, Cr.
    I420,
    /// 4:2:2: planes of luma, Cb, Cr.
    I422,
    /// 4:4:4: planes of luma, Cb, Cr.
    I444,
    /// Luma alone.
    Grey,
    /// Red, green, blue.
    Rgb24,
    /// Blue, green, red.
    Bgr24,
}

impl PixelFormat {
    /// Bytes a row and number of rows of each plane, for `width` × `height` pixels. Unused planes are (0, 0).
    pub const fn planes(self, width: usize, height: usize) -> [(usize, usize); 3] {
        let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
        let none = (0, 0);
        match self {
            Self::Yuyv | Self::Uyvy => [(4 * half_width, height), none, none],
            Self::Nv12 | Self::Nv21 => [(width, height), (2 * half_width, half_height), none],
            Self::I420 => [(width, height), (half_width, half_height), (half_width, half_height)],
            Self::I422 => [(width, height), (half_width, height), (half_width, height)],
            Self::I444 => [(width, height); 3],
            Self::Grey => [(width, height), none, none],
            Self::Rgb24 | Self::Bgr24 => [(3 * width, height), none, none],
        }
    }

    /// Bytes of an image of `width` × `height` pixels.
    pub fn bytes(self, width: usize, height: usize) -> usize {
        self.planes(width, height).iter().map(|(row, rows)| row * rows).sum()
    }

    /// True for YUV formats, which need a matrix and a range.
    pub const fn is_yuv(self) -> bool {
        !matches!(self, Self::Rgb24 | Self::Bgr24)
    }
}

/// Raw image of a camera.
#[derive(Clone, PartialEq, Eq)]
pub struct Raw {
    pub(super) format: PixelFormat,
    pub(super) width: usize,
    pub(super) height: usize,
    matrix: Matrix,
    pub(super) range: Range,
    pub(super) turn: Turn,
    pub(super) data: Vec<u8>,
}

impl Raw {
    /// An unrotated raw image.
    ///
    /// # Errors
    /// [`Kind::Data`] if there are no pixels, more than [`MAX_PIXELS`](super::MAX_PIXELS), or the length of `data` does
    /// not match format and size.
    pub fn new(
        format: PixelFormat,
        (width, height): (usize, usize),
        (matrix, range): (Matrix, Range),
        data: Vec<u8>,
    ) -> Result<Self> {
        super::picture::check_size(width as u64, height as u64, super::MAX_PIXELS)?;
        let expected = format.bytes(width, height);
        if data.len() != expected {
            let text = format!("{} bytes for {width}×{height} pixels in {format:?}, which take {expected}", data.len());
            return Err(Error::new(Kind::Data, text));
        }
        Ok(Self { format, width, height, matrix, range, turn: Turn::NONE, data })
    }

    /// Sets the rotation.
    pub(super) fn with_turn(self, turn: Turn) -> Self {
        Self { turn, ..self }
    }

    /// Pixel format.
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// Rotation that makes the picture upright.
    pub fn turn(&self) -> Turn {
        self.turn
    }

    /// Calls `with` for each unrotated row from top to bottom, as RGBx.
    pub(super) fn rows(&self, isa: Isa, mut with: impl FnMut(usize, &[u8])) {
        let mut reader = Reader::default();
        let mut row = vec![0; self.width * 4];
        for y in 0..self.height {
            reader.row(isa, self, y, &mut row);
            with(y, &row);
        }
    }

    pub(super) fn to_picture(&self) -> Picture {
        let mut data = vec![0; self.width * self.height * Picture::CHANNELS];
        self.rows(Isa::best(), |y, row| {
            let out = &mut data[y * self.width * Picture::CHANNELS..][..self.width * Picture::CHANNELS];
            for (out, pixel) in out.as_chunks_mut::<3>().0.iter_mut().zip(row.as_chunks::<4>().0) {
                *out = [pixel[0], pixel[1], pixel[2]];
            }
        });
        self.turn.apply(Picture { width: self.width, height: self.height, data })
    }
}

impl std::fmt::Debug for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Raw({:?}, {}×{}, {:?})", self.format, self.width, self.height, self.turn)
    }
}

/// Converts rows of a [`Raw`] to RGBx. Holds the scratch buffers of the conversion.
#[derive(Debug, Clone, Default)]
pub(super) struct Reader {
    scratch: Scratch,
}

impl Reader {
    /// Expands a row of RGB to RGBx in `out`.
    pub(super) fn rgb(&mut self, isa: Isa, row: &[u8], out: &mut [u8]) {
        let conversion = Conversion::new(Matrix::Bt601, Range::Full);
        colour::to_rgbx(isa, &conversion, Row::Rgb(row), &mut self.scratch, out);
    }

    /// Converts unrotated row `y` to RGBx in `out`.
    pub(super) fn row(&mut self, isa: Isa, raw: &Raw, y: usize, out: &mut [u8]) {
        let planes = raw.format.planes(raw.width, raw.height);
        let plane = |index: usize| -> &[u8] {
            let begin: usize = planes[..index].iter().map(|(row, rows)| row * rows).sum();
            let (bytes, rows) = planes[index];
            // A subsampled plane has one row for two of the image.
            let y = if rows < raw.height { y / 2 } else { y };
            &raw.data[begin + y * bytes..][..bytes]
        };
        let row = match raw.format {
            PixelFormat::Yuyv => Row::Yuyv(plane(0)),
            PixelFormat::Uyvy => Row::Uyvy(plane(0)),
            PixelFormat::Nv12 => Row::Nv12(plane(0), plane(1)),
            PixelFormat::Nv21 => Row::Nv21(plane(0), plane(1)),
            PixelFormat::I420 | PixelFormat::I422 => Row::Planar(plane(0), plane(1), plane(2), 1),
            PixelFormat::I444 => Row::Planar(plane(0), plane(1), plane(2), 0),
            PixelFormat::Grey => Row::Grey(plane(0)),
            PixelFormat::Rgb24 => Row::Rgb(plane(0)),
            PixelFormat::Bgr24 => Row::Bgr(plane(0)),
        };
        colour::to_rgbx(isa, &Conversion::new(raw.matrix, raw.range), row, &mut self.scratch, out);
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub const FORMATS: [PixelFormat; 10] = [
        PixelFormat::Yuyv,
        PixelFormat::Uyvy,
        PixelFormat::Nv12,
        PixelFormat::Nv21,
        PixelFormat::I420,
        PixelFormat::I422,
        PixelFormat::I444,
        PixelFormat::Grey,
        PixelFormat::Rgb24,
        PixelFormat::Bgr24,
    ];

    #[test]
    fn bytes_that_do_not_fill_the_picture_are_refused() {
        let colours = (Matrix::Bt601, Range::Limited);
        for format in FORMATS {
            for (width, height) in [(4, 2), (5, 3), (1, 1)] {
                let bytes = format.bytes(width, height);
                assert!(Raw::new(format, (width, height), colours, vec![0; bytes]).is_ok());
                for wrong in [bytes - 1, bytes + 1] {
                    let error = Raw::new(format, (width, height), colours, vec![0; wrong]).unwrap_err();
                    assert_eq!(error.kind(), Kind::Data);
                }
            }
            assert!(Raw::new(format, (0, 4), colours, vec![]).is_err());
            assert!(Raw::new(format, (1 << 20, 1 << 20), colours, vec![]).is_err());
        }
        assert_eq!(PixelFormat::Yuyv.bytes(1920, 1080), 1920 * 1080 * 2);
        assert_eq!(PixelFormat::Nv12.bytes(1920, 1080), 1920 * 1080 * 3 / 2);
    }
}
