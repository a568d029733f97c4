//! Encoding of frames as JPEG: scaled, annotated, or cropped to an object.

use std::borrow::Cow;

use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize, thumbnail};

use crate::draw::{self, Mark};
use crate::error::{Error, Kind, Result};
use crate::frame::{Image, Picture};
use crate::message::Detection;

/// JPEG quality of live pictures: half the size of one without visible loss.
const QUALITY: u8 = 80;

/// The frame, at most `width` pixels wide, without boxes.
///
/// # Errors
/// [`Kind::Internal`] if the encoder refuses it.
pub fn scaled(image: &Image, width: usize) -> Result<Vec<u8>> {
    encode(&at_most_wide(image.to_picture(), width))
}

/// The frame, at most `width` pixels wide, with `detections` of at least `score` drawn.
///
/// # Errors
/// As [`scaled`].
pub fn annotated(image: &Image, detections: &[Detection], score: f32, width: usize) -> Result<Vec<u8>> {
    let whole = image.width().max(1);
    let mut picture = at_most_wide(image.to_picture(), width).into_owned();
    let scale = picture.width as f32 / whole as f32;
    let mark = |found: &Detection| {
        let text = format!("{} {:.2}", found.label, found.score);
        Mark::of_class(found.bbox.map(|edge| edge * scale), found.class_id as usize, text)
    };
    let marks: Vec<Mark> = detections.iter().filter(|found| found.score >= score).map(mark).collect();
    draw::marks(&mut picture, &marks);
    encode(&picture)
}

/// Crop of `bbox` with a margin, its longer side `side` pixels. `None` if it is empty.
pub fn cropped(image: &Image, bbox: [f32; 4], side: usize) -> Option<Vec<u8>> {
    let picture = image.to_picture();
    let margin = ((bbox[2] - bbox[0]) + (bbox[3] - bbox[1])) * 0.05;
    // The cast turns negative values and NaN into 0.
    let edge = |value: f32, most: usize| (value.round().max(0.0) as usize).min(most);
    let (x0, y0) = (edge(bbox[0] - margin, picture.width), edge(bbox[1] - margin, picture.height));
    let (x1, y1) = (edge(bbox[2] + margin, picture.width), edge(bbox[3] + margin, picture.height));
    if x1 <= x0 || y1 <= y0 || side == 0 {
        return None;
    }
    let data = (y0..y1).flat_map(|y| picture.row(y)[x0 * Picture::CHANNELS..x1 * Picture::CHANNELS].iter().copied());
    let part = buffer(x1 - x0, y1 - y0, data.collect())?;
    let (width, height) = part.dimensions();
    let scale = side as f32 / width.max(height) as f32;
    let target = |length: u32| ((length as f32 * scale).round() as u32).max(1);
    // Small objects are enlarged at most four times.
    let (width, height) = (target(width).min(width * 4), target(height).min(height * 4));
    let part =
        if scale < 1.0 { thumbnail(&part, width, height) } else { resize(&part, width, height, FilterType::Triangle) };
    let (width, height) = part.dimensions();
    encode(&Picture { width: width as usize, height: height as usize, data: part.into_raw() }).ok()
}

fn buffer(width: usize, height: usize, data: Vec<u8>) -> Option<image::RgbImage> {
    image::RgbImage::from_raw(u32::try_from(width).ok()?, u32::try_from(height).ok()?, data)
}

fn at_most_wide(picture: Cow<'_, Picture>, width: usize) -> Cow<'_, Picture> {
    if picture.width <= width || width == 0 {
        return picture;
    }
    let height = (picture.height * width / picture.width).max(1);
    let Picture { width: old_width, height: old_height, data } = picture.into_owned();
    match buffer(old_width, old_height, data) {
        Some(whole) => {
            let data = thumbnail(&whole, width as u32, height as u32).into_raw();
            Cow::Owned(Picture { width, height, data })
        }
        None => Cow::Owned(Picture::default()),
    }
}

fn encode(picture: &Picture) -> Result<Vec<u8>> {
    let side = |pixels: usize| u16::try_from(pixels).map(u32::from).unwrap_or(0);
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, QUALITY)
        .encode(&picture.data, side(picture.width), side(picture.height), ExtendedColorType::Rgb8)
        .map_err(|source| Error::new(Kind::Internal, "cannot encode a live picture").because(source))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(jpeg: &[u8]) -> (usize, usize) {
        let picture = Picture::decode(jpeg).unwrap();
        (picture.width, picture.height)
    }

    #[test]
    fn pictures_are_made_smaller_never_larger() {
        let image = Image::Rgb(Picture::filled(400, 300, [90, 120, 150]));
        assert_eq!(size(&scaled(&image, 200).unwrap()), (200, 150));
        assert_eq!(size(&scaled(&image, 1000).unwrap()), (400, 300));
        assert!(scaled(&Image::Rgb(Picture::default()), 100).is_err());
    }

    #[test]
    fn boxes_are_drawn_where_they_are() {
        let image = Image::Rgb(Picture::filled(400, 300, [255; 3]));
        let found = Detection {
            label: "Car".into(),
            class_id: 1,
            score: 0.9,
            bbox: [100.0, 100.0, 300.0, 200.0],
            track: None,
            zones: Vec::new(),
        };
        let drawn = Picture::decode(&annotated(&image, std::slice::from_ref(&found), 0.5, 200).unwrap()).unwrap();
        assert_ne!(drawn.pixel(100, 51), drawn.pixel(100, 75));
        let none = Picture::decode(&annotated(&image, &[found], 0.95, 200).unwrap()).unwrap();
        assert_eq!(none.pixel(100, 51), none.pixel(100, 75));
    }

    #[test]
    fn an_object_is_cut_out_wherever_it_stands() {
        let image = Image::Rgb(Picture::filled(400, 300, [255; 3]));
        assert_eq!(size(&cropped(&image, [0.0, 0.0, 200.0, 100.0], 160).unwrap()).0, 160);
        assert_eq!(size(&cropped(&image, [390.0, 290.0, 500.0, 400.0], 160).unwrap()).0, 84);
        for nothing in [[500.0, 0.0, 600.0, 10.0], [f32::NAN; 4], [20.0, 20.0, 10.0, 10.0]] {
            assert!(cropped(&image, nothing, 160).is_none(), "{nothing:?}");
        }
    }
}
