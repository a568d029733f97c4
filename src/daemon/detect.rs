//! The detector thread: takes frames from the slots, each camera in its turn, and turns them into reports. Between two
//! frames it takes up another engine if one was offered, and shows the watchers what was seen.

use std::sync::Arc;
use std::time::Duration;

use super::identity::clock_synchronized;
use crate::daemon::cameras::capture::{Shared, drop_frame};
use crate::daemon::model::engine::{Engine, EngineOutput, ModelInfo};
use crate::daemon::model::swap::Swap;
use crate::daemon::output::objects::{self, Objects};
use crate::daemon::output::observer::Watcher;
use crate::daemon::supervision::health::Work;
use crate::daemon::supervision::thermal;
use crate::error::{Error, Kind, Result};
use crate::frame::Frame;
use crate::message::{self, Message, Model, Moment, Report, Schema, Timing};
use crate::metrics::{self, Seen, Stage, Why};

/// How often a picture may fail on its own account before the engine is to blame.
const PATIENCE: u32 = 100;

/// What the detector thread works with.
pub struct Detection {
    pub engine: Box<dyn Engine>,
    pub swap: Swap,
    pub watchers: Vec<Box<dyn Watcher>>,
    pub objects: Objects,
}

/// Tells health and metrics which model detects from now on.
pub fn announce(shared: &Shared, info: &ModelInfo) {
    shared.health.model(model(info));
    shared.metrics.model(&info.name, info.precision.name(), &info.sha256);
}

/// Detects until the slots are shut or every camera has ended.
///
/// # Errors
///
/// What the engine died of.
fn run(shared: &Shared, detection: &mut Detection) -> Result<()> {
    let Detection { engine, swap, watchers, objects } = detection;
    let mut failures = 0;
    let now_ns = || shared.clock.monotonic_ns();
    shared.health.work(Work::Waiting(now_ns()));
    while let Some((index, frame)) = shared.slots.take() {
        if swap.exchange(engine) {
            let info = engine.info();
            announce(shared, &info);
            failures = 0;
            tracing::info!(
                model = info.name,
                precision = info.precision.name(),
                generation = info.generation,
                sha256 = info.sha256,
                "another model detects from now on"
            );
        }
        let Some(lane) = shared.lanes.get(index) else { continue };
        let camera = lane.name.as_str();
        let frame = Arc::new(frame);
        let begin_ns = now_ns();
        shared.health.taken(camera, begin_ns);
        let taken = shared.precedence.take();
        let outcome = engine.detect(&frame.image);
        drop(taken);
        match outcome {
            Ok(output) => {
                failures = 0;
                let mut report = report(shared, camera, &frame, begin_ns, output, engine.info());
                let size = (report.width, report.height);
                let removed = |reason| {
                    let why = Why { camera: camera.to_owned(), reason };
                    shared.metrics.detections_removed.get_or_create(&why).inc();
                };
                report.removed = lane.rules.load().filter.apply(size, &mut report.detections, removed);
                let changes = objects.follow(index, &mut report);
                count(shared, &report);
                for watcher in watchers.iter_mut() {
                    watcher.seen(index, &frame, &report);
                }
                let patience = lane.is_patient();
                if patience {
                    shared.health.work(Work::Delivering(now_ns()));
                }
                shared.voice.report(patience, Message::Report(report));
                objects::tell(&shared.voice, camera, changes);
            }
            Err(error) if error.kind() == Kind::Data && failures < PATIENCE => {
                failures += 1;
                drop_frame(&shared.metrics, &shared.health, camera, "unfit");
                tracing::warn!(
                    camera,
                    sequence = frame.sequence,
                    error = error.chain(),
                    "a picture cannot be looked at"
                );
            }
            Err(error) => return Err(error.at(format!("camera {camera}, frame {}", frame.sequence))),
        }
        rest(shared, Duration::from_nanos(now_ns().saturating_sub(begin_ns)));
        shared.health.work(Work::Waiting(now_ns()));
    }
    Ok(())
}

/// Does nothing for a while where it is hot, after a frame that took `busy`; the frames that come meanwhile replace
/// each other.
fn rest(shared: &Shared, busy: Duration) {
    let wait = |time: Duration| {
        let until_ns = shared.clock.monotonic_ns().saturating_add(time.as_nanos() as u64);
        shared.health.work(Work::Resting(until_ns));
        shared.clock.wait(time, &shared.stop)
    };
    let time = thermal::rest(shared.health.throttle_level(), busy);
    if !time.is_zero() && wait(time).is_err() {
        return;
    }
    while shared.health.throttle_level() >= thermal::PAUSED && wait(Duration::from_secs(1)).is_ok() {}
}

/// What messages say of a model.
pub fn model(info: &ModelInfo) -> Model {
    Model {
        name: info.name.clone(),
        precision: info.precision,
        generation: info.generation,
        sha256: info.sha256.clone(),
    }
}

fn report(
    shared: &Shared,
    camera: &str,
    frame: &Frame,
    begin_ns: u64,
    output: EngineOutput,
    info: ModelInfo,
) -> Report {
    let label = |class_id: u32| {
        let index = (class_id as usize).wrapping_sub(1);
        info.labels.get(index).cloned().unwrap_or_else(|| format!("class_{class_id}"))
    };
    let detections = output.detections.iter().map(|found| message::Detection {
        label: label(found.class_id),
        class_id: found.class_id,
        score: found.score,
        bbox: found.bbox,
        track: None,
        zones: Vec::new(),
    });
    let since_capture = |ns: u64| rounded(ns.saturating_sub(frame.captured_monotonic_ns) as f64 * 1e-6);
    Report {
        schema: Schema::V1,
        device: shared.voice.identity().device.clone(),
        camera: camera.to_owned(),
        sequence: frame.sequence,
        captured_at: Moment(frame.captured_at),
        captured_monotonic_ns: frame.captured_monotonic_ns,
        boot_id: shared.voice.identity().boot_id.clone(),
        clock_synchronized: clock_synchronized(),
        width: frame.image.width(),
        height: frame.image.height(),
        model: model(&info),
        timing_ms: Timing {
            age: since_capture(begin_ns),
            convert: rounded(output.convert_ms),
            detect: rounded(output.detect_ms),
            total: since_capture(shared.clock.monotonic_ns()),
        },
        detections: detections.collect(),
        removed: Vec::new(),
    }
}

/// Milliseconds to the microsecond: more digits would be noise.
fn rounded(milliseconds: f64) -> f64 {
    (milliseconds * 1e3).round() / 1e3
}

fn count(shared: &Shared, report: &Report) {
    let metrics = &shared.metrics;
    let timing = &report.timing_ms;
    metrics.frame_age.observe(timing.age * 1e-3);
    for (stage, milliseconds) in [("convert", timing.convert), ("detect", timing.detect), ("total", timing.total)] {
        metrics.stage_duration.get_or_create(&Stage { stage }).observe(milliseconds * 1e-3);
    }
    let camera = metrics::Camera { camera: report.camera.clone() };
    metrics.last_inference.get_or_create(&camera).set(shared.clock.wall().as_microsecond() as f64 * 1e-6);
    for found in &report.detections {
        let seen = Seen { camera: report.camera.clone(), label: found.label.clone() };
        metrics.detections.get_or_create(&seen).inc();
    }
}

impl Detection {
    /// Starts the detector thread; `done` hears how it ended.
    ///
    /// # Errors
    ///
    /// [`Kind::Unavailable`] if the system gives no thread.
    pub fn spawn(mut self, shared: Shared, done: tokio::sync::oneshot::Sender<Result<()>>) -> Result<()> {
        let work = move || {
            // The sender falls with the thread: a panic is noticed on the other side.
            let outcome = run(&shared, &mut self);
            for (camera, changes) in self.objects.finish() {
                objects::tell(&shared.voice, &camera, changes);
            }
            let _ = done.send(outcome);
        };
        std::thread::Builder::new()
            .name("detector".to_owned())
            .spawn(work)
            .map(drop)
            .map_err(|error| Error::new(Kind::Unavailable, "cannot start the detector thread").because(error))
    }
}
