//! Canvas: the network's input, a resized and padded picture with its geometry.

use super::{LOW_LEVELS, LOW_ZERO_POINT};

/// Geometry of a canvas: sizes of frame, resized picture and canvas, in pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fit {
    /// Rows of the frame, in whose pixels detections are reported.
    pub frame_height: usize,
    /// Columns of the frame.
    pub frame_width: usize,
    /// Rows of the resized picture, without padding.
    pub height: usize,
    /// Columns of the resized picture, without padding.
    pub width: usize,
    /// Rows of the canvas, padding included: a multiple of the size divisor (32).
    pub canvas_height: usize,
    /// Columns of the canvas, padding included.
    pub canvas_width: usize,
}

impl Fit {
    /// Converts a box `[x0, y0, x1, y1]` from canvas pixels to frame pixels. Ratio and product are each rounded to f32, as
    /// in `torchvision.models.detection.transform.resize_boxes`.
    pub fn to_frame(&self, [x0, y0, x1, y1]: [f32; 4]) -> [f32; 4] {
        let rx = self.frame_width as f32 / self.width as f32;
        let ry = self.frame_height as f32 / self.height as f32;
        [x0 * rx, y0 * ry, x1 * rx, y1 * ry]
    }
}

/// The network's input.
#[derive(Debug, Clone, Default)]
pub struct Canvas<T> {
    /// Its geometry.
    pub fit: Fit,
    /// Values a pixel: 3 for `f32` (normalized RGB), 4 for `u8` (RGBx, x = 0).
    pub channels: usize,
    /// True for `u8` with two bytes a value: `data` has the high bytes, then as many low ones. A level is
    /// high + (low − 128) / 256.
    pub two_bytes: bool,
    /// `canvas_height × canvas_width × channels` values, row by row. Padding is 0.0 for `f32`; for `u8` it is the
    /// rounded mean colour (124, 116, 104), which normalizes to almost 0.
    pub data: Vec<T>,
}

impl<T> Canvas<T> {
    /// A canvas without pixels, of `channels` values a pixel and one byte a value.
    pub const fn empty(channels: usize) -> Self {
        let fit = Fit { frame_height: 0, frame_width: 0, height: 0, width: 0, canvas_height: 0, canvas_width: 0 };
        Self { fit, channels, two_bytes: false, data: Vec::new() }
    }

    /// A canvas of these values, one byte each where they are bytes.
    pub const fn new(fit: Fit, channels: usize, data: Vec<T>) -> Self {
        Self { fit, channels, two_bytes: false, data }
    }

    /// Number of values of `data` that a canvas of this geometry has.
    pub const fn values(&self) -> usize {
        let values = self.fit.canvas_height * self.fit.canvas_width * self.channels;
        if self.two_bytes { 2 * values } else { values }
    }
}

/// The colour that normalizes to 0, as near as bytes are: RGBx, x = 0, in two bytes a value, all high ones first. One byte
/// a value has the high ones alone.
pub fn mean_colour(mean: [f32; 3]) -> [[u8; 4]; 2] {
    let mut colour = [[0; 4], [LOW_ZERO_POINT; 4]];
    for (channel, mean) in mean.into_iter().enumerate() {
        let level = mean * 255.0;
        let nearest = level.round_ties_even();
        colour[0][channel] = nearest as u8;
        let steps = (level - nearest) * f32::from(LOW_LEVELS);
        colour[1][channel] = (steps + f32::from(LOW_ZERO_POINT)).round_ties_even() as u8;
    }
    colour
}

/// A canvas of the type that the model reads.
#[derive(Debug, Clone)]
pub enum Input {
    /// Normalized, for the fp32 network.
    F32(Canvas<f32>),
    /// Bytes, for the int8 network.
    U8(Canvas<u8>),
}

impl Input {
    /// Geometry of the canvas.
    pub fn fit(&self) -> &Fit {
        match self {
            Self::F32(canvas) => &canvas.fit,
            Self::U8(canvas) => &canvas.fit,
        }
    }
}
