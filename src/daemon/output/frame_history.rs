//! The latest frames of every camera with what was seen in them: for the live picture, for thumbnails of objects and
//! for the picture on a broker.
//!
//! In: what the detector thread shows its watchers. Out: references to it, from any thread. The detector is never kept
//! waiting for more than the exchange of a pointer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::observer::Watcher;
use crate::frame::Frame;
use crate::message::Report;
use crate::sync::IgnorePoison;

/// Frames kept a camera: an event is looked at a moment after its frame was.
const KEPT: usize = 3;

/// A frame and its report.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The frame.
    pub frame: Arc<Frame>,
    /// What was found in it.
    pub report: Arc<Report>,
}

/// The store; clones share it.
#[derive(Debug, Clone)]
pub struct Recent {
    cameras: Arc<[Kept]>,
}

#[derive(Debug)]
struct Kept {
    name: String,
    frames: Mutex<VecDeque<Seen>>,
}

impl Recent {
    /// A store for the cameras called `names`.
    pub fn new(names: impl Iterator<Item = String>) -> Self {
        let kept = |name| Kept { name, frames: Mutex::default() };
        Self { cameras: names.map(kept).collect::<Vec<_>>().into() }
    }

    /// The newest frame of `camera`.
    pub fn latest(&self, camera: &str) -> Option<Seen> {
        self.of(camera)?.frames.lock().ignore_poison().back().cloned()
    }

    /// Frame number `sequence` of `camera`, if it is still kept.
    pub fn at(&self, camera: &str, sequence: u64) -> Option<Seen> {
        let frames = self.of(camera)?.frames.lock().ignore_poison();
        frames.iter().find(|seen| seen.frame.sequence == sequence).cloned()
    }

    fn of(&self, camera: &str) -> Option<&Kept> {
        self.cameras.iter().find(|kept| kept.name == camera)
    }
}

impl Watcher for Recent {
    /// Goes by the name: a camera that was opened anew with another configuration has another number.
    fn seen(&mut self, _: usize, frame: &Arc<Frame>, report: &Report) {
        let Some(kept) = self.of(&report.camera) else { return };
        let seen = Seen { frame: frame.clone(), report: Arc::new(report.clone()) };
        let old = {
            let mut frames = kept.frames.lock().ignore_poison();
            frames.push_back(seen);
            if frames.len() > KEPT { frames.pop_front() } else { None }
        };
        // Freed outside the lock.
        drop(old);
    }
}
