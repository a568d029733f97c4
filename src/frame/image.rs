//! Image of a camera: an RGB picture, or raw bytes that are converted on demand.
//!
//! In: raw bytes with their pixel format, size, colour encoding and rotation. Out: rows of RGBx of the upright picture, or
//! a [`Picture`]. Both have the same colours, so measurements on a picture hold for the detector's input.

use std::borrow::Cow;

use super::raw::{PixelFormat, Raw, Reader};
use super::{MAX_PIXELS, Picture, Turn, sideways};
use crate::error::{Error, Kind, Result};
use crate::kernel::isa::Isa;

/// Image of a camera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// Upright RGB.
    Rgb(Picture),
    /// Raw bytes of the camera.
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

    /// Size in memory, in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Rgb(picture) => picture.data.len(),
            Self::Raw(raw) => raw.data.len(),
        }
    }

    /// Luma (green for RGB) of the unrotated image at (`x`, `y`), 0 to 255, to compare images cheaply. `x` and `y` are
    /// fractions of width and height.
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
        // Green is the channel nearest to luma, and the middle one in RGB and BGR.
        let offset = match format {
            PixelFormat::Yuyv => 2 * x,
            PixelFormat::Uyvy => 2 * x + 1,
            PixelFormat::Rgb24 | PixelFormat::Bgr24 => 3 * x + 1,
            _ => x,
        };
        data.get(row + offset).copied().unwrap_or_default()
    }

    /// Rotates the image: an RGB picture at once, raw bytes at their conversion.
    #[must_use]
    pub fn turned(self, turn: Turn) -> Self {
        match self {
            Self::Rgb(picture) => Self::Rgb(turn.apply(picture)),
            Self::Raw(raw) if raw.turn == Turn::NONE => Self::Raw(raw.with_turn(turn)),
            Self::Raw(raw) => Self::Rgb(turn.apply(raw.to_picture())),
        }
    }

    /// The upright RGB picture; borrowed if the image is one.
    pub fn to_picture(&self) -> Cow<'_, Picture> {
        match self {
            Self::Rgb(picture) => Cow::Borrowed(picture),
            Self::Raw(raw) => Cow::Owned(raw.to_picture()),
        }
    }

    /// The upright RGB picture; moved if the image is one.
    #[cfg(test)]
    pub(crate) fn into_picture(self) -> Picture {
        match self {
            Self::Rgb(picture) => picture,
            Self::Raw(raw) => raw.to_picture(),
        }
    }
}

/// Borrowed image for reading row by row.
#[derive(Debug, Clone, Copy)]
pub enum View<'a> {
    /// Upright RGB.
    Rgb(&'a Picture),
    /// Raw bytes of the camera.
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
    /// [`Kind::Internal`] if the length of a picture's data does not match its size.
    pub fn size(self) -> Result<(usize, usize)> {
        match self {
            Self::Raw(raw) => Ok(raw.turn.size(raw.width, raw.height)),
            Self::Rgb(picture) if picture.data.len() == picture.width * picture.height * Picture::CHANNELS => {
                Ok((picture.width, picture.height))
            }
            Self::Rgb(picture) => {
                Err(Error::new(Kind::Internal, format!("the data of {picture:?} does not match its size")))
            }
        }
    }

    /// Reader of the upright picture's rows as RGBx, in any order. A raw image rotated by 90° or 270° is converted as a
    /// whole first, since its rows are the camera's columns.
    pub fn rows(self, isa: Isa) -> Rows<'a> {
        let source = match self {
            Self::Rgb(picture) => RowSource::Picture(picture),
            Self::Raw(raw) if raw.turn.transpose => {
                RowSource::Upright { pixels: sideways::upright(raw, isa), width: raw.height }
            }
            Self::Raw(raw) => RowSource::Raw(raw),
        };
        Rows { source, isa, reader: Reader::default() }
    }
}

/// Row reader, made by [`View::rows`].
#[derive(Debug)]
pub struct Rows<'a> {
    source: RowSource<'a>,
    isa: Isa,
    reader: Reader,
}

#[derive(Debug)]
enum RowSource<'a> {
    Picture(&'a Picture),
    Raw(&'a Raw),
    /// Converted image that was rotated by 90° or 270°.
    Upright {
        pixels: Vec<[u8; 4]>,
        width: usize,
    },
}

impl Rows<'_> {
    /// Reads row `y` of the upright picture into `out`, four bytes a pixel: red, green, blue, 0.
    ///
    /// # Panics
    /// If there is no such row, or `out` does not have four bytes a pixel.
    pub fn read(&mut self, y: usize, out: &mut [u8]) {
        match &self.source {
            RowSource::Upright { pixels, width } => {
                out.copy_from_slice(pixels[y * width..][..*width].as_flattened());
            }
            RowSource::Picture(picture) => {
                self.reader.rgb(self.isa, picture.row(y), out);
            }
            RowSource::Raw(raw) => {
                let y = if raw.turn.mirror_y { raw.height - 1 - y } else { y };
                self.reader.row(self.isa, raw, y, out);
                if raw.turn.mirror_x {
                    out.as_chunks_mut::<4>().0.reverse();
                }
            }
        }
    }
}

// A frame with four bytes a pixel must fit into a `Vec` on a 32-bit board.
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
