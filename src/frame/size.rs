//! Size of a picture file from its header.

use std::path::Path;

use image::{ImageDecoder, ImageReader};

use super::picture::check_size;
use crate::error::{Error, Kind, Result};

/// Columns and rows of a picture file after rotation by its EXIF orientation, read from the header.
///
/// # Errors
/// As [`Error::reading`]; [`Kind::Data`] with the path if it is neither JPEG nor PNG, or its header is damaged.
pub fn size_of(path: &Path) -> Result<(u32, u32)> {
    use image::metadata::Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    let reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format);
    let reader = reader.map_err(|source| Error::reading(path, source))?;
    let broken =
        |source| Error::new(Kind::Data, format!("{}: not a JPEG or PNG picture", path.display())).because(source);
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    check_size(width.into(), height.into()).map_err(|error| error.at(path.display()))?;
    let orientation = decoder.orientation().ok();
    let turned = matches!(orientation, Some(Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH));
    Ok(if turned { (height, width) } else { (width, height) })
}
