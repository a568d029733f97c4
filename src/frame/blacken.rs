//! Blackening of regions: pixels that must not be shown or kept become black before anything else sees the image.
//!
//! In: an image as the camera packs it, and polygons in fractions of its upright picture. Out: the same image; every
//! pixel that a polygon touches is black, in any format and orientation.

use super::raw::{PixelFormat, Range, Raw};
use super::{Image, Turn};

/// Heights within a row of pixels at which the edges of a polygon are looked up.
const HEIGHTS: [f32; 5] = [0.001, 0.25, 0.5, 0.75, 0.999];

impl Image {
    /// Blackens `polygons`. Corners are fractions of width and height of the picture that `turn` makes upright.
    pub fn blacken(&mut self, polygons: &[Vec<[f32; 2]>], turn: Turn) {
        let (width, height) = match self {
            Self::Rgb(picture) => (picture.width, picture.height),
            Self::Raw(raw) => (raw.width, raw.height),
        };
        let own = match self {
            Self::Rgb(_) => Turn::NONE,
            Self::Raw(raw) => raw.turn,
        };
        for polygon in polygons {
            let corners: Vec<[f32; 2]> =
                polygon.iter().map(|&corner| camera_point(camera_point(corner, turn), own)).collect();
            for y in 0..height {
                for (from, to) in spans(&corners, y, width, height) {
                    match self {
                        Self::Rgb(picture) => picture.data[3 * (y * width + from)..3 * (y * width + to)].fill(0),
                        Self::Raw(raw) => raw.blacken(y, from, to),
                    }
                }
            }
        }
    }
}

/// The point of the camera's picture that becomes `point` of the upright one.
fn camera_point([x, y]: [f32; 2], turn: Turn) -> [f32; 2] {
    let (u, v) = if turn.transpose { (y, x) } else { (x, y) };
    [if turn.mirror_x { 1.0 - u } else { u }, if turn.mirror_y { 1.0 - v } else { v }]
}

/// The columns, from and to, that a polygon touches in row `y`.
fn spans(corners: &[[f32; 2]], y: usize, width: usize, height: usize) -> Vec<(usize, usize)> {
    let mut spans = Vec::new();
    for at in HEIGHTS {
        let v = (y as f32 + at) / height as f32;
        let next = corners.iter().cycle().skip(1);
        let crossed = corners.iter().zip(next).filter(|([_, v0], [_, v1])| (*v0 > v) != (*v1 > v));
        let mut columns: Vec<f32> =
            crossed.map(|([u0, v0], [u1, v1])| (u0 + (v - v0) / (v1 - v0) * (u1 - u0)) * width as f32).collect();
        columns.sort_by(f32::total_cmp);
        for pair in columns.as_chunks::<2>().0 {
            // The casts turn negative values into 0.
            let (from, to) = (pair[0].floor() as usize, (pair[1].ceil() as usize).min(width));
            if from < to {
                spans.push((from, to));
            }
        }
    }
    spans
}

impl Raw {
    /// Blackens the columns `from..to` of unrotated row `y`. A chroma sample that several pixels share loses its colour.
    fn blacken(&mut self, y: usize, from: usize, to: usize) {
        let planes = self.format.planes(self.width, self.height);
        let black = match self.range {
            Range::Limited => 16,
            Range::Full => 0,
        };
        let mut begin = [0; 3];
        for index in 1..3 {
            begin[index] = begin[index - 1] + planes[index - 1].0 * planes[index - 1].1;
        }
        // The first byte of a plane's row; a subsampled plane has one row for two of the image.
        let row = |plane: usize, halved: bool| begin[plane] + planes[plane].0 * if halved { y / 2 } else { y };
        let (pairs_from, pairs_to) = (from / 2, to.div_ceil(2));
        let data = &mut self.data;
        match self.format {
            PixelFormat::Yuyv | PixelFormat::Uyvy => {
                let (luma, chroma) = if self.format == PixelFormat::Yuyv { (0, 1) } else { (1, 0) };
                let start = row(0, false);
                (from..to).for_each(|x| data[start + 2 * x + luma] = black);
                (pairs_from..pairs_to).for_each(|pair| {
                    data[start + 4 * pair + chroma] = 128;
                    data[start + 4 * pair + chroma + 2] = 128;
                });
            }
            PixelFormat::Nv12 | PixelFormat::Nv21 => {
                data[row(0, false)..][from..to].fill(black);
                data[row(1, true)..][2 * pairs_from..2 * pairs_to].fill(128);
            }
            PixelFormat::I420 | PixelFormat::I422 => {
                let halved = self.format == PixelFormat::I420;
                data[row(0, false)..][from..to].fill(black);
                data[row(1, halved)..][pairs_from..pairs_to].fill(128);
                data[row(2, halved)..][pairs_from..pairs_to].fill(128);
            }
            PixelFormat::I444 => {
                data[row(0, false)..][from..to].fill(black);
                data[row(1, false)..][from..to].fill(128);
                data[row(2, false)..][from..to].fill(128);
            }
            PixelFormat::Grey => data[row(0, false)..][from..to].fill(black),
            PixelFormat::Rgb24 | PixelFormat::Bgr24 => data[row(0, false)..][3 * from..3 * to].fill(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::raw::{Matrix, tests::FORMATS};
    use super::*;
    use crate::frame::Picture;

    #[test]
    fn a_region_is_black_in_every_format_and_orientation_and_nothing_else_is() {
        let polygon = vec![vec![[0.0, 0.0], [0.5, 0.0], [0.5, 0.25], [0.0, 0.25]]];
        for range in [Range::Limited, Range::Full] {
            for format in FORMATS {
                for (quarters, flip) in (0..4).flat_map(|quarters| [(quarters, false), (quarters, true)]) {
                    let (width, height) = (16, 24);
                    let turn = Turn::new(quarters, flip, false);
                    let data = vec![200; format.bytes(width, height)];
                    let raw = Raw::new(format, (width, height), (Matrix::Bt601, range), data).unwrap();
                    for early in [true, false] {
                        let mut image = Image::Raw(raw.clone());
                        if early {
                            image.blacken(&polygon, turn);
                            image = image.turned(turn);
                        } else {
                            image = image.turned(turn);
                            image.blacken(&polygon, Turn::NONE);
                        }
                        let picture = image.into_picture();
                        for y in 0..picture.height {
                            for x in 0..picture.width {
                                let inside = x < picture.width / 2 && y < picture.height / 4;
                                let black = picture.pixel(x, y).iter().all(|&value| value < 3);
                                assert_eq!(inside, black, "{format:?} {turn:?} {x} {y} {:?}", picture.pixel(x, y));
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn every_pixel_that_a_polygon_touches_is_black() {
        let mut image = Image::Rgb(Picture::filled(100, 100, [255; 3]));
        image
            .blacken(&[vec![[0.2, 0.2], [0.8, 0.3], [0.5, 0.9]], vec![[0.9, 0.9], [1.0, 1.0], [0.9, 1.0]]], Turn::NONE);
        let picture = image.into_picture();
        for (x, y) in [(20, 20), (79, 30), (50, 89), (50, 50), (99, 99), (90, 99)] {
            assert_eq!(picture.pixel(x, y), [0; 3], "{x} {y}");
        }
        for (x, y) in [(18, 20), (82, 30), (50, 92), (80, 80), (99, 90)] {
            assert_eq!(picture.pixel(x, y), [255; 3], "{x} {y}");
        }
    }
}
