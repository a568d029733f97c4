//! Who looks on while the detector works: the monitor takes samples, the web page shows the live picture.
//!
//! In: each frame that was detected on, with its report. The call comes on the detector thread, between two frames, so
//! a watcher decides, takes a reference and returns; what takes time it does on a thread of its own.

use std::sync::Arc;

use crate::frame::Frame;
use crate::message::Report;

/// Sees every frame with what was found in it.
pub trait Watcher: Send {
    /// Frame and report of camera number `camera`; a camera that is opened anew by another configuration has another
    /// number and the same name. Must return at once; a frame that is to be kept is kept by cloning
    /// the [`Arc`].
    fn seen(&mut self, camera: usize, frame: &Arc<Frame>, report: &Report);
}
