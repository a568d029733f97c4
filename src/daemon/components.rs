//! Components: everything that one run of the service is built from.
//!
//! In: the settings. Out: [`Components`], the model loaded and checked, the cameras not yet opened. Tests build their
//! own.

use std::sync::Arc;

use super::cameras::enable;
use super::cameras::open::{self, Camera};
use super::cameras::pattern::PatternControl;
use super::identity::Identity;
use super::model::engine::Engine;
use super::model::swap::EngineSwap;
use super::monitoring::Monitoring;
use super::monitoring::load::{LoadedModel, load};
use super::output::console::Console;
use super::output::frame_history::FrameHistory;
use super::output::objects::ObjectSettings;
use super::output::observer::FrameObserver;
use super::output::sinks::SinkBuilder;
use super::output::web::{WebBuilder, WebOutputs};
use super::reload::reloader::ReloadContext;
use super::settings_check::check_labels;
use super::supervision::health::{FaultSource, Health};
use crate::clock::{Clock, SystemClock};
use crate::config::{Settings, SupervisionSettings, TrackSettings};
use crate::control::Control;
use crate::error::Result;
use crate::fault::FaultReporters;
use crate::metrics::Metrics;
use crate::publish::Outlet;
use crate::track::TrackerSettings;
use crate::web::Server;

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
    /// Serves the page and the API, if it is enabled.
    pub server: Option<Server>,
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
    /// Stall timeout, grace period and temperature limits.
    pub supervision: SupervisionSettings,
    /// Sources of another configuration, if the run can reload.
    pub reload: Option<ReloadContext>,
}

impl Components {
    /// Builds the components for `settings` on the current runtime, and registers their verbs with `control`.
    ///
    /// # Errors
    ///
    /// An error of the model, of a folder to replay, of a sink or of the page.
    pub fn build(settings: &Settings, control: &Control, console: Console) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        // Cameras come before the model: a wrong path is an error at once, loading a model takes time.
        let pattern = PatternControl::default();
        let prepare = |camera| open::prepare(camera, &settings.supervision, &clock, &pattern);
        let cameras = settings.cameras.iter().map(prepare).collect::<Result<_>>()?;
        pattern.register(control);
        let identity = Identity::of_machine(settings.device.id.as_deref());
        // Quantization takes minutes; a wrong label is an error at once.
        check_labels(settings)?;
        let LoadedModel { engine, monitoring } = load(settings, &identity)?;
        // Sinks and page take the model's labels and the monitor's error maps.
        let metrics = Arc::new(Metrics::new());
        let frames = FrameHistory::new(settings.cameras.iter().map(|camera| camera.name.clone()));
        let weather = {
            let pattern = pattern.clone();
            Arc::new(move |camera: &str| pattern.weather(camera).map(|weather| weather.words()))
        };
        let health = Arc::new(Health::new(&identity.device, clock.as_ref()));
        let faults: FaultReporters = {
            let health = health.clone();
            Arc::new(move |name: &str| health.fault_reporter(FaultSource::Output(name.to_owned())))
        };
        let sinks = SinkBuilder {
            settings,
            identity: &identity,
            model: &engine.info(),
            frames: &frames,
            control,
            faults: &faults,
            weather,
            clock: &clock,
            metrics: &metrics,
            console,
        };
        let mut outlets = sinks.outlets()?;
        let view = monitoring.as_ref().map(Monitoring::view);
        let web = WebBuilder {
            settings,
            frames: &frames,
            control,
            clock: &clock,
            metrics: &metrics,
            faults: &faults,
            view,
            console,
        };
        let WebOutputs { outlets: web_outlets, server } = web.build()?;
        outlets.extend(web_outlets);
        let mut observers: Vec<Box<dyn FrameObserver>> = Vec::new();
        if SinkBuilder::needs_frames(settings) || WebBuilder::needs_frames(settings) {
            observers.push(Box::new(frames.clone()));
        }
        enable::register(settings, &health, control);
        Ok(Self {
            health,
            identity,
            cameras,
            engine: Box::new(engine),
            monitoring,
            swap: EngineSwap::default(),
            observers,
            outlets,
            server,
            clock,
            control: control.clone(),
            metrics,
            pattern,
            track: object_settings(&settings.track),
            supervision: settings.supervision.clone(),
            reload: None,
        })
    }
}

/// The rules of `[track]`.
fn object_settings(track: &TrackSettings) -> ObjectSettings {
    let tracker =
        TrackerSettings { begin_score: track.begin_score, confirm: track.confirm, max_unseen: track.patience };
    ObjectSettings { tracked: track.enabled, tracker }
}
