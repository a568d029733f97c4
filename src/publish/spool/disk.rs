//! Files of the spool. The database has a table of messages and a table of counts, changed in one transaction. The
//! journal has the changes since the last transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::change::Change;
use super::{DropReason, Rank, SpoolCounts, SpoolEntry};
use crate::error::{Error, Kind, Result};
use crate::publish::journal::Journal;
use crate::publish::stamp::Stamp;
use crate::publish::store;

/// Messages by number: rank (1 byte), timestamp (24), CRC-32 of the payload (4), payload.
const MESSAGES: TableDefinition<u64, &[u8]> = TableDefinition::new("messages");
/// Counts by name. Key `journal`: number of the last record of the journal that came here.
const COUNTS: TableDefinition<&str, u64> = TableDefinition::new("counts");

/// Bytes before the payload.
const HEAD: usize = 29;

/// Database and journal, while they can be opened.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    files: Option<Files>,
}

#[derive(Debug)]
struct Files {
    database: Database,
    journal: Journal,
}

/// Content of the files at their opening.
#[derive(Debug, Default)]
pub struct SpoolContents {
    /// Messages by number.
    pub entries: BTreeMap<u64, (Rank, SpoolEntry)>,
    /// Payloads that only the journal has.
    pub journaled: BTreeMap<u64, Vec<u8>>,
    /// Removed numbers that the database still has.
    pub stale: BTreeSet<u64>,
    pub counts: SpoolCounts,
    /// Number of the next message.
    pub next: u64,
}

impl SpoolContents {
    /// Applies a record of the journal.
    fn apply(&mut self, change: Change<'_>) {
        for number in change.removed {
            self.entries.remove(&number);
            if self.journaled.remove(&number).is_none() {
                self.stale.insert(number);
            }
        }
        for (rank, number, stamp, payload) in change.fresh {
            self.next = self.next.max(number + 1);
            self.entries.insert(number, (rank, SpoolEntry { stamp, bytes: payload.len() as u64 }));
            self.journaled.insert(number, payload.to_vec());
        }
        self.counts = change.counts;
    }

    /// Corrects the counts after a power cut that lost some of the records. A lost message counts as damaged. A message whose
    /// delivery was lost waits again, so it was not delivered.
    fn balance(&mut self) {
        let SpoolCounts { produced, delivered, dropped } = &mut self.counts;
        // A damaged file may hold any counts.
        let dropped_sum = dropped.values().fold(0u64, |sum, count| sum.saturating_add(*count));
        let accounted = delivered.saturating_add(self.entries.len() as u64).saturating_add(dropped_sum);
        *delivered = delivered.saturating_sub(accounted.saturating_sub(*produced));
        let lost = produced.saturating_sub(accounted);
        if lost > 0 {
            let damaged = dropped.entry(DropReason::Damaged).or_default();
            *damaged = damaged.saturating_add(lost);
        }
    }
}

impl Disk {
    pub fn new(path: PathBuf) -> Self {
        Self { path, files: None }
    }

    pub fn is_open(&self) -> bool {
        self.files.is_some()
    }

    pub fn close(&mut self) {
        self.files = None;
    }

    /// Free bytes on the file system.
    pub fn free(&self) -> Option<u64> {
        store::free_bytes(self.path.parent()?)
    }

    pub fn open(&mut self) -> Result<SpoolContents> {
        let mut database = store::open(&self.path)?;
        let (mut found, applied) = self.read_database(&database)?;
        if found.entries.is_empty() {
            // Compaction releases the space of a past outage. A failure only keeps that space.
            let _ = database.compact();
        }
        let path = self.path.with_extension("journal");
        let (journal, records) = Journal::open(&path, applied)?;
        let mut unreadable = 0;
        for record in &records {
            match Change::from_payload(&record.payload) {
                Some(change) => found.apply(change),
                None => unreadable += 1,
            }
        }
        if unreadable > 0 {
            tracing::warn!(path = %path.display(), unknown = unreadable, "messages in a journal cannot be read and are left out");
        }
        found.balance();
        self.files = Some(Files { database, journal });
        Ok(found)
    }

    /// Content of the database, and the number of the last record of the journal in it.
    fn read_database(&self, database: &Database) -> Result<(SpoolContents, u64)> {
        let failed = |error: redb::Error| self.failed(error);
        let transaction = database.begin_write().map_err(|error| failed(error.into()))?;
        let mut found = SpoolContents::default();
        let applied = {
            let messages = transaction.open_table(MESSAGES).map_err(|error| failed(error.into()))?;
            for entry in messages.iter().map_err(|error| failed(error.into()))? {
                let (number, value) = entry.map_err(|error| failed(error.into()))?;
                let value = value.value();
                let rank = if value.first() == Some(&0) { Rank::System } else { Rank::Object };
                // A short entry stays in the index and is dropped when read.
                let stamp = value.get(1..HEAD).and_then(Stamp::from_bytes);
                let stamp = stamp.unwrap_or(Stamp { boot: 0, boot_ns: 0, wall_s: 0 });
                let bytes = value.len().saturating_sub(HEAD) as u64;
                found.next = number.value().saturating_add(1);
                found.entries.insert(number.value(), (rank, SpoolEntry { stamp, bytes }));
            }
            let counts = transaction.open_table(COUNTS).map_err(|error| failed(error.into()))?;
            let count = |name: &str| -> Result<u64> {
                let count = counts.get(name).map_err(|error| failed(error.into()))?;
                Ok(count.map_or(0, |count| count.value()))
            };
            found.counts.produced = count("produced")?;
            found.counts.delivered = count("delivered")?;
            for reason in DropReason::ALL {
                let dropped = count(reason.name())?;
                if dropped > 0 {
                    found.counts.dropped.insert(reason, dropped);
                }
            }
            count("journal")?
        };
        transaction.commit().map_err(|error| failed(error.into()))?;
        Ok((found, applied))
    }

    /// Payload of message `number`; `None` if it is missing or damaged.
    pub fn read(&self, number: u64) -> Result<Option<Vec<u8>>> {
        let failed = |error: redb::Error| self.failed(error);
        let Some(Files { database, .. }) = &self.files else { return Err(closed()) };
        let transaction = database.begin_read().map_err(|error| failed(error.into()))?;
        let messages = transaction.open_table(MESSAGES).map_err(|error| failed(error.into()))?;
        let value = messages.get(number).map_err(|error| failed(error.into()))?;
        Ok(value.and_then(|value| {
            let (head, payload) = value.value().split_at_checked(HEAD)?;
            let crc = u32::from_le_bytes(head.get(25..HEAD)?.try_into().ok()?);
            (crc == crc32fast::hash(payload)).then(|| payload.to_vec())
        }))
    }

    /// Writes a change to the journal. Returns false if it has no room.
    pub fn append(&mut self, change: &Change<'_>) -> Result<bool> {
        let Some(Files { journal, .. }) = &mut self.files else { return Err(closed()) };
        journal.append(&change.to_payload())
    }

    /// Cancels the pending sync, because no message waits in what was not made durable yet.
    pub fn cancel_sync(&self) {
        self.files.iter().for_each(|files| files.journal.cancel_sync());
    }

    /// True if the database has everything.
    pub fn is_committed(&self) -> bool {
        self.files.as_ref().is_none_or(|files| files.journal.is_empty())
    }

    /// Adds `fresh`, removes `stale` and stores the counts in one durable transaction. The journal is reset, so
    /// `fresh` must have all messages that only the journal had.
    pub fn write<'a>(
        &mut self,
        fresh: impl Iterator<Item = (Rank, u64, Stamp, &'a [u8])>,
        stale: &BTreeSet<u64>,
        counts: &SpoolCounts,
    ) -> Result<()> {
        let path = self.path.clone();
        let failed = |error: redb::Error| failed(&path, error);
        let Some(Files { database, journal }) = &mut self.files else { return Err(closed()) };
        let transaction = database.begin_write().map_err(|error| failed(error.into()))?;
        {
            let mut messages = transaction.open_table(MESSAGES).map_err(|error| failed(error.into()))?;
            for number in stale {
                messages.remove(number).map_err(|error| failed(error.into()))?;
            }
            let mut value = Vec::new();
            for (rank, number, stamp, payload) in fresh {
                value.clear();
                value.push(rank as u8);
                value.extend(stamp.to_bytes());
                value.extend(crc32fast::hash(payload).to_le_bytes());
                value.extend(payload);
                messages.insert(number, value.as_slice()).map_err(|error| failed(error.into()))?;
            }
            let mut table = transaction.open_table(COUNTS).map_err(|error| failed(error.into()))?;
            let dropped =
                DropReason::ALL.map(|reason| (reason.name(), counts.dropped.get(&reason).copied().unwrap_or(0)));
            let all = [("produced", counts.produced), ("delivered", counts.delivered), ("journal", journal.last())];
            for (name, count) in all.into_iter().chain(dropped) {
                table.insert(name, count).map_err(|error| failed(error.into()))?;
            }
        }
        transaction.commit().map_err(|error| failed(error.into()))?;
        journal.reset(journal.last());
        Ok(())
    }

    fn failed(&self, error: redb::Error) -> Error {
        failed(&self.path, error)
    }
}

fn failed(path: &Path, error: redb::Error) -> Error {
    Error::new(Kind::Io, format!("cannot use the spool {}", path.display())).because(error)
}

fn closed() -> Error {
    Error::new(Kind::Unavailable, "the spool's files are not open")
}
