//! Engine swap: hands another engine to the detector thread.
//!
//! In: an engine that is ready to run, from any thread. Out: the engine it replaced. The detector thread takes the
//! offered engine between two frames: the swap drops no frame, and each frame is processed by one engine.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};

use super::engine::Engine;
use crate::sync::IgnorePoison;

/// Slot for the next engine; clones share it.
#[derive(Clone, Default)]
pub struct EngineSwap {
    next: Arc<Mutex<Option<EngineOffer>>>,
}

struct EngineOffer {
    engine: Box<dyn Engine>,
    replaced: SyncSender<Box<dyn Engine>>,
}

impl std::fmt::Debug for EngineSwap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let waiting = self.lock().as_ref().map(|offer| offer.engine.info());
        f.debug_struct("EngineSwap").field("waiting", &waiting).finish()
    }
}

impl EngineSwap {
    /// Offers `engine` to the detector thread, which takes it before its next frame. The receiver gets the replaced
    /// engine, to return to it or to free it on another thread. It is disconnected if a later offer replaces this one,
    /// or if the service ends.
    pub fn offer(&self, engine: Box<dyn Engine>) -> Receiver<Box<dyn Engine>> {
        let (replaced, receiver) = sync_channel(1);
        *self.lock() = Some(EngineOffer { engine, replaced });
        receiver
    }

    /// Replaces `serving` with the offered engine, if there is one. Returns true if it did.
    pub(in crate::daemon) fn exchange(&self, serving: &mut Box<dyn Engine>) -> bool {
        let Some(EngineOffer { engine, replaced }) = self.lock().take() else { return false };
        let old = std::mem::replace(serving, engine);
        // Without a receiver the old engine is freed here.
        let _ = replaced.send(old);
        true
    }

    fn lock(&self) -> MutexGuard<'_, Option<EngineOffer>> {
        self.next.lock().ignore_poison()
    }
}
