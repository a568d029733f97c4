//! Counts of crossings: by camera, line, direction and label, kept over restarts.
//!
//! In: each crossing, from the detector thread, which never waits for a disk; the verb `counts`. Out: the counts, in events
//! and for brokers. `counts.json` in the state folder has the counts, `counts.journal` beside it those that changed since
//! then. A crossing is one short record of the journal. It survives SIGKILL, and a power cut after a few seconds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::DeviceSettings;
use crate::control::{Control, answer};
use crate::daemon::paths::state_folder;
use crate::error::{Error, Kind, Result};
use crate::message::{EventName, Message};
use crate::publish::journal::Journal;
use crate::publish::{LineCount, Sink, SinkFuture, run_blocking};
use crate::sync::IgnorePoison;
use crate::tensor::atomic_file;

/// What is counted separately.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct CountKey {
    camera: String,
    line: String,
    direction: String,
    label: String,
}

/// A record of the journal: a count after a change; 0 after a reset.
#[derive(Debug, Serialize, Deserialize)]
struct CountRecord {
    #[serde(flatten)]
    key: CountKey,
    count: u64,
}

/// Content of `counts.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Snapshot {
    /// Number of the last record of the journal that is in it.
    applied: u64,
    counts: Vec<CountRecord>,
}

/// The counts. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct LineCounts {
    table: Arc<Mutex<BTreeMap<CountKey, u64>>>,
    /// Locked before the table, and never by the detector thread.
    store: Arc<Mutex<Store>>,
}

/// Files of the counts.
#[derive(Debug, Default)]
struct Store {
    /// The state folder, if there is one.
    folder: Option<PathBuf>,
    journal: Option<Journal>,
}

/// Arguments of the verb.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CountsRequest {
    camera: Option<String>,
    line: Option<String>,
    reset: bool,
}

/// Answer of the verb.
#[derive(Debug, Serialize)]
struct CountsAnswer {
    /// The selected counts, before the reset if there was one.
    counts: Vec<LineCount>,
    reset: bool,
    /// True if the counts outlast a restart.
    kept: bool,
}

impl LineCounts {
    /// The counts in the state folder of the device.
    pub fn of_device(device: &DeviceSettings) -> Self {
        Self::open(state_folder(device).ok())
    }

    /// The counts that `folder` has. If they cannot be read, the log says so, and counting begins anew.
    pub fn open(folder: Option<PathBuf>) -> Self {
        let counts = Self::default();
        let is_new = folder.as_ref().is_none_or(|folder| !folder.join("counts.json").exists());
        let mut store = Store { folder, journal: None };
        // Without a crossing there are no files.
        if !is_new || store.path("counts.journal").is_some_and(|path| path.exists()) {
            match store.open() {
                Ok(read) => *counts.table.lock().ignore_poison() = read,
                Err(error) => {
                    tracing::warn!(error = error.chain(), "the counts of lines cannot be read; they begin at 0")
                }
            }
        }
        *counts.store.lock().ignore_poison() = store;
        counts
    }

    /// Counts a crossing. Returns the count with it.
    pub fn add(&self, camera: &str, line: &str, direction: &str, label: &str) -> u64 {
        let [camera, line, direction, label] = [camera, line, direction, label].map(str::to_owned);
        let mut table = self.table.lock().ignore_poison();
        let count = table.entry(CountKey { camera, line, direction, label }).or_default();
        *count += 1;
        *count
    }

    /// The counts of `camera`, or of all cameras.
    pub fn of(&self, camera: Option<&str>) -> Vec<LineCount> {
        let table = self.table.lock().ignore_poison();
        table.iter().filter(|(key, _)| camera.is_none_or(|camera| key.camera == camera)).map(line_count).collect()
    }

    /// Registers the verb `counts`.
    pub fn register(&self, control: &Control) {
        let counts = self.clone();
        control.register("counts", move |args| counts.request(args));
    }

    /// A sink that stores the counts.
    pub fn sink(&self) -> impl Sink + 'static {
        CountsSink(self.clone())
    }

    fn request(&self, args: Value) -> Result<Value> {
        let request: CountsRequest = match args {
            Value::Null => CountsRequest::default(),
            args => serde_json::from_value(args).map_err(|error| {
                Error::new(Kind::Usage, "counts takes camera, line and reset, true or false").because(error)
            })?,
        };
        let CountsRequest { camera, line, reset } = request;
        let is_selected = |key: &CountKey| {
            camera.as_ref().is_none_or(|camera| key.camera == *camera)
                && line.as_ref().is_none_or(|line| key.line == *line)
        };
        let mut store = self.store.lock().ignore_poison();
        let mut table = self.table.lock().ignore_poison();
        let counts = table.iter().filter(|(key, _)| is_selected(key)).map(line_count).collect();
        let mut kept = store.folder.is_some();
        if reset {
            let keys: Vec<CountKey> = table.keys().filter(|key| is_selected(key)).cloned().collect();
            table.retain(|key, _| !is_selected(key));
            let after = table.clone();
            // The detector thread does not wait for the disk.
            drop(table);
            for key in keys {
                let stored = store.append(&CountRecord { key, count: 0 }, &after);
                if let Err(error) = stored {
                    tracing::warn!(error = error.chain(), "the reset of counts cannot be stored");
                    kept = false;
                    break;
                }
            }
            tracing::info!(camera, line, "counts of lines reset by request");
        }
        answer(&CountsAnswer { counts, reset, kept })
    }

    /// Stores the present count of a crossing's key. A count that was reset meanwhile is left alone.
    fn keep(&self, key: CountKey) -> Result<()> {
        let mut store = self.store.lock().ignore_poison();
        let table = self.table.lock().ignore_poison().clone();
        match table.get(&key) {
            Some(&count) => store.append(&CountRecord { key, count }, &table),
            None => Ok(()),
        }
    }
}

fn line_count((key, &count): (&CountKey, &u64)) -> LineCount {
    let CountKey { camera, line, direction, label } = key.clone();
    LineCount { camera, line, direction, label, count }
}

impl Store {
    fn path(&self, name: &str) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(name))
    }

    /// Opens the files. Returns the counts in them.
    fn open(&mut self) -> Result<BTreeMap<CountKey, u64>> {
        let (Some(folder), Some(path), Some(journal)) =
            (&self.folder, self.path("counts.json"), self.path("counts.journal"))
        else {
            return Ok(BTreeMap::new());
        };
        std::fs::create_dir_all(folder).map_err(|error| Error::writing(folder, error))?;
        let snapshot: Snapshot = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|error| {
                let (path, error) = (path.display().to_string(), error.to_string());
                tracing::warn!(path, error, "the counts of lines are damaged; only the latest changes are known");
                Snapshot::default()
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Snapshot::default(),
            Err(error) => return Err(Error::reading(&path, error)),
        };
        let (journal, records) = Journal::open(&journal, snapshot.applied)?;
        let mut counts: BTreeMap<CountKey, u64> =
            snapshot.counts.into_iter().map(|record| (record.key, record.count)).collect();
        for record in records {
            if let Ok(CountRecord { key, count }) = serde_json::from_slice(&record.payload) {
                counts.insert(key, count);
            }
        }
        counts.retain(|_, count| *count > 0);
        self.journal = Some(journal);
        Ok(counts)
    }

    /// Appends a change, after which the counts are `counts`.
    fn append(&mut self, record: &CountRecord, counts: &BTreeMap<CountKey, u64>) -> Result<()> {
        let (Some(_), Some(path)) = (&self.folder, self.path("counts.json")) else { return Ok(()) };
        if self.journal.is_none() {
            self.open()?;
        }
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let payload = serde_json::to_vec(record)
            .map_err(|error| Error::new(Kind::Internal, "cannot write a count as JSON").because(error))?;
        let outcome = match journal.append(&payload) {
            Ok(true) => return Ok(()),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        // The journal is full, or its disk failed: the other file takes all counts.
        let applied = journal.last();
        let counts = counts.iter().map(|(key, &count)| CountRecord { key: key.clone(), count }).collect();
        let text = serde_json::to_vec(&Snapshot { applied, counts })
            .map_err(|error| Error::new(Kind::Internal, "cannot write counts as JSON").because(error))?;
        let written = atomic_file::write_private(&path, |file| file.write_all(&text));
        match (&written, outcome) {
            (Ok(()), Ok(())) => journal.reset(applied),
            // The next change opens the journal again.
            _ => self.journal = None,
        }
        written
    }
}

/// Stores the counts of crossings.
struct CountsSink(LineCounts);

impl Sink for CountsSink {
    fn send<'a>(&'a mut self, message: &'a Message) -> SinkFuture<'a> {
        Box::pin(async move {
            let Message::Event(event) = message else { return Ok(()) };
            if event.event != EventName::LineCrossed {
                return Ok(());
            }
            let text = |name: &str| event.details.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let camera = event.camera.clone().unwrap_or_default();
            let key = CountKey { camera, line: text("line"), direction: text("direction"), label: text("label") };
            let counts = self.0.clone();
            run_blocking(move || counts.keep(key)).await?
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cross(counts: &LineCounts, direction: &str) -> u64 {
        let count = counts.add("front", "gate", direction, "Car");
        let [camera, line, label] = ["front", "gate", "Car"].map(str::to_owned);
        counts.keep(CountKey { camera, line, direction: direction.to_owned(), label }).unwrap();
        count
    }

    fn all(counts: &LineCounts) -> Vec<(String, u64)> {
        counts.of(None).into_iter().map(|count| (count.direction, count.count)).collect()
    }

    #[test]
    fn counts_outlast_the_process_and_a_reset_does_too() {
        let folder = tempfile::tempdir().unwrap();
        let open = || LineCounts::open(Some(folder.path().join("state")));
        let counts = open();
        assert!(!folder.path().join("state").exists(), "nothing is written before the first crossing");
        assert_eq!([cross(&counts, "in"), cross(&counts, "out"), cross(&counts, "in")], [1, 1, 2]);
        drop(counts);
        let counts = open();
        assert_eq!(all(&counts), [("in".to_owned(), 2), ("out".to_owned(), 1)]);
        assert_eq!(cross(&counts, "in"), 3);
        let other = counts.request(json!({ "camera": "rear", "reset": true })).unwrap();
        assert_eq!(other, json!({ "counts": [], "reset": true, "kept": true }));
        let reset = counts.request(json!({ "line": "gate", "reset": true })).unwrap();
        assert_eq!(reset["counts"][0]["count"], 3, "{reset}");
        assert_eq!(cross(&counts, "out"), 1);
        drop(counts);
        assert_eq!(all(&open()), [("out".to_owned(), 1)]);
        assert_eq!(open().request(json!({ "lines": 1 })).unwrap_err().kind(), Kind::Usage);
    }

    #[test]
    fn a_full_journal_moves_into_the_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let counts = LineCounts::open(Some(folder.path().to_owned()));
        for _ in 0..5000 {
            cross(&counts, "in");
        }
        assert!(folder.path().join("counts.json").exists());
        drop(counts);
        assert_eq!(all(&LineCounts::open(Some(folder.path().to_owned()))), [("in".to_owned(), 5000)]);
    }

    #[test]
    fn without_a_folder_counts_end_with_the_process_and_the_answer_says_so() {
        let counts = LineCounts::default();
        cross(&counts, "in");
        let answer = counts.request(Value::Null).unwrap();
        assert_eq!((&answer["kept"], &answer["counts"][0]["count"]), (&json!(false), &json!(1)));
    }
}
