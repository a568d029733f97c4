//! Storage of a recording, read once from start to end.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::mjpeg::{Jpegs, Part};
use crate::camera::y4m::{FrameError, MAGIC, Y4m};
use crate::error::{Error, Kind, Result};
use crate::frame::{Image, Picture, PictureFolder};

/// Size of a read, in bytes.
const BUFFER: usize = 256 << 10;

/// A picture of a recording.
#[derive(Debug)]
pub struct RecordedPicture {
    /// The picture.
    pub image: Image,
    /// True for a JPEG that lacks its end marker alone.
    pub is_unterminated: bool,
}

/// A recording with its read position.
#[derive(Debug)]
pub enum Recording {
    /// Pictures of a folder, in reverse order.
    Folder(Vec<PathBuf>),
    /// JPEGs in a file.
    Mjpeg(PathBuf, Jpegs<BufReader<File>>),
    /// Raw frames in a file; `None` after damage.
    Y4m(PathBuf, Option<Y4m<BufReader<File>>>),
}

impl Recording {
    /// Opens the recording at `path`: a folder, or a file recognized by its signature.
    ///
    /// # Errors
    /// See [`super::Replay::open`].
    pub fn open(path: &Path) -> Result<Self> {
        let unreadable = |source| Error::reading(path, source);
        if path.is_dir() {
            return folder(path).map(Self::Folder);
        }
        let mut file = BufReader::with_capacity(BUFFER, File::open(path).map_err(unreadable)?);
        let begin = file.fill_buf().map_err(unreadable)?;
        if begin.starts_with(MAGIC) {
            let frames = Y4m::new(file).map_err(|source| {
                Error::new(Kind::Data, format!("{}: not a Y4M that can be read", path.display())).because(source)
            })?;
            return Ok(Self::Y4m(path.to_owned(), Some(frames)));
        }
        // Parts of an HTTP stream begin with headers.
        if begin.starts_with(&[0xff, 0xd8, 0xff]) || begin.starts_with(b"--") || begin.starts_with(b"\r\n--") {
            return Ok(Self::Mjpeg(path.to_owned(), Jpegs::new(file)));
        }
        let text = format!(
            "{}: neither a folder of pictures nor an MJPEG or Y4M file; kind = \"ffmpeg\" reads other videos",
            path.display()
        );
        Err(Error::new(Kind::Data, text))
    }

    /// The next picture of at most `max_pixels`, or the reason why it cannot be decoded; `None` at the end.
    ///
    /// # Errors
    /// As reading the file.
    pub fn next(&mut self, max_pixels: u64) -> Result<Option<Result<RecordedPicture>>> {
        let recorded = |(picture, is_unterminated)| RecordedPicture { image: Image::Rgb(picture), is_unterminated };
        match self {
            Self::Folder(left) => {
                Ok(left.pop().map(|path| Picture::open_unterminated(&path, max_pixels).map(recorded)))
            }
            Self::Mjpeg(path, jpegs) => {
                let part = jpegs.next().map_err(|source| Error::reading(path, source))?;
                Ok(part.map(|part| match part {
                    Part::Jpeg(bytes) => Picture::decode_unterminated(&bytes, max_pixels).map(recorded),
                    Part::Damaged(what) => Err(Error::new(Kind::Data, format!("a JPEG is damaged: {what}"))),
                }))
            }
            Self::Y4m(path, frames) => {
                let Some(stream) = frames else { return Ok(None) };
                match stream.next(max_pixels) {
                    Ok(image) => Ok(image.map(|image| Ok(RecordedPicture { image, is_unterminated: false }))),
                    Err(FrameError::Io(source)) => Err(Error::reading(path, source)),
                    Err(FrameError::Truncated) => {
                        *frames = None;
                        Ok(Some(Err(Error::new(Kind::Data, "the last frame is cut off"))))
                    }
                    Err(FrameError::Damaged(error)) => {
                        *frames = None;
                        Ok(Some(Err(error)))
                    }
                }
            }
        }
    }
}

/// Pictures of a folder in reverse order of their names.
fn folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut pictures = PictureFolder::without_subfolders(folder)?.pictures;
    pictures.reverse();
    Ok(pictures)
}
