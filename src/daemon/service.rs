//! One life of the service, straight through: start the threads, wait for an end, stop in order.
//!
//! The order of stopping: cameras and waiting frames first, then the frame in work, then what is queued for the sinks,
//! then the flush. All of it within the grace period; what is not done by then is given up and said so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::capture::{Capturer, Shared, drop_frame};
use super::detect::{self, Detection};
use super::health::{self, Health};
use super::identity::Identity;
use super::objects::Objects;
use super::parts::{Camera, Parts};
use crate::clock::Clock;
use crate::control::Control;
use crate::error::{Error, Kind, Result};
use crate::frame::Slots;
use crate::message::{Event, EventName, Message, Moment, Schema};
use crate::publish::Outbox;
use crate::stop::{self, Stop};

/// How often health is looked at, and after how many looks it is told though nothing changed.
const STATUS: (Duration, u32) = (Duration::from_secs(1), 60);

/// Everything that speaks for the service: who it is, and where its messages go.
#[derive(Clone)]
pub struct Voice {
    identity: Arc<Identity>,
    outbox: Outbox,
    clock: Arc<dyn Clock>,
    events: Arc<AtomicU64>,
    /// By camera: reports of which none may be lost.
    patient: Arc<[AtomicBool]>,
}

impl Voice {
    /// Who speaks.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Tells of something that happened.
    pub fn event(&self, event: EventName, camera: Option<&str>, details: BTreeMap<String, serde_json::Value>) {
        let now = self.clock.wall();
        let number = self.events.fetch_add(1, Ordering::Relaxed);
        self.outbox.offer(Message::Event(Event {
            schema: Schema::V1,
            device: self.identity.device.clone(),
            event,
            id: format!("{}-{number}", now.as_microsecond()),
            at: Moment(now),
            camera: camera.map(str::to_owned),
            details,
        }));
    }

    /// From now on reports of camera `index` wait for room in the sinks' queues.
    pub fn be_patient(&self, index: usize) {
        self.patient[index].store(true, Ordering::Relaxed);
    }

    /// Sends a report of camera `index`.
    pub fn report(&self, index: usize, report: Message) {
        if self.patient[index].load(Ordering::Relaxed) {
            self.outbox.deliver(report);
        } else {
            self.outbox.offer(report);
        }
    }
}

/// Lives once: from opening the cameras to the last flush.
///
/// # Errors
///
/// What ended it, if that was neither `stop` nor the end of every camera.
pub fn run_once(runtime: &tokio::runtime::Runtime, parts: Parts, stop: &Stop) -> Result<()> {
    runtime.block_on(live(parts, stop))
}

async fn live(parts: Parts, stop: &Stop) -> Result<()> {
    let Parts {
        identity,
        cameras,
        engine,
        swap,
        watchers,
        outlets,
        server,
        clock,
        control,
        track,
        metrics,
        stall_timeout,
        grace_period,
    } = parts;
    let names: Arc<[String]> = cameras.iter().map(|camera| camera.name.clone()).collect();
    let health = Arc::new(Health::new(&identity.device, names.iter().map(String::as_str), stall_timeout));
    let (outbox, sinks) = Outbox::start(outlets, &metrics);
    // Ends the capture threads whichever way this function is left.
    let (ending, captures_stop) = stop::pair();
    let shared = Shared {
        slots: Arc::new(Slots::new(names.len())),
        health: health.clone(),
        metrics: metrics.clone(),
        clock: clock.clone(),
        voice: Voice {
            identity: Arc::new(identity),
            outbox: outbox.clone(),
            clock: clock.clone(),
            events: Arc::default(),
            patient: names.iter().map(|_| AtomicBool::new(false)).collect(),
        },
        stop: captures_stop,
    };
    let slots = shared.slots.clone();
    detect::announce(&shared, &engine.info());
    answer_status(&control, &health, &clock);
    let status = tokio::spawn(tell_status(health.clone(), clock.clone(), outbox.clone()));
    // Aborted whichever way this function is left.
    let mut serving = JoinSet::new();
    if let Some(server) = server {
        serving.spawn(server.serve());
    }
    let objects = Objects::new(track, names.len());
    let mut detected = start(shared, cameras, Detection { cameras: names.clone(), engine, swap, watchers, objects })?;
    let mut sinks = Sinks(sinks);

    let mut outcome = tokio::select! {
        outcome = &mut detected => Some(judge(outcome)),
        lost = sinks.lost() => Some(Err(lost)),
        () = stop.stopped() => None,
    };

    let deadline = Instant::now() + grace_period;
    status.abort();
    let _ = status.await;
    health.stopping();
    outbox.offer(Message::Status(health.status(clock.as_ref())));
    ending.stop();
    for camera in slots.shut() {
        drop_frame(&metrics, &health, &names[camera], "stopped");
    }
    if outcome.is_none() {
        match tokio::time::timeout_at(deadline, detected).await {
            Ok(finished) => outcome = Some(judge(finished)),
            Err(_) => tracing::warn!("the frame in work took longer than the grace period and is given up"),
        }
    }
    outbox.close();
    sinks.drain(deadline).await;
    drop(serving);
    outcome.unwrap_or(Ok(()))
}

/// Makes `status` answer with what is published as status.
fn answer_status(control: &Control, health: &Arc<Health>, clock: &Arc<dyn Clock>) {
    let (health, clock) = (health.clone(), clock.clone());
    control.register("status", move |_| {
        serde_json::to_value(Message::Status(health.status(clock.as_ref())))
            .map_err(|error| Error::new(Kind::Internal, "the status has no JSON form").because(error))
    });
}

/// Starts the threads; the receiver hears how detection ended.
fn start(shared: Shared, cameras: Vec<Camera>, detection: Detection) -> Result<oneshot::Receiver<Result<()>>> {
    for (index, camera) in cameras.into_iter().enumerate() {
        let capturer = Capturer::new(shared.clone(), index, &camera);
        std::thread::Builder::new()
            .name(format!("camera-{}", camera.name))
            .spawn(move || capturer.run(camera))
            .map_err(|error| Error::new(Kind::Unavailable, "cannot start a camera's thread").because(error))?;
    }
    let (done, detected) = oneshot::channel();
    detection.spawn(shared, done)?;
    Ok(detected)
}

/// How detection ended; a thread that fell without a word panicked.
fn judge(outcome: Result<Result<()>, oneshot::error::RecvError>) -> Result<()> {
    outcome.unwrap_or_else(|_| Err(Error::new(Kind::Internal, "the detector thread panicked")))
}

/// Tells the status when it changes, and once in a while though it does not.
async fn tell_status(health: Arc<Health>, clock: Arc<dyn Clock>, outbox: Outbox) {
    let mut told = None;
    let mut looks = 0;
    let mut interval = tokio::time::interval(STATUS.0);
    loop {
        interval.tick().await;
        let status = health.status(clock.as_ref());
        looks += 1;
        if looks >= STATUS.1 || told.as_ref().is_none_or(|told| health::differs(told, &status)) {
            looks = 0;
            outbox.offer(Message::Status(status.clone()));
            told = Some(status);
        }
    }
}

/// The tasks of the sinks.
struct Sinks(Vec<JoinHandle<Result<()>>>);

impl Sinks {
    /// Completes with the last sink's error once no sink is left: nobody would hear what is said any more. A sink that
    /// is gone while others are left is told and done without.
    async fn lost(&mut self) -> Error {
        loop {
            let (ended, index) = std::future::poll_fn(|context| {
                for (index, task) in self.0.iter_mut().enumerate() {
                    if let std::task::Poll::Ready(ended) = std::pin::Pin::new(task).poll(context) {
                        return std::task::Poll::Ready((ended, index));
                    }
                }
                std::task::Poll::Pending
            })
            .await;
            self.0.swap_remove(index);
            let error = match ended {
                Ok(Err(error)) => error,
                _ => Error::new(Kind::Internal, "a sink ended by itself"),
            };
            if self.0.is_empty() {
                return error;
            }
            tracing::warn!(error = error.chain(), "a sink is gone; the others go on");
        }
    }

    /// Waits until every sink has sent what was queued, at most until `deadline`.
    async fn drain(self, deadline: Instant) {
        for mut task in self.0 {
            match tokio::time::timeout_at(deadline, &mut task).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => tracing::warn!(error = error.chain(), "not everything was sent"),
                Ok(Err(error)) => tracing::warn!(error = error.to_string(), "a sink failed at the end"),
                Err(_) => {
                    task.abort();
                    tracing::warn!("a sink was not done within the grace period; what it held is lost");
                }
            }
        }
    }
}
