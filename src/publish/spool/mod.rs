//! The spool: messages that must arrive wait here, on disk, until somebody has acknowledged them.
//!
//! In: payloads with a rank. Out: the same, the higher rank first and each rank in its order, as long as they are not
//! acknowledged. Promises: what was pushed survives SIGKILL and power cuts; size, age and free space have limits, and
//! what these cost is counted by reason, so that at every moment, over restarts too,
//!
//! ```text
//! produced = delivered + spooled + dropped
//! ```
//!
//! Where the disk does not take it, messages wait in a little memory instead. A message may be delivered twice (killed
//! between the acknowledgement and its note on disk) and never counts twice.

mod disk;
mod stamp;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use disk::Disk;
pub use stamp::Stamp;

use crate::clock::Clock;

/// What gives way last, and is delivered first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// The device itself: drift, calibration, cameras, configuration.
    System = 0,
    /// What it saw.
    Object = 1,
}

/// Why a message was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// There was no room below the size limit.
    Size,
    /// It was too old.
    Age,
    /// The disk did not take it, and memory was full.
    Disk,
    /// It could not be read again.
    Damaged,
    /// The broker refused it for good.
    Refused,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Size, Self::Age, Self::Disk, Self::Damaged, Self::Refused];

    /// The word that metrics use.
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

/// How much may wait, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of payloads.
    pub max_size: u64,
    /// Age at which a message is given up.
    pub max_age: Duration,
    /// Bytes that are left free on the disk.
    pub min_free: u64,
}

/// The account since the spool was first made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages pushed.
    pub produced: u64,
    /// Messages acknowledged.
    pub delivered: u64,
    /// Messages given up, by reason.
    pub dropped: BTreeMap<Reason, u64>,
}

/// Bytes that may wait in memory where the disk takes nothing.
const MEMORY: u64 = 1 << 20;
/// What a message costs beside its payload, for the limit's sake: keys, stamps and the tree around them.
const OVERHEAD: u64 = 64;
/// How long a disk that failed is left alone.
const RETRY: Duration = Duration::from_secs(10);

/// A message in the index.
#[derive(Debug, Clone, Copy)]
struct Entry {
    stamp: Stamp,
    bytes: u64,
}

/// Waiting messages, and the account of all there ever were.
#[derive(Debug)]
pub struct Spool {
    limits: Limits,
    clock: Arc<dyn Clock>,
    boot: u64,
    disk: Disk,
    index: BTreeMap<(Rank, u64), Entry>,
    bytes: u64,
    next: u64,
    tally: Tally,
    /// Payloads that are not on disk yet.
    unsaved: BTreeMap<u64, Vec<u8>>,
    /// What is on disk and should not be any more.
    stale: BTreeSet<u64>,
    retry_ns: u64,
    /// What an earlier life left in the file is in the index.
    loaded: bool,
}

impl Spool {
    /// The spool in the file at `path`, with what an earlier life left there. Where the file cannot be had it waits in
    /// memory, says so in the log, and tries again.
    pub fn open(path: PathBuf, limits: Limits, clock: Arc<dyn Clock>, boot_id: &str) -> Self {
        let mut spool = Self {
            limits,
            clock,
            boot: stamp::boot(boot_id),
            disk: Disk::new(path),
            index: BTreeMap::new(),
            bytes: 0,
            next: 0,
            tally: Tally::default(),
            unsaved: BTreeMap::new(),
            stale: BTreeSet::new(),
            retry_ns: 0,
            loaded: false,
        };
        spool.connect();
        spool
    }

    /// Opens the file and takes over what is in it, beside what memory holds.
    fn connect(&mut self) -> bool {
        match self.disk.open() {
            // After a failure the index knows better than the file.
            Ok(_) if self.loaded => true,
            Ok(found) => {
                self.loaded = true;
                // Nothing was produced before the file was first read, or all of it is counted in memory: add up.
                self.tally.produced += found.tally.produced;
                self.tally.delivered += found.tally.delivered;
                for (reason, count) in found.tally.dropped {
                    *self.tally.dropped.entry(reason).or_default() += count;
                }
                // Numbers of this life begin behind those of the earlier ones.
                let shift = found.entries.last().map_or(0, |(_, number, _)| number + 1);
                let ours = std::mem::take(&mut self.index);
                self.index = ours.into_iter().map(|((rank, number), entry)| ((rank, number + shift), entry)).collect();
                self.unsaved = std::mem::take(&mut self.unsaved).into_iter().map(|(n, p)| (n + shift, p)).collect();
                self.next += shift;
                for (rank, number, entry) in found.entries {
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
    }

    /// Takes a message. Whatever limit it meets, some message is dropped for it and counted, itself perhaps.
    pub fn push(&mut self, rank: Rank, payload: Vec<u8>) {
        let bytes = payload.len() as u64;
        let number = self.next;
        self.next += 1;
        self.tally.produced += 1;
        self.index.insert((rank, number), Entry { stamp: Stamp::now(self.clock.as_ref(), self.boot), bytes });
        self.bytes += bytes + OVERHEAD;
        self.unsaved.insert(number, payload);
        self.trim_size();
        self.save();
    }

    /// The messages that wait, best first, at most `count` of those not in `except`.
    pub fn waiting(&mut self, count: usize, except: &BTreeSet<u64>) -> Vec<(u64, Vec<u8>)> {
        let mut found = Vec::new();
        let mut lost = Vec::new();
        for &(_, number) in self.index.keys().filter(|(_, number)| !except.contains(number)) {
            if found.len() == count {
                break;
            }
            match self.unsaved.get(&number).cloned().map_or_else(|| self.disk.read(number), |payload| Ok(Some(payload)))
            {
                Ok(Some(payload)) => found.push((number, payload)),
                Ok(None) => lost.push(number),
                Err(error) => {
                    self.failed(&error);
                    break;
                }
            }
        }
        if !lost.is_empty() {
            self.give_up(&lost, Reason::Damaged);
        }
        found
    }

    /// `numbers` have arrived.
    pub fn delivered(&mut self, numbers: &[u64]) {
        for &number in numbers {
            if self.remove(number) {
                self.tally.delivered += 1;
            }
        }
        self.save();
    }

    /// `numbers` will not be tried again.
    pub fn give_up(&mut self, numbers: &[u64], reason: Reason) {
        for &number in numbers {
            if self.remove(number) {
                *self.tally.dropped.entry(reason).or_default() += 1;
            }
        }
        self.save();
    }

    /// Lets go of what is too old, and tries a failed disk again. To be called once in a while.
    pub fn tend(&mut self) {
        let before = self.index.len();
        self.trim_age();
        let due = self.retry_ns != 0 && self.clock.monotonic_ns() >= self.retry_ns;
        if before != self.index.len() || due || !self.unsaved.is_empty() {
            self.save();
        }
    }

    /// Messages that wait, and their bytes as the limit counts them.
    pub fn size(&self) -> (u64, u64) {
        (self.index.len() as u64, self.bytes)
    }

    /// The account.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The key of `number`, wherever it ranks.
    fn key(&self, number: u64) -> Option<(Rank, u64)> {
        [Rank::System, Rank::Object].map(|rank| (rank, number)).into_iter().find(|key| self.index.contains_key(key))
    }

    fn remove(&mut self, number: u64) -> bool {
        let Some(entry) = self.key(number).and_then(|key| self.index.remove(&key)) else { return false };
        self.bytes = self.bytes.saturating_sub(entry.bytes + OVERHEAD);
        if self.unsaved.remove(&number).is_none() {
            self.stale.insert(number);
        }
        true
    }

    fn drop_one(&mut self, number: u64, reason: Reason) {
        if self.remove(number) {
            *self.tally.dropped.entry(reason).or_default() += 1;
        }
    }

    fn trim_age(&mut self) {
        let now = Stamp::now(self.clock.as_ref(), self.boot);
        let old = |entry: &Entry| entry.stamp.age(&now) > self.limits.max_age;
        let old: Vec<u64> = self.index.iter().filter(|(_, entry)| old(entry)).map(|((_, number), _)| *number).collect();
        for number in old {
            self.drop_one(number, Reason::Age);
        }
    }

    /// Of the lowest rank the oldest goes first.
    fn trim_size(&mut self) {
        while self.bytes > self.limits.max_size {
            let Some(&(lowest, _)) = self.index.keys().next_back() else { break };
            let Some(&(_, number)) = self.index.range((lowest, 0)..).map(|(key, _)| key).next() else { break };
            self.drop_one(number, Reason::Size);
        }
    }

    /// Brings the file up to date; what it does not take stays in memory as far as there is room.
    fn save(&mut self) {
        let now_ns = self.clock.monotonic_ns();
        if self.retry_ns != 0 && now_ns < self.retry_ns {
            return self.trim_memory();
        }
        if !self.disk.is_open() && !self.connect() {
            return self.trim_memory();
        }
        // Letting go needs no room: the pages it writes were given up before.
        let room = self.disk.free().is_none_or(|free| free > self.limits.min_free);
        let ranked: Vec<_> = if room {
            self.index.iter().filter(|((_, number), _)| self.unsaved.contains_key(number)).collect()
        } else {
            Vec::new()
        };
        let fresh = ranked.iter().filter_map(|((rank, number), entry)| {
            self.unsaved.get(number).map(|payload| (*rank, *number, entry.stamp, payload.as_slice()))
        });
        // What stays in memory alone is not counted on disk: it would be missing from the sum after a crash.
        let unsaved = if room { 0 } else { self.unsaved.len() as u64 };
        let tally = Tally { produced: self.tally.produced - unsaved, ..self.tally.clone() };
        match self.disk.write(fresh, &self.stale, &tally) {
            Ok(()) => {
                if std::mem::take(&mut self.retry_ns) != 0 {
                    tracing::info!("the spool's disk works again");
                }
                self.stale.clear();
                if room {
                    self.unsaved.clear();
                }
            }
            Err(error) => {
                self.disk.close();
                self.failed(&error);
            }
        }
        self.trim_memory();
    }

    fn trim_memory(&mut self) {
        let mut held: u64 = self.unsaved.values().map(|payload| payload.len() as u64 + OVERHEAD).sum();
        while held > MEMORY {
            let lowest = self.index.keys().rev().find(|(_, number)| self.unsaved.contains_key(number)).map(|key| key.0);
            let Some(rank) = lowest else { break };
            let oldest = self.index.range((rank, 0)..).find(|((_, number), _)| self.unsaved.contains_key(number));
            let Some((number, bytes)) = oldest.map(|((_, number), entry)| (*number, entry.bytes)) else { break };
            self.drop_one(number, Reason::Disk);
            held = held.saturating_sub(bytes + OVERHEAD);
        }
    }
}

#[cfg(test)]
mod tests;
