//! Decoding of JPEG and PNG to [`Picture`].
//!
//! JPEG is decoded by [`jpeg`], PNG by the crate `image`. Conversions are those of PIL's `convert("RGB")`, with which
//! torchvision loads training pictures. 16 bits are rounded to 8, grey is replicated, palettes and CMYK become RGB, and
//! alpha is dropped.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use image::codecs::png::PngDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, Limits, RgbImage};

use super::picture::check_size;
use super::{MAX_PIXELS, Picture, jpeg};
use crate::error::{Error, Kind, Result};

/// Size limit of a file, in bytes.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// Memory of the PNG decoder beside the pixels, in bytes: text, profile, rows and tables.
const PNG_OVERHEAD: u64 = 16 << 20;

/// Longest side of a picture, in pixels: the limit of JPEG.
const MAX_SIDE: u32 = 65_535;

impl Picture {
    /// Decodes the picture file at `path` and rotates it upright.
    ///
    /// # Errors
    /// As [`Error::reading`] and [`Picture::decode`], with the path.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::decode(&read(path)?).map_err(|error| error.at(path.display()))
    }

    /// As [`Picture::open`] with at most `max_pixels`, also for a JPEG that lacks its end marker alone. The second value is
    /// true for such a one.
    ///
    /// # Errors
    /// As [`Picture::open`].
    pub fn open_unterminated(path: &Path, max_pixels: u64) -> Result<(Self, bool)> {
        Self::decode_unterminated(&read(path)?, max_pixels).map_err(|error| error.at(path.display()))
    }

    /// Decodes a JPEG or PNG, recognized by its signature, and rotates it upright.
    ///
    /// # Errors
    /// [`Kind::Data`] if it is neither, has more than [`MAX_PIXELS`] pixels, is damaged or is truncated.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        Self::decode_within(bytes, MAX_PIXELS)
    }

    /// As [`Picture::decode`], for a source whose pictures have at most `max_pixels`. A larger one is refused by its header.
    ///
    /// # Errors
    /// As [`Picture::decode`].
    pub fn decode_within(bytes: &[u8], max_pixels: u64) -> Result<Self> {
        let (picture, orientation) = ended(decode(bytes, max_pixels)?)?;
        upright(picture, orientation)
    }

    /// As [`Picture::decode_within`], also for a JPEG that lacks its end marker alone. The second value is true for such a
    /// one.
    ///
    /// # Errors
    /// As [`Picture::decode`].
    pub fn decode_unterminated(bytes: &[u8], max_pixels: u64) -> Result<(Self, bool)> {
        let Stored { picture, orientation, is_unterminated } = decode(bytes, max_pixels)?;
        Ok((upright(picture, orientation)?, is_unterminated))
    }

    /// As [`Picture::decode`], with the pixels as they are stored: the EXIF orientation is not applied.
    ///
    /// # Errors
    /// As [`Picture::decode`].
    pub fn decode_as_stored(bytes: &[u8]) -> Result<Self> {
        decode(bytes, MAX_PIXELS).and_then(ended).map(|(picture, _)| picture)
    }
}

/// A picture as stored.
struct Stored {
    picture: Picture,
    /// Its EXIF orientation.
    orientation: Orientation,
    /// True for a JPEG that lacks its end marker alone.
    is_unterminated: bool,
}

/// Picture and orientation, if the file has its end.
fn ended(stored: Stored) -> Result<(Picture, Orientation)> {
    if stored.is_unterminated {
        return Err(Error::new(Kind::Data, "the JPEG is cut off before its end"));
    }
    Ok((stored.picture, stored.orientation))
}

fn decode(bytes: &[u8], max_pixels: u64) -> Result<Stored> {
    match bytes {
        [] => Err(Error::new(Kind::Data, "the file is empty; a JPEG or PNG picture was expected")),
        [0xff, 0xd8, 0xff, ..] => decode_jpeg(bytes, max_pixels),
        [0x89, b'P', b'N', b'G', ..] => decode_png(bytes, max_pixels),
        _ => Err(Error::new(Kind::Data, "neither a JPEG nor a PNG picture")),
    }
}

fn decode_jpeg(bytes: &[u8], max_pixels: u64) -> Result<Stored> {
    let jpeg::Decoded { picture, exif, is_unterminated } = jpeg::decode(bytes, max_pixels)?;
    let orientation = exif.and_then(|exif| Orientation::from_exif_chunk(&exif));
    Ok(Stored { picture, orientation: orientation.unwrap_or(Orientation::NoTransforms), is_unterminated })
}

fn decode_png(bytes: &[u8], max_pixels: u64) -> Result<Stored> {
    let broken = |source: ImageError| {
        let text = match &source {
            ImageError::Limits(_) => {
                format!("the PNG has more than {MAX_SIDE} pixels a side, or is too large otherwise")
            }
            _ => "the PNG is damaged or cut off".to_owned(),
        };
        Error::new(Kind::Data, text).because(source)
    };

    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    // Four channels of 16 bits, and the same amount for the decoder's rows and tables.
    limits.max_alloc = Some(max_pixels.min(MAX_PIXELS) * 16 + PNG_OVERHEAD);
    let mut decoder = PngDecoder::with_limits(Cursor::new(bytes), limits).map_err(broken)?;
    let (width, height) = decoder.dimensions();
    check_size(width.into(), height.into(), max_pixels)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let pixels = DynamicImage::from_decoder(decoder).map_err(broken)?.into_rgb8();
    let picture = Picture::new(width as usize, height as usize, pixels.into_raw())?;
    Ok(Stored { picture, orientation, is_unterminated: false })
}

/// Content of the picture file at `path`.
fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|source| Error::reading(path, source))?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|source| Error::reading(path, source))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let text = format!("{}: larger than the {} MiB a picture may have", path.display(), MAX_FILE_BYTES >> 20);
        return Err(Error::new(Kind::Data, text));
    }
    Ok(bytes)
}

/// Applies the EXIF orientation.
fn upright(picture: Picture, orientation: Orientation) -> Result<Picture> {
    if orientation == Orientation::NoTransforms {
        return Ok(picture);
    }
    let (width, height) = (picture.width as u32, picture.height as u32);
    let image = RgbImage::from_raw(width, height, picture.data)
        .ok_or_else(|| Error::new(Kind::Internal, "a decoded picture does not fill its own size"))?;
    let mut image = DynamicImage::ImageRgb8(image);
    image.apply_orientation(orientation);
    let image = image.into_rgb8();
    Picture::new(image.width() as usize, image.height() as usize, image.into_raw())
}
