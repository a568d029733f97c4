//! The network's input: a resized, padded picture, and how it lies on the frame it came from.

/// Sizes that tie a canvas to its frame. All in pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fit {
    /// Frame the detections are reported in: rows.
    pub frame_height: usize,
    /// Frame the detections are reported in: columns.
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
    /// A box on the canvas in pixels of the frame, with torchvision's arithmetic: the ratio of the sizes and the
    /// product, each in f32.
    pub fn to_frame(&self, [x0, y0, x1, y1]: [f32; 4]) -> [f32; 4] {
        let rx = self.frame_width as f32 / self.width as f32;
        let ry = self.frame_height as f32 / self.height as f32;
        [x0 * rx, y0 * ry, x1 * rx, y1 * ry]
    }
}

/// A picture as the network reads it.
#[derive(Debug, Clone, Default)]
pub struct Canvas<T> {
    /// How it lies on the frame.
    pub fit: Fit,
    /// Values of a pixel: 3 for `f32` (normalized RGB), 4 for `u8` (RGBx; x is 0).
    pub channels: usize,
    /// `canvas_height × canvas_width × channels` values, row by row. Padding is 0.0 for `f32`; for `u8` it is the
    /// rounded mean colour (124, 116, 104), which normalizes to almost 0.
    pub data: Vec<T>,
}

/// A canvas of the kind the model reads.
#[derive(Debug, Clone)]
pub enum Input {
    /// Normalized, for the full-precision network.
    F32(Canvas<f32>),
    /// Pixels, for the quantized network.
    U8(Canvas<u8>),
}

impl Input {
    /// How the canvas lies on its frame.
    pub fn fit(&self) -> &Fit {
        match self {
            Self::F32(canvas) => &canvas.fit,
            Self::U8(canvas) => &canvas.fit,
        }
    }
}
