//! One life of the service, straight through: start the threads, wait for an end, stop in order.
//!
//! The order of stopping: cameras and waiting frames first, then the frame in work, then what is queued for the sinks,
//! then the flush. All of it within the grace period; what is not done by then is given up and said so.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::components::Parts;
use super::detect::{self, Detection};
use super::monitoring::Running;
use super::reload::{Reload, Reloader, State};
use crate::clock::Clock;
use crate::control::Control;
use crate::daemon::cameras::capture::{Shared, drop_frame};
use crate::daemon::cameras::registry::Lanes;
use crate::daemon::output::drain::Sinks;
use crate::daemon::output::objects::Objects;
use crate::daemon::output::publisher::Voice;
use crate::daemon::supervision::health::Health;
use crate::daemon::supervision::systemd;
use crate::daemon::supervision::task::Vitals;
use crate::error::{Error, Kind, Result};
use crate::frame::Slots;
use crate::message::Message;
use crate::publish::Outbox;
use crate::stop::{self, Stop};

/// How long a life may wait at its end for cameras to let go of their devices.
const RELEASE: Duration = Duration::from_secs(1);

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
        health,
        cameras,
        engine,
        monitoring,
        swap,
        mut watchers,
        outlets,
        server,
        clock,
        control,
        metrics,
        skies,
        track,
        supervision,
        reload,
    } = parts;
    let (outbox, tasks) = Outbox::start(outlets, &metrics);
    let mut sinks = Sinks(tasks);
    // Ends the threads whichever way this function is left.
    let (ending, rest_stop) = stop::pair();
    let shared = Shared {
        precedence: Arc::default(),
        slots: Arc::new(Slots::new(0)),
        lanes: Arc::new(Lanes::default()),
        health: health.clone(),
        metrics: metrics.clone(),
        clock: clock.clone(),
        voice: Voice::new(identity, outbox.clone(), clock.clone()),
        stop: rest_stop,
    };
    let _ends = EndsLanes(shared.lanes.clone());
    detect::announce(&shared, &engine.info());
    answer_status(&control, &health, &clock);
    let (limits, limits_now) = watch::channel(Arc::new(supervision));
    let vitals = Vitals { shared: shared.clone(), outbox: outbox.clone(), limits: limits_now.clone() };
    let names: Arc<[String]> = cameras.iter().map(|camera| camera.name.clone()).collect();
    for camera in cameras {
        shared.begin(camera, None)?;
    }
    let started = monitoring.map(|monitoring| monitoring.start(&shared, names, swap.clone(), &control)).transpose()?;
    let monitor = started.map(|(watcher, running)| {
        watchers.push(watcher);
        running
    });
    let vitals = tokio::spawn(vitals.watch());
    // Aborted whichever way this function is left.
    let mut serving = JoinSet::new();
    if let Some(server) = server {
        serving.spawn(server.serve());
    }
    let (done, mut detected) = oneshot::channel();
    Detection { engine, swap: swap.clone(), watchers, objects: Objects::new(track) }.spawn(shared.clone(), done)?;
    let (another, new_life) = stop::pair();
    if let Some(reload) = reload {
        let life = Reloader {
            state: Mutex::new(State::new(&reload.settings)),
            reload,
            shared: shared.clone(),
            swap,
            skies,
            limits,
            another: Mutex::new(Some(another)),
        };
        answer_reload(&control, life);
    }

    let mut outcome = tokio::select! {
        outcome = &mut detected => Some(judge(outcome)),
        lost = sinks.lost() => Some(Err(lost)),
        () = stop.stopped() => None,
        () = new_life.stopped() => None,
    };

    control.remove("reload");
    let deadline = Instant::now() + limits_now.borrow().grace_period;
    vitals.abort();
    let _ = vitals.await;
    health.stopping();
    if stop.is_stopped() {
        systemd::stopping();
    }
    outbox.offer(Message::Status(health.status(clock.as_ref())));
    ending.stop();
    let captures = shared.lanes.end();
    for camera in shared.slots.shut() {
        if let Some(lane) = shared.lanes.get(camera) {
            drop_frame(&metrics, &health, &lane.name, "stopped");
        }
    }
    if outcome.is_none() {
        match tokio::time::timeout_at(deadline, detected).await {
            Ok(finished) => outcome = Some(judge(finished)),
            Err(_) => tracing::warn!("the frame in work took longer than the grace period and is given up"),
        }
    }
    if !matches!(outcome, Some(Err(_))) {
        monitor.iter().for_each(Running::end);
    }
    outbox.close();
    sinks.drain(deadline).await;
    drop(serving);
    // The next life wants the devices, and a child left behind would go on. A driver that hangs is not waited for.
    let deadline = deadline.min(Instant::now() + RELEASE);
    while captures.iter().any(|thread| !thread.is_finished()) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    outcome.unwrap_or(Ok(()))
}

/// Ends the capture threads when it falls.
struct EndsLanes(Arc<Lanes>);

impl Drop for EndsLanes {
    fn drop(&mut self) {
        drop(self.0.end());
    }
}

/// Makes `status` answer with what is published as status.
fn answer_status(control: &Control, health: &Arc<Health>, clock: &Arc<dyn Clock>) {
    let (health, clock) = (health.clone(), clock.clone());
    control.register("status", move |_| health.json(clock.as_ref()));
}

/// Makes `reload` read the configuration again, and tells of one that was refused before this life began.
fn answer_reload(control: &Control, life: Reloader) {
    let Reload { refused, asked, .. } = &life.reload;
    match refused {
        Some(reason) => life.refuse(reason),
        None => {
            life.shared.metrics.reload_successful.set(1);
        }
    }
    let asked = asked.clone();
    control.register("reload", move |_| life.reload());
    // What came between the last look there and now.
    if asked.take().is_some() {
        let control = control.clone();
        tokio::task::spawn_blocking(move || control.call("reload", Value::Null));
    }
}

/// How detection ended; a thread that fell without a word panicked.
fn judge(outcome: Result<Result<()>, oneshot::error::RecvError>) -> Result<()> {
    outcome.unwrap_or_else(|_| Err(Error::new(Kind::Internal, "the detector thread panicked")))
}
