//! Size of a picture file from its header.

use std::path::Path;

use image::metadata::Orientation;
use image::{ImageDecoder, ImageReader};

use super::picture::{MAX_PIXELS, check_size};
use crate::error::{Error, Kind, Result};

/// Columns and rows of a picture file, from its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureSize {
    /// Width and height as stored.
    pub stored: (u32, u32),
    /// Width and height after rotation by the EXIF orientation.
    pub upright: (u32, u32),
    /// True if the EXIF orientation turns or mirrors the picture.
    pub is_turned: bool,
}

/// The size of a picture file.
///
/// # Errors
/// As [`Error::reading`]; [`Kind::Data`] with the path if it is neither JPEG nor PNG, or its header is damaged.
pub fn size_of(path: &Path) -> Result<PictureSize> {
    use Orientation::{NoTransforms, Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    let reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format);
    let reader = reader.map_err(|source| Error::reading(path, source))?;
    let broken =
        |source| Error::new(Kind::Data, format!("{}: not a JPEG or PNG picture", path.display())).because(source);
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    check_size(width.into(), height.into(), MAX_PIXELS).map_err(|error| error.at(path.display()))?;
    let orientation = decoder.orientation().unwrap_or(NoTransforms);
    let sideways = matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH);
    Ok(PictureSize {
        stored: (width, height),
        upright: if sideways { (height, width) } else { (width, height) },
        is_turned: orientation != NoTransforms,
    })
}
