//! Frame observer: receives every frame that was detected on, with its report.

use std::sync::Arc;

use crate::frame::Frame;
use crate::message::Report;

/// Receives frames and reports on the detector thread, for example to sample frames or to keep the latest ones.
pub trait FrameObserver: Send {
    /// Called after each detection. `camera` is the slot index; a camera that is opened anew has the same name and
    /// another index. The call must return at once, because the next frame waits for it. Cloning the [`Arc`] keeps the
    /// frame.
    fn observe(&mut self, camera: usize, frame: &Arc<Frame>, report: &Report);
}
