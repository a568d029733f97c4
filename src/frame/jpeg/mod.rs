//! A JPEG decoder that gives libjpeg's pixels, and refuses what is not whole.
//!
//! In: a JPEG in memory: eight bits, Huffman-coded, baseline, extended or progressive. Out: RGB, not yet turned
//! upright, and the EXIF block. Two reasons not to use another one: detections move by more than a pixel where decoders
//! round differently in one pixel of a hundred, so reference results can only be met with the arithmetic of libjpeg's
//! accurate integer transform and triangle-filtered chroma, which PIL, OpenCV and torchvision share; and a frame that
//! lost data on its way must be an error, not a picture with a grey tail. Frames of cameras that leave the Huffman
//! tables out get the standard ones.
//!
//! [`markers`] reads the segments, [`scan`] the coefficients, [`idct`] makes samples of them and [`colour`] pixels.

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

/// The picture as the file stores it, and its EXIF block without the `Exif` signature.
pub(super) struct Decoded {
    pub picture: Picture,
    pub exif: Option<Vec<u8>>,
}

/// Most scans of a progressive file: each goes over the whole picture again.
const MAX_SCANS: usize = 200;

/// Decodes a JPEG.
///
/// # Errors
/// [`Kind::Data`] if it is cut off, damaged where that can be seen, too large, or of a kind that is not decoded. Damage
/// that leaves valid codes cannot be seen: JPEG has no checksum.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded> {
    let mut reader = Reader::new(bytes);
    let mut header = Header::default();
    let mut scans = 0;
    loop {
        match reader.next_marker()? {
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
    Ok(Decoded { picture, exif })
}

/// The order in which a block's 64 coefficients are stored, as places in the block.
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
