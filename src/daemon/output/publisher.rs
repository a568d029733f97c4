//! Publisher: sends events and reports to the sinks, under the device's identity.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use serde_json::Value;

use crate::clock::Clock;
use crate::daemon::identity::Identity;
use crate::message::{Event, EventName, Message, Moment, Report, Schema};
use crate::publish::Outbox;

/// Handling of a report for which a sink's queue has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueFull {
    /// The report is dropped and counted.
    Drop,
    /// The sender waits for room.
    Wait,
}

/// Sends events and reports; clones share the event counter.
#[derive(Clone)]
pub struct Publisher {
    identity: Arc<Identity>,
    outbox: Outbox,
    clock: Arc<dyn Clock>,
    events: Arc<AtomicU64>,
}

impl Publisher {
    /// A publisher of `identity` into `outbox`.
    pub fn new(identity: Identity, outbox: Outbox, clock: Arc<dyn Clock>) -> Self {
        Self { identity: Arc::new(identity), outbox, clock, events: Arc::default() }
    }

    /// The identity in every message.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Publishes an event. The fields of `details`, a struct or a map, become fields of the event; `&()` has none.
    pub fn event(&self, event: EventName, camera: Option<&str>, details: &impl Serialize) {
        let now = self.clock.wall();
        let number = self.events.fetch_add(1, Ordering::Relaxed);
        // A board without a battery boots at the same wall time again and again: the boot id keeps event ids unique.
        let boot: String = self.identity.boot_id.chars().take(8).collect();
        self.outbox.offer(Message::Event(Event {
            schema: Schema::V1,
            device: self.identity.device.clone(),
            event,
            id: format!("{}-{boot}-{number}", now.as_microsecond()),
            at: Moment(now),
            camera: camera.map(str::to_owned),
            details: fields(details),
        }));
    }

    /// Publishes a report.
    pub fn report(&self, report: Report, queue_full: QueueFull) {
        match queue_full {
            QueueFull::Wait => self.outbox.deliver(Message::Report(report)),
            QueueFull::Drop => self.outbox.offer(Message::Report(report)),
        }
    }
}

/// The fields of a struct or map, as JSON values without secrets.
fn fields(details: &impl Serialize) -> BTreeMap<String, Value> {
    let value = serde_json::to_value(details).map(|mut value| {
        crate::redact::redact_json(&mut value);
        value
    });
    match value {
        Ok(Value::Object(fields)) => fields.into_iter().collect(),
        Ok(Value::Null) => BTreeMap::new(),
        // Not reached: details are structs and maps with names as keys.
        Ok(value) => BTreeMap::from([("details".to_owned(), value)]),
        Err(error) => {
            tracing::error!(error = error.to_string(), "the details of an event have no JSON form");
            BTreeMap::new()
        }
    }
}
