//! Journal: recent changes of a store, written at once, and moved into its database in batches.
//!
//! A commit of the database rewrites tens of kilobytes. One commit for each event wears out memory cards, so an event is
//! a record of the journal first. A record is one plain write, which survives SIGKILL. A thread makes it durable after
//! [`SYNC`], so that a power cut loses the last few seconds at most. Once the journal is full, its store commits all its
//! records in one transaction, together with the number of the last one. The journal is then reset.
//!
//! File: records one after the other, then four zero bytes. A record is the length of its payload (4 bytes, little
//! endian), the CRC-32 of all that follows (4), its number (8) and the payload. Numbers increase. The file is overwritten
//! from its begin and never shrinks: blocks that exist already cost no change of the file system's own tables.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::store::private_file;
use crate::error::{Error, Kind, Result};
use crate::sync::IgnorePoison;

/// Delay from a write until it is made durable. A disk may need two seconds more for at most five in all.
pub const SYNC: Duration = Duration::from_secs(3);
/// Size limit of the file, in bytes.
pub const CAPACITY: u64 = 256 << 10;
/// Bytes by which the file grows.
const GROWTH: usize = 32 << 10;
/// Bytes of a record before its payload.
const HEAD: usize = 16;
/// Offset in a record from which the checksum covers it.
const CHECKSUM_START: usize = 8;
/// Zero bytes after the last record.
const END: usize = 4;

/// The operations that a journal needs of its file.
pub trait JournalFile: Send + Sync + std::fmt::Debug {
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    fn write(&self, bytes: &[u8], offset: u64) -> std::io::Result<()>;

    /// Makes everything written so far durable.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    fn sync(&self) -> std::io::Result<()>;
}

impl JournalFile for File {
    fn write(&self, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> std::io::Result<()> {
        self.sync_data()
    }
}

/// A record of an earlier process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub number: u64,
    /// Its content.
    pub payload: Vec<u8>,
}

/// An open journal. Dropping it makes its records durable.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    shared: Arc<Shared>,
    /// Offset of the next record.
    end: u64,
    /// Size of the file.
    size: u64,
    /// Number of the last record, or of the last one in the database.
    last: u64,
    sync_thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    file: Box<dyn JournalFile>,
    state: Mutex<SyncState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct SyncState {
    /// Time at which the writes since the last sync are made durable; `None` if none needs it.
    due: Option<Instant>,
    /// Error of a sync that no append has reported yet.
    failure: Option<std::io::Error>,
    ended: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, SyncState> {
        self.state.lock().ignore_poison()
    }

    /// Body of the thread that makes writes durable.
    fn sync_when_due(&self) {
        let mut state = self.state();
        loop {
            let Some(due) = state.due else {
                if state.ended {
                    return;
                }
                state = self.changed.wait(state).ignore_poison();
                continue;
            };
            let left = due.saturating_duration_since(Instant::now());
            if !left.is_zero() && !state.ended {
                state = self.changed.wait_timeout(state, left).ignore_poison().0;
                continue;
            }
            state.due = None;
            drop(state);
            let outcome = self.file.sync();
            state = self.state();
            if let Err(error) = outcome {
                state.failure = Some(error);
            }
        }
    }
}

impl Journal {
    /// Opens the journal at `path`, which is created if missing. Returns it with the records above number `applied`, in
    /// order. Incomplete and damaged records are left out and named in the log.
    ///
    /// # Errors
    ///
    /// As [`Error::writing`] if the file cannot be read or written.
    pub fn open(path: &Path, applied: u64) -> Result<(Self, Vec<Record>)> {
        let failed = |error| Error::writing(path, error);
        let new = !path.exists();
        let file = private_file(path).map_err(failed)?;
        if new && let Some(folder) = path.parent() {
            // The file's name must be as durable as its records. Some file systems cannot sync a folder.
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        let content = std::fs::read(path).map_err(failed)?;
        Self::on(Box::new(file), path, &content, applied)
    }

    /// The journal in `file`, which has `content`.
    ///
    /// # Errors
    ///
    /// As [`Error::writing`] if no thread can be started.
    pub fn on(file: Box<dyn JournalFile>, path: &Path, content: &[u8], applied: u64) -> Result<(Self, Vec<Record>)> {
        let Replay { records, end, damaged } = replay(content, applied);
        if damaged > 0 {
            let kept = records.len();
            tracing::warn!(path = %path.display(), damaged, kept, "incomplete or damaged records of a journal are left out");
        }
        let shared = Arc::new(Shared { file, state: Mutex::default(), changed: Condvar::new() });
        let sync_thread = std::thread::Builder::new().name("journal".to_owned());
        let of_thread = shared.clone();
        let sync_thread =
            sync_thread.spawn(move || of_thread.sync_when_due()).map_err(|error| Error::writing(path, error))?;
        let last = records.last().map_or(applied, |record| record.number);
        let (path, size) = (path.to_owned(), content.len() as u64);
        Ok((Self { path, shared, end, size, last, sync_thread: Some(sync_thread) }, records))
    }

    /// Number of the last record, or of the last one in the database.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// True if every record is in the database.
    pub fn is_empty(&self) -> bool {
        self.end == 0
    }

    /// Writes the record after [`Journal::last`]. It survives SIGKILL from then on, and a power cut after [`SYNC`] and the
    /// duration of one sync. Returns false if there is no room, so that the database has to take all records.
    ///
    /// # Errors
    ///
    /// [`Kind::Io`] if this write or an earlier sync failed. The database has to take all records then.
    pub fn append(&mut self, payload: &[u8]) -> Result<bool> {
        if let Some(error) = self.shared.state().failure.take() {
            return Err(self.failed(error));
        }
        let length = (HEAD + payload.len()) as u64;
        if self.end + length + END as u64 > CAPACITY {
            return Ok(false);
        }
        let number = self.last + 1;
        let bytes = record(number, payload);
        self.grow(self.end + bytes.len() as u64)?;
        self.shared.file.write(&bytes, self.end).map_err(|error| self.failed(error))?;
        (self.last, self.end) = (number, self.end + length);
        let mut state = self.shared.state();
        if state.due.is_none() {
            state.due = Some(Instant::now() + SYNC);
            self.shared.changed.notify_all();
        }
        Ok(true)
    }

    /// Extends the file with zeros up to `needed` bytes or more.
    fn grow(&mut self, needed: u64) -> Result<()> {
        while self.size < needed {
            self.shared.file.write(&[0; GROWTH], self.size).map_err(|error| self.failed(error))?;
            self.size += GROWTH as u64;
        }
        Ok(())
    }

    /// Cancels the pending sync: a power cut may then lose the writes since the last one.
    pub fn cancel_sync(&self) {
        self.shared.state().due = None;
    }

    /// Empties the journal after a durable commit of all records and of `last`, the number of the last one.
    pub fn reset(&mut self, last: u64) {
        (self.end, self.last) = (0, last.max(self.last));
        self.cancel_sync();
    }

    fn failed(&self, error: std::io::Error) -> Error {
        Error::new(Kind::Io, format!("cannot write the journal {}", self.path.display())).because(error)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.state().ended = true;
        self.shared.changed.notify_all();
        // A panic of the thread was reported already.
        let _ = self.sync_thread.take().map(JoinHandle::join);
    }
}

/// A record with the zeros after it.
fn record(number: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + payload.len() + END);
    bytes.extend((payload.len() as u32).to_le_bytes());
    bytes.extend([0; CHECKSUM_START - 4]);
    bytes.extend(number.to_le_bytes());
    bytes.extend(payload);
    let crc = crc32fast::hash(bytes.get(CHECKSUM_START..).unwrap_or_default());
    if let Some(field) = bytes.get_mut(4..CHECKSUM_START) {
        field.copy_from_slice(&crc.to_le_bytes());
    }
    bytes.extend([0; END]);
    bytes
}

/// Records of a file.
#[derive(Debug, Default)]
struct Replay {
    records: Vec<Record>,
    /// Offset behind the last of them.
    end: u64,
    /// Records that are incomplete or damaged.
    damaged: usize,
}

/// Reads the records above number `applied`. A number that is not above the one before it was written before the last reset:
/// it ends the journal.
fn replay(content: &[u8], applied: u64) -> Replay {
    let mut found = Replay::default();
    let (mut at, mut last) = (0, 0);
    while let Some(head) = content.get(at..).and_then(<[u8]>::first_chunk::<HEAD>) {
        let [l0, l1, l2, l3, c0, c1, c2, c3, number @ ..] = *head;
        let (length, crc) = (u32::from_le_bytes([l0, l1, l2, l3]), u32::from_le_bytes([c0, c1, c2, c3]));
        if length == 0 {
            break;
        }
        let next = (at + HEAD).saturating_add(length as usize);
        let checked = content.get(at + CHECKSUM_START..next);
        if checked.is_none_or(|checked| crc32fast::hash(checked) != crc) {
            // Without its content the length may be wrong as well. If it is right, later records are found.
            found.damaged += 1;
            at = next;
            continue;
        }
        let number = u64::from_le_bytes(number);
        if number <= last {
            break;
        }
        if number > applied {
            let payload = content.get(at + HEAD..next).unwrap_or_default().to_vec();
            found.records.push(Record { number, payload });
            found.end = next as u64;
        }
        (at, last) = (next, number);
    }
    found
}

#[cfg(test)]
mod tests;
