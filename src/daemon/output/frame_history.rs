//! Frame history: the latest frames of each camera with their reports.
//!
//! In: frames, from the detector thread. Out: references to them, from any thread, for the live picture, for thumbnails
//! of objects and for the picture on a broker. The detector thread waits at most for the exchange of a pointer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::observer::FrameObserver;
use crate::frame::Frame;
use crate::message::Report;
use crate::sync::IgnorePoison;

/// Frames kept per camera: events look up their frame shortly after its detection.
const FRAMES_PER_CAMERA: usize = 3;

/// A frame and its report.
#[derive(Debug, Clone)]
pub struct ReportedFrame {
    /// The frame.
    pub frame: Arc<Frame>,
    /// Its report.
    pub report: Arc<Report>,
}

/// The history of every camera; clones share it.
#[derive(Debug, Clone)]
pub struct FrameHistory {
    cameras: Arc<[CameraFrames]>,
}

#[derive(Debug)]
struct CameraFrames {
    camera: String,
    frames: Mutex<VecDeque<ReportedFrame>>,
}

impl FrameHistory {
    /// An empty history for the cameras called `names`.
    pub fn new(names: impl Iterator<Item = String>) -> Self {
        let empty = |camera| CameraFrames { camera, frames: Mutex::default() };
        Self { cameras: names.map(empty).collect::<Vec<_>>().into() }
    }

    /// The newest frame of `camera`.
    pub fn latest(&self, camera: &str) -> Option<ReportedFrame> {
        self.of(camera)?.frames.lock().ignore_poison().back().cloned()
    }

    /// Frame number `sequence` of `camera`, if it is still kept.
    pub fn at(&self, camera: &str, sequence: u64) -> Option<ReportedFrame> {
        let frames = self.of(camera)?.frames.lock().ignore_poison();
        frames.iter().find(|kept| kept.frame.sequence == sequence).cloned()
    }

    fn of(&self, camera: &str) -> Option<&CameraFrames> {
        self.cameras.iter().find(|frames| frames.camera == camera)
    }
}

impl FrameObserver for FrameHistory {
    /// Looks the camera up by name: the index changes when a camera is opened anew.
    fn observe(&mut self, _: usize, frame: &Arc<Frame>, report: &Report) {
        let Some(camera) = self.of(&report.camera) else { return };
        let newest = ReportedFrame { frame: frame.clone(), report: Arc::new(report.clone()) };
        let oldest = {
            let mut frames = camera.frames.lock().ignore_poison();
            frames.push_back(newest);
            if frames.len() > FRAMES_PER_CAMERA { frames.pop_front() } else { None }
        };
        // Freed after the lock is released: freeing a picture takes time.
        drop(oldest);
    }
}
