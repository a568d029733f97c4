//! Live feed: latest report of every camera, some minutes of rates and latencies, and a broadcast of every message.
//!
//! In: messages. Out: texts for the stream, values for the plots. A slow subscriber misses messages and is notified; it
//! never blocks others.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use serde::Serialize;
use tokio::sync::broadcast;

use crate::message::{Message, Report};
use crate::sync::IgnorePoison;

/// Buffer of a slow subscriber, in messages.
const BUFFERED: usize = 64;
/// Points of a series.
const POINTS: usize = 150;
/// Interval of a series, in nanoseconds of capture time.
const STEP_NS: u64 = 2_000_000_000;

/// Kind of the last message of a stream: the service stops, or begins another run.
pub const END: &str = "end";
/// Interval of the checks for the end of all subscribers.
const UNSUBSCRIBED_CHECK: std::time::Duration = std::time::Duration::from_millis(20);

/// The live feed. Clones share it.
#[derive(Debug, Clone)]
pub struct Live {
    inner: Arc<LiveState>,
}

#[derive(Debug)]
struct LiveState {
    cameras: Mutex<BTreeMap<String, CameraSeries>>,
    messages: broadcast::Sender<StreamMessage>,
}

/// A message for the stream.
#[derive(Debug, Clone)]
pub struct StreamMessage {
    /// `report`, `event`, `status` or [`END`].
    pub kind: &'static str,
    /// The message as JSON.
    pub text: Arc<str>,
}

#[derive(Debug, Default)]
struct CameraSeries {
    report: Option<Arc<str>>,
    points: VecDeque<SeriesPoint>,
    sum: IntervalSums,
}

#[derive(Debug, Default)]
struct IntervalSums {
    since_ns: Option<u64>,
    frames: u32,
    detect_ms: f64,
    total_ms: f64,
    objects: usize,
}

/// Values of a camera over two seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeriesPoint {
    /// Wall time of capture, RFC 3339.
    pub at: String,
    /// Analysed frames a second.
    pub fps: f64,
    /// Detection time, in milliseconds.
    pub detect_ms: f64,
    /// From capture to report, in milliseconds.
    pub total_ms: f64,
    /// Mean number of objects.
    pub objects: f64,
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}

impl Live {
    /// An empty feed.
    pub fn new() -> Self {
        let (messages, _) = broadcast::channel(BUFFERED);
        Self { inner: Arc::new(LiveState { cameras: Mutex::default(), messages }) }
    }

    fn cameras(&self) -> MutexGuard<'_, BTreeMap<String, CameraSeries>> {
        self.inner.cameras.lock().ignore_poison()
    }

    /// Publishes a message.
    pub fn add(&self, message: &Message) {
        let Ok(text) = serde_json::to_string(message) else { return };
        let text: Arc<str> = text.into();
        let kind = match message {
            Message::Report(report) => {
                self.cameras().entry(report.camera.clone()).or_default().add(report, text.clone());
                "report"
            }
            Message::Event(_) => "event",
            Message::Status(_) => "status",
        };
        // An error means that there are no subscribers.
        let _ = self.inner.messages.send(StreamMessage { kind, text });
    }

    /// Subscribes to all further messages.
    pub fn subscribe(&self) -> broadcast::Receiver<StreamMessage> {
        self.inner.messages.subscribe()
    }

    /// Ends the stream of every subscriber, after what was published.
    pub fn end(&self) {
        let _ = self.inner.messages.send(StreamMessage { kind: END, text: r#"{"state":"stopping"}"#.into() });
    }

    /// Completes once no subscriber is left.
    pub async fn all_unsubscribed(&self) {
        while self.subscribers() > 0 {
            tokio::time::sleep(UNSUBSCRIBED_CHECK).await;
        }
        // The connection still writes the end of the response.
        tokio::time::sleep(UNSUBSCRIBED_CHECK).await;
    }

    /// Number of subscribers.
    pub fn subscribers(&self) -> usize {
        self.inner.messages.receiver_count()
    }

    /// Latest report of `camera` as JSON.
    pub fn report(&self, camera: &str) -> Option<Arc<str>> {
        self.cameras().get(camera)?.report.clone()
    }

    /// Series by camera.
    pub fn series(&self) -> BTreeMap<String, Vec<SeriesPoint>> {
        self.cameras().iter().map(|(name, camera)| (name.clone(), camera.points.iter().cloned().collect())).collect()
    }
}

impl CameraSeries {
    fn add(&mut self, report: &Report, text: Arc<str>) {
        self.report = Some(text);
        let now_ns = report.captured_monotonic_ns;
        let since_ns = *self.sum.since_ns.get_or_insert(now_ns);
        let elapsed_ns = now_ns.saturating_sub(since_ns);
        if elapsed_ns >= STEP_NS && self.sum.frames > 0 {
            let frames = f64::from(self.sum.frames);
            let round = |value: f64| (value * 100.0).round() / 100.0;
            self.points.push_back(SeriesPoint {
                at: String::from(report.captured_at),
                fps: round(frames / (elapsed_ns as f64 * 1e-9)),
                detect_ms: round(self.sum.detect_ms / frames),
                total_ms: round(self.sum.total_ms / frames),
                objects: round(self.sum.objects as f64 / frames),
            });
            if self.points.len() > POINTS {
                self.points.pop_front();
            }
            self.sum = IntervalSums { since_ns: Some(now_ns), ..IntervalSums::default() };
        }
        self.sum.frames += 1;
        self.sum.detect_ms += report.timing_ms.detect;
        self.sum.total_ms += report.timing_ms.total;
        self.sum.objects += report.objects.values().map(|&count| count as usize).sum::<usize>();
    }
}
