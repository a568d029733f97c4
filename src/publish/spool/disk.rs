//! File of the spool: a table of messages and a table of counts, changed in one transaction.

use std::collections::BTreeSet;
use std::path::PathBuf;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::stamp::Stamp;
use super::{DropReason, Rank, SpoolCounts, SpoolEntry};
use crate::error::{Error, Kind, Result};
use crate::publish::store;

/// Messages by number: rank (1 byte), timestamp (24), CRC-32 of the payload (4), payload.
const MESSAGES: TableDefinition<u64, &[u8]> = TableDefinition::new("messages");
/// Counts by name.
const COUNTS: TableDefinition<&str, u64> = TableDefinition::new("counts");

/// Bytes before the payload.
const HEAD: usize = 29;

/// The database file, while it can be opened.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    database: Option<Database>,
}

/// Content of a file at its opening.
#[derive(Debug, Default)]
pub struct SpoolContents {
    /// Messages in order of their numbers.
    pub entries: Vec<(Rank, u64, SpoolEntry)>,
    pub tally: SpoolCounts,
}

impl Disk {
    pub fn new(path: PathBuf) -> Self {
        Self { path, database: None }
    }

    pub fn is_open(&self) -> bool {
        self.database.is_some()
    }

    pub fn close(&mut self) {
        self.database = None;
    }

    /// Free bytes on the file system.
    pub fn free(&self) -> Option<u64> {
        store::free_bytes(self.path.parent()?)
    }

    pub fn open(&mut self) -> Result<SpoolContents> {
        let mut database = store::open(&self.path)?;
        let found = self.look(&database)?;
        if found.entries.is_empty() {
            // Compaction releases the space of a past outage. A failure only keeps that space.
            let _ = database.compact();
        }
        self.database = Some(database);
        Ok(found)
    }

    fn look(&self, database: &Database) -> Result<SpoolContents> {
        let failed = |error: redb::Error| self.failed(error);
        let transaction = database.begin_write().map_err(|error| failed(error.into()))?;
        let mut found = SpoolContents::default();
        {
            let messages = transaction.open_table(MESSAGES).map_err(|error| failed(error.into()))?;
            for entry in messages.iter().map_err(|error| failed(error.into()))? {
                let (number, value) = entry.map_err(|error| failed(error.into()))?;
                let value = value.value();
                let rank = if value.first() == Some(&0) { Rank::System } else { Rank::Object };
                // A short entry stays in the index and is dropped when read.
                let stamp = value.get(1..HEAD).and_then(Stamp::from_bytes);
                let stamp = stamp.unwrap_or(Stamp { boot: 0, monotonic_ns: 0, wall_s: 0 });
                let bytes = value.len().saturating_sub(HEAD) as u64;
                found.entries.push((rank, number.value(), SpoolEntry { stamp, bytes }));
            }
            let counts = transaction.open_table(COUNTS).map_err(|error| failed(error.into()))?;
            let count = |name: &str| -> Result<u64> {
                let count = counts.get(name).map_err(|error| failed(error.into()))?;
                Ok(count.map_or(0, |count| count.value()))
            };
            found.tally.produced = count("produced")?;
            found.tally.delivered = count("delivered")?;
            for reason in DropReason::ALL {
                let dropped = count(reason.name())?;
                if dropped > 0 {
                    found.tally.dropped.insert(reason, dropped);
                }
            }
        }
        transaction.commit().map_err(|error| failed(error.into()))?;
        Ok(found)
    }

    /// Payload of message `number`; `None` if it is missing or damaged.
    pub fn read(&self, number: u64) -> Result<Option<Vec<u8>>> {
        let failed = |error: redb::Error| self.failed(error);
        let Some(database) = &self.database else {
            return Err(Error::new(Kind::Unavailable, "the spool's file is not open"));
        };
        let transaction = database.begin_read().map_err(|error| failed(error.into()))?;
        let messages = transaction.open_table(MESSAGES).map_err(|error| failed(error.into()))?;
        let value = messages.get(number).map_err(|error| failed(error.into()))?;
        Ok(value.and_then(|value| {
            let (head, payload) = value.value().split_at_checked(HEAD)?;
            let crc = u32::from_le_bytes(head.get(25..HEAD)?.try_into().ok()?);
            (crc == crc32fast::hash(payload)).then(|| payload.to_vec())
        }))
    }

    /// Adds `fresh`, removes `stale` and stores the counts in one durable transaction.
    pub fn write<'a>(
        &self,
        fresh: impl Iterator<Item = (Rank, u64, Stamp, &'a [u8])>,
        stale: &BTreeSet<u64>,
        tally: &SpoolCounts,
    ) -> Result<()> {
        let failed = |error: redb::Error| self.failed(error);
        let Some(database) = &self.database else {
            return Err(Error::new(Kind::Unavailable, "the spool's file is not open"));
        };
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
            let mut counts = transaction.open_table(COUNTS).map_err(|error| failed(error.into()))?;
            let dropped =
                DropReason::ALL.map(|reason| (reason.name(), tally.dropped.get(&reason).copied().unwrap_or(0)));
            let all = [("produced", tally.produced), ("delivered", tally.delivered)];
            for (name, count) in all.into_iter().chain(dropped) {
                counts.insert(name, count).map_err(|error| failed(error.into()))?;
            }
        }
        transaction.commit().map_err(|error| failed(error.into()))
    }

    fn failed(&self, error: redb::Error) -> Error {
        Error::new(Kind::Io, format!("cannot use the spool {}", self.path.display())).because(error)
    }
}
