//! State that the threads of one run share: capture, detection, monitor.
//!
//! The file belongs to the cameras because only they change during a run: they join the slots and the registry, and
//! leave them again.

use std::sync::Arc;

use super::drop_reason::DropReason;
use super::registry::{CameraEntry, CameraRegistry};
use crate::clock::Clock;
use crate::daemon::output::publisher::Publisher;
use crate::daemon::supervision::health::Health;
use crate::frame::Slots;
use crate::metrics::{Metrics, ReasonLabels};
use crate::precedence::Precedence;
use crate::stop::Stop;

/// State that the threads of one run share; clones share it too.
#[derive(Clone)]
pub struct RunContext {
    /// The newest frame of each camera.
    pub slots: Arc<Slots>,
    /// The cameras, by slot index.
    pub cameras: Arc<CameraRegistry>,
    /// The health table.
    pub health: Arc<Health>,
    /// Counters and gauges.
    pub metrics: Arc<Metrics>,
    /// Source of time.
    pub clock: Arc<dyn Clock>,
    /// Sends events and reports.
    pub publisher: Publisher,
    /// Taken while a frame is in the detector.
    pub precedence: Arc<Precedence>,
    /// Stops everything but the capture threads, which have a token each.
    pub stop: Stop,
}

impl RunContext {
    /// Counts a frame that was not processed.
    pub fn drop_frame(&self, camera: &str, reason: DropReason) {
        let reason = reason.name();
        self.metrics.frames_dropped.get_or_create(&ReasonLabels { camera: camera.to_owned(), reason }).inc();
        self.health.frame_dropped(camera, reason);
    }

    /// Closes slot `index`: the detector takes no further frame from it.
    pub fn close_slot(&self, index: usize, entry: &CameraEntry) {
        if self.slots.remove(index) {
            self.drop_frame(&entry.name, DropReason::Stopped);
        }
    }
}
