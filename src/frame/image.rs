//! What a camera gave: an RGB picture, or the camera's own bytes, converted only by whoever looks at them.
//!
//! In: packed bytes with their format, size, colour encoding and how the camera hangs. Out: rows of RGBx in the order
//! of the upright picture, or a [`Picture`]. Both give the same colours, so what is measured on a picture holds for what
//! the detector saw.

use std::borrow::Cow;

use super::{MAX_PIXELS, Picture, Turn, sideways};
use crate::error::{Error, Kind, Result};
use crate::kernel::colour::{self, Conversion, Row, Scratch};
use crate::kernel::isa::Isa;

pub use crate::kernel::colour::{Matrix, Range};

/// How a camera packs pixels into bytes. Rows follow each other without gaps; where a width is odd, the last pair or
/// chroma sample is stored whole.
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
    /// Bytes of a row, and number of rows, of each plane of a picture of `width` × `height` pixels. Planes that are not
    /// there have no rows.
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

    /// Bytes of a picture of `width` × `height` pixels.
    pub fn bytes(self, width: usize, height: usize) -> usize {
        self.planes(width, height).iter().map(|(row, rows)| row * rows).sum()
    }

    /// Whether it stores luma and chroma, so that a matrix and a range belong to it.
    pub const fn is_yuv(self) -> bool {
        !matches!(self, Self::Rgb24 | Self::Bgr24)
    }
}

/// A camera's own bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Raw {
    format: PixelFormat,
    pub(super) width: usize,
    pub(super) height: usize,
    matrix: Matrix,
    range: Range,
    turn: Turn,
    data: Vec<u8>,
}

impl Raw {
    /// Bytes as the camera packs them, not turned.
    ///
    /// # Errors
    /// [`Kind::Data`] if there is not a pixel, there are more than [`MAX_PIXELS`], or `data` is not what the size
    /// takes.
    pub fn new(
        format: PixelFormat,
        (width, height): (usize, usize),
        (matrix, range): (Matrix, Range),
        data: Vec<u8>,
    ) -> Result<Self> {
        super::decode::check_size(width as u64, height as u64)?;
        let expected = format.bytes(width, height);
        if data.len() != expected {
            let text = format!("{} bytes for {width}×{height} pixels in {format:?}, which take {expected}", data.len());
            return Err(Error::new(Kind::Data, text));
        }
        Ok(Self { format, width, height, matrix, range, turn: Turn::NONE, data })
    }

    /// How bytes are pixels.
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// How the camera hangs.
    pub fn turn(&self) -> Turn {
        self.turn
    }

    /// Calls `with` for each row of the camera's picture from top to bottom, as RGBx.
    pub(super) fn rows(&self, isa: Isa, mut with: impl FnMut(usize, &[u8])) {
        let mut reader = Reader::default();
        let mut row = vec![0; self.width * 4];
        for y in 0..self.height {
            reader.row(isa, self, y, &mut row);
            with(y, &row);
        }
    }

    fn to_picture(&self) -> Picture {
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

/// Reads rows of a [`Raw`]; keeps what converting needs.
#[derive(Debug, Clone, Default)]
struct Reader {
    scratch: Scratch,
}

impl Reader {
    /// Row `y` of the camera's picture into `out`, four bytes a pixel.
    fn row(&mut self, isa: Isa, raw: &Raw, y: usize, out: &mut [u8]) {
        let planes = raw.format.planes(raw.width, raw.height);
        let plane = |index: usize| -> &[u8] {
            let begin: usize = planes[..index].iter().map(|(row, rows)| row * rows).sum();
            let (bytes, rows) = planes[index];
            // Planes of fewer rows than the picture hold one for two.
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

/// What a camera gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// Upright RGB.
    Rgb(Picture),
    /// The camera's own bytes.
    Raw(Raw),
}

impl From<Picture> for Image {
    fn from(picture: Picture) -> Self {
        Self::Rgb(picture)
    }
}

impl Image {
    /// Columns of the upright picture.
    pub fn width(&self) -> usize {
        match self {
            Self::Rgb(picture) => picture.width,
            Self::Raw(raw) => raw.turn.size(raw.width, raw.height).0,
        }
    }

    /// Rows of the upright picture.
    pub fn height(&self) -> usize {
        match self {
            Self::Rgb(picture) => picture.height,
            Self::Raw(raw) => raw.turn.size(raw.width, raw.height).1,
        }
    }

    /// Bytes it takes in memory.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Rgb(picture) => picture.data.len(),
            Self::Raw(raw) => raw.data.len(),
        }
    }

    /// How bright the picture is at a place, 0 to 255, by the camera's own measure and before any turn: for telling
    /// pictures apart. `x` and `y` are shares of width and height.
    pub fn brightness(&self, x: f32, y: f32) -> u8 {
        let place = |share: f32, size: usize| ((share * size as f32) as usize).min(size.saturating_sub(1));
        let (width, height) = match self {
            Self::Rgb(picture) => (picture.width, picture.height),
            Self::Raw(raw) => (raw.width, raw.height),
        };
        let (x, y) = (place(x, width), place(y, height));
        let (data, format) = match self {
            Self::Rgb(picture) => (&picture.data, PixelFormat::Rgb24),
            Self::Raw(raw) => (&raw.data, raw.format),
        };
        let row = y * format.planes(width, height)[0].0;
        // Of three colours the green one is nearest to luma, and stands in the middle in either order.
        let offset = match format {
            PixelFormat::Yuyv => 2 * x,
            PixelFormat::Uyvy => 2 * x + 1,
            PixelFormat::Rgb24 | PixelFormat::Bgr24 => 3 * x + 1,
            _ => x,
        };
        data.get(row + offset).copied().unwrap_or_default()
    }

    /// The image turned: an RGB picture at once, raw bytes when they are converted.
    #[must_use]
    pub fn turned(self, turn: Turn) -> Self {
        match self {
            Self::Rgb(picture) => Self::Rgb(turn.apply(picture)),
            Self::Raw(raw) if raw.turn == Turn::NONE => Self::Raw(Raw { turn, ..raw }),
            Self::Raw(raw) => Self::Rgb(turn.apply(raw.to_picture())),
        }
    }

    /// The upright picture, in RGB; borrowed where it is one already.
    pub fn to_picture(&self) -> Cow<'_, Picture> {
        match self {
            Self::Rgb(picture) => Cow::Borrowed(picture),
            Self::Raw(raw) => Cow::Owned(raw.to_picture()),
        }
    }

    /// The upright picture, in RGB, without a copy where it is one already.
    pub fn into_picture(self) -> Picture {
        match self {
            Self::Rgb(picture) => picture,
            Self::Raw(raw) => raw.to_picture(),
        }
    }
}

/// A picture to be read row by row, whichever kind it is.
#[derive(Debug, Clone, Copy)]
pub enum View<'a> {
    /// Upright RGB.
    Rgb(&'a Picture),
    /// The camera's own bytes.
    Raw(&'a Raw),
}

impl<'a> From<&'a Picture> for View<'a> {
    fn from(picture: &'a Picture) -> Self {
        Self::Rgb(picture)
    }
}

impl<'a> From<&'a Image> for View<'a> {
    fn from(image: &'a Image) -> Self {
        match image {
            Image::Rgb(picture) => Self::Rgb(picture),
            Image::Raw(raw) => Self::Raw(raw),
        }
    }
}

impl<'a> View<'a> {
    /// Columns and rows of the upright picture.
    ///
    /// # Errors
    /// [`Kind::Internal`] if a picture has not the bytes its size says.
    pub fn size(self) -> Result<(usize, usize)> {
        match self {
            Self::Raw(raw) => Ok(raw.turn.size(raw.width, raw.height)),
            Self::Rgb(picture) if picture.data.len() == picture.width * picture.height * Picture::CHANNELS => {
                Ok((picture.width, picture.height))
            }
            Self::Rgb(picture) => {
                Err(Error::new(Kind::Internal, format!("{picture:?} does not have the bytes its size says")))
            }
        }
    }

    /// Rows of the upright picture as RGBx, in any order. A camera's picture on its side is converted whole first,
    /// since its rows are the camera's columns.
    pub fn rows(self, isa: Isa) -> Rows<'a> {
        let source = match self {
            Self::Rgb(picture) => Source::Picture(picture),
            Self::Raw(raw) if raw.turn.transpose => {
                Source::Upright { pixels: sideways::upright(raw, isa), width: raw.height }
            }
            Self::Raw(raw) => Source::Raw(raw),
        };
        Rows { source, isa, reader: Reader::default() }
    }
}

/// See [`View::rows`].
#[derive(Debug)]
pub struct Rows<'a> {
    source: Source<'a>,
    isa: Isa,
    reader: Reader,
}

#[derive(Debug)]
enum Source<'a> {
    Picture(&'a Picture),
    Raw(&'a Raw),
    /// A camera's picture that was on its side.
    Upright {
        pixels: Vec<[u8; 4]>,
        width: usize,
    },
}

impl Rows<'_> {
    /// Row `y` of the upright picture into `out`, four bytes a pixel: red, green, blue, 0.
    ///
    /// # Panics
    /// If there is no such row, or `out` has not four bytes for each of its pixels.
    pub fn read(&mut self, y: usize, out: &mut [u8]) {
        match &self.source {
            Source::Upright { pixels, width } => {
                out.copy_from_slice(pixels[y * width..][..*width].as_flattened());
            }
            Source::Picture(picture) => {
                let row = Row::Rgb(picture.row(y));
                let conversion = Conversion::new(Matrix::Bt601, Range::Full);
                colour::to_rgbx(self.isa, &conversion, row, &mut self.reader.scratch, out);
            }
            Source::Raw(raw) => {
                let y = if raw.turn.mirror_y { raw.height - 1 - y } else { y };
                self.reader.row(self.isa, raw, y, out);
                if raw.turn.mirror_x {
                    out.as_chunks_mut::<4>().0.reverse();
                }
            }
        }
    }
}

// A frame's bytes must fit a `Vec` on a 32-bit board: four bytes a pixel at most.
const _: () = assert!(MAX_PIXELS * 4 < u32::MAX as u64);

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: [PixelFormat; 10] = [
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

    fn raw(format: PixelFormat, width: usize, height: usize) -> Image {
        let data = (0..format.bytes(width, height)).map(|index| (index * 73 % 256) as u8).collect();
        Image::Raw(Raw::new(format, (width, height), (Matrix::Bt601, Range::Limited), data).unwrap())
    }

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

    #[test]
    fn rows_and_picture_agree_however_the_camera_hangs() {
        for (format, (width, height)) in FORMATS.into_iter().flat_map(|format| [(format, (9, 7)), (format, (37, 50))]) {
            for quarters in 0..4 {
                for (horizontal, vertical) in [(false, false), (true, false), (false, true)] {
                    let turn = Turn::new(quarters, horizontal, vertical);
                    let image = raw(format, width, height).turned(turn);
                    let picture = image.to_picture().into_owned();
                    assert_eq!(picture, turn.apply(raw(format, width, height).into_picture()), "{format:?} {turn:?}");
                    assert_eq!((image.width(), image.height()), (picture.width, picture.height));
                    for isa in Isa::available() {
                        let mut rows = View::from(&image).rows(isa);
                        let mut row = vec![0; picture.width * 4];
                        for y in 0..picture.height {
                            rows.read(y, &mut row);
                            for x in 0..picture.width {
                                let [red, green, blue] = picture.pixel(x, y);
                                assert_eq!(row[x * 4..][..4], [red, green, blue, 0], "{format:?} {turn:?}");
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn turning_twice_is_turning_by_both() {
        let quarter = Turn::new(1, false, false);
        let twice = raw(PixelFormat::Nv12, 6, 4).turned(quarter).turned(quarter);
        let once = raw(PixelFormat::Nv12, 6, 4).turned(Turn::new(2, false, false));
        assert_eq!(twice.into_picture(), once.into_picture());
    }
}
