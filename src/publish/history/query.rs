//! Queries of the history.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Selection of events. The default selects all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Query {
    /// Events in a page, 1 to 1000; default 100.
    pub limit: Option<usize>,
    /// Only events before this key: `next` of the previous page.
    pub before: Option<u64>,
    /// Only events of this camera.
    pub camera: Option<String>,
    /// Only events with this name, or with this name and a dot as prefix: `object.new`, `object`.
    pub event: Option<String>,
}

/// A page of events.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Page {
    /// Events, newest first.
    pub events: Vec<StoredEvent>,
    /// Key for the next page, if there is one.
    pub next: Option<u64>,
}

/// A stored event.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoredEvent {
    /// Number in the store, which also identifies the thumbnail.
    pub key: u64,
    /// True if it has a thumbnail.
    pub thumbnail: bool,
    /// The message.
    pub message: Value,
}

/// Limit of events scanned for a page, so that a rare one does not cause a scan of the whole store.
pub const MAX_SCANNED: usize = 20_000;

impl Query {
    /// Number of events in a page.
    pub fn limit(&self) -> usize {
        self.limit.unwrap_or(100).clamp(1, 1000)
    }

    /// True if the query selects `message`.
    pub fn matches(&self, message: &Value) -> bool {
        let text = |field: &str| message.get(field).and_then(Value::as_str);
        let camera = self.camera.as_deref().is_none_or(|camera| text("camera") == Some(camera));
        let event = self.event.as_deref().is_none_or(|wanted| {
            text("event")
                .and_then(|name| name.strip_prefix(wanted))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        camera && event
    }
}
