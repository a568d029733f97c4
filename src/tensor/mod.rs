//! Containers and files that all numeric modules share: shapes, the canvas, its brightness, mapped and atomic files.
//!
//! Tensors have the layout NHWC with N = 1: the channels of a pixel are contiguous.

pub mod atomic_file;
mod canvas;
pub mod digest;
pub mod mapped;
mod moments;

pub use canvas::{Canvas, Fit, Input, mean_colour};
pub use moments::ImageMoments;

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
