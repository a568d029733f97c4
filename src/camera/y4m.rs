//! YUV4MPEG2 (Y4M): raw frames after a header line.
//!
//! In: bytes from a file or a pipe. Out: images in order. A header line in the middle changes the size.

use std::io::{self, BufRead, Read};

use crate::error::{Error, Kind, Result};
use crate::frame::{Image, MAX_PIXELS, Matrix, PixelFormat, Range, Raw, check_size};

/// Signature of a Y4M stream.
pub const MAGIC: &[u8] = b"YUV4MPEG2";

/// Limit of a header line, in bytes.
const MAX_LINE: u64 = 4096;

/// Height from which frames are high definition, with colours of BT.709.
const HIGH_DEFINITION: usize = 720;

/// Stream header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    format: PixelFormat,
    size: (usize, usize),
    colours: (Matrix, Range),
}

/// A stream of frames.
#[derive(Debug)]
pub struct Y4m<R> {
    reader: R,
    header: Header,
}

/// Reason why there is no next frame.
#[derive(Debug)]
pub enum FrameError {
    /// The stream ends within a frame.
    Truncated,
    /// The data is not a frame.
    Damaged(Error),
    /// Reading failed.
    Io(io::Error),
}

impl<R: BufRead> Y4m<R> {
    /// Reads the stream header.
    ///
    /// # Errors
    /// Errors of the reader, and [`io::ErrorKind::InvalidData`] with an [`Error`] for an unsupported format.
    pub fn new(mut reader: R) -> io::Result<Self> {
        let line = line(&mut reader)?;
        let header = parse(&line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        Ok(Self { reader, header })
    }

    /// The underlying reader.
    pub fn reader(&mut self) -> &mut R {
        &mut self.reader
    }

    /// The next frame of at most `max_pixels`; `None` at the end.
    ///
    /// # Errors
    /// See [`FrameError`].
    pub fn next(&mut self, max_pixels: u64) -> Result<Option<Image>, FrameError> {
        if self.reader.fill_buf().map_err(FrameError::Io)?.is_empty() {
            return Ok(None);
        }
        let mut line = self::line(&mut self.reader).map_err(frame_error)?;
        if line.as_bytes().starts_with(MAGIC) {
            // Another stream follows: joined files, or a source that changed its size.
            self.header = parse(&line).map_err(FrameError::Damaged)?;
            line = self::line(&mut self.reader).map_err(frame_error)?;
        }
        if line != "FRAME" && !line.starts_with("FRAME ") {
            let text = "the Y4M stream is damaged: a line that is no FRAME where one was expected";
            return Err(FrameError::Damaged(Error::new(Kind::Data, text)));
        }
        let Header { format, size: (width, height), colours } = self.header;
        check_size(width as u64, height as u64, max_pixels).map_err(FrameError::Damaged)?;
        let mut data = vec![0; format.bytes(width, height)];
        self.reader.read_exact(&mut data).map_err(frame_error)?;
        Raw::new(format, (width, height), colours, data).map(|raw| Some(Image::Raw(raw))).map_err(FrameError::Damaged)
    }
}

fn frame_error(error: io::Error) -> FrameError {
    if error.kind() == io::ErrorKind::UnexpectedEof { FrameError::Truncated } else { FrameError::Io(error) }
}

/// A line without its newline.
fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut bytes = Vec::new();
    reader.take(MAX_LINE).read_until(b'\n', &mut bytes)?;
    if bytes.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

fn parse(line: &str) -> Result<Header> {
    let refuse = |text: String| Err(Error::new(Kind::Data, text));
    let mut words = line.split_ascii_whitespace();
    if words.next().map(str::as_bytes) != Some(MAGIC) {
        return refuse("no Y4M: it does not begin with YUV4MPEG2".to_owned());
    }
    let (mut width, mut height, mut format, mut range) = (0, 0, PixelFormat::I420, Range::Limited);
    for word in words {
        let mut characters = word.chars();
        let (key, value) = (characters.next(), characters.as_str());
        match key {
            Some('W') => width = value.parse().unwrap_or(0),
            Some('H') => height = value.parse().unwrap_or(0),
            Some('C') => {
                format = match value {
                    "420" | "420jpeg" | "420mpeg2" | "420paldv" => PixelFormat::I420,
                    "422" => PixelFormat::I422,
                    "444" => PixelFormat::I444,
                    "mono" => PixelFormat::Grey,
                    _ => {
                        let known = "420, 420jpeg, 420mpeg2, 420paldv, 422, 444 and mono";
                        return refuse(format!("a Y4M with colours of kind {value}; {known} can be read"));
                    }
                }
            }
            Some('X') if value == "COLORRANGE=FULL" => range = Range::Full,
            _ => {}
        }
    }
    if width == 0 || height == 0 || (width as u64).saturating_mul(height as u64) > MAX_PIXELS {
        return refuse(format!("a Y4M of {width}×{height} pixels"));
    }
    Ok(Header { format, size: (width, height), colours: (matrix(height), range) })
}

/// Colour encoding of frames with so many rows.
pub fn matrix(height: usize) -> Matrix {
    if height < HIGH_DEFINITION { Matrix::Bt601 } else { Matrix::Bt709 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_follow_the_line_that_says_their_size() {
        let frame: Vec<u8> = (1..=12).collect();
        let bytes =
            [b"YUV4MPEG2 W4 H2 F30:1 Ip A1:1 C420jpeg\nFRAME\n", &frame[..], b"FRAME Ip\n", &frame, b"FRAME\nab"];
        let bytes = bytes.concat();
        let mut frames = Y4m::new(&bytes[..]).unwrap();
        let colours = (Matrix::Bt601, Range::Limited);
        let expected = Image::Raw(Raw::new(PixelFormat::I420, (4, 2), colours, frame).unwrap());
        assert_eq!(frames.next(MAX_PIXELS).unwrap(), Some(expected.clone()));
        assert_eq!(frames.next(MAX_PIXELS).unwrap(), Some(expected));
        assert!(matches!(frames.next(MAX_PIXELS), Err(FrameError::Truncated)));
        let mut empty = Y4m::new(&b"YUV4MPEG2 W4 H2\n"[..]).unwrap();
        assert_eq!(empty.next(MAX_PIXELS).unwrap(), None);
    }

    #[test]
    fn a_second_header_changes_the_size_from_there_on() {
        let header = |width| format!("YUV4MPEG2 W{width} H2 Cmono\n").into_bytes();
        let bytes = [header(2), b"FRAME\nabcd".to_vec(), header(3), b"FRAME\nabcdefFRAME\nabcdef".to_vec()].concat();
        let mut frames = Y4m::new(&bytes[..]).unwrap();
        let widths: Vec<_> =
            std::iter::from_fn(|| frames.next(MAX_PIXELS).unwrap()).map(|image| image.width()).collect();
        assert_eq!(widths, [2, 3, 3]);
    }

    #[test]
    fn what_the_line_says_is_checked() {
        let header = parse("YUV4MPEG2 W1920 H1080 C444 XCOLORRANGE=FULL").unwrap();
        assert_eq!(header.colours, (Matrix::Bt709, Range::Full));
        assert_eq!(header.format, PixelFormat::I444);
        for wrong in ["YUV4MPEG2", "YUV4MPEG2 W4", "YUV4MPEG2 W-4 H2", "YUV4MPEG2 W4 H2 C420p10", "RIFF W4 H2"] {
            assert_eq!(parse(wrong).unwrap_err().kind(), Kind::Data, "{wrong}");
        }
        assert!(parse("YUV4MPEG2 W4294967295 H4294967295").is_err());
        assert!(Y4m::new(&b"YUV4MPEG2 W4 H2"[..]).is_err());
        let mut damaged = Y4m::new(&b"YUV4MPEG2 W4 H2\nFRANE\n"[..]).unwrap();
        assert!(matches!(damaged.next(MAX_PIXELS), Err(FrameError::Damaged(_))));
    }
}
