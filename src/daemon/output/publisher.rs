//! Who speaks for the service, and where messages go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Clock;
use crate::daemon::identity::Identity;
use crate::message::{Event, EventName, Message, Moment, Schema};
use crate::publish::Outbox;

/// Everything that speaks for the service: who it is, and where its messages go. Clones share it.
#[derive(Clone)]
pub struct Voice {
    identity: Arc<Identity>,
    outbox: Outbox,
    clock: Arc<dyn Clock>,
    events: Arc<AtomicU64>,
}

impl Voice {
    /// Speaks for `identity` into `outbox`.
    pub fn new(identity: Identity, outbox: Outbox, clock: Arc<dyn Clock>) -> Self {
        Self { identity: Arc::new(identity), outbox, clock, events: Arc::default() }
    }

    /// Who speaks.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Tells of something that happened.
    pub fn event(&self, event: EventName, camera: Option<&str>, details: BTreeMap<String, serde_json::Value>) {
        let now = self.clock.wall();
        let number = self.events.fetch_add(1, Ordering::Relaxed);
        // Boards without a battery boot at the same wall time again and again: the boot tells their events apart.
        let boot: String = self.identity.boot_id.chars().take(8).collect();
        self.outbox.offer(Message::Event(Event {
            schema: Schema::V1,
            device: self.identity.device.clone(),
            event,
            id: format!("{}-{boot}-{number}", now.as_microsecond()),
            at: Moment(now),
            camera: camera.map(str::to_owned),
            details,
        }));
    }

    /// Sends a report; with `patience` it waits for room in the sinks' queues, so that none is lost.
    pub fn report(&self, patience: bool, report: Message) {
        if patience {
            self.outbox.deliver(report);
        } else {
            self.outbox.offer(report);
        }
    }
}
