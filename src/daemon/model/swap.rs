//! The slot through which another engine gets to the detector thread.
//!
//! In: an engine that is ready to run, from any thread. Out: the engine it replaced, for whoever offered. The detector
//! thread looks into the slot between two frames: no frame is dropped for it, none is looked at by two engines.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use super::engine::Engine;
use crate::sync::IgnorePoison;

/// The slot; clones share it.
#[derive(Clone, Default)]
pub struct Swap {
    next: Arc<Mutex<Option<Offer>>>,
}

struct Offer {
    engine: Box<dyn Engine>,
    replaced: SyncSender<Box<dyn Engine>>,
}

impl std::fmt::Debug for Swap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let waiting = self.lock().as_ref().map(|offer| offer.engine.info());
        f.debug_struct("Swap").field("waiting", &waiting).finish()
    }
}

impl Swap {
    /// Puts `engine` before the detector, which takes it before its next frame. The receiver gets the engine that it
    /// replaced (to go back to it, or to free its memory away from the detector thread), and is cut off if a later
    /// offer came first or the service ended.
    pub fn offer(&self, engine: Box<dyn Engine>) -> Receiver<Box<dyn Engine>> {
        let (replaced, receiver) = sync_channel(1);
        *self.lock() = Some(Offer { engine, replaced });
        receiver
    }

    /// Whether an engine waits.
    pub fn is_waiting(&self) -> bool {
        self.lock().is_some()
    }

    /// Exchanges `serving` for the engine that waits, if one does. Returns whether it did.
    pub(in crate::daemon) fn exchange(&self, serving: &mut Box<dyn Engine>) -> bool {
        let Some(Offer { engine, replaced }) = self.lock().take() else { return false };
        let old = std::mem::replace(serving, engine);
        // Nobody waits for it: it falls here.
        let _ = replaced.send(old);
        true
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Offer>> {
        self.next.lock().ignore_poison()
    }
}
