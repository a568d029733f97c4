//! The history: what happened, kept on the device and asked for later.
//!
//! In: events as messages, with a thumbnail of an object where pictures are allowed. Out: pages of them, the newest
//! first. Promises: what was taken survives SIGKILL and power cuts; age and size have limits, the oldest go first; a
//! damaged file is set aside and a new one begun. Where the disk takes nothing, detection goes on and the history
//! misses what is counted as failed.

mod query;
mod records;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

pub use query::{Page, Query};
use records::{Now, Records};

use super::{Sending, Sink, aside};
use crate::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::message::{Event, EventName, Message};
use crate::sync::IgnorePoison;

/// A small JPEG of what stands in a box of a camera's frame, by the camera's name and the frame's number, if the frame
/// is still there.
pub type ThumbnailOf = Arc<dyn Fn(&str, u64, [f32; 4]) -> Option<Vec<u8>> + Send + Sync>;

/// How long and how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Older events go.
    pub max_age: Duration,
    /// Above this many bytes of events and thumbnails the oldest go.
    pub max_size: u64,
    /// Bytes that are left free on the disk.
    pub min_free: u64,
}

/// The store; clones share it.
#[derive(Clone)]
pub struct History {
    records: Arc<Mutex<Records>>,
    clock: Arc<dyn Clock>,
    thumbnail: Option<ThumbnailOf>,
}

impl History {
    /// The history in the file at `path`. Where that cannot be had now, it is tried again with the next event.
    pub fn open(path: PathBuf, limits: Limits, clock: Arc<dyn Clock>, thumbnail: Option<ThumbnailOf>) -> Self {
        let mut records = Records::new(path, limits);
        if let Err(error) = records.open() {
            tracing::warn!(
                error = error.chain(),
                "the history cannot be opened; it is tried again with the next event"
            );
        }
        Self { records: Arc::new(Mutex::new(records)), clock, thumbnail }
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().ignore_poison()
    }

    /// Keeps `event`. Waits for the disk.
    ///
    /// # Errors
    ///
    /// [`Kind::Io`] or [`Kind::Unavailable`] if it could not be kept.
    pub fn keep(&self, event: &Event) -> Result<()> {
        let thumbnail = self.thumbnail_of(event);
        let text = serde_json::to_vec(&Message::Event(event.clone()))
            .map_err(|error| Error::new(Kind::Internal, "cannot write an event as JSON").because(error))?;
        let now = Now { wall_us: self.clock.wall().as_microsecond(), monotonic_ns: self.clock.monotonic_ns() };
        self.records().add(event.at.0.as_microsecond(), now, &text, thumbnail.as_deref())
    }

    fn thumbnail_of(&self, event: &Event) -> Option<Vec<u8>> {
        let thumbnail_of = self.thumbnail.as_ref().filter(|_| event.event == EventName::ObjectNew)?;
        let sequence = event.details.get("sequence")?.as_u64()?;
        let bbox: [f32; 4] = serde_json::from_value(event.details.get("box")?.clone()).ok()?;
        thumbnail_of(event.camera.as_deref()?, sequence, bbox)
    }

    /// The events that `query` asks for, the newest first. Waits for the disk.
    ///
    /// # Errors
    ///
    /// [`Kind::Unavailable`] or [`Kind::Io`] if the store cannot be read.
    pub fn find(&self, query: &Query) -> Result<Page> {
        self.records().find(query)
    }

    /// The thumbnail kept with event number `key`, a JPEG.
    ///
    /// # Errors
    ///
    /// As [`History::find`].
    pub fn thumbnail(&self, key: u64) -> Result<Option<Vec<u8>>> {
        self.records().thumbnail(key)
    }

    /// The store as a sink for events.
    pub fn sink(&self) -> impl Sink + 'static {
        Keeper(self.clone())
    }
}

/// Keeps what it is sent.
struct Keeper(History);

impl Sink for Keeper {
    fn send<'a>(&'a mut self, message: &'a Message) -> Sending<'a> {
        Box::pin(async move {
            let Message::Event(event) = message else { return Ok(()) };
            let (history, event) = (self.0.clone(), event.clone());
            aside(move || history.keep(&event)).await?
        })
    }
}

#[cfg(test)]
mod tests;
