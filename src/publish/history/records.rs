//! File of the history: events by number, thumbnails, and the total size.

use std::path::PathBuf;

use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition};

use super::HistoryLimits;
use super::query::{LOOKED_AT, Page, Query, StoredEvent};
use crate::error::{Error, Kind, Result};
use crate::publish::store;

/// Events by number: time (8 bytes, microseconds since 1970), CRC-32 of the text (4), the JSON text.
const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("events");
/// JPEG thumbnails by number of the event.
const THUMBNAILS: TableDefinition<u64, &[u8]> = TableDefinition::new("thumbnails");
/// Key `bytes`: size of events and thumbnails together.
const COUNTS: TableDefinition<&str, u64> = TableDefinition::new("counts");

/// Bytes before the text.
const HEAD: usize = 12;
/// Overhead of an event beyond its text, in bytes.
const OVERHEAD: u64 = 64;
/// Limit of deletions for each new event, so that a store far above its limits shrinks step by step.
const LET_GO: usize = 64;

/// A time on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct ClockReading {
    pub wall_us: i64,
    pub monotonic_ns: u64,
}

/// The database file, while it can be opened.
#[derive(Debug)]
pub struct Records {
    path: PathBuf,
    limits: HistoryLimits,
    database: Option<Database>,
    /// Time of the next attempt after a failure, in nanoseconds of monotonic time. Opening reads the whole file, so attempts are limited.
    retry_ns: u64,
}

/// Delay before a failed disk is tried again.
const RETRY_NS: u64 = 10_000_000_000;

/// Converts errors of the library.
macro_rules! told {
    ($self:ident, $outcome:expr) => {
        $outcome.map_err(|error| $self.failed(error.into()))?
    };
}

impl Records {
    pub fn new(path: PathBuf, limits: HistoryLimits) -> Self {
        Self { path, limits, database: None, retry_ns: 0 }
    }

    fn failed(&self, error: redb::Error) -> Error {
        Error::new(Kind::Io, format!("cannot use the history {}", self.path.display())).because(error)
    }

    /// Opens the file unless it is open.
    pub fn open(&mut self) -> Result<()> {
        if self.database.is_none() {
            let database = store::open(&self.path)?;
            let transaction = told!(self, database.begin_write());
            told!(self, transaction.open_table(EVENTS));
            told!(self, transaction.open_table(THUMBNAILS));
            told!(self, transaction.open_table(COUNTS));
            told!(self, transaction.commit());
            self.database = Some(database);
        }
        Ok(())
    }

    /// Adds an event of time `at_us`, then deletes events beyond the limits of age and size.
    pub fn add(&mut self, at_us: i64, now: ClockReading, text: &[u8], thumbnail: Option<&[u8]>) -> Result<()> {
        if now.monotonic_ns < self.retry_ns {
            return Err(Error::new(Kind::Unavailable, "the history's disk failed a moment ago"));
        }
        let outcome = self.add_now(at_us, now.wall_us, text, thumbnail);
        self.retry_ns = if outcome.is_err() { now.monotonic_ns.saturating_add(RETRY_NS) } else { 0 };
        outcome
    }

    fn add_now(&mut self, at_us: i64, now_us: i64, text: &[u8], thumbnail: Option<&[u8]>) -> Result<()> {
        self.open()?;
        let free = self.path.parent().and_then(store::free_bytes);
        if free.is_some_and(|free| free < self.limits.min_free) {
            return Err(Error::new(Kind::Io, "there is too little room on the disk for the history"));
        }
        let outcome = self.write(at_us, now_us, text, thumbnail);
        if outcome.is_err() {
            // After a disk error the library requires reopening.
            self.database = None;
        }
        outcome
    }

    fn write(&self, at_us: i64, now_us: i64, text: &[u8], thumbnail: Option<&[u8]>) -> Result<()> {
        let Some(database) = &self.database else { return Err(self.closed()) };
        let transaction = told!(self, database.begin_write());
        {
            let mut events = told!(self, transaction.open_table(EVENTS));
            let mut thumbnails = told!(self, transaction.open_table(THUMBNAILS));
            let mut counts = told!(self, transaction.open_table(COUNTS));
            let last = told!(self, events.last()).map(|(key, _)| key.value());
            let key = last.map_or(1, |last| last.saturating_add(1));
            let mut value = Vec::with_capacity(HEAD + text.len());
            value.extend(at_us.to_le_bytes());
            value.extend(crc32fast::hash(text).to_le_bytes());
            value.extend(text);
            told!(self, events.insert(key, value.as_slice()));
            if let Some(thumbnail) = thumbnail {
                told!(self, thumbnails.insert(key, thumbnail));
            }
            let before = told!(self, counts.get("bytes")).map_or(0, |bytes| bytes.value());
            let mut bytes = before + weight(text.len() + HEAD) + thumbnail.map_or(0, |jpeg| jpeg.len() as u64);
            self.let_go(&mut events, &mut thumbnails, &mut bytes, now_us)?;
            told!(self, counts.insert("bytes", bytes));
        }
        told!(self, transaction.commit());
        Ok(())
    }

    fn let_go(
        &self,
        events: &mut Table<u64, &[u8]>,
        thumbnails: &mut Table<u64, &[u8]>,
        bytes: &mut u64,
        now_us: i64,
    ) -> Result<()> {
        let max_age_us = i64::try_from(self.limits.max_age.as_micros()).unwrap_or(i64::MAX);
        for _ in 0..LET_GO {
            let Some((key, at_us, length)) = told!(self, events.first()).map(|(key, value)| {
                let value = value.value();
                (key.value(), time(value), value.len())
            }) else {
                return Ok(());
            };
            // A clock that was not set yet cannot give ages.
            let old = now_us >= BELIEVABLE_US && at_us >= BELIEVABLE_US && now_us.saturating_sub(at_us) > max_age_us;
            if !old && *bytes <= self.limits.max_size {
                return Ok(());
            }
            told!(self, events.remove(key));
            let jpeg = told!(self, thumbnails.remove(key)).map_or(0, |jpeg| jpeg.value().len() as u64);
            *bytes = bytes.saturating_sub(weight(length) + jpeg);
        }
        Ok(())
    }

    pub fn find(&mut self, query: &Query) -> Result<Page> {
        self.open()?;
        let Some(database) = &self.database else { return Err(self.closed()) };
        let transaction = told!(self, database.begin_read());
        let events = told!(self, transaction.open_table(EVENTS));
        let thumbnails = told!(self, transaction.open_table(THUMBNAILS));
        let mut page = Page::default();
        let range = told!(self, events.range(..query.before.unwrap_or(u64::MAX)));
        for (looked_at, entry) in range.rev().enumerate() {
            let (key, value) = told!(self, entry);
            let key = key.value();
            if page.events.len() == query.limit() || looked_at == LOOKED_AT {
                page.next = Some(key + 1);
                break;
            }
            // Damaged entries are skipped.
            let Some(message) = message(value.value()) else { continue };
            if query.wants(&message) {
                let thumbnail = told!(self, thumbnails.get(key)).is_some();
                page.events.push(StoredEvent { key, thumbnail, message });
            }
        }
        Ok(page)
    }

    pub fn thumbnail(&mut self, key: u64) -> Result<Option<Vec<u8>>> {
        self.open()?;
        let Some(database) = &self.database else { return Err(self.closed()) };
        let transaction = told!(self, database.begin_read());
        let thumbnails = told!(self, transaction.open_table(THUMBNAILS));
        Ok(told!(self, thumbnails.get(key)).map(|jpeg| jpeg.value().to_vec()))
    }

    fn closed(&self) -> Error {
        Error::new(Kind::Unavailable, format!("the history {} is not open", self.path.display()))
    }
}

/// 2026-01-01, in microseconds since 1970. An earlier clock has not been set.
const BELIEVABLE_US: i64 = 1_767_225_600_000_000;

fn weight(length: usize) -> u64 {
    length as u64 + OVERHEAD
}

fn time(value: &[u8]) -> i64 {
    value.first_chunk().map_or(0, |bytes| i64::from_le_bytes(*bytes))
}

fn message(value: &[u8]) -> Option<serde_json::Value> {
    let (head, text) = value.split_at_checked(HEAD)?;
    let crc = u32::from_le_bytes(*head.last_chunk()?);
    if crc == crc32fast::hash(text) { serde_json::from_slice(text).ok() } else { None }
}
