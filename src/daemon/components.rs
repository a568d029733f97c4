//! Components: everything that one run of the service is built from.
//!
//! In: the settings. Out: [`Components`], the model loaded and checked, the cameras not yet opened. Tests build their
//! own.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::cameras::enable;
use super::cameras::open::{self, Camera};
use super::cameras::pattern::PatternControl;
use super::identity::Identity;
use super::model::engine::Engine;
use super::model::memory::warn_if_short;
use super::model::swap::EngineSwap;
use super::monitoring::Monitoring;
use super::monitoring::load::{LoadedModel, load};
use super::output::console::Console;
use super::output::frame_history::FrameHistory;
use super::output::line_counts::LineCounts;
use super::output::objects::ObjectSettings;
use super::output::observer::FrameObserver;
use super::output::sinks::SinkBuilder;
use super::output::web::{WebBuilder, WebOutputs};
use super::reload::requests::ReloadRequests;
use super::settings_check::check_labels;
use super::supervision::health::{FaultSource, Health};
use crate::clock::{Clock, SystemClock};
use crate::config::{ModelSource, Settings, SupervisionSettings, TrackSettings};
use crate::control::Control;
use crate::error::Result;
use crate::fault::FaultReporters;
use crate::message::MessageKind;
use crate::metrics::Metrics;
use crate::publish::Outlet;
use crate::track::TrackerSettings;
use crate::web::ListeningSocket;

/// Everything that one run of the service is built from.
pub struct Components {
    /// Device name and boot id.
    pub identity: Identity,
    /// The health table.
    pub health: Arc<Health>,
    /// The cameras.
    pub cameras: Vec<Camera>,
    /// The engine that detects.
    pub engine: Box<dyn Engine>,
    /// The monitor, if there is one.
    pub monitoring: Option<Monitoring>,
    /// Takes another engine.
    pub swap: EngineSwap,
    /// Receive each frame with its report.
    pub observers: Vec<Box<dyn FrameObserver>>,
    /// The sinks.
    pub outlets: Vec<Outlet>,
    /// Source of time.
    pub clock: Arc<dyn Clock>,
    /// The verbs of the control socket, the brokers and the page.
    pub control: Control,
    /// Counters and gauges.
    pub metrics: Arc<Metrics>,
    /// Weather of the pattern cameras.
    pub pattern: PatternControl,
    /// Rules by which objects are tracked and counted.
    pub track: ObjectSettings,
    /// Counts of crossings.
    pub counts: LineCounts,
    /// Stall timeout, grace period and temperature limits.
    pub supervision: SupervisionSettings,
    /// Requests for another configuration, if the run can reload.
    pub reload: Option<ReloadRequests>,
}

impl Components {
    /// Builds the components for `settings` on the current runtime, and registers their verbs with `control`. `health` is
    /// what the verb `status` answers from already. `page` becomes the server of these settings at once.
    ///
    /// # Errors
    ///
    /// An error of the model, of a folder to replay, of a sink or of the page.
    pub fn build(
        settings: &Settings,
        health: &Arc<Health>,
        page: &mut PageTask,
        control: &Control,
        console: Console,
    ) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        // Cameras come before the model: a wrong path is an error at once, loading a model takes time.
        let pattern = PatternControl::default();
        let prepare = |camera| open::prepare(camera, &settings.supervision, &clock, &pattern);
        let cameras = settings.cameras.iter().map(prepare).collect::<Result<_>>()?;
        pattern.register(control);
        let identity = Identity::of_machine(settings.device.id.as_deref());
        // Quantization takes minutes; a wrong label is an error at once.
        check_labels(settings)?;
        warn_if_short(settings);
        // The page comes before the model, too: it tells what the service is doing.
        let metrics = Arc::new(Metrics::new());
        let frames = FrameHistory::new(settings.cameras.iter().map(|camera| camera.name.clone()));
        let view = is_monitored(settings).then(Arc::default);
        let faults: FaultReporters = {
            let health = health.clone();
            Arc::new(move |name: &str| health.fault_reporter(FaultSource::Output(name.to_owned())))
        };
        let web = WebBuilder {
            settings,
            frames: &frames,
            control,
            clock: &clock,
            boot_id: &identity.boot_id,
            metrics: &metrics,
            faults: &faults,
            view: view.clone(),
            console,
            socket: page.end(),
        };
        let WebOutputs { outlets: web_outlets, server } = web.build()?;
        page.0 = server.map(|server| RunningPage { socket: server.socket(), task: tokio::spawn(server.serve()) });
        let LoadedModel { engine, monitoring } = load(settings, &identity)?;
        let monitoring = match view {
            Some(view) => monitoring.map(|monitoring| monitoring.with_view(view)),
            None => monitoring,
        };
        // Sinks take the model's labels.
        let weather = {
            let pattern = pattern.clone();
            Arc::new(move |camera: &str| pattern.weather(camera).map(|weather| weather.words()))
        };
        let counts = LineCounts::of_device(&settings.device);
        counts.register(control);
        let sinks = SinkBuilder {
            settings,
            identity: &identity,
            model: &engine.info(),
            frames: &frames,
            counts: &counts,
            control,
            faults: &faults,
            weather,
            clock: &clock,
            metrics: &metrics,
            console,
        };
        let mut outlets = sinks.outlets()?;
        outlets.extend(web_outlets);
        outlets.push(Outlet {
            name: "counts".to_owned(),
            messages: vec![MessageKind::Event],
            sink: Box::new(counts.sink()),
            is_output: false,
            fault: faults("counts"),
        });
        let mut observers: Vec<Box<dyn FrameObserver>> = Vec::new();
        if SinkBuilder::needs_frames(settings) || WebBuilder::needs_frames(settings) {
            observers.push(Box::new(frames.clone()));
        }
        enable::register(settings, health, control);
        Ok(Self {
            health: health.clone(),
            identity,
            cameras,
            engine: Box::new(engine),
            monitoring,
            swap: EngineSwap::default(),
            observers,
            outlets,
            clock,
            control: control.clone(),
            metrics,
            pattern,
            track: object_settings(&settings.track),
            counts,
            supervision: settings.supervision.clone(),
            reload: None,
        })
    }
}

/// True if the configuration asks for a monitor, which has error maps.
fn is_monitored(settings: &Settings) -> bool {
    match settings.model.source {
        ModelSource::Live { .. } => true,
        ModelSource::Artifact(_) | ModelSource::Quantize { .. } => settings.monitor.enabled,
        ModelSource::Checkpoint(_) | ModelSource::None => false,
    }
}

/// The task that serves page and API, if they are enabled. It outlasts the run: it also answers while the next model is
/// loaded, or a failed run waits for another attempt.
#[derive(Default)]
pub struct PageTask(Option<RunningPage>);

struct RunningPage {
    task: JoinHandle<()>,
    /// `None` if the address was not available.
    socket: Option<ListeningSocket>,
}

impl PageTask {
    /// Ends the server with all connections. New ones wait in the queue of the socket, which is returned. Blocks this
    /// thread, which may run no task.
    pub fn end(&mut self) -> Option<ListeningSocket> {
        let RunningPage { task, socket } = self.0.take()?;
        task.abort();
        let _ = Handle::current().block_on(task);
        socket
    }
}

/// The rules of `[track]`.
fn object_settings(track: &TrackSettings) -> ObjectSettings {
    let tracker = TrackerSettings {
        begin_score: track.begin_score,
        confirm: track.confirm,
        max_unseen: track.patience,
        max_unseen_stationary: track.stationary_patience,
    };
    ObjectSettings { tracked: track.enabled, tracker }
}
