//! What is being said, for those who watch: the latest report of every camera, a few minutes of rates and latencies,
//! and every message as it comes.
//!
//! In: messages. Out: texts for the stream, numbers for the plots. A watcher that falls behind misses messages and is
//! told so; nobody waits for it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use serde::Serialize;
use tokio::sync::broadcast;

use crate::message::{Message, Report};
use crate::sync::IgnorePoison;

/// Messages that a slow watcher may be behind.
const BEHIND: usize = 64;
/// Points of a plot.
const POINTS: usize = 150;
/// Time between two points, in milliseconds of the frames' clock.
const STEP_NS: u64 = 2_000_000_000;

/// The state; clones share it.
#[derive(Debug, Clone)]
pub struct Live {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    cameras: Mutex<BTreeMap<String, Seen>>,
    said: broadcast::Sender<Said>,
}

/// A message for the stream.
#[derive(Debug, Clone)]
pub struct Said {
    /// `report`, `event` or `status`.
    pub kind: &'static str,
    /// Its JSON.
    pub text: Arc<str>,
}

#[derive(Debug, Default)]
struct Seen {
    report: Option<Arc<str>>,
    points: VecDeque<Point>,
    sum: Sum,
}

#[derive(Debug, Default)]
struct Sum {
    since_ns: Option<u64>,
    frames: u32,
    detect_ms: f64,
    total_ms: f64,
    objects: usize,
}

/// Two seconds of a camera.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// When, by the frames' wall time: RFC 3339.
    pub at: String,
    /// Frames looked at a second.
    pub fps: f64,
    /// The network's time, in milliseconds.
    pub detect_ms: f64,
    /// From capture to report, in milliseconds.
    pub total_ms: f64,
    /// Objects in sight on average.
    pub objects: f64,
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}

impl Live {
    /// Nothing said yet.
    pub fn new() -> Self {
        let (said, _) = broadcast::channel(BEHIND);
        Self { inner: Arc::new(Inner { cameras: Mutex::default(), said }) }
    }

    fn cameras(&self) -> MutexGuard<'_, BTreeMap<String, Seen>> {
        self.inner.cameras.lock().ignore_poison()
    }

    /// Takes a message.
    pub fn take(&self, message: &Message) {
        let Ok(text) = serde_json::to_string(message) else { return };
        let text: Arc<str> = text.into();
        let kind = match message {
            Message::Report(report) => {
                self.cameras().entry(report.camera.clone()).or_default().take(report, text.clone());
                "report"
            }
            Message::Event(_) => "event",
            Message::Status(_) => "status",
        };
        // Nobody watches: fine.
        let _ = self.inner.said.send(Said { kind, text });
    }

    /// Every message from now on.
    pub fn watch(&self) -> broadcast::Receiver<Said> {
        self.inner.said.subscribe()
    }

    /// How many watch.
    pub fn watchers(&self) -> usize {
        self.inner.said.receiver_count()
    }

    /// The latest report of `camera` as JSON.
    pub fn report(&self, camera: &str) -> Option<Arc<str>> {
        self.cameras().get(camera)?.report.clone()
    }

    /// The plots, by camera.
    pub fn series(&self) -> BTreeMap<String, Vec<Point>> {
        self.cameras().iter().map(|(name, seen)| (name.clone(), seen.points.iter().cloned().collect())).collect()
    }
}

impl Seen {
    fn take(&mut self, report: &Report, text: Arc<str>) {
        self.report = Some(text);
        let now_ns = report.captured_monotonic_ns;
        let since_ns = *self.sum.since_ns.get_or_insert(now_ns);
        let elapsed_ns = now_ns.saturating_sub(since_ns);
        if elapsed_ns >= STEP_NS && self.sum.frames > 0 {
            let frames = f64::from(self.sum.frames);
            let round = |value: f64| (value * 100.0).round() / 100.0;
            self.points.push_back(Point {
                at: String::from(report.captured_at),
                fps: round(frames / (elapsed_ns as f64 * 1e-9)),
                detect_ms: round(self.sum.detect_ms / frames),
                total_ms: round(self.sum.total_ms / frames),
                objects: round(self.sum.objects as f64 / frames),
            });
            if self.points.len() > POINTS {
                self.points.pop_front();
            }
            self.sum = Sum { since_ns: Some(now_ns), ..Sum::default() };
        }
        self.sum.frames += 1;
        self.sum.detect_ms += report.timing_ms.detect;
        self.sum.total_ms += report.timing_ms.total;
        self.sum.objects += report.detections.len();
    }
}
