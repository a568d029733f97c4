//! Plain containers that every numeric part shares: shapes, the canvas the network reads, and how light that is.
//!
//! Nothing else here computes. Layout is always NHWC with N = 1, so a pixel's channels are contiguous.

pub mod atomic_file;
mod canvas;
pub mod digest;
pub mod mapped;
mod moments;

pub use canvas::{Canvas, Fit, Input};
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
    /// A shape from its three extents.
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

    /// Whether there is no value at all.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
