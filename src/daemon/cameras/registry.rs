//! Camera registry: the cameras of a run, one entry per slot index, shared by the threads.
//!
//! Entries are added and stopped while the service runs. An index is never used again: a camera that is opened anew
//! gets a new entry.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::{Map, Value, json};

use super::filter::Filter;
use super::motion_gate::GateRules;
use crate::config::document::Polygon;
use crate::rules::RuleSettings;
use crate::stop::{self, Stop, StopTrigger};
use crate::sync::IgnorePoison;

/// Rules of a camera that can change while it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct CameraRules {
    /// Limits on the frames that go to the detector.
    pub gate: GateRules,
    /// Rules for the detections that are reported.
    pub filter: Filter,
    /// Rules over tracks: zones and lines.
    pub rules: RuleSettings,
    /// Regions that are black in every frame, as fractions of the upright picture.
    pub private: Vec<Polygon>,
    /// Time without a frame after which the camera counts as stalled.
    pub stall_timeout: Duration,
}

impl Default for CameraRules {
    /// Every frame, every detection, and a stall timeout of ten seconds.
    fn default() -> Self {
        Self {
            gate: GateRules::default(),
            filter: Filter::default(),
            rules: RuleSettings::default(),
            private: Vec::new(),
            stall_timeout: Duration::from_secs(10),
        }
    }
}

/// One camera of a run.
#[derive(Debug)]
pub struct CameraEntry {
    /// Its name.
    pub name: String,
    /// The rules in force.
    pub rules: ArcSwap<CameraRules>,
    /// Number of frames captured; an entry that replaces this one continues the count.
    pub sequence: Arc<AtomicU64>,
    /// Stops the capture thread.
    pub stop: Stop,
    trigger: StopTrigger,
    lossless: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl CameraEntry {
    /// From now on no report of this camera may be lost: each waits for room in the sinks' queues.
    pub fn set_lossless(&self) {
        self.lossless.store(true, Ordering::Relaxed);
    }

    /// True if no report of this camera may be lost.
    pub fn is_lossless(&self) -> bool {
        self.lossless.load(Ordering::Relaxed)
    }

    /// Stops the capture thread. Returns its handle, so that the next user of the device can join it; `None` if an
    /// earlier call returned it.
    pub fn stop(&self) -> Option<JoinHandle<()>> {
        self.trigger.stop();
        self.thread.lock().ignore_poison().take()
    }

    /// Stores the handle of the capture thread.
    pub fn set_thread(&self, thread: JoinHandle<()>) {
        *self.thread.lock().ignore_poison() = Some(thread);
    }
}

/// The cameras of a run.
#[derive(Debug, Default)]
pub struct CameraRegistry {
    entries: RwLock<Vec<Arc<CameraEntry>>>,
    /// Set under the lock of the entries.
    is_stopped: AtomicBool,
}

impl CameraRegistry {
    /// Zones and lines in force, by camera: names with their points as fractions of the picture, for the page.
    pub fn regions(&self) -> Value {
        let entries = self.entries.read().ignore_poison();
        let running = entries.iter().filter(|entry| !entry.stop.is_stopped());
        let of = |entry: &Arc<CameraEntry>| {
            let rules = entry.rules.load();
            let zones: Map<String, Value> =
                rules.rules.zones.iter().map(|(name, zone)| (name.clone(), json!(zone.polygon))).collect();
            let lines: Map<String, Value> =
                rules.rules.lines.iter().map(|(name, line)| (name.clone(), json!(line.points))).collect();
            (entry.name.clone(), json!({ "zones": zones, "lines": lines }))
        };
        Value::Object(running.map(of).collect())
    }

    /// Appends an entry, stopped if the registry is. `predecessor` is the entry of the same camera that it replaces.
    pub fn add(&self, name: &str, rules: CameraRules, predecessor: Option<&CameraEntry>) -> Arc<CameraEntry> {
        let (trigger, stop) = stop::pair();
        let entry = Arc::new(CameraEntry {
            name: name.to_owned(),
            rules: ArcSwap::from_pointee(rules),
            sequence: predecessor.map(|entry| entry.sequence.clone()).unwrap_or_default(),
            stop,
            trigger,
            lossless: AtomicBool::new(false),
            thread: Mutex::new(None),
        });
        let mut entries = self.entries.write().ignore_poison();
        if self.is_stopped.load(Ordering::SeqCst) {
            entry.trigger.stop();
        }
        entries.push(entry.clone());
        drop(entries);
        entry
    }

    /// The entry of slot `index`.
    pub fn get(&self, index: usize) -> Option<Arc<CameraEntry>> {
        self.entries.read().ignore_poison().get(index).cloned()
    }

    /// Slot index and entry of the running camera `name`.
    pub fn find(&self, name: &str) -> Option<(usize, Arc<CameraEntry>)> {
        let entries = self.entries.read().ignore_poison();
        let index = entries.iter().rposition(|entry| entry.name == name && !entry.stop.is_stopped())?;
        Some((index, entries[index].clone()))
    }

    /// Stops every capture thread without waiting, and those that a reload adds later. Returns the handles of those not
    /// stopped before.
    pub fn stop(&self) -> Vec<JoinHandle<()>> {
        let entries = self.entries.write().ignore_poison();
        self.is_stopped.store(true, Ordering::SeqCst);
        entries.iter().filter_map(|entry| entry.stop()).collect()
    }
}
