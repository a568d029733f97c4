//! Error maps: relative quantization error of each pyramid level, by position.
//!
//! In: a pyramid level of both networks. Out: for each position the mean absolute error over the channels, relative to
//! the level's mean absolute activation, as numbers and as a PNG file. All levels and all passes share one colour scale,
//! so pictures are comparable. A map contains nothing of the camera's picture.

use crate::detector::tap::{Activation, Values};
use crate::draw::ColourMap;
use crate::error::Result;
use crate::frame::Picture;
use crate::precedence::yield_point;

/// Relative error at the bright end of the colour scale.
const SCALE_END: f32 = 0.2;
/// Length of a picture's longer side, in pixels; the map is enlarged by a whole factor up to it.
const MAX_SIDE: usize = 320;

/// Error map of one pyramid level.
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorMap {
    /// `P2` … `P6`.
    pub level: String,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// By row: mean |q − f| over the channels at each position, divided by the mean |f| of the level.
    pub values: Vec<f32>,
}

impl ErrorMap {
    /// The map of one level, without padding; `None` if the shapes differ or the reference is not in f32.
    pub fn of(level: &str, reference: &Activation<'_>, other: &Activation<'_>) -> Option<Self> {
        let Values::F32(f) = reference.values else { return None };
        if reference.shape != other.shape {
            return None;
        }
        let channels = reference.shape.channels;
        let (height, width) = (reference.valid_height, reference.valid_width);
        let mut values = Vec::with_capacity(height * width);
        let mut magnitude = 0.0f64;
        for y in 0..height {
            yield_point();
            for x in 0..width {
                let at = (y * reference.shape.width + x) * channels;
                let f = &f[at..at + channels];
                let error: f32 = match other.values {
                    Values::F32(q) => q[at..at + channels].iter().zip(f).map(|(q, f)| (q - f).abs()).sum(),
                    Values::U8 { data, scale, zero_point } => {
                        let value = |q: u8| (i32::from(q) - i32::from(zero_point)) as f32 * scale;
                        data[at..at + channels].iter().zip(f).map(|(&q, f)| (value(q) - f).abs()).sum()
                    }
                    values @ Values::U16 { .. } => {
                        f.iter().enumerate().map(|(channel, f)| (values.real(at + channel) - f).abs()).sum()
                    }
                };
                magnitude += f.iter().map(|f| f64::from(f.abs())).sum::<f64>();
                values.push(error / channels as f32);
            }
        }
        let mean = (magnitude / (values.len() * channels).max(1) as f64) as f32;
        if mean > 0.0 {
            values.iter_mut().for_each(|value| *value /= mean);
        }
        Some(Self { level: level.to_owned(), width, height, values })
    }

    /// Mean of the values.
    pub fn mean(&self) -> f32 {
        self.values.iter().sum::<f32>() / self.values.len().max(1) as f32
    }

    /// The map as a picture; each position is a square of pixels.
    pub fn picture(&self) -> Picture {
        let factor = (MAX_SIDE / self.width.max(self.height).max(1)).clamp(1, 16);
        let mut picture = Picture::filled(self.width * factor, self.height * factor, [0; 3]);
        for y in 0..picture.height {
            for x in 0..picture.width {
                let value = self.values[y / factor * self.width + x / factor];
                let colour = ColourMap::Sequential.colour(value / SCALE_END);
                picture.data[(y * self.width * factor + x) * 3..][..3].copy_from_slice(&colour);
            }
        }
        picture
    }

    /// The bytes of a PNG file of the picture.
    ///
    /// # Errors
    /// As [`Picture::to_png`].
    pub fn to_png(&self) -> Result<Vec<u8>> {
        self.picture().to_png()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Shape;

    #[test]
    fn errors_are_relative_and_padding_is_ignored() {
        let shape = Shape::new(2, 3, 2);
        let f = [1.0, 3.0, 2.0, 2.0, 9.0, 9.0, 2.0, 2.0, 0.0, 4.0, 9.0, 9.0];
        let data = [2u8, 6, 4, 4, 0, 0, 4, 4, 4, 8, 0, 0];
        let activation = |values| Activation { shape, valid_height: 2, valid_width: 2, values };
        let other = Values::U8 { data: &data, scale: 0.5, zero_point: 0 };
        let map = ErrorMap::of("P3", &activation(Values::F32(&f)), &activation(other)).unwrap();
        assert_eq!((map.width, map.height, map.values.clone()), (2, 2, vec![0.0, 0.0, 0.0, 0.5]));
        assert_eq!(map.mean(), 0.125);
        let picture = map.picture();
        assert_eq!((picture.width, picture.height), (32, 32));
        assert_eq!(picture.pixel(31, 31), ColourMap::Sequential.colour(1.0));
        assert_eq!(picture.pixel(0, 31), ColourMap::Sequential.colour(0.0));
    }
}
