//! Cameras: whatever gives pictures, behind one trait.
//!
//! In: a device, a folder, a stream. Out: [`Capture`]s, one at a time, on the thread that asks. A source fails by
//! returning an error and is then thrown away and opened anew; it never tries to mend itself.

pub mod ffmpeg;
pub mod pattern;
mod replay;
pub mod v4l2;
mod y4m;

pub use replay::Replay;

use crate::error::{Error, Result};
use crate::frame::Image;
use crate::stop::Stop;

/// What a source gives when asked for the next picture.
#[derive(Debug)]
pub enum Capture {
    /// A picture.
    Image {
        /// What was seen, not yet turned as the camera hangs.
        image: Image,
        /// When it was taken, nanoseconds of `CLOCK_MONOTONIC`; `None`: when it is handed over.
        monotonic_ns: Option<u64>,
    },
    /// None yet, and no error either: a source that waits says so several times a second, so that whoever asks can stop,
    /// and can lose patience.
    Nothing,
    /// A picture that cannot be decoded: counted and passed over.
    Corrupt(Error),
    /// There will be no more, and that is in order.
    Ended,
    /// It was stopped while waiting.
    Stopped,
}

/// How a source's pictures go to the detector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The newest wins; what the detector has no time for is dropped and counted.
    Newest,
    /// Each one, when the detector asks for it.
    Every,
}

/// Opens a source. The capture thread calls it at the start and again after each failure.
pub type Open = Box<dyn FnMut() -> Result<Box<dyn Source>> + Send>;

/// Something that gives pictures. Opened, asked until it fails or ends, dropped: all on one thread.
pub trait Source: Send {
    /// Blocks until there is a picture, until stopped, or for a part of a second.
    ///
    /// # Errors
    ///
    /// Whatever makes the source unusable.
    fn next(&mut self, stop: &Stop) -> Result<Capture>;

    /// How its pictures go to the detector.
    fn delivery(&self) -> Delivery {
        Delivery::Newest
    }

    /// How many pictures were passed over since this was last asked, because a newer one was there already.
    fn passed_over(&mut self) -> u64 {
        0
    }
}
