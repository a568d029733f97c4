//! History: events stored on the device and queried later.
//!
//! In: event messages, with a thumbnail of the object if pictures are allowed. Updates of objects are not stored, but the
//! best picture among them is that of the object's end. Out: pages of events, newest first.
//! Stored events survive SIGKILL; a power cut loses those of the last five seconds at most. Age and size are limited;
//! the oldest events are deleted first. Ages do not depend on a clock that is not synchronized. A damaged file is
//! renamed and replaced. If the disk is not writable, detection continues, and missing events are counted as failed.

mod query;
mod records;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

pub use query::{Page, Query};
use records::Records;

use serde_json::Value;

use super::stamp::{self, Stamp};
use super::{Sink, SinkFuture, run_blocking};
use crate::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::message::{Event, EventName, Message};
use crate::sync::IgnorePoison;

/// Function that returns a JPEG thumbnail of a box in a frame, if the frame is still available. Its arguments are the
/// camera's name, the frame's sequence number and the box.
pub type ThumbnailOf = Arc<dyn Fn(&str, u64, [f32; 4]) -> Option<Vec<u8>> + Send + Sync>;

/// Limits of age, size and disk space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Age limit.
    pub max_age: Duration,
    /// Size limit of events and thumbnails, in bytes.
    pub max_size: u64,
    /// Disk space to leave free, in bytes.
    pub min_free: u64,
}

/// The history. Clones share it.
#[derive(Clone)]
pub struct History {
    records: Arc<Mutex<Records>>,
    clock: Arc<dyn Clock>,
    boot: u64,
    thumbnail: Option<ThumbnailOf>,
    /// Thumbnails of objects that have not ended, by object.
    best: Arc<Mutex<BTreeMap<String, BestPicture>>>,
}

/// The best thumbnail of an object so far.
struct BestPicture {
    score: f64,
    jpeg: Vec<u8>,
}

/// Most thumbnails of objects that have not ended. Each is about ten kilobytes.
const MAX_BEST: usize = 500;

impl History {
    /// The history in the file at `path`. If it cannot be opened, the next event tries again. `boot_id` is the kernel's id of
    /// this boot.
    pub fn open(
        path: PathBuf,
        limits: HistoryLimits,
        clock: Arc<dyn Clock>,
        boot_id: &str,
        thumbnail: Option<ThumbnailOf>,
    ) -> Self {
        let mut records = Records::new(path, limits);
        if let Err(error) = records.open() {
            tracing::warn!(error = error.chain(), "the history cannot be opened; the next event tries again");
        }
        Self {
            records: Arc::new(Mutex::new(records)),
            clock,
            boot: stamp::boot(boot_id),
            thumbnail,
            best: Arc::default(),
        }
    }

    /// Opens the store if it is not open yet.
    ///
    /// # Errors
    ///
    /// The store cannot be opened or created.
    pub fn check(&self) -> Result<()> {
        self.records().open()
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().ignore_poison()
    }

    /// Stores `event`. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`Kind::Io`] or [`Kind::Unavailable`] if it could not be stored.
    pub fn keep(&self, event: &Event) -> Result<()> {
        let thumbnail = self.thumbnail_of(event);
        if event.event.is_transient() {
            return Ok(());
        }
        let text = serde_json::to_vec(&Message::Event(event.clone()))
            .map_err(|error| Error::new(Kind::Internal, "cannot write an event as JSON").because(error))?;
        self.records().add(event.at.0.as_microsecond(), &self.now(), &text, thumbnail.as_deref())
    }

    fn now(&self) -> Stamp {
        Stamp::now(self.clock.as_ref(), self.boot)
    }

    /// Deletes events beyond the age limit. Call it every minute. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`Kind::Io`] or [`Kind::Unavailable`] if the store cannot be changed; a later call tries again.
    pub fn maintain(&self) -> Result<()> {
        self.records().maintain(&self.now())
    }

    /// The thumbnail of the begin of an object, and the best one since then for its end. Updates bring better ones.
    fn thumbnail_of(&self, event: &Event) -> Option<Vec<u8>> {
        let thumbnail_of = self.thumbnail.as_ref()?;
        let details = &event.details;
        let object = details.get("object").and_then(Value::as_str).unwrap_or_default();
        let score = details.get("score").and_then(Value::as_f64).unwrap_or_default();
        match event.event {
            EventName::ObjectNew => {}
            EventName::ObjectUpdate if self.best().get(object).is_some_and(|best| score > best.score) => {}
            EventName::ObjectEnd => return self.best().remove(object).map(|best| best.jpeg),
            _ => return None,
        }
        let sequence = details.get("sequence")?.as_u64()?;
        let bbox: [f32; 4] = serde_json::from_value(details.get("box")?.clone()).ok()?;
        let jpeg = thumbnail_of(event.camera.as_deref()?, sequence, bbox)?;
        let mut best = self.best();
        if best.len() < MAX_BEST || best.contains_key(object) {
            best.insert(object.to_owned(), BestPicture { score, jpeg: jpeg.clone() });
        }
        Some(jpeg)
    }

    fn best(&self) -> MutexGuard<'_, BTreeMap<String, BestPicture>> {
        self.best.lock().ignore_poison()
    }

    /// Events selected by `query`, newest first. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`Kind::Unavailable`] or [`Kind::Io`] if the store cannot be read.
    pub fn find(&self, query: &Query) -> Result<Page> {
        self.records().find(query, &self.now())
    }

    /// JPEG thumbnail of event number `key`.
    ///
    /// # Errors
    ///
    /// As [`History::find`].
    pub fn thumbnail(&self, key: u64) -> Result<Option<Vec<u8>>> {
        self.records().thumbnail(key, &self.now())
    }

    /// A sink that stores events in this history, and a task on the current runtime that deletes old ones as long as the
    /// sink exists.
    pub fn sink(&self) -> impl Sink + 'static {
        let history = self.clone();
        let maintenance = tokio::spawn(async move {
            let mut interval = tokio::time::interval(MAINTENANCE);
            let mut failed = false;
            loop {
                interval.tick().await;
                let maintained = history.clone();
                let outcome = run_blocking(move || maintained.maintain()).await.and_then(|outcome| outcome);
                // Logged once, not at every attempt.
                if let Err(error) = &outcome
                    && !failed
                {
                    tracing::warn!(error = error.chain(), "old events of the history cannot be deleted; trying again");
                }
                failed = outcome.is_err();
            }
        });
        HistorySink { history: self.clone(), maintenance }
    }
}

/// Interval of the maintenance.
const MAINTENANCE: Duration = Duration::from_secs(60);

/// Sink of the history.
struct HistorySink {
    history: History,
    maintenance: tokio::task::JoinHandle<()>,
}

impl Drop for HistorySink {
    fn drop(&mut self) {
        self.maintenance.abort();
    }
}

impl Sink for HistorySink {
    fn send<'a>(&'a mut self, message: &'a Message) -> SinkFuture<'a> {
        Box::pin(async move {
            let Message::Event(event) = message else { return Ok(()) };
            let (history, event) = (self.history.clone(), event.clone());
            run_blocking(move || history.keep(&event)).await?
        })
    }

    fn delivers(&self, message: &Message) -> bool {
        matches!(message, Message::Event(event) if !event.event.is_transient())
    }

    fn flush(&mut self) -> SinkFuture<'_> {
        Box::pin(async move {
            let history = self.history.clone();
            run_blocking(move || history.records().commit_recent(&history.now())).await?
        })
    }
}

#[cfg(test)]
mod tests;
