//! Containers and files that all numeric modules share: shapes, the canvas, its brightness, and files.
//!
//! Tensors have the layout NHWC with N = 1: the channels of a pixel are contiguous.

pub mod atomic_file;
mod canvas;
pub mod digest;
pub mod mapped;
mod moments;
pub mod regular_file;
pub mod text_file;

pub use canvas::{Canvas, Fit, Input, mean_colour};
pub use moments::ImageMoments;

/// Levels of a value of two bytes between two levels of its high byte.
pub const LOW_LEVELS: u16 = 256;

/// The low byte of a value of two bytes that adds nothing to the high one.
pub const LOW_ZERO_POINT: u8 = 128;

/// The 16 bits that mean 0.0 where the high byte's zero point is `high`.
pub const fn zero_point_16(high: u8) -> u16 {
    u16::from_be_bytes([high, LOW_ZERO_POINT])
}

/// Height, width and channels of one NHWC map (N = 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels of a pixel.
    pub channels: usize,
}

impl Shape {
    /// A shape of `height` × `width` × `channels`.
    pub const fn new(height: usize, width: usize, channels: usize) -> Self {
        Self { height, width, channels }
    }

    /// Pixels: height × width.
    pub const fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Values: height × width × channels.
    pub const fn len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// True if a shape has no values.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
