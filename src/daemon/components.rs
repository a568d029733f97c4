//! What one life of the service is made of, built from the configuration; tests put their own in.

use std::sync::Arc;
use std::time::Duration;

use super::identity::Identity;
use super::monitoring::Monitoring;
use super::reload::Reload;
use crate::clock::{Clock, SystemClock};
use crate::config::{ModelSource, Settings, SupervisionSettings};
use crate::control::Control;
use crate::daemon::cameras::enable;
use crate::daemon::cameras::open::{Camera, open};
use crate::daemon::cameras::pattern::Skies;
use crate::daemon::model::engine::Engine;
use crate::daemon::model::monitored::load;
use crate::daemon::model::swap::Swap;
use crate::daemon::output::frame_history::Recent;
use crate::daemon::output::observer::Watcher;
use crate::daemon::output::sinks;
use crate::daemon::output::web;
use crate::daemon::supervision::health::Health;
use crate::error::{Error, Kind, Result};
use crate::metrics::Metrics;
use crate::publish::Outlet;
use crate::track::TrackerSettings;
use crate::web::Server;

/// Everything that one life of the service needs.
pub struct Parts {
    /// Who we are.
    pub identity: Identity,
    /// How everything is, for whoever has to complain.
    pub health: Arc<Health>,
    /// What is watched.
    pub cameras: Vec<Camera>,
    /// What detects.
    pub engine: Box<dyn Engine>,
    /// Who watches its error, if anybody.
    pub monitoring: Option<Monitoring>,
    /// Through which another engine may come.
    pub swap: Swap,
    /// Who sees each frame with its report.
    pub watchers: Vec<Box<dyn Watcher>>,
    /// Who is told.
    pub outlets: Vec<Outlet>,
    /// What serves the page and the API, if anything does.
    pub server: Option<Server>,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// The verbs that the daemon obeys; who can do something registers it here.
    pub control: Control,
    /// Where things are counted.
    pub metrics: Arc<Metrics>,
    /// The weather of synthetic cameras.
    pub skies: Skies,
    /// How objects are followed, if they are.
    pub track: Option<TrackerSettings>,
    /// Limits of patience and heat.
    pub supervision: SupervisionSettings,
    /// From what another configuration is read, if one can be taken up.
    pub reload: Option<Reload>,
}

/// Refuses what is right by itself and yet not enough to run.
///
/// # Errors
///
/// [`Kind::Config`], naming the section; [`Kind::Unavailable`] if this CPU lacks the kernel asked for, which no second
/// attempt would mend.
pub fn check(settings: &Settings) -> Result<()> {
    let refuse = |text: &str| Err(Error::new(Kind::Config, text));
    if settings.cameras.is_empty() {
        return refuse("there is no camera to watch: add a [[camera]] to the configuration");
    }
    if settings.model.source == ModelSource::None {
        return refuse("there is no model to detect with: name a checkpoint as model.checkpoint in the configuration");
    }
    crate::daemon::model::engine::detector_options(&settings.detector).map(drop)
}

impl Parts {
    /// The parts that `settings` ask for, the model loaded; what they can do is registered with `control`.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with the model or with a folder to be replayed.
    pub fn build(settings: &Settings, control: &Control) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let skies = Skies::default();
        let open = |camera| open(camera, &settings.supervision, &clock, &skies);
        let cameras = settings.cameras.iter().map(open).collect::<Result<_>>()?;
        skies.register(control);
        let identity = Identity::of_machine(settings.device.id.as_deref());
        let (engine, monitoring) = load(settings, &identity)?;
        let metrics = Arc::new(Metrics::new());
        let recent = Recent::new(settings.cameras.iter().map(|camera| camera.name.clone()));
        let model = engine.info();
        let ground = sinks::Ground {
            settings,
            identity: &identity,
            model: &model,
            recent: &recent,
            control,
            clock: &clock,
            metrics: &metrics,
        };
        let mut outlets = ground.outlets()?;
        let view = monitoring.as_ref().map(Monitoring::view);
        let ground = web::Ground { settings, recent: &recent, control, clock: &clock, metrics: &metrics, view };
        let web::Built { outlets: more, server } = ground.build()?;
        outlets.extend(more);
        let mut watchers: Vec<Box<dyn Watcher>> = Vec::new();
        if sinks::Ground::wants_frames(settings) || web::Ground::wants_frames(settings) {
            watchers.push(Box::new(recent.clone()));
        }
        let health = Arc::new(Health::new(&identity.device, clock.as_ref()));
        enable::register(settings, &health, control);
        Ok(Self {
            health,
            identity,
            cameras,
            engine: Box::new(engine),
            monitoring,
            swap: Swap::default(),
            watchers,
            outlets,
            server,
            clock,
            control: control.clone(),
            metrics,
            skies,
            track: Some(settings.track.clone()).filter(|track| track.enabled).map(|track| TrackerSettings {
                begin_score: track.begin_score,
                confirm: track.confirm,
                max_unseen: track.patience,
            }),
            supervision: settings.supervision.clone(),
            reload: None,
        })
    }

    /// Parts of a life without cameras and sinks, in which `engine` detects: what tests begin with.
    pub fn around(engine: impl Engine + 'static, clock: Arc<dyn Clock>) -> Self {
        let seconds = Duration::from_secs;
        Self {
            identity: Identity { device: "test".to_owned(), boot_id: "boot".to_owned() },
            health: Arc::new(Health::new("test", clock.as_ref())),
            cameras: Vec::new(),
            engine: Box::new(engine),
            monitoring: None,
            swap: Swap::default(),
            watchers: Vec::new(),
            outlets: Vec::new(),
            server: None,
            clock,
            control: Control::default(),
            metrics: Arc::new(Metrics::new()),
            skies: Skies::default(),
            track: None,
            supervision: SupervisionSettings {
                stall_timeout: seconds(10),
                grace_period: seconds(20),
                throttle_celsius: None,
                pause_celsius: None,
            },
            reload: None,
        }
    }
}
