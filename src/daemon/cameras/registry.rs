//! The cameras as the threads share them: one lane each, by the number of its slot. Lanes are added and ended while the
//! service runs; a number is never used again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::filter::Filter;
use super::motion_gate::GateRules;
use crate::stop::{self, Stop, Trigger};
use crate::sync::IgnorePoison;

/// What can be changed of a camera while it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Which frames are looked at.
    pub gate: GateRules,
    /// Which detections are reported.
    pub filter: Filter,
    /// Silent for longer, it is stalled.
    pub patience: Duration,
}

impl Default for Rules {
    /// Every frame, every detection, and ten seconds of patience.
    fn default() -> Self {
        Self { gate: GateRules::default(), filter: Filter::default(), patience: Duration::from_secs(10) }
    }
}

/// One camera.
#[derive(Debug)]
pub struct Lane {
    /// Its name.
    pub name: String,
    /// What it goes by now.
    pub rules: ArcSwap<Rules>,
    /// Frames captured; goes on over a restart of the camera.
    pub sequence: Arc<AtomicU64>,
    /// Ends its capture thread.
    pub stop: Stop,
    trigger: Trigger,
    patient: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Lane {
    /// None of its reports may be lost from now on: each waits for room in the sinks' queues.
    pub fn be_patient(&self) {
        self.patient.store(true, Ordering::Relaxed);
    }

    /// Whether none of its reports may be lost.
    pub fn is_patient(&self) -> bool {
        self.patient.load(Ordering::Relaxed)
    }

    /// Ends its capture thread and gives it back, to be waited for by whoever wants the device next.
    pub fn end(&self) -> Option<JoinHandle<()>> {
        self.trigger.stop();
        self.thread.lock().ignore_poison().take()
    }

    /// Its capture thread.
    pub fn started(&self, thread: JoinHandle<()>) {
        *self.thread.lock().ignore_poison() = Some(thread);
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: RwLock<Vec<Arc<Lane>>>,
}

impl Lanes {
    /// A new lane, behind the others. `before` is the lane of the same camera that it takes the place of.
    pub fn add(&self, name: &str, rules: Rules, before: Option<&Lane>) -> Arc<Lane> {
        let (trigger, stop) = stop::pair();
        let lane = Arc::new(Lane {
            name: name.to_owned(),
            rules: ArcSwap::from_pointee(rules),
            sequence: before.map(|lane| lane.sequence.clone()).unwrap_or_default(),
            stop,
            trigger,
            patient: AtomicBool::new(false),
            thread: Mutex::new(None),
        });
        self.lanes.write().ignore_poison().push(lane.clone());
        lane
    }

    /// The lane of slot `index`.
    pub fn get(&self, index: usize) -> Option<Arc<Lane>> {
        self.lanes.read().ignore_poison().get(index).cloned()
    }

    /// The number and the lane that serve the camera called `name`.
    pub fn find(&self, name: &str) -> Option<(usize, Arc<Lane>)> {
        let lanes = self.lanes.read().ignore_poison();
        let index = lanes.iter().rposition(|lane| lane.name == name && !lane.stop.is_stopped())?;
        Some((index, lanes[index].clone()))
    }

    /// Ends every capture thread; waits for none. Gives those back that were not ended before.
    pub fn end(&self) -> Vec<JoinHandle<()>> {
        self.lanes.read().ignore_poison().iter().filter_map(|lane| lane.end()).collect()
    }
}
