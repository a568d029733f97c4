//! What can be asked of the history.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which events; nothing said means all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Query {
    /// Most events in one page, 1 to 1000; 100 if nothing is said.
    pub limit: Option<usize>,
    /// Only those before this key: the `next` of the page before.
    pub before: Option<u64>,
    /// Only those of this camera.
    pub camera: Option<String>,
    /// Only those whose name is this or begins with it and a dot: `object`, `object.new`.
    pub event: Option<String>,
}

/// A page of events.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Page {
    /// The newest first.
    pub events: Vec<Kept>,
    /// Where the next page begins, if there is one.
    pub next: Option<u64>,
}

/// An event as it was kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Kept {
    /// Its number in the store, by which its thumbnail is found.
    pub key: u64,
    /// Whether it has one.
    pub thumbnail: bool,
    /// The message.
    pub message: Value,
}

/// Most events looked at for one page, so that a rare one does not read the whole store at once.
pub const LOOKED_AT: usize = 20_000;

impl Query {
    /// How many events a page holds.
    pub fn limit(&self) -> usize {
        self.limit.unwrap_or(100).clamp(1, 1000)
    }

    /// Whether `message` is asked for.
    pub fn wants(&self, message: &Value) -> bool {
        let said = |field: &str| message.get(field).and_then(Value::as_str);
        let camera = self.camera.as_deref().is_none_or(|camera| said("camera") == Some(camera));
        let event = self.event.as_deref().is_none_or(|wanted| {
            said("event")
                .and_then(|name| name.strip_prefix(wanted))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        camera && event
    }
}
