//! Conversion of a driver's buffer to an image: removes row padding and refuses partial frames.

use super::formats::{Encoding, StreamFormat};
use crate::error::{Error, Kind, Result};
use crate::frame::{Image, Picture, PixelFormat, Raw};

/// The image in `planes`, which are the filled parts of a buffer. A JPEG has at most `max_pixels`.
///
/// # Errors
/// [`Kind::Data`] if it is incomplete.
pub fn unpack(stream: &StreamFormat, planes: &[&[u8]], max_pixels: u64) -> Result<Image> {
    let total_bytes: usize = planes.iter().map(|plane| plane.len()).sum();
    if total_bytes == 0 {
        return Err(Error::new(Kind::Data, "an empty frame"));
    }
    match stream.encoding {
        // Data after the end marker is padding; a JPEG without one is refused.
        // Copied, since decoding takes long and some drivers refill a buffer that was not queued.
        Encoding::Jpeg => {
            let jpeg = planes[0].to_vec();
            Picture::decode_within(&jpeg, max_pixels).map(Image::Rgb)
        }
        Encoding::Pixels(format) => {
            let (width, height) = (stream.width as usize, stream.height as usize);
            let data = if planes.len() > 1 {
                from_planes(format, (width, height), &stream.strides, planes)?
            } else {
                from_contiguous(
                    format,
                    (width, height),
                    stream.strides.first().map_or(0, |&stride| stride as usize),
                    planes[0],
                )?
            };
            Ok(Image::Raw(Raw::new(format, (width, height), stream.colours, data)?))
        }
    }
}

/// Contiguous planes in one buffer, with `stride` bytes from row to row of the first; 0: no padding.
fn from_contiguous(
    format: PixelFormat,
    (width, height): (usize, usize),
    stride: usize,
    bytes: &[u8],
) -> Result<Vec<u8>> {
    let layout = format.planes(width, height);
    let first = layout[0].0;
    let stride = stride.max(first);
    if stride == first && bytes.len() >= format.bytes(width, height) {
        return Ok(bytes[..format.bytes(width, height)].to_vec());
    }
    let mut packed = Vec::with_capacity(format.bytes(width, height));
    let mut at = 0;
    for (row, rows) in layout {
        if rows == 0 {
            break;
        }
        // A plane with half the bytes a row also has half the stride.
        let stride = if row * 2 <= first + 1 { stride / 2 } else { stride };
        append_rows(bytes.get(at..).unwrap_or_default(), row, rows, stride, &mut packed)?;
        at += stride * rows;
    }
    Ok(packed)
}

/// Planes in separate buffers.
fn from_planes(
    format: PixelFormat,
    (width, height): (usize, usize),
    strides: &[u32],
    planes: &[&[u8]],
) -> Result<Vec<u8>> {
    let mut packed = Vec::with_capacity(format.bytes(width, height));
    let layout = format.planes(width, height);
    for (index, (row, rows)) in layout.into_iter().enumerate().filter(|(_, (_, rows))| *rows > 0) {
        let stride = strides.get(index).map_or(0, |&stride| stride as usize);
        append_rows(planes.get(index).copied().unwrap_or_default(), row, rows, stride.max(row), &mut packed)?;
    }
    Ok(packed)
}

/// Appends `rows` rows of `row` bytes, `stride` bytes apart.
fn append_rows(bytes: &[u8], row: usize, rows: usize, stride: usize, packed: &mut Vec<u8>) -> Result<()> {
    let needed = stride * (rows - 1) + row;
    if bytes.len() < needed {
        return Err(Error::new(Kind::Data, format!("half a frame: {} bytes of a plane of {needed}", bytes.len())));
    }
    for y in 0..rows {
        packed.extend_from_slice(&bytes[y * stride..][..row]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{MAX_PIXELS, Matrix, Range};

    fn stream(format: PixelFormat, strides: &[u32]) -> StreamFormat {
        StreamFormat {
            fourcc: *b"TEST",
            encoding: Encoding::Pixels(format),
            width: 4,
            height: 2,
            strides: strides.to_vec(),
            colours: (Matrix::Bt601, Range::Limited),
            fps: None,
        }
    }

    fn raw(format: PixelFormat, data: &[u8]) -> Image {
        let colours = (Matrix::Bt601, Range::Limited);
        Image::Raw(Raw::new(format, (4, 2), colours, data.to_vec()).unwrap())
    }

    #[test]
    fn padding_between_rows_and_behind_the_picture_is_left_out() {
        let grey: Vec<u8> = (1..=8).collect();
        let padded = [1, 2, 3, 4, 0, 0, 5, 6, 7, 8, 0, 0, 0, 0];
        assert_eq!(
            unpack(&stream(PixelFormat::Grey, &[6]), &[&padded], MAX_PIXELS).unwrap(),
            raw(PixelFormat::Grey, &grey)
        );
        // The last row may lack its padding, and a tight picture may have something behind it.
        assert_eq!(
            unpack(&stream(PixelFormat::Grey, &[6]), &[&padded[..10]], MAX_PIXELS).unwrap(),
            raw(PixelFormat::Grey, &grey)
        );
        assert_eq!(
            unpack(&stream(PixelFormat::Grey, &[0]), &[&[1, 2, 3, 4, 5, 6, 7, 8, 0]], MAX_PIXELS).unwrap(),
            raw(PixelFormat::Grey, &grey)
        );
    }

    #[test]
    fn chroma_follows_luma_in_one_buffer_or_in_its_own() {
        let packed: Vec<u8> = (1..=12).collect();
        let contiguous = [1, 2, 3, 4, 0, 0, 5, 6, 7, 8, 0, 0, 9, 10, 11, 12, 0, 0];
        let nv12 = stream(PixelFormat::Nv12, &[6]);
        assert_eq!(unpack(&nv12, &[&contiguous], MAX_PIXELS).unwrap(), raw(PixelFormat::Nv12, &packed));
        let (luma, chroma) = contiguous.split_at(12);
        let two = stream(PixelFormat::Nv12, &[6, 6]);
        assert_eq!(unpack(&two, &[luma, chroma], MAX_PIXELS).unwrap(), raw(PixelFormat::Nv12, &packed));
        // Three planes: chroma rows are half as far apart.
        let planar = [1, 2, 3, 4, 0, 0, 5, 6, 7, 8, 0, 0, 9, 10, 0, 11, 12, 0];
        assert_eq!(
            unpack(&stream(PixelFormat::I420, &[6]), &[&planar], MAX_PIXELS).unwrap(),
            raw(PixelFormat::I420, &packed)
        );
    }

    #[test]
    fn a_jpeg_has_at_most_as_many_pixels_as_the_limit() {
        let jpeg = Picture::filled(40, 30, [90; 3]).to_jpeg().unwrap();
        let stream = StreamFormat { encoding: Encoding::Jpeg, ..stream(PixelFormat::Grey, &[]) };
        assert!(unpack(&stream, &[&jpeg], 1200).is_ok());
        let error = unpack(&stream, &[&jpeg], 1199).unwrap_err();
        assert!(error.message().contains("40×30 pixels are more than the 1199"), "{error}");
    }

    #[test]
    fn half_a_frame_is_refused() {
        for (format, bytes) in [(PixelFormat::Yuyv, 15), (PixelFormat::Nv12, 11), (PixelFormat::Rgb24, 0)] {
            let error = unpack(&stream(format, &[0]), &[&vec![0; bytes]], MAX_PIXELS).unwrap_err();
            assert_eq!(error.kind(), Kind::Data);
        }
        let error = unpack(&stream(PixelFormat::Nv12, &[4, 4]), &[&[0; 8], &[0; 3]], MAX_PIXELS).unwrap_err();
        assert_eq!(error.kind(), Kind::Data);
    }

    #[test]
    fn a_jpeg_may_be_padded_and_must_not_be_cut_off() {
        let picture = Picture::filled(16, 8, [200, 100, 50]);
        let jpeg = picture.to_jpeg().unwrap();
        let format = StreamFormat { encoding: Encoding::Jpeg, ..stream(PixelFormat::Grey, &[0]) };
        let padded = [&jpeg[..], &[0; 300]].concat();
        let Image::Rgb(decoded) = unpack(&format, &[&padded], MAX_PIXELS).unwrap() else { panic!("a picture") };
        assert_eq!((decoded.width, decoded.height), (16, 8));
        for length in [jpeg.len() - 2, jpeg.len() / 2, 3] {
            let cut = [&jpeg[..length], &[0; 300]].concat();
            assert_eq!(unpack(&format, &[&cut], MAX_PIXELS).unwrap_err().kind(), Kind::Data, "{length}");
        }
        // Without its Huffman tables, as many USB cameras send it.
        let mut bare = Vec::new();
        let mut at = 2;
        bare.extend_from_slice(&jpeg[..2]);
        while jpeg[at + 1] != 0xda {
            let length = 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
            if jpeg[at + 1] != 0xc4 {
                bare.extend_from_slice(&jpeg[at..at + length]);
            }
            at += length;
        }
        bare.extend_from_slice(&jpeg[at..]);
        assert!(bare.len() < jpeg.len());
        assert_eq!(unpack(&format, &[&bare], MAX_PIXELS).unwrap(), Image::Rgb(decoded));
    }
}
