//! What a camera gave: an RGB picture, or the camera's own bytes, converted only by whoever looks at them.
//!
//! In: packed bytes with their format, size, colour encoding and how the camera hangs. Out: rows of RGBx in the order
//! of the upright picture, or a [`Picture`]. Both give the same colours, so what is measured on a picture holds for what
//! the detector saw.

use std::borrow::Cow;

use super::raw::{PixelFormat, Raw, Reader};
use super::{MAX_PIXELS, Picture, Turn, sideways};
use crate::error::{Error, Kind, Result};
use crate::kernel::isa::Isa;

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
            Self::Raw(raw) if raw.turn == Turn::NONE => Self::Raw(raw.hanging(turn)),
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
                self.reader.rgb(self.isa, picture.row(y), out);
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
    use super::super::raw::tests::FORMATS;
    use super::super::raw::{Matrix, Range};
    use super::*;

    fn raw(format: PixelFormat, width: usize, height: usize) -> Image {
        let data = (0..format.bytes(width, height)).map(|index| (index * 73 % 256) as u8).collect();
        Image::Raw(Raw::new(format, (width, height), (Matrix::Bt601, Range::Limited), data).unwrap())
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
