//! Encoding of [`Picture`] as JPEG and PNG.

use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use super::Picture;
use crate::error::{Error, Kind, Result};

/// JPEG quality, 1 to 100. At this value losses are invisible, and a file has about a tenth of the PNG's size.
const JPEG_QUALITY: u8 = 92;

impl Picture {
    /// Encodes the picture as PNG.
    ///
    /// # Errors
    /// [`Kind::Internal`] if the encoder refuses it, for example because it has no pixels.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.encode(PngEncoder::new(&mut bytes))?;
        Ok(bytes)
    }

    /// Encodes the picture as baseline JPEG with 4:2:2 chroma.
    ///
    /// # Errors
    /// [`Kind::Internal`] if the encoder refuses it: no pixels, or a side over 65 535.
    pub fn to_jpeg(&self) -> Result<Vec<u8>> {
        self.to_jpeg_of_quality(JPEG_QUALITY)
    }

    /// [`Picture::to_jpeg`] with a quality of 1 to 100.
    ///
    /// # Errors
    /// As there.
    pub fn to_jpeg_of_quality(&self, quality: u8) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.encode(JpegEncoder::new_with_quality(&mut bytes, quality))?;
        Ok(bytes)
    }

    /// Writes the picture to `path`: PNG if the extension is `png`, otherwise JPEG.
    ///
    /// # Errors
    /// As [`Picture::to_png`] and [`std::fs::write`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let is_png = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
        let bytes = if is_png { self.to_png() } else { self.to_jpeg() }.map_err(|error| error.at(path.display()))?;
        std::fs::write(path, bytes).map_err(|source| Error::writing(path, source))
    }

    fn encode(&self, encoder: impl ImageEncoder) -> Result<()> {
        let side = |pixels: usize| u32::try_from(pixels).unwrap_or(u32::MAX);
        encoder
            .write_image(&self.data, side(self.width), side(self.height), ExtendedColorType::Rgb8)
            .map_err(|source| Error::new(Kind::Internal, "cannot encode the picture").because(source))
    }
}
