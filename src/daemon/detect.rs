//! Detector thread: takes frames from the slots, detects, and publishes a report per frame.
//!
//! In: the newest frame of each camera, in turn. Out: reports, events of objects, and each frame with its report for the
//! observers. Between two frames the thread takes an engine that was offered, and rests if the temperature requires it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::cameras::context::RunContext;
use super::cameras::drop_reason::DropReason;
use super::cameras::filter::FrameSize;
use super::model::engine::{Engine, EngineOutput, ModelInfo};
use super::model::swap::EngineSwap;
use super::output::object_events::ObjectEvent;
use super::output::objects::{self, Objects};
use super::output::observer::FrameObserver;
use super::output::publisher::QueueFull;
use super::supervision::health::DetectorActivity;
use super::supervision::thermal;
use crate::error::{Error, Kind, Result};
use crate::frame::Frame;
use crate::message::{Detection, EventName, Model, Moment, Report, Schema, Timing};
use crate::metrics::{self, ReasonLabels, StageLabel};

/// Pictures in a row that the engine may refuse before the engine itself counts as broken.
const MAX_REFUSED_IN_A_ROW: u32 = 100;

/// Interval of the checks for the end of a thermal pause.
const PAUSE_CHECK: Duration = Duration::from_secs(1);

/// The detector thread.
pub struct DetectorThread {
    /// The engine at the start.
    pub engine: Box<dyn Engine>,
    /// Gives another engine.
    pub swap: EngineSwap,
    /// Receive each frame with its report.
    pub observers: Vec<Box<dyn FrameObserver>>,
    /// Tracks objects.
    pub objects: Objects,
}

impl DetectorThread {
    /// Starts the thread; `done` receives its outcome.
    ///
    /// # Errors
    ///
    /// [`Kind::Unavailable`] if the thread cannot be started.
    pub fn spawn(mut self, context: RunContext, done: oneshot::Sender<Result<()>>) -> Result<()> {
        let work = move || {
            // A panic drops `done`, which the receiver notices.
            let outcome = self.run(&context);
            for (camera, events) in self.objects.finish() {
                objects::publish(&context.publisher, &camera, events);
            }
            let _ = done.send(outcome);
        };
        std::thread::Builder::new()
            .name("detector".to_owned())
            .spawn(work)
            .map(drop)
            .map_err(|error| Error::new(Kind::Unavailable, "cannot start the detector thread").because(error))
    }

    /// Detects until the slots are stopped or every camera has ended.
    fn run(&mut self, context: &RunContext) -> Result<()> {
        let mut refused = 0;
        let now_ns = || context.clock.monotonic_ns();
        context.health.set_activity(DetectorActivity::Waiting { since_ns: now_ns() });
        while let Some((index, frame)) = context.slots.take() {
            // Between two frames: no frame is dropped for a swap, and each report names the engine that made it.
            if self.swap.exchange(&mut self.engine) {
                self.report_swap(context);
                refused = 0;
            }
            let Some(entry) = context.cameras.get(index) else { continue };
            let camera = entry.name.as_str();
            let frame = Arc::new(frame);
            let begin_ns = now_ns();
            context.health.frame_taken(camera, begin_ns);
            // The monitor yields the CPU while a frame is in the detector.
            let urgent = context.precedence.take();
            let outcome = self.engine.detect(&frame.image);
            drop(urgent);
            match outcome {
                Ok(output) => {
                    refused = 0;
                    let mut report = report(context, camera, &frame, begin_ns, output, self.engine.info());
                    // The filter comes before the trackers, so that no track starts from a removed detection.
                    let size = FrameSize { width: report.width, height: report.height };
                    let rules = entry.rules.load();
                    report.removed = rules.filter.apply(size, &mut report.detections, |rule| {
                        let why = ReasonLabels { camera: camera.to_owned(), reason: rule.name() };
                        context.metrics.detections_removed.get_or_create(&why).inc();
                    });
                    let events = self.objects.update(&rules.rules, &mut report);
                    count(context, &report, &events);
                    context.health.frame_analysed(camera, now_ns(), report.timing_ms.total);
                    // Observers come before the sinks: a sink may look up the frame of a report.
                    for observer in &mut self.observers {
                        observer.observe(index, &frame, &report);
                    }
                    let queue_full = if entry.is_lossless() { QueueFull::Wait } else { QueueFull::Drop };
                    if queue_full == QueueFull::Wait {
                        context.health.set_activity(DetectorActivity::Delivering { since_ns: now_ns() });
                    }
                    context.publisher.report(report, queue_full);
                    objects::publish(&context.publisher, camera, events);
                }
                // A picture may be at fault; after many in a row the engine is.
                Err(error) if error.kind() == Kind::Data && refused < MAX_REFUSED_IN_A_ROW => {
                    refused += 1;
                    context.drop_frame(camera, DropReason::Unfit);
                    tracing::warn!(camera, sequence = frame.sequence, error = error.chain(), "picture refused");
                }
                Err(error) => return Err(error.at(format!("camera {camera}, frame {}", frame.sequence))),
            }
            rest(context, Duration::from_nanos(now_ns().saturating_sub(begin_ns)));
            context.health.set_activity(DetectorActivity::Waiting { since_ns: now_ns() });
        }
        Ok(())
    }

    fn report_swap(&self, context: &RunContext) {
        let info = self.engine.info();
        report_model(context, &info);
        tracing::info!(
            model = info.name,
            precision = info.precision.name(),
            generation = info.generation,
            sha256 = info.sha256,
            "engine swapped"
        );
    }
}

/// Writes the model that detects to the health table and the metrics.
pub fn report_model(context: &RunContext, info: &ModelInfo) {
    context.health.set_model(model(info));
    context.metrics.model(&info.name, info.precision.name(), &info.sha256);
}

/// Rests after a frame that took `busy`, as long as the throttle level requires. Frames that come meanwhile replace each
/// other.
fn rest(context: &RunContext, busy: Duration) {
    let wait = |time: Duration| {
        let until_ns = context.clock.monotonic_ns().saturating_add(time.as_nanos() as u64);
        context.health.set_activity(DetectorActivity::Resting { until_ns });
        context.clock.wait(time, &context.stop)
    };
    let time = thermal::rest(context.health.throttle_level(), busy);
    if !time.is_zero() && wait(time).is_err() {
        return;
    }
    while context.health.throttle_level() >= thermal::PAUSED && wait(PAUSE_CHECK).is_ok() {}
}

/// The model in a message.
fn model(info: &ModelInfo) -> Model {
    Model {
        name: info.name.clone(),
        precision: info.precision,
        generation: info.generation,
        sha256: info.sha256.clone(),
    }
}

/// The report of a frame that was taken at `begin_ns`.
fn report(
    context: &RunContext,
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
    let detections = output.detections.iter().map(|found| Detection {
        label: label(found.class_id),
        class_id: found.class_id,
        score: found.score,
        bbox: found.bbox,
        track: None,
        zones: Vec::new(),
    });
    let since_capture_ms = |ns: u64| to_microsecond(ns.saturating_sub(frame.captured_monotonic_ns) as f64 * 1e-6);
    let identity = context.publisher.identity();
    Report {
        schema: Schema::V1,
        device: identity.device.clone(),
        camera: camera.to_owned(),
        sequence: frame.sequence,
        captured_at: Moment(frame.captured_at),
        captured_monotonic_ns: frame.captured_monotonic_ns,
        boot_id: identity.boot_id.clone(),
        clock_synchronized: context.clock.is_synchronized(),
        width: frame.image.width(),
        height: frame.image.height(),
        model: model(&info),
        timing_ms: Timing {
            age: since_capture_ms(begin_ns),
            convert: to_microsecond(output.convert_ms),
            detect: to_microsecond(output.detect_ms),
            total: since_capture_ms(context.clock.monotonic_ns()),
        },
        detections: detections.collect(),
        objects: BTreeMap::new(),
        occupied: Vec::new(),
        zones: BTreeMap::new(),
        removed: Vec::new(),
    }
}

/// Milliseconds, rounded to the microsecond: further digits would be noise.
fn to_microsecond(milliseconds: f64) -> f64 {
    (milliseconds * 1e3).round() / 1e3
}

/// Counts a report in the metrics.
fn count(context: &RunContext, report: &Report, events: &[ObjectEvent]) {
    let metrics = &context.metrics;
    let timing = &report.timing_ms;
    metrics.frame_age.observe(timing.age * 1e-3);
    for (stage, milliseconds) in [("convert", timing.convert), ("detect", timing.detect), ("total", timing.total)] {
        metrics.stage_duration.get_or_create(&StageLabel { stage }).observe(milliseconds * 1e-3);
    }
    let camera = metrics::CameraLabel { camera: report.camera.clone() };
    metrics.last_inference.get_or_create(&camera).set(context.clock.wall().as_microsecond() as f64 * 1e-6);
    metrics.count_objects(&report.camera, &report.objects);
    metrics.zones.count(&report.camera, &report.zones);
    for event in events {
        match event {
            ObjectEvent::Zone(event) if event.name == EventName::ZoneEntered => {
                metrics.zones.entered(&report.camera, &event.zone, &event.identity.label);
            }
            ObjectEvent::Line(event) => {
                metrics.zones.crossed(&report.camera, &event.line, &event.direction, &event.identity.label);
            }
            _ => {}
        }
    }
}
