//! JPEG decoder with the pixels of libjpeg, which refuses truncated and damaged files.
//!
//! In: a JPEG in memory with 8 bits a sample, Huffman-coded, baseline, extended or progressive. Out: RGB before the EXIF
//! rotation, and the EXIF block. Motion-JPEG frames without Huffman tables get the standard ones.
//!
//! Existing decoders fail one of two requirements:
//!
//! - Reference results need the arithmetic of libjpeg, which PIL, OpenCV and torchvision share: its accurate integer
//!   transform and triangle-filtered chroma. Boxes move by more than a pixel if one pixel in a hundred is rounded
//!   differently.
//! - A frame that lost data in transmission must be an error, not a picture with a grey area.
//!
//! [`markers`] reads segments, [`scan`] reads coefficients, [`idct`] computes samples, and [`colour`] computes pixels.

mod bits;
mod colour;
mod huffman;
mod idct;
mod markers;
mod progressive;
mod scan;
mod standard;

use crate::error::{Error, Kind, Result};
use crate::frame::Picture;
use markers::{Header, Reader};

/// The picture as stored in the file, and the EXIF block without its `Exif` signature.
pub(super) struct Decoded {
    pub picture: Picture,
    pub exif: Option<Vec<u8>>,
    /// True if the end marker is missing although all data of the picture are there.
    pub is_unterminated: bool,
}

/// Limit of scans in a progressive file, since each one visits the whole picture.
const MAX_SCANS: usize = 200;

/// Decodes a JPEG of at most `max_pixels`. Without its end marker a sequential one is whole if each component has its
/// data. Of a progressive one scans may be missing as well.
///
/// # Errors
/// [`Kind::Data`] if it is truncated, detectably damaged, too large, or of an unsupported kind. JPEG has no checksum, so
/// damage that leaves valid codes is not detected.
pub(super) fn decode(bytes: &[u8], max_pixels: u64) -> Result<Decoded> {
    let mut reader = Reader::new(bytes);
    let mut header = Header::new(max_pixels);
    let mut scans = 0;
    let mut is_unterminated = false;
    loop {
        let marker = match reader.next_marker() {
            Err(_) if header.is_whole() => {
                is_unterminated = true;
                break;
            }
            marker => marker?,
        };
        match marker {
            0xd9 => break,
            0xda => {
                scans += 1;
                if scans > MAX_SCANS {
                    return Err(damaged(format_args!("more than {MAX_SCANS} scans")));
                }
                let scan = header.scan(reader.segment()?, bytes.len())?;
                reader.at = scan::decode(&mut header, &scan, bytes, reader.at)?;
            }
            marker => header.read(marker, &mut reader)?,
        }
    }
    let Header { frame: Some(mut frame), colours, exif, .. } = header else {
        return Err(damaged(format_args!("no picture before the end marker")));
    };
    if frame.components.iter().any(|component| component.quantizer.is_none()) {
        return Err(damaged(format_args!("a colour component without a scan")));
    }
    if frame.is_progressive {
        frame.components.iter_mut().for_each(progressive::transform);
    }
    let picture = colour::assemble(&frame, &colours)?;
    Ok(Decoded { picture, exif, is_unterminated })
}

/// Zigzag order: row-major index of each stored coefficient of a block.
#[rustfmt::skip]
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55,
    62, 63,
];

fn damaged(what: impl std::fmt::Display) -> Error {
    Error::new(Kind::Data, format!("the JPEG is damaged: {what}"))
}

fn cut_off() -> Error {
    Error::new(Kind::Data, "the JPEG is cut off before its end")
}
