//! One run of the service: start the threads, wait for an end, stop in order.
//!
//! In: [`Components`]. Out: the outcome, once everything has stopped. Shutdown stops the cameras and drops the waiting
//! frames first, then finishes the frame in the detector, then drains the sinks' queues. All of that shares the grace
//! period; what is left at its end is abandoned and logged.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::oneshot::error::RecvError;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::cameras::capture;
use super::cameras::context::RunContext;
use super::cameras::drop_reason::DropReason;
use super::cameras::registry::CameraRegistry;
use super::components::Components;
use super::detect::{self, DetectorThread};
use super::output::drain::{SinkTask, SinkTasks};
use super::output::objects::Objects;
use super::output::publisher::Publisher;
use super::reload::reloader::Reloader;
use super::supervision::health::Health;
use super::supervision::systemd;
use super::supervision::task::ServiceTask;
use crate::clock::Clock;
use crate::control::{Control, answer};
use crate::error::{Error, Kind, Result};
use crate::frame::Slots;
use crate::message::Message;
use crate::publish::Outbox;
use crate::stop::{self, Stop};

/// Longest wait at the end of a run for capture threads to close their devices.
const DEVICE_RELEASE: Duration = Duration::from_secs(1);

/// Interval of the checks for the end of capture threads.
const DEVICE_RELEASE_CHECK: Duration = Duration::from_millis(5);

/// Runs the service once, from opening the cameras to the last flush.
///
/// # Errors
///
/// The error that ended the run, if neither `stop` nor the end of every camera did.
pub fn run_once(runtime: &Runtime, components: Components, stop: &Stop) -> Result<()> {
    runtime.block_on(run(components, stop))
}

async fn run(components: Components, stop: &Stop) -> Result<()> {
    let Components {
        identity,
        health,
        cameras,
        engine,
        monitoring,
        swap,
        mut observers,
        outlets,
        clock,
        control,
        metrics,
        pattern,
        track,
        counts,
        supervision,
        reload,
    } = components;

    // The sinks start first, so that no message of the other threads is lost.
    let outputs: Vec<bool> = outlets.iter().map(|outlet| outlet.is_output).collect();
    let (outbox, tasks) = Outbox::start(outlets, &metrics);
    let tasks = outputs.into_iter().zip(tasks).map(|(is_output, task)| SinkTask { is_output, task });
    let mut sinks = SinkTasks(tasks.collect());

    // Dropping the trigger stops the threads, so that every way out of this function stops them.
    let (ending, run_stop) = stop::pair();
    let context = RunContext {
        precedence: Arc::default(),
        slots: Arc::new(Slots::new(0)),
        cameras: Arc::new(CameraRegistry::default()),
        health: health.clone(),
        metrics: metrics.clone(),
        clock: clock.clone(),
        publisher: Publisher::new(identity, outbox.clone(), clock.clone()),
        stop: run_stop,
    };
    let _stop_cameras = StopCamerasOnDrop(context.cameras.clone());
    detect::report_model(&context, &engine.info());
    register_status(&control, &health, &clock);
    let registry = context.cameras.clone();
    control.register("regions", move |_| Ok(registry.regions()));

    // Cameras start before the monitor, which samples their slots by index.
    let names: Arc<[String]> = cameras.iter().map(|camera| camera.name.clone()).collect();
    for camera in cameras {
        capture::start(&context, camera, None)?;
    }
    let started = monitoring.map(|monitoring| monitoring.start(&context, names, swap.clone(), &control)).transpose()?;
    let monitor = started.map(|(observer, running)| {
        observers.push(observer);
        running
    });

    let (limits, current_limits) = watch::channel(Arc::new(supervision));
    let task = ServiceTask {
        health: health.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
        outbox: outbox.clone(),
        limits: current_limits.clone(),
    };
    let task = tokio::spawn(task.run());
    // The detector thread reports its end through the channel; a panic closes the channel.
    let (done, mut detected) = oneshot::channel();
    let detector = DetectorThread { engine, swap: swap.clone(), observers, objects: Objects::new(track, counts) };
    detector.spawn(context.clone(), done)?;

    // A reload may end this run for a new one. This comes last, when the run can apply a configuration.
    let (new_run, new_run_requested) = stop::pair();
    let new_run = Mutex::new(Some(new_run));
    let reloader = Reloader { run: context.clone(), swap, pattern, limits, new_run };
    let _unused = match reload {
        Some(requests) => {
            requests.begin_run(reloader);
            None
        }
        // Dropped at the end: without its trigger the run would end.
        None => Some(reloader),
    };

    let mut outcome = tokio::select! {
        outcome = &mut detected => Some(detector_outcome(outcome)),
        lost = sinks.all_lost() => Some(Err(lost)),
        () = stop.stopped() => None,
        () = new_run_requested.stopped() => None,
    };

    let deadline = Instant::now() + current_limits.borrow().grace_period;
    // The service task ends before the last status is published, so that none follows it.
    task.abort();
    let _ = task.await;
    health.set_stopping();
    if stop.is_stopped() {
        systemd::stopping();
    }
    outbox.offer(Message::Status(health.status(clock.as_ref())));

    // Cameras stop first, and a reload can start none any more. Frames that wait for the detector are dropped and counted.
    ending.stop();
    let capture_threads = context.cameras.stop();
    for index in context.slots.stop() {
        if let Some(entry) = context.cameras.get(index) {
            context.drop_frame(&entry.name, DropReason::Stopped);
        }
    }

    // The frame in the detector is finished and reported.
    if outcome.is_none() {
        match tokio::time::timeout_at(deadline, detected).await {
            Ok(finished) => outcome = Some(detector_outcome(finished)),
            Err(_) => tracing::warn!("grace period exceeded; the frame in the detector is abandoned"),
        }
    }
    // A generation that served until a regular end is not suspected of a crash.
    if !matches!(outcome, Some(Err(_)))
        && let Some(monitor) = &monitor
    {
        monitor.end();
    }

    // Now nothing is published any more: the sinks send what is queued.
    outbox.close();
    sinks.drain(deadline).await;
    wait_for_release(&capture_threads, deadline).await;
    outcome.unwrap_or(Ok(()))
}

/// Waits until the capture threads have ended: the next run opens the same devices, and a child process would outlive
/// its thread. A driver that hangs is not waited for.
async fn wait_for_release(capture_threads: &[JoinHandle<()>], deadline: Instant) {
    let deadline = deadline.min(Instant::now() + DEVICE_RELEASE);
    while capture_threads.iter().any(|thread| !thread.is_finished()) && Instant::now() < deadline {
        tokio::time::sleep(DEVICE_RELEASE_CHECK).await;
    }
}

/// Stops the capture threads when it is dropped.
struct StopCamerasOnDrop(Arc<CameraRegistry>);

impl Drop for StopCamerasOnDrop {
    fn drop(&mut self) {
        drop(self.0.stop());
    }
}

/// Registers the verb `status`: it answers with the status message.
pub fn register_status(control: &Control, health: &Arc<Health>, clock: &Arc<dyn Clock>) {
    let (health, clock) = (health.clone(), clock.clone());
    control.register("status", move |_| answer(&Message::Status(health.status(clock.as_ref()))));
}

/// The outcome of the detector thread; a closed channel means that it panicked.
fn detector_outcome(outcome: Result<Result<()>, RecvError>) -> Result<()> {
    outcome.unwrap_or_else(|_| Err(Error::new(Kind::Internal, "the detector thread panicked")))
}
