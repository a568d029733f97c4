//! Upright RGB picture in memory.

use std::path::Path;

use crate::error::{Error, Kind, Result};

/// Size limit of a decoded picture, in pixels: 8192 × 8192. A larger file is refused before memory is allocated.
pub const MAX_PIXELS: u64 = 1 << 26;

/// Checks the declared size of a picture, before memory is allocated. Above `max_pixels`, at most [`MAX_PIXELS`], it is
/// refused.
///
/// # Errors
/// [`Kind::Data`] for zero pixels, or too many.
pub fn check_size(width: u64, height: u64, max_pixels: u64) -> Result<()> {
    if width == 0 || height == 0 {
        return Err(Error::new(Kind::Data, format!("a picture of {width}×{height} pixels shows nothing")));
    }
    let max_pixels = max_pixels.min(MAX_PIXELS);
    if width.saturating_mul(height) > max_pixels {
        let hint = if max_pixels < MAX_PIXELS { "; max_pixels of the camera sets another limit" } else { "" };
        let text = format!("{width}×{height} pixels are more than the {max_pixels} that are decoded{hint}");
        return Err(Error::new(Kind::Data, text));
    }
    Ok(())
}

/// RGB picture with 8 bits a channel, row-major from the top left, without padding.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Picture {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `height × width × 3` bytes.
    pub data: Vec<u8>,
}

impl Picture {
    /// Bytes a pixel.
    pub const CHANNELS: usize = 3;

    /// A picture from its bytes.
    ///
    /// # Errors
    /// [`Kind::Internal`] if `data` is not `height × width × 3` bytes long.
    pub fn new(width: usize, height: usize, data: Vec<u8>) -> Result<Self> {
        let expected = width.checked_mul(height).and_then(|pixels| pixels.checked_mul(Self::CHANNELS));
        if expected != Some(data.len()) {
            let text = format!("a picture of {width}×{height} pixels in RGB cannot have {} bytes", data.len());
            return Err(Error::new(Kind::Internal, text));
        }
        Ok(Self { width, height, data })
    }

    /// A picture filled with one colour.
    pub fn filled(width: usize, height: usize, colour: [u8; 3]) -> Self {
        Self { width, height, data: colour.repeat(width * height) }
    }

    /// The bytes of row `y`, counted from the top.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, y: usize) -> &[u8] {
        let stride = self.width * Self::CHANNELS;
        &self.data[y * stride..][..stride]
    }

    /// The colour at column `x` of row `y`.
    ///
    /// # Panics
    /// If the pixel is outside.
    pub fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        let at = x * Self::CHANNELS;
        let row = self.row(y);
        [row[at], row[at + 1], row[at + 2]]
    }

    /// Extensions of files that are read as pictures, in lower case.
    pub const EXTENSIONS: &[&str] = &["jpg", "jpeg", "png"];

    /// True if the extension of `path` is `jpg`, `jpeg` or `png` in any case. It selects files in folders; decoding
    /// depends on the content alone.
    pub fn has_picture_extension(path: &Path) -> bool {
        let extension = path.extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|extension| Self::EXTENSIONS.iter().any(|&known| extension.eq_ignore_ascii_case(known)))
    }
}

impl std::fmt::Debug for Picture {
    /// Prints the size, not the data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({}×{})", self.width, self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_must_fill_the_picture_exactly() {
        assert!(Picture::new(2, 1, vec![0; 6]).is_ok());
        assert!(Picture::new(2, 1, vec![0; 7]).is_err());
        assert!(Picture::new(usize::MAX, usize::MAX, vec![]).is_err());
    }

    #[test]
    fn pixels_are_found_by_column_and_row() {
        let picture = Picture::new(2, 2, (0..12).collect()).unwrap();
        assert_eq!(picture.pixel(1, 0), [3, 4, 5]);
        assert_eq!(picture.pixel(0, 1), [6, 7, 8]);
    }

    #[test]
    fn names_are_read_in_either_case() {
        for (name, expected) in [("a.JPG", true), ("b.jpeg", true), ("c.Png", true), ("d.txt", false), ("jpg", false)] {
            assert_eq!(Picture::has_picture_extension(Path::new(name)), expected, "{name}");
        }
    }
}
