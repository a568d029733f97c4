//! Files of the history: the journal has the newest events, the database those before.

use std::collections::BTreeMap;
use std::path::PathBuf;

use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition};

use super::HistoryLimits;
use super::query::{MAX_SCANNED, Page, Query, StoredEvent};
use crate::error::{Error, Kind, Result};
use crate::publish::journal::{self, Journal, Record};
use crate::publish::store;

/// Events by number: time (8 bytes, microseconds since 1970), CRC-32 of the text (4), the JSON text.
const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("events");
/// JPEG thumbnails by number of the event.
const THUMBNAILS: TableDefinition<u64, &[u8]> = TableDefinition::new("thumbnails");
/// Key `bytes`: size of events and thumbnails together. Key `journal`: number of the last event that came here.
const COUNTS: TableDefinition<&str, u64> = TableDefinition::new("counts");

/// Bytes before the text.
const HEAD: usize = 12;
/// Overhead of an event beyond its text, in bytes.
const OVERHEAD: u64 = 64;
/// Limit of deletions for each new event, so that a store far above its limits shrinks step by step.
const MAX_DELETIONS: usize = 64;
/// Longest time from an event to its commit while others follow. A commit also deletes old events.
const COMMIT_NS: u64 = 3_600_000_000_000;

/// A time on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct ClockReading {
    pub wall_us: i64,
    pub monotonic_ns: u64,
}

/// Database and journal, while they can be opened.
#[derive(Debug)]
pub struct Records {
    path: PathBuf,
    limits: HistoryLimits,
    files: Option<Files>,
    /// Events that the database does not have yet, by number. The journal has them.
    recent: BTreeMap<u64, RecentEvent>,
    /// Size of these events.
    recent_bytes: u64,
    /// Monotonic time of the first event since the last commit.
    since_ns: Option<u64>,
    /// Time of the next attempt after a failure, in nanoseconds of monotonic time. Opening reads the whole file, so
    /// attempts are limited.
    retry_ns: u64,
    /// Records of the journal that a warning has reported as unreadable.
    reported_unreadable: usize,
}

#[derive(Debug)]
struct Files {
    database: Database,
    journal: Journal,
}

/// An event that is in the journal alone.
#[derive(Debug)]
struct RecentEvent {
    /// Its value in the table of events.
    value: Vec<u8>,
    thumbnail: Option<Vec<u8>>,
}

impl RecentEvent {
    fn bytes(&self) -> u64 {
        size_of_event(self.value.len()) + self.thumbnail.as_ref().map_or(0, |jpeg| jpeg.len() as u64)
    }

    /// Payload of its record: length of the value (4 bytes), value, thumbnail.
    fn to_payload(&self) -> Vec<u8> {
        let mut payload = (self.value.len() as u32).to_le_bytes().to_vec();
        payload.extend(&self.value);
        payload.extend(self.thumbnail.iter().flatten());
        payload
    }

    fn from_payload(payload: &[u8]) -> Option<Self> {
        let (length, rest) = payload.split_first_chunk()?;
        let (value, jpeg) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        Some(Self { value: value.to_vec(), thumbnail: (!jpeg.is_empty()).then(|| jpeg.to_vec()) })
    }
}

/// Delay before a failed disk is tried again.
const RETRY_NS: u64 = 10_000_000_000;

/// The value of a `Result` of redb; its error is returned as one of this store.
macro_rules! redb_result {
    ($self:ident, $outcome:expr) => {
        $outcome.map_err(|error| $self.failed(error.into()))?
    };
}

impl Records {
    pub fn new(path: PathBuf, limits: HistoryLimits) -> Self {
        let (recent, recent_bytes) = (BTreeMap::new(), 0);
        Self { path, limits, files: None, recent, recent_bytes, since_ns: None, retry_ns: 0, reported_unreadable: 0 }
    }

    fn failed(&self, error: redb::Error) -> Error {
        Error::new(Kind::Io, format!("cannot use the history {}", self.path.display())).because(error)
    }

    /// Opens the files unless they are open, and reads the journal.
    pub fn open(&mut self) -> Result<()> {
        if self.files.is_some() {
            return Ok(());
        }
        let database = store::open(&self.path)?;
        let transaction = redb_result!(self, database.begin_write());
        let last = {
            let events = redb_result!(self, transaction.open_table(EVENTS));
            redb_result!(self, transaction.open_table(THUMBNAILS));
            let counts = redb_result!(self, transaction.open_table(COUNTS));
            let last = redb_result!(self, events.last()).map_or(0, |(key, _)| key.value());
            // Files of versions without a journal lack this number.
            redb_result!(self, counts.get("journal")).map_or(0, |number| number.value()).max(last)
        };
        redb_result!(self, transaction.commit());
        let journal_path = self.path.with_extension("journal");
        let (journal, records) = Journal::open(&journal_path, last)?;
        // Events are in memory before this only after a failure.
        let failed = !self.recent.is_empty();
        let mut unreadable = 0;
        for Record { number, payload } in records {
            match RecentEvent::from_payload(&payload) {
                Some(event) => drop(self.recent.entry(number).or_insert(event)),
                None => unreadable += 1,
            }
        }
        // The files are opened again after every failure of the disk.
        if unreadable > std::mem::replace(&mut self.reported_unreadable, unreadable) {
            tracing::warn!(path = %journal_path.display(), unreadable, "events in a journal cannot be read and are left out");
        }
        self.recent.retain(|&number, _| number > last);
        self.recent_bytes = self.recent.values().map(RecentEvent::bytes).sum();
        self.files = Some(Files { database, journal });
        if failed {
            // The journal may have lost what it could not make durable. A later commit deletes by age.
            let committed = self.commit(0);
            if committed.is_err() {
                self.files = None;
            }
            return committed;
        }
        Ok(())
    }

    /// Adds an event of time `at_us`, then deletes events beyond the limits of age and size.
    pub fn add(&mut self, at_us: i64, now: ClockReading, text: &[u8], thumbnail: Option<&[u8]>) -> Result<()> {
        if now.monotonic_ns < self.retry_ns {
            return Err(Error::new(Kind::Unavailable, "the history's disk failed a moment ago"));
        }
        let mut value = Vec::with_capacity(HEAD + text.len());
        value.extend(at_us.to_le_bytes());
        value.extend(crc32fast::hash(text).to_le_bytes());
        value.extend(text);
        let outcome = self.add_now(now, RecentEvent { value, thumbnail: thumbnail.map(<[u8]>::to_vec) });
        self.retry_ns = if outcome.is_err() { now.monotonic_ns.saturating_add(RETRY_NS) } else { 0 };
        outcome
    }

    fn add_now(&mut self, now: ClockReading, event: RecentEvent) -> Result<()> {
        self.open()?;
        let free = self.path.parent().and_then(store::free_bytes);
        if free.is_some_and(|free| free < self.limits.min_free) {
            return Err(Error::new(Kind::Io, "there is too little room on the disk for the history"));
        }
        let outcome = self.write(now, event);
        if outcome.is_err() {
            // After a disk error the library requires reopening.
            self.files = None;
        }
        outcome
    }

    fn write(&mut self, now: ClockReading, event: RecentEvent) -> Result<()> {
        let since_ns = *self.since_ns.get_or_insert(now.monotonic_ns);
        if now.monotonic_ns.saturating_sub(since_ns) >= COMMIT_NS {
            self.commit(now.wall_us)?;
        }
        let Some(files) = &mut self.files else { return Err(self.not_open()) };
        let journaled = files.journal.append(&event.to_payload())?;
        let number = if journaled { files.journal.last() } else { files.journal.last() + 1 };
        self.recent_bytes += event.bytes();
        self.recent.insert(number, event);
        if journaled && self.recent_bytes <= self.reserve() {
            return Ok(());
        }
        let committed = self.commit(now.wall_us);
        if committed.is_err() && !journaled {
            self.recent.remove(&number);
        }
        committed
    }

    /// Part of the size limit that is left to recent events.
    fn reserve(&self) -> u64 {
        journal::CAPACITY.min(self.limits.max_size / 8)
    }

    /// Moves recent events into the database, and deletes those beyond the limits from it.
    fn commit(&mut self, now_us: i64) -> Result<()> {
        let Some(files) = &self.files else { return Err(self.not_open()) };
        let last = self.recent.last_key_value().map_or(0, |(&number, _)| number).max(files.journal.last());
        let transaction = redb_result!(self, files.database.begin_write());
        {
            let mut events = redb_result!(self, transaction.open_table(EVENTS));
            let mut thumbnails = redb_result!(self, transaction.open_table(THUMBNAILS));
            let mut counts = redb_result!(self, transaction.open_table(COUNTS));
            for (&key, event) in &self.recent {
                redb_result!(self, events.insert(key, event.value.as_slice()));
                if let Some(thumbnail) = &event.thumbnail {
                    redb_result!(self, thumbnails.insert(key, thumbnail.as_slice()));
                }
            }
            let before = redb_result!(self, counts.get("bytes")).map_or(0, |bytes| bytes.value());
            let mut bytes = before + self.recent_bytes;
            self.delete_oldest(&mut events, &mut thumbnails, &mut bytes, now_us)?;
            redb_result!(self, counts.insert("bytes", bytes));
            redb_result!(self, counts.insert("journal", last));
        }
        redb_result!(self, transaction.commit());
        self.recent.clear();
        self.recent_bytes = 0;
        self.since_ns = None;
        if let Some(files) = &mut self.files {
            files.journal.reset(last);
        }
        Ok(())
    }

    fn delete_oldest(
        &self,
        events: &mut Table<u64, &[u8]>,
        thumbnails: &mut Table<u64, &[u8]>,
        bytes: &mut u64,
        now_us: i64,
    ) -> Result<()> {
        let max_size = self.limits.max_size - self.reserve();
        for _ in 0..MAX_DELETIONS * self.recent.len().max(1) {
            let Some((key, at_us, length)) = redb_result!(self, events.first()).map(|(key, value)| {
                let value = value.value();
                (key.value(), event_time(value), value.len())
            }) else {
                return Ok(());
            };
            if !self.is_old(at_us, now_us) && *bytes <= max_size {
                return Ok(());
            }
            redb_result!(self, events.remove(key));
            let jpeg = redb_result!(self, thumbnails.remove(key)).map_or(0, |jpeg| jpeg.value().len() as u64);
            *bytes = bytes.saturating_sub(size_of_event(length) + jpeg);
        }
        Ok(())
    }

    /// True if an event of time `at_us` is beyond the age limit. Ages are unknown while the clock is not set.
    fn is_old(&self, at_us: i64, now_us: i64) -> bool {
        let max_age_us = i64::try_from(self.limits.max_age.as_micros()).unwrap_or(i64::MAX);
        now_us >= EARLIEST_PLAUSIBLE_US && at_us >= EARLIEST_PLAUSIBLE_US && now_us.saturating_sub(at_us) > max_age_us
    }

    pub fn find(&mut self, query: &Query, now: ClockReading) -> Result<Page> {
        self.open()?;
        let Some(Files { database, .. }) = &self.files else { return Err(self.not_open()) };
        let transaction = redb_result!(self, database.begin_read());
        let events = redb_result!(self, transaction.open_table(EVENTS));
        let thumbnails = redb_result!(self, transaction.open_table(THUMBNAILS));
        let mut page = Page::default();
        let before = query.before.unwrap_or(u64::MAX);
        let recent = self.recent.range(..before).rev();
        let mut recent = recent.map(|(&key, event)| (key, event.value.clone(), event.thumbnail.is_some()));
        let mut stored = redb_result!(self, events.range(..before)).rev();
        let mut scanned = 0;
        loop {
            // The newest events are the recent ones.
            let (key, value, thumbnail) = if let Some(entry) = recent.next() {
                entry
            } else if let Some(entry) = stored.next() {
                let (key, value) = redb_result!(self, entry);
                let thumbnail = redb_result!(self, thumbnails.get(key.value())).is_some();
                (key.value(), value.value().to_vec(), thumbnail)
            } else {
                break;
            };
            if page.events.len() == query.limit() || scanned == MAX_SCANNED {
                page.next = Some(key + 1);
                break;
            }
            scanned += 1;
            // Damaged entries are skipped, and old ones that no commit has deleted yet.
            let Some(message) = message(&value).filter(|_| !self.is_old(event_time(&value), now.wall_us)) else {
                continue;
            };
            if query.matches(&message) {
                page.events.push(StoredEvent { key, thumbnail, message });
            }
        }
        Ok(page)
    }

    pub fn thumbnail(&mut self, key: u64) -> Result<Option<Vec<u8>>> {
        self.open()?;
        if let Some(event) = self.recent.get(&key) {
            return Ok(event.thumbnail.clone());
        }
        let Some(Files { database, .. }) = &self.files else { return Err(self.not_open()) };
        let transaction = redb_result!(self, database.begin_read());
        let thumbnails = redb_result!(self, transaction.open_table(THUMBNAILS));
        Ok(redb_result!(self, thumbnails.get(key)).map(|jpeg| jpeg.value().to_vec()))
    }

    /// Moves recent events into the database, if there are any.
    pub fn commit_recent(&mut self, now: ClockReading) -> Result<()> {
        if self.files.is_none() || self.recent.is_empty() {
            return Ok(());
        }
        self.commit(now.wall_us)
    }

    fn not_open(&self) -> Error {
        Error::new(Kind::Unavailable, format!("the history {} is not open", self.path.display()))
    }
}

/// 2026-01-01, in microseconds since 1970. An earlier clock has not been set.
const EARLIEST_PLAUSIBLE_US: i64 = 1_767_225_600_000_000;

fn size_of_event(length: usize) -> u64 {
    length as u64 + OVERHEAD
}

fn event_time(value: &[u8]) -> i64 {
    value.first_chunk().map_or(0, |bytes| i64::from_le_bytes(*bytes))
}

fn message(value: &[u8]) -> Option<serde_json::Value> {
    let (head, text) = value.split_at_checked(HEAD)?;
    let crc = u32::from_le_bytes(*head.last_chunk()?);
    if crc == crc32fast::hash(text) { serde_json::from_slice(text).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    /// Runs `work`. Returns its log.
    fn log_of(work: impl FnOnce()) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(Arc::new(file.reopen().unwrap())).finish();
        tracing::subscriber::with_default(log, work);
        std::fs::read_to_string(file.path()).unwrap()
    }

    #[test]
    fn unreadable_events_of_a_journal_are_reported_once_and_the_others_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.redb");
        let limits = HistoryLimits { max_age: Duration::from_secs(60), max_size: 1 << 20, min_free: 0 };
        let now = ClockReading { wall_us: 0, monotonic_ns: 0 };
        let mut records = Records::new(path.clone(), limits);
        records.add(0, now, br#"{"event": "object.new"}"#, None).unwrap();
        drop(records);
        let journal_path = path.with_extension("journal");
        let (mut journal, found) = Journal::open(&journal_path, 0).unwrap();
        assert_eq!(found.len(), 1);
        // Too short for a length; longer than the record.
        for payload in [&b"abc"[..], &[200, 0, 0, 0, 1]] {
            assert!(journal.append(payload).unwrap());
        }
        drop(journal);
        let log = log_of(|| {
            let mut records = Records::new(path.clone(), limits);
            records.open().unwrap();
            records.add(0, now, br#"{"event": "object.end"}"#, None).unwrap();
            // As after a failure of the disk.
            records.files = None;
            let page = records.find(&Query::default(), now).unwrap();
            assert_eq!(page.events.iter().map(|event| event.key).collect::<Vec<_>>(), [4, 1]);
        });
        let warnings: Vec<&str> = log.lines().filter(|line| line.contains("cannot be read")).collect();
        assert_eq!(warnings.len(), 1, "{log}");
        assert!(warnings[0].contains("unreadable=2"), "{log}");
        assert!(warnings[0].contains(&journal_path.display().to_string()), "{log}");
        let log = log_of(|| Records::new(folder.path().join("new.redb"), limits).open().unwrap());
        assert!(!log.contains("cannot be read"), "{log}");
    }
}
