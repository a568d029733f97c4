//! Spool: a persistent queue of messages that wait for acknowledgement.
//!
//! In: payloads with a rank. Out: unacknowledged payloads, higher rank first, in order within a rank. Pushed messages
//! survive SIGKILL; a power cut loses those of the last five seconds at most. Size, age and free disk space are limited.
//! Dropped messages are counted by reason, so that at any time, also over restarts,
//!
//! ```text
//! produced = delivered + spooled + dropped
//! ```
//!
//! If the disk is not writable, messages wait in a small memory buffer. A message may be delivered twice (after a kill
//! between acknowledgement and its record) but is never counted twice.

mod change;
mod disk;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use change::Change;
use disk::Disk;

use super::stamp::{self, Stamp};
use crate::clock::Clock;
use crate::error::Result;

/// Priority of a message: higher ranks are delivered first and dropped last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Events of the device: drift, calibration, cameras, configuration.
    System = 0,
    /// Events of objects.
    Object = 1,
}

/// Reason why a message was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// The size limit was reached.
    Size,
    /// The age limit was reached.
    Age,
    /// The disk was not writable and the memory buffer was full.
    Disk,
    /// The stored message was damaged.
    Damaged,
    /// The broker refused it permanently.
    Refused,
}

impl DropReason {
    /// All reasons.
    pub const ALL: [Self; 5] = [Self::Size, Self::Age, Self::Disk, Self::Damaged, Self::Refused];

    /// Name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Age => "age",
            Self::Disk => "disk",
            Self::Damaged => "damaged",
            Self::Refused => "refused",
        }
    }
}

/// Limits of the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolLimits {
    /// Size limit of payloads, in bytes.
    pub max_size: u64,
    /// Age limit.
    pub max_age: Duration,
    /// Disk space to leave free, in bytes.
    pub min_free: u64,
}

/// Counts since the creation of the spool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpoolCounts {
    /// Messages pushed.
    pub produced: u64,
    /// Messages acknowledged.
    pub delivered: u64,
    /// Dropped messages by reason.
    pub dropped: BTreeMap<DropReason, u64>,
}

/// Size of the memory buffer, in bytes, used while the disk is not writable.
const MEMORY: u64 = 1 << 20;
/// Overhead of a message in the size limit, in bytes: keys, timestamps, tree.
const OVERHEAD: u64 = 64;
/// Delay before a failed disk is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// A message in the index.
#[derive(Debug, Clone, Copy)]
struct SpoolEntry {
    stamp: Stamp,
    bytes: u64,
}

/// Waiting messages, and counts of all messages.
#[derive(Debug)]
pub struct Spool {
    limits: SpoolLimits,
    clock: Arc<dyn Clock>,
    boot: u64,
    disk: Disk,
    index: BTreeMap<(Rank, u64), SpoolEntry>,
    bytes: u64,
    next: u64,
    counts: SpoolCounts,
    /// Payloads not stored on disk yet.
    unsaved: BTreeMap<u64, Vec<u8>>,
    /// Payloads that only the journal has.
    journaled: BTreeMap<u64, Vec<u8>>,
    /// Numbers that no longer wait and are not in the journal yet.
    removed: BTreeSet<u64>,
    /// Numbers to delete from the database.
    stale: BTreeSet<u64>,
    /// True if the files lack changes after a failure: the next write goes to the database.
    behind: bool,
    retry_ns: u64,
    /// Why messages wait in memory alone, if they do.
    fault: Option<String>,
    /// True once the messages of earlier processes are in the index.
    loaded: bool,
}

impl Spool {
    /// The spool in the file at `path`, including messages of earlier processes. If the file cannot be opened, messages wait
    /// in memory, the failure is logged, and opening is retried.
    pub fn open(path: PathBuf, limits: SpoolLimits, clock: Arc<dyn Clock>, boot_id: &str) -> Self {
        let mut spool = Self {
            limits,
            clock,
            boot: stamp::boot(boot_id),
            disk: Disk::new(path),
            index: BTreeMap::new(),
            bytes: 0,
            next: 0,
            counts: SpoolCounts::default(),
            unsaved: BTreeMap::new(),
            journaled: BTreeMap::new(),
            removed: BTreeSet::new(),
            behind: false,
            stale: BTreeSet::new(),
            retry_ns: 0,
            fault: None,
            loaded: false,
        };
        spool.open_files();
        spool
    }

    /// Opens the file and merges its messages with those in memory.
    fn open_files(&mut self) -> bool {
        match self.disk.open() {
            // After a failure the index is more recent than the file.
            Ok(_) if self.loaded => true,
            Ok(found) => {
                self.loaded = true;
                // Counts in memory and in the file cover different messages, so they are added.
                self.counts.produced += found.counts.produced;
                self.counts.delivered += found.counts.delivered;
                for (reason, count) in found.counts.dropped {
                    *self.counts.dropped.entry(reason).or_default() += count;
                }
                // New numbers start after those of earlier processes.
                let shift = found.next;
                let ours = std::mem::take(&mut self.index);
                self.index = ours.into_iter().map(|((rank, number), entry)| ((rank, number + shift), entry)).collect();
                self.unsaved = std::mem::take(&mut self.unsaved).into_iter().map(|(n, p)| (n + shift, p)).collect();
                self.next += shift;
                self.journaled = found.journaled;
                self.stale.extend(found.stale);
                for (number, (rank, entry)) in found.entries {
                    self.bytes += entry.bytes + OVERHEAD;
                    self.index.insert((rank, number), entry);
                }
                self.trim_age();
                self.trim_size();
                true
            }
            Err(error) => {
                self.failed(&error);
                false
            }
        }
    }

    fn failed(&mut self, error: &crate::error::Error) {
        if self.retry_ns == 0 {
            tracing::warn!(error = error.chain(), "the spool's disk fails: messages wait in memory");
        }
        self.retry_ns = self.clock.monotonic_ns().saturating_add(RETRY.as_nanos() as u64).max(1);
        self.behind = true;
        self.fault = Some(error.chain());
    }

    /// Why messages are not on the disk, if they are not.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Adds a message. If a limit is reached, a message is dropped and counted, possibly this one.
    pub fn push(&mut self, rank: Rank, payload: Vec<u8>) {
        let bytes = payload.len() as u64;
        let number = self.next;
        self.next += 1;
        self.counts.produced += 1;
        self.index.insert((rank, number), SpoolEntry { stamp: Stamp::now(self.clock.as_ref(), self.boot), bytes });
        self.bytes += bytes + OVERHEAD;
        self.unsaved.insert(number, payload);
        self.trim_size();
        self.save();
    }

    /// At most `count` waiting messages in order of delivery, without those in `except`.
    pub fn waiting(&mut self, count: usize, except: &BTreeSet<u64>) -> Vec<(u64, Vec<u8>)> {
        let mut found = Vec::new();
        let mut lost = Vec::new();
        for &(_, number) in self.index.keys().filter(|(_, number)| !except.contains(number)) {
            if found.len() == count {
                break;
            }
            let held = self.unsaved.get(&number).or_else(|| self.journaled.get(&number)).cloned();
            match held.map_or_else(|| self.disk.read(number), |payload| Ok(Some(payload))) {
                Ok(Some(payload)) => found.push((number, payload)),
                Ok(None) => lost.push(number),
                Err(error) => {
                    self.failed(&error);
                    break;
                }
            }
        }
        if !lost.is_empty() {
            self.discard(&lost, DropReason::Damaged);
        }
        found
    }

    /// Records `numbers` as delivered.
    pub fn delivered(&mut self, numbers: &[u64]) {
        for &number in numbers {
            if self.remove(number) {
                self.counts.delivered += 1;
            }
        }
        self.save();
    }

    /// Drops the messages `numbers` and counts them under `reason`.
    pub fn discard(&mut self, numbers: &[u64], reason: DropReason) {
        for &number in numbers {
            if self.remove(number) {
                *self.counts.dropped.entry(reason).or_default() += 1;
            }
        }
        self.save();
    }

    /// Drops expired messages and retries a failed disk. Call it periodically.
    pub fn maintain(&mut self) {
        let before = self.index.len();
        self.trim_age();
        let due = self.retry_ns != 0 && self.clock.monotonic_ns() >= self.retry_ns;
        if before != self.index.len() || due || !self.unsaved.is_empty() {
            self.save();
        }
    }

    /// Number of waiting messages, and their size as counted by the limit.
    pub fn size(&self) -> (u64, u64) {
        (self.index.len() as u64, self.bytes)
    }

    /// The counts.
    pub fn counts(&self) -> &SpoolCounts {
        &self.counts
    }

    /// Key of `number` in the index.
    fn key(&self, number: u64) -> Option<(Rank, u64)> {
        [Rank::System, Rank::Object].map(|rank| (rank, number)).into_iter().find(|key| self.index.contains_key(key))
    }

    fn remove(&mut self, number: u64) -> bool {
        let Some(entry) = self.key(number).and_then(|key| self.index.remove(&key)) else { return false };
        self.bytes = self.bytes.saturating_sub(entry.bytes + OVERHEAD);
        if self.unsaved.remove(&number).is_none() {
            self.removed.insert(number);
            if self.journaled.remove(&number).is_none() {
                self.stale.insert(number);
            }
        }
        true
    }

    fn discard_one(&mut self, number: u64, reason: DropReason) {
        if self.remove(number) {
            *self.counts.dropped.entry(reason).or_default() += 1;
        }
    }

    fn trim_age(&mut self) {
        let now = Stamp::now(self.clock.as_ref(), self.boot);
        let old = |entry: &SpoolEntry| entry.stamp.age(&now) > self.limits.max_age;
        let old: Vec<u64> = self.index.iter().filter(|(_, entry)| old(entry)).map(|((_, number), _)| *number).collect();
        for number in old {
            self.discard_one(number, DropReason::Age);
        }
    }

    /// Drops the oldest message of the lowest rank.
    fn trim_size(&mut self) {
        while self.bytes > self.limits.max_size {
            let Some(&(lowest, _)) = self.index.keys().next_back() else { break };
            let Some(&(_, number)) = self.index.range((lowest, 0)..).map(|(key, _)| key).next() else { break };
            self.discard_one(number, DropReason::Size);
        }
    }

    /// Writes changes to the journal, or to the database once the journal is full. Messages that the disk does not accept
    /// stay in memory as far as there is room.
    fn save(&mut self) {
        let now_ns = self.clock.monotonic_ns();
        if self.retry_ns != 0 && now_ns < self.retry_ns {
            return self.trim_memory();
        }
        if !self.disk.is_open() && !self.open_files() {
            return self.trim_memory();
        }
        match self.write() {
            Ok(()) => {
                // What is not written after a success has no room.
                let no_room = || format!("the disk has less than {} bytes free", self.limits.min_free);
                self.fault = (!self.unsaved.is_empty()).then(no_room);
                if std::mem::take(&mut self.retry_ns) != 0 {
                    tracing::info!("the spool's disk works again");
                }
            }
            Err(error) => {
                self.disk.close();
                self.failed(&error);
            }
        }
        if self.journaled.is_empty() && self.stale.is_empty() {
            // Everything in the journal was delivered, so a power cut may lose it together with its counts.
            self.disk.cancel_sync();
        }
        self.trim_memory();
    }

    /// Writes what changed. Without room on the disk, new messages stay in memory.
    fn write(&mut self) -> Result<()> {
        // Deleting needs no additional space: it reuses freed pages.
        let room = self.disk.free().is_none_or(|free| free > self.limits.min_free);
        let fresh = if room { messages(&self.index, &self.unsaved) } else { Vec::new() };
        // Messages held only in memory are not counted on disk, since a crash would lose them.
        let unsaved = if room { 0 } else { self.unsaved.len() as u64 };
        let counts = SpoolCounts { produced: self.counts.produced - unsaved, ..self.counts.clone() };
        let change = Change { counts, removed: std::mem::take(&mut self.removed), fresh };
        let journaled = !self.behind && self.disk.append(&change)?;
        if !journaled {
            let all = messages(&self.index, &self.journaled).into_iter().chain(change.fresh);
            self.disk.write(all, &self.stale, &change.counts)?;
            self.journaled.clear();
            self.stale.clear();
            self.behind = false;
        }
        if room {
            let saved = std::mem::take(&mut self.unsaved);
            if journaled {
                self.journaled.extend(saved);
            }
        }
        Ok(())
    }

    fn trim_memory(&mut self) {
        let mut held: u64 = self.unsaved.values().map(|payload| payload.len() as u64 + OVERHEAD).sum();
        while held > MEMORY {
            let lowest = self.index.keys().rev().find(|(_, number)| self.unsaved.contains_key(number)).map(|key| key.0);
            let Some(rank) = lowest else { break };
            let oldest = self.index.range((rank, 0)..).find(|((_, number), _)| self.unsaved.contains_key(number));
            let Some((number, bytes)) = oldest.map(|((_, number), entry)| (*number, entry.bytes)) else { break };
            self.discard_one(number, DropReason::Disk);
            held = held.saturating_sub(bytes + OVERHEAD);
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if self.disk.is_committed() {
            return;
        }
        // The journal has everything; the commit shortens the next start.
        self.behind = true;
        if let Err(error) = self.write() {
            tracing::warn!(error = error.chain(), "messages stay in the journal of the spool");
        }
    }
}

/// The messages of `payloads`, with rank and timestamp of `index`.
fn messages<'a>(
    index: &BTreeMap<(Rank, u64), SpoolEntry>,
    payloads: &'a BTreeMap<u64, Vec<u8>>,
) -> Vec<change::Message<'a>> {
    let ranked = |number: u64| {
        [Rank::System, Rank::Object].into_iter().find_map(|rank| Some((rank, index.get(&(rank, number))?.stamp)))
    };
    let message = |(&number, payload): (&u64, &'a Vec<u8>)| {
        let (rank, stamp) = ranked(number)?;
        Some((rank, number, stamp, payload.as_slice()))
    };
    payloads.iter().filter_map(message).collect()
}

#[cfg(test)]
mod tests;
