//! Canvas: the network's input, a resized and padded picture with its geometry.

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
    /// `canvas_height × canvas_width × channels` values, row by row. Padding is 0.0 for `f32`; for `u8` it is the
    /// rounded mean colour (124, 116, 104), which normalizes to almost 0.
    pub data: Vec<T>,
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
