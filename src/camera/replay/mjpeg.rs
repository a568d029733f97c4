//! Reader of concatenated JPEGs, as written by cameras and `ffmpeg -f mjpeg`, also with part headers of an HTTP stream
//! between them.
//!
//! In: bytes. Out: JPEGs, separated by their markers. A part may lack its end marker alone: its data then end at the next
//! start marker or at the end of the file, and its decoder decides. A part that ends within its headers is returned as
//! damaged, and the search continues after it.

use std::io::{self, BufRead};

/// Size limit of a JPEG, in bytes.
const MAX_BYTES: usize = 64 << 20;

/// Next part of the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// A JPEG, with or without its end marker.
    Jpeg(Vec<u8>),
    /// A JPEG truncated within its headers.
    Damaged(&'static str),
}

/// Reads JPEGs.
#[derive(Debug)]
pub struct Jpegs<R> {
    reader: R,
    /// The start marker of the next one was read already.
    start_was_read: bool,
}

/// Reason why a JPEG is incomplete.
enum JpegError {
    Io(io::Error),
    Damaged(&'static str),
}

impl From<io::Error> for JpegError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Damaged("it is cut off") } else { Self::Io(error) }
    }
}

impl<R: BufRead> Jpegs<R> {
    /// The JPEGs of `reader`.
    pub fn new(reader: R) -> Self {
        Self { reader, start_was_read: false }
    }

    /// The next one; `None` at the end.
    ///
    /// # Errors
    /// As reading.
    pub fn next(&mut self) -> io::Result<Option<Part>> {
        if !std::mem::take(&mut self.start_was_read) && !self.find_start()? {
            return Ok(None);
        }
        let mut jpeg = vec![0xff, 0xd8];
        match self.read_jpeg(&mut jpeg) {
            Ok(()) => Ok(Some(Part::Jpeg(jpeg))),
            Err(JpegError::Damaged(what)) => Ok(Some(Part::Damaged(what))),
            Err(JpegError::Io(error)) => Err(error),
        }
    }

    /// Skips to the next start marker. False if there is none.
    fn find_start(&mut self) -> io::Result<bool> {
        loop {
            let passed = self.reader.skip_until(0xff)?;
            if passed == 0 {
                return Ok(false);
            }
            loop {
                let Some(&byte) = self.reader.fill_buf()?.first() else { return Ok(false) };
                if byte != 0xff && byte != 0xd8 {
                    break;
                }
                self.reader.consume(1);
                if byte == 0xd8 {
                    return Ok(true);
                }
            }
        }
    }

    /// Reads from the start marker to the end marker.
    fn read_jpeg(&mut self, jpeg: &mut Vec<u8>) -> Result<(), JpegError> {
        if self.byte(jpeg)? != 0xff {
            return Err(JpegError::Damaged("no marker follows its start"));
        }
        let mut in_data = false;
        loop {
            let marker = match self.marker(jpeg) {
                Err(error) if in_data && error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                marker => marker?,
            };
            match marker {
                0xd9 => return Ok(()),
                0xd8 => {
                    self.start_was_read = true;
                    if in_data {
                        jpeg.truncate(jpeg.len() - 2);
                        jpeg.truncate(without_part_header(jpeg));
                        return Ok(());
                    }
                    return Err(JpegError::Damaged("another one begins within it"));
                }
                0x00 | 0x01 | 0xd0..=0xd7 => {}
                _ => {
                    let length = usize::from(u16::from_be_bytes([self.byte(jpeg)?, self.byte(jpeg)?]));
                    let begin = jpeg.len();
                    jpeg.resize(begin + length.saturating_sub(2), 0);
                    self.reader.read_exact(&mut jpeg[begin..])?;
                }
            }
            // Entropy-coded data follows a scan header and restart markers; any other segment is followed by a marker.
            in_data = matches!(marker, 0xda | 0x00 | 0xd0..=0xd7);
            if in_data {
                self.reader.read_until(0xff, jpeg)?;
                if jpeg.last() != Some(&0xff) {
                    return Ok(());
                }
            } else if self.byte(jpeg)? != 0xff {
                return Err(JpegError::Damaged("no marker follows a segment"));
            }
            if jpeg.len() > MAX_BYTES {
                return Err(JpegError::Damaged("it does not end"));
            }
        }
    }

    /// The code after the first byte of a marker, which fill bytes may repeat.
    fn marker(&mut self, jpeg: &mut Vec<u8>) -> io::Result<u8> {
        loop {
            let byte = self.byte(jpeg)?;
            if byte != 0xff {
                return Ok(byte);
            }
        }
    }

    fn byte(&mut self, jpeg: &mut Vec<u8>) -> io::Result<u8> {
        let mut byte = [0];
        self.reader.read_exact(&mut byte)?;
        jpeg.push(byte[0]);
        Ok(byte[0])
    }
}

/// Length of `jpeg` without the header of the next part of an HTTP stream: a line that begins with two hyphens, and text.
fn without_part_header(jpeg: &[u8]) -> usize {
    let is_text = |byte: &u8| matches!(byte, b'\r' | b'\n' | b' '..=b'~');
    let text = jpeg.iter().rposition(|byte| !is_text(byte)).map_or(0, |last| last + 1);
    let text_at_end = jpeg.get(text..).unwrap_or_default();
    let Some(hyphens) = text_at_end.windows(2).position(|pair| pair == b"--").filter(|_| text_at_end.ends_with(b"\n"))
    else {
        return jpeg.len();
    };
    let line_ends = text_at_end.iter().take(hyphens).rev().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    text + hyphens - line_ends
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Picture;

    fn jpeg(shade: u8) -> Vec<u8> {
        // Noise, so that the scan holds stuffed bytes.
        let data = (0..48 * 32 * 3u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8 ^ shade).collect();
        Picture::new(48, 32, data).unwrap().to_jpeg().unwrap()
    }

    fn pieces(bytes: &[u8]) -> Vec<Part> {
        let mut jpegs = Jpegs::new(io::BufReader::with_capacity(7, bytes));
        std::iter::from_fn(|| jpegs.next().unwrap()).collect()
    }

    #[test]
    fn jpegs_are_told_apart_with_or_without_something_between_them() {
        let (one, two) = (jpeg(1), jpeg(2));
        assert!(one.windows(2).any(|pair| pair == [0xff, 0]), "the test needs a stuffed byte");
        let expected = [Part::Jpeg(one.clone()), Part::Jpeg(two.clone())];
        assert_eq!(pieces(&[&one[..], &two].concat()), expected);
        let header = b"\r\n--frame\r\nContent-Type: image/jpeg\r\n\r\n";
        assert_eq!(pieces(&[header, &one[..], header, &two, b"\r\n\xff\xff"].concat()), expected);
        assert_eq!(pieces(b""), []);
        assert_eq!(pieces(b"no picture at all"), []);
    }

    #[test]
    fn the_header_of_the_next_part_does_not_belong_to_a_picture_without_end() {
        let one = &jpeg(1)[..];
        let one = &one[..one.len() - 2];
        for header in ["\r\n--frame\r\nContent-Type: image/jpeg\r\n\r\n", "--b\nContent-Length: 1234\n\n"] {
            let found = pieces(&[one, header.as_bytes(), one].concat());
            assert_eq!(found, [Part::Jpeg(one.to_vec()), Part::Jpeg(one.to_vec())]);
        }
    }

    #[test]
    fn a_cut_one_ends_at_the_next_which_is_found() {
        let (one, two) = (jpeg(1), jpeg(2));
        for length in [2, 3, 100, one.len() / 2, one.len() - 2] {
            let found = pieces(&[&one[..length], &two].concat());
            if length > 600 {
                assert_eq!(found, [Part::Jpeg(one[..length].to_vec()), Part::Jpeg(two.clone())], "cut at {length}");
            } else {
                assert!(matches!(found.first(), Some(Part::Damaged(_))), "{length}: {found:?}");
            }
        }
        for length in [one.len() - 1, one.len() - 2, one.len() / 2] {
            assert_eq!(pieces(&one[..length]), [Part::Jpeg(one[..length].to_vec())], "cut at {length}");
        }
    }
}
