//! Video writer: MJPEG or Y4M by the file's extension; the replay camera reads both.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::panel::{PanelSize, paste, resized};
use crate::error::{Error, Kind, Result};
use crate::frame::Picture;

/// Format of a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum VideoFormat {
    /// Concatenated JPEG pictures.
    Mjpeg,
    /// Raw YUV 4:2:0 with a header.
    Y4m,
}

/// A video file that is being written.
#[derive(Debug)]
pub struct Video {
    path: PathBuf,
    out: BufWriter<File>,
    format: VideoFormat,
    fps: u32,
    size: Option<(usize, usize)>,
    is_first: bool,
}

impl Video {
    /// Creates the video at `path`, with the extension `.mjpeg`, `.mjpg` or `.y4m`.
    ///
    /// # Errors
    /// [`Kind::Usage`] for another extension; [`Error::writing`].
    pub fn create(path: &Path, fps: u32) -> Result<Self> {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_lowercase();
        let format = match extension.as_str() {
            "mjpeg" | "mjpg" => VideoFormat::Mjpeg,
            "y4m" => VideoFormat::Y4m,
            _ => {
                let text = format!("{}: the extension of a video must be .mjpeg or .y4m", path.display());
                return Err(Error::new(Kind::Usage, text));
            }
        };
        let file = File::create(path).map_err(|source| Error::writing(path, source))?;
        Ok(Self { path: path.to_owned(), out: BufWriter::new(file), format, fps, size: None, is_first: true })
    }

    /// Adds a frame. Every frame has the size of the first one: larger pictures are reduced, smaller ones padded with black.
    ///
    /// # Errors
    /// As [`Picture::to_jpeg`] and [`Error::writing`].
    pub fn add(&mut self, picture: &Picture) -> Result<()> {
        let even = |size: usize| (size & !1).max(2);
        let (width, height) = *self.size.get_or_insert((even(picture.width), even(picture.height)));
        let mut fitted = Picture::filled(width, height, [0; 3]);
        let inside = PanelSize { width, height }.of(picture);
        if (inside.width, inside.height) == (picture.width, picture.height) || self.is_first {
            paste(&mut fitted, picture, 0, 0);
        } else {
            paste(&mut fitted, &resized(picture, inside.width, inside.height), 0, 0);
        }
        let is_first = std::mem::take(&mut self.is_first);
        let bytes = match self.format {
            VideoFormat::Mjpeg => fitted.to_jpeg()?,
            VideoFormat::Y4m => {
                if is_first {
                    let head = format!("YUV4MPEG2 W{width} H{height} F{}:1 Ip A1:1 C420jpeg\n", self.fps);
                    self.write(head.as_bytes())?;
                }
                self.write(b"FRAME\n")?;
                yuv420(&fitted)
            }
        };
        self.write(&bytes)
    }

    /// Ends the video.
    ///
    /// # Errors
    /// As [`Error::writing`].
    pub fn finish(mut self) -> Result<()> {
        self.out.flush().map_err(|source| Error::writing(&self.path, source))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(|source| Error::writing(&self.path, source))
    }
}

/// Luminance, then both chroma planes at half the size: JPEG's full-range BT.601.
fn yuv420(picture: &Picture) -> Vec<u8> {
    let Picture { width, height, .. } = *picture;
    let level = |value: f32| value.round().clamp(0.0, 255.0) as u8;
    let mut planes = Vec::with_capacity(width * height * 3 / 2);
    for pixel in picture.data.chunks_exact(3) {
        let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(f32::from);
        planes.push(level(0.299 * r + 0.587 * g + 0.114 * b));
    }
    for weights in [[-0.168_736, -0.331_264, 0.5], [0.5, -0.418_688, -0.081_312]] {
        for y in (0..height).step_by(2) {
            for x in (0..width).step_by(2) {
                let mut sum = 0.0;
                for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                    let pixel = picture.pixel(x + dx, y + dy).map(f32::from);
                    sum += pixel.iter().zip(weights).map(|(level, weight)| level * weight).sum::<f32>();
                }
                planes.push(level(128.0 + sum / 4.0));
            }
        }
    }
    planes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn y4m_has_one_header_and_whole_frames() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("video.y4m");
        let mut video = Video::create(&path, 10).unwrap();
        for _ in 0..2 {
            video.add(&Picture::filled(5, 4, [255, 255, 255])).unwrap();
        }
        video.add(&Picture::filled(8, 8, [255, 255, 255])).unwrap();
        video.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let head = b"YUV4MPEG2 W4 H4 F10:1 Ip A1:1 C420jpeg\n";
        assert!(bytes.starts_with(head));
        assert_eq!(bytes.len(), head.len() + 3 * (6 + 24));
        assert_eq!(bytes[head.len() + 6..][..24], [[255u8; 16].as_slice(), &[128; 8]].concat());
    }

    #[test]
    fn mjpeg_is_concatenated_jpeg() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("video.mjpeg");
        let mut video = Video::create(&path, 10).unwrap();
        video.add(&Picture::filled(16, 8, [200, 10, 10])).unwrap();
        video.add(&Picture::filled(16, 8, [10, 200, 10])).unwrap();
        video.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let starts = bytes.windows(3).filter(|window| *window == [0xff, 0xd8, 0xff]).count();
        assert_eq!(starts, 2);
        assert_eq!(Video::create(&root.path().join("video.mp4"), 10).unwrap_err().kind(), Kind::Usage);
    }
}
