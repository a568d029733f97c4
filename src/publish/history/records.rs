//! Files of the history: the journal has the newest events, the database those before.

use std::collections::BTreeMap;
use std::path::PathBuf;

use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition};

use super::HistoryLimits;
use super::query::{MAX_SCANNED, Page, Query, StoredEvent};
use crate::error::{Error, Kind, Result};
use crate::publish::journal::{self, Journal, Record};
use crate::publish::stamp::Stamp;
use crate::publish::store;

/// Events by number: wall time (8 bytes, microseconds since 1970, right or wrong), CRC-32 of all that follows (4),
/// [`STAMPED`] (1), [`Stamp`] (24), the JSON text. Events of earlier versions have only the text after the CRC-32.
const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("events");
/// JPEG thumbnails by number of the event.
const THUMBNAILS: TableDefinition<u64, &[u8]> = TableDefinition::new("thumbnails");
/// Key `bytes`: size of events and thumbnails together. Key `journal`: number of the last event that came here.
const COUNTS: TableDefinition<&str, u64> = TableDefinition::new("counts");

/// Bytes before those that the CRC-32 covers.
const HEAD: usize = 12;
/// Byte before a timestamp; JSON texts begin with another one.
const STAMPED: u8 = 1;
/// Bytes of a timestamp.
const STAMP: usize = 24;
/// Overhead of an event beyond its text, in bytes.
const OVERHEAD: u64 = 64;
/// Limit of deletions for each new event, so that a store far above its limits shrinks step by step.
const MAX_DELETIONS: usize = 64;
/// Limit of deletions in a transaction of the maintenance.
const MAX_MAINTAINED: usize = 4096;
/// Longest time from an event to its commit, and between two deletions of old events.
const COMMIT_NS: u64 = 3_600_000_000_000;

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
    /// Time since boot of the first event since the last commit.
    since_ns: Option<u64>,
    /// Time since boot of the next attempt after a failure. Opening reads the whole file, so attempts are limited.
    retry_ns: u64,
    /// The last maintenance: time since boot, and whether wall time was known.
    maintained: Option<(u64, bool)>,
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
        let (files, since_ns, maintained) = (None, None, None);
        Self { path, limits, files, recent, recent_bytes, since_ns, retry_ns: 0, maintained, reported_unreadable: 0 }
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
            let committed = self.commit(None, 0);
            if committed.is_err() {
                self.files = None;
            }
            return committed.map(drop);
        }
        Ok(())
    }

    /// Adds an event that says that it is of time `at_us`, then deletes events beyond the limits of age and size.
    pub fn add(&mut self, at_us: i64, now: &Stamp, text: &[u8], thumbnail: Option<&[u8]>) -> Result<()> {
        if now.boot_ns < self.retry_ns {
            return Err(Error::new(Kind::Unavailable, "the history's disk failed a moment ago"));
        }
        let event = RecentEvent { value: to_value(at_us, now, text), thumbnail: thumbnail.map(<[u8]>::to_vec) };
        let outcome = self.add_now(now, event);
        self.retry_ns = if outcome.is_err() { now.boot_ns.saturating_add(RETRY_NS) } else { 0 };
        outcome
    }

    fn add_now(&mut self, now: &Stamp, event: RecentEvent) -> Result<()> {
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

    fn write(&mut self, now: &Stamp, event: RecentEvent) -> Result<()> {
        let since_ns = *self.since_ns.get_or_insert(now.boot_ns);
        if now.boot_ns.saturating_sub(since_ns) >= COMMIT_NS {
            self.commit(Some(now), self.max_deletions())?;
        }
        let Some(files) = &mut self.files else { return Err(self.not_open()) };
        let journaled = files.journal.append(&event.to_payload())?;
        let number = if journaled { files.journal.last() } else { files.journal.last() + 1 };
        self.recent_bytes += event.bytes();
        self.recent.insert(number, event);
        if journaled && self.recent_bytes <= self.reserve() {
            return Ok(());
        }
        let committed = self.commit(Some(now), self.max_deletions());
        if committed.is_err() && !journaled {
            self.recent.remove(&number);
        }
        committed.map(drop)
    }

    fn max_deletions(&self) -> usize {
        MAX_DELETIONS * self.recent.len().max(1)
    }

    /// Part of the size limit that is left to recent events.
    fn reserve(&self) -> u64 {
        journal::CAPACITY.min(self.limits.max_size / 8)
    }

    /// Moves recent events into the database, and deletes at most `max_deletions` of those beyond the limits from it;
    /// without `now` by size alone. Returns false if more are left to delete.
    fn commit(&mut self, now: Option<&Stamp>, max_deletions: usize) -> Result<bool> {
        let Some(files) = &self.files else { return Err(self.not_open()) };
        let last = self.recent.last_key_value().map_or(0, |(&number, _)| number).max(files.journal.last());
        let transaction = redb_result!(self, files.database.begin_write());
        let is_complete = {
            let mut events = redb_result!(self, transaction.open_table(EVENTS));
            let mut thumbnails = redb_result!(self, transaction.open_table(THUMBNAILS));
            let mut counts = redb_result!(self, transaction.open_table(COUNTS));
            if let Some(now) = now.filter(|now| now.has_wall()) {
                self.complete_stamps(&mut events, now)?;
            }
            for (&key, event) in &self.recent {
                let value = now.and_then(|now| with_wall(&event.value, now));
                redb_result!(self, events.insert(key, value.as_deref().unwrap_or(&event.value)));
                if let Some(thumbnail) = &event.thumbnail {
                    redb_result!(self, thumbnails.insert(key, thumbnail.as_slice()));
                }
            }
            let before = redb_result!(self, counts.get("bytes")).map_or(0, |bytes| bytes.value());
            let mut bytes = before + self.recent_bytes;
            let is_complete = self.delete_oldest(&mut events, &mut thumbnails, &mut bytes, now, max_deletions)?;
            redb_result!(self, counts.insert("bytes", bytes));
            redb_result!(self, counts.insert("journal", last));
            is_complete
        };
        redb_result!(self, transaction.commit());
        self.recent.clear();
        self.recent_bytes = 0;
        self.since_ns = None;
        if let Some(files) = &mut self.files {
            files.journal.reset(last);
        }
        Ok(is_complete)
    }

    /// Adds wall time to the timestamps of this boot from before the clock was synchronized.
    fn complete_stamps(&self, events: &mut Table<u64, &[u8]>, now: &Stamp) -> Result<()> {
        let mut completed = Vec::new();
        for entry in redb_result!(self, events.iter()).rev() {
            let (key, value) = redb_result!(self, entry);
            let Some(value) = with_wall(value.value(), now) else { break };
            completed.push((key.value(), value));
        }
        for (key, value) in completed {
            redb_result!(self, events.insert(key, value.as_slice()));
        }
        Ok(())
    }

    /// Deletes the oldest events as long as they are beyond a limit. Returns false if more are left to delete.
    fn delete_oldest(
        &self,
        events: &mut Table<u64, &[u8]>,
        thumbnails: &mut Table<u64, &[u8]>,
        bytes: &mut u64,
        now: Option<&Stamp>,
        max_deletions: usize,
    ) -> Result<bool> {
        let max_size = self.limits.max_size - self.reserve();
        let last_old = now.map(|now| self.last_old(events, now)).transpose()?.flatten();
        for _ in 0..max_deletions {
            let first = redb_result!(self, events.first()).map(|(key, value)| (key.value(), value.value().len()));
            let Some((key, length)) = first else { return Ok(true) };
            if last_old.is_none_or(|last| key > last) && *bytes <= max_size {
                return Ok(true);
            }
            redb_result!(self, events.remove(key));
            let jpeg = redb_result!(self, thumbnails.remove(key)).map_or(0, |jpeg| jpeg.value().len() as u64);
            *bytes = bytes.saturating_sub(size_of_event(length) + jpeg);
        }
        Ok(false)
    }

    /// Number of the newest event in `events` that is beyond the age limit. Those before it are older, whatever their
    /// own time says: a clock that was wrong for one event holds no other one back.
    fn last_old(&self, events: &impl ReadableTable<u64, &'static [u8]>, now: &Stamp) -> Result<Option<u64>> {
        let mut last_old = None;
        for entry in redb_result!(self, events.iter()) {
            let (key, value) = redb_result!(self, entry);
            let stamp = stamp_of(value.value());
            if stamp.age(now) > self.limits.max_age {
                last_old = Some(key.value());
            } else if stamp.is_exact(now) {
                // All that follow are younger.
                break;
            }
        }
        Ok(last_old)
    }

    /// True if an event is certainly beyond the age limit.
    fn is_old(&self, value: &[u8], now: &Stamp) -> bool {
        stamp_of(value).age(now) > self.limits.max_age
    }

    /// Deletes events beyond the age limit, once an hour and when the clock becomes synchronized. Call it every minute.
    pub fn maintain(&mut self, now: &Stamp) -> Result<()> {
        let is_due = self.maintained.is_none_or(|(at_ns, had_wall)| {
            had_wall != now.has_wall() || now.boot_ns.saturating_sub(at_ns) >= COMMIT_NS
        });
        if !is_due || now.boot_ns < self.retry_ns {
            return Ok(());
        }
        let outcome = self.maintain_now(now);
        match outcome {
            Ok(()) => self.maintained = Some((now.boot_ns, now.has_wall())),
            Err(_) => {
                self.files = None;
                self.retry_ns = now.boot_ns.saturating_add(RETRY_NS);
            }
        }
        outcome
    }

    fn maintain_now(&mut self, now: &Stamp) -> Result<()> {
        self.open()?;
        let Some(Files { database, .. }) = &self.files else { return Err(self.not_open()) };
        let is_due = {
            let transaction = redb_result!(self, database.begin_read());
            let events = redb_result!(self, transaction.open_table(EVENTS));
            let newest = redb_result!(self, events.last());
            newest.is_some_and(|(_, value)| with_wall(value.value(), now).is_some())
                || self.last_old(&events, now)?.is_some()
        };
        if is_due || !self.recent.is_empty() {
            while !self.commit(Some(now), MAX_MAINTAINED)? {}
        }
        Ok(())
    }

    pub fn find(&mut self, query: &Query, now: &Stamp) -> Result<Page> {
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
            // Nothing before an event that is too old is younger; the next maintenance deletes it.
            if self.is_old(&value, now) {
                break;
            }
            // Damaged entries are skipped.
            let Some(message) = message(&value) else { continue };
            if query.matches(&message) {
                page.events.push(StoredEvent { key, thumbnail, message });
            }
        }
        Ok(page)
    }

    pub fn thumbnail(&mut self, key: u64, now: &Stamp) -> Result<Option<Vec<u8>>> {
        self.open()?;
        if let Some(event) = self.recent.get(&key) {
            return Ok(event.thumbnail.clone().filter(|_| !self.is_old(&event.value, now)));
        }
        let Some(Files { database, .. }) = &self.files else { return Err(self.not_open()) };
        let transaction = redb_result!(self, database.begin_read());
        let events = redb_result!(self, transaction.open_table(EVENTS));
        if redb_result!(self, events.get(key)).is_none_or(|value| self.is_old(value.value(), now)) {
            return Ok(None);
        }
        let thumbnails = redb_result!(self, transaction.open_table(THUMBNAILS));
        Ok(redb_result!(self, thumbnails.get(key)).map(|jpeg| jpeg.value().to_vec()))
    }

    /// Moves recent events into the database, if there are any.
    pub fn commit_recent(&mut self, now: &Stamp) -> Result<()> {
        if self.files.is_none() || self.recent.is_empty() {
            return Ok(());
        }
        self.commit(Some(now), self.max_deletions()).map(drop)
    }

    fn not_open(&self) -> Error {
        Error::new(Kind::Unavailable, format!("the history {} is not open", self.path.display()))
    }
}

fn size_of_event(length: usize) -> u64 {
    length as u64 + OVERHEAD
}

/// The value of an event in the table of events.
fn to_value(at_us: i64, stamp: &Stamp, text: &[u8]) -> Vec<u8> {
    let body = [&[STAMPED][..], &stamp.to_bytes(), text].concat();
    [&at_us.to_le_bytes()[..], &crc32fast::hash(&body).to_le_bytes(), &body].concat()
}

/// Wall time, timestamp and text of an event; `None` if it is damaged. Versions before the timestamp wrote none.
fn parts(value: &[u8]) -> Option<(i64, Option<Stamp>, &[u8])> {
    let (head, body) = value.split_at_checked(HEAD)?;
    let at_us = i64::from_le_bytes(*head.first_chunk()?);
    if u32::from_le_bytes(*head.last_chunk()?) != crc32fast::hash(body) {
        return None;
    }
    match body.strip_prefix(&[STAMPED]) {
        Some(stamped) => {
            let (stamp, text) = stamped.split_at_checked(STAMP)?;
            Some((at_us, Some(Stamp::from_bytes(stamp)?), text))
        }
        None => Some((at_us, None, body)),
    }
}

/// The timestamp of an event. Nothing is known of a damaged one.
fn stamp_of(value: &[u8]) -> Stamp {
    match parts(value) {
        Some((_, Some(stamp), _)) => stamp,
        Some((at_us, None, _)) => Stamp::of_wall(at_us / 1_000_000),
        None => Stamp::of_wall(0),
    }
}

/// The event with wall time in its timestamp, if it had none and is of this boot.
fn with_wall(value: &[u8], now: &Stamp) -> Option<Vec<u8>> {
    let (at_us, Some(stamp), text) = parts(value)? else { return None };
    let completed = stamp.with_wall(now);
    (completed != stamp).then(|| to_value(at_us, &completed, text))
}

fn message(value: &[u8]) -> Option<serde_json::Value> {
    serde_json::from_slice(parts(value)?.2).ok()
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
        let now = &Stamp { boot: 1, boot_ns: 0, wall_s: 0 };
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
