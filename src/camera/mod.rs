//! Cameras: sources of images behind one trait.
//!
//! In: a device, a folder or a stream. Out: [`Capture`]s, one at a time, on the calling thread. A source reports a failure
//! as an error; the caller then drops it and opens a new one. A source never recovers by itself.

pub mod ffmpeg;
pub mod pattern;
mod pixel_limit;
mod replay;
pub mod v4l2;
mod y4m;

pub use pixel_limit::PixelLimit;
pub use replay::Replay;

use crate::error::{Error, Result};
use crate::frame::Image;
use crate::stop::Stop;

/// Result of [`Source::next`].
#[derive(Debug)]
pub enum Capture {
    /// An image.
    Image {
        /// The image, before the configured rotation.
        image: Image,
        /// Time of capture, nanoseconds of `CLOCK_MONOTONIC`. `None` means the time of return.
        monotonic_ns: Option<u64>,
    },
    /// No image yet. A waiting source returns this several times a second, so that the caller can stop or detect a stall.
    Nothing,
    /// An image that cannot be decoded; it is counted and skipped.
    Corrupt(Error),
    /// Regular end of the source.
    Ended,
    /// Stopped while waiting.
    Stopped,
}

/// Delivery of a source's images to the detector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Newest only: older images are dropped and counted.
    Newest,
    /// Lossless: each image, when the detector requests it.
    Every,
}

/// Opens a source. The capture thread calls it at the start and again after each failure.
pub type Open = Box<dyn FnMut() -> Result<Box<dyn Source>> + Send>;

/// A source of images. It is opened, read until it fails or ends, and dropped, all on one thread.
pub trait Source: Send {
    /// Blocks until there is an image, until stopped, or for a fraction of a second.
    ///
    /// # Errors
    ///
    /// Any failure that makes the source unusable.
    fn next(&mut self, stop: &Stop) -> Result<Capture>;

    /// Delivery of its images.
    fn delivery(&self) -> Delivery {
        Delivery::Newest
    }

    /// Number of images skipped since the last call, because a newer one was available.
    fn skipped(&mut self) -> u64 {
        0
    }
}
