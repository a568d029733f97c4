//! Sinks of the configuration: builds one sink for each `[[publish]]`.
//!
//! In: the settings, and what sinks need of the run. Out: sinks under unique names (`file`, `file-2`, …) for logs and
//! metrics.

use std::net::SocketAddr;
use std::sync::Arc;

use super::console::{Console, WeatherOf, condition};
use super::frame_history::FrameHistory;
use super::line_counts::LineCounts;
use crate::clock::Clock;
use crate::config::{MqttSettings, Settings, SinkKind, WebSettings};
use crate::control::Control;
use crate::daemon::identity::Identity;
use crate::daemon::model::engine::ModelInfo;
use crate::daemon::paths::state_folder;
use crate::error::Result;
use crate::fault::FaultReporters;
use crate::message::MessageKind;
use crate::metrics::Metrics;
use crate::publish::mqtt::{Broker, DeviceInfo, Mqtt, MqttConfig, MqttFaults, PictureOf, Tls};
use crate::publish::spool::{Spool, SpoolLimits};
use crate::publish::{Files, OpenSink, Outlet, Reopening, Sink, Socket, SocketAccess, Stdout, Summary};
use crate::web::picture;

/// Picture of a camera on a broker.
struct BrokerPicture {
    /// Largest width in pixels.
    max_width: usize,
    /// Lowest score of a box that is drawn.
    min_score: f32,
}

const BROKER_PICTURE: BrokerPicture = BrokerPicture { max_width: 1280, min_score: 0.5 };

/// Builds the sinks.
pub struct SinkBuilder<'a> {
    pub settings: &'a Settings,
    pub identity: &'a Identity,
    pub model: &'a ModelInfo,
    pub frames: &'a FrameHistory,
    /// Counts of crossings.
    pub counts: &'a LineCounts,
    pub control: &'a Control,
    /// Take the faults of the sinks.
    pub faults: &'a FaultReporters,
    pub weather: WeatherOf,
    pub clock: &'a Arc<dyn Clock>,
    pub metrics: &'a Arc<Metrics>,
    pub console: Console,
}

impl SinkBuilder<'_> {
    /// True if a sink needs the frame history.
    pub fn needs_frames(settings: &Settings) -> bool {
        settings.sinks.iter().any(|sink| matches!(&sink.kind, SinkKind::Mqtt(mqtt) if mqtt.pictures))
    }

    /// Builds every sink, on the current runtime.
    ///
    /// # Errors
    ///
    /// This build lacks a feature that the configuration asks for. A file or socket that cannot be opened, and a broker that
    /// cannot be reached, are faults: they are tried again.
    pub fn outlets(&self) -> Result<Vec<Outlet>> {
        let mut outlets: Vec<Outlet> = Vec::new();
        for sink in &self.settings.sinks {
            let kind = match &sink.kind {
                SinkKind::Stdout => "stdout",
                SinkKind::File { .. } => "file",
                SinkKind::Unix { .. } => "unix",
                SinkKind::Mqtt(_) => "mqtt",
            };
            let same_kind = outlets.iter().filter(|outlet| outlet.name.split('-').next() == Some(kind)).count();
            let name = if same_kind == 0 { kind.to_owned() } else { format!("{kind}-{}", same_kind + 1) };
            let mut messages = sink.messages.clone();
            let sink_impl: Box<dyn Sink> = match &sink.kind {
                SinkKind::Stdout if self.console.summary => {
                    messages = vec![MessageKind::Report];
                    let monitor = self.settings.monitor.enabled;
                    Box::new(Summary::new(condition(self.weather.clone(), self.control.clone(), monitor)))
                }
                SinkKind::Stdout => Box::new(Stdout::new()),
                SinkKind::File { path, max_size, max_files } => {
                    let (path, max_size, max_files) = (path.clone(), *max_size, *max_files);
                    self.reopening(&name, Box::new(move || Ok(Box::new(Files::open(&path, max_size, max_files)?))))
                }
                SinkKind::Unix { path, access } => {
                    let (path, access) =
                        (path.clone(), SocketAccess { mode: access.mode, group: access.group.clone() });
                    self.reopening(&name, Box::new(move || Ok(Box::new(Socket::listen(&path, &access)?))))
                }
                SinkKind::Mqtt(mqtt) => {
                    // The sink needs every message for its counts and states, whichever it forwards.
                    messages = vec![MessageKind::Report, MessageKind::Event, MessageKind::Status];
                    let number = same_kind + 1;
                    Box::new(self.mqtt(&name, number, mqtt, sink.messages.clone())?)
                }
            };
            let fault = (self.faults)(&name);
            outlets.push(Outlet { name, messages, sink: sink_impl, is_output: true, fault });
        }
        Ok(outlets)
    }

    /// A sink that is opened now, or as soon as that succeeds.
    fn reopening(&self, name: &str, open: OpenSink) -> Box<dyn Sink> {
        let (sink, opened) = Reopening::new(open);
        if let Err(error) = opened {
            tracing::warn!(sink = name, error = error.chain(), "the output cannot be opened; trying again");
            (self.faults)(name).set(format!("output {name}: {}", error.chain()));
        }
        Box::new(sink)
    }

    fn mqtt(&self, name: &str, number: usize, mqtt: &MqttSettings, messages: Vec<MessageKind>) -> Result<Mqtt> {
        let device = self.identity.device.clone();
        let labels = if mqtt.labels.is_empty() { self.model.labels.clone() } else { mqtt.labels.clone() };
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let file = format!("{}-{}", mqtt.host.chars().map(plain).collect::<String>(), mqtt.port);
        let limits = SpoolLimits { max_size: mqtt.spool_size, max_age: mqtt.spool_age, min_free: mqtt.spool_free };
        let folder = state_folder(&self.settings.device)?.join("spool");
        let spool = folder.join(format!("{file}.redb"));
        Mqtt::start(MqttConfig {
            name: name.to_owned(),
            broker: broker(mqtt),
            client_id: if number == 1 { format!("lookout-{device}") } else { format!("lookout-{device}-{number}") },
            about: DeviceInfo {
                device,
                model: self.model.name.clone(),
                cameras: self.settings.cameras.iter().map(Into::into).collect(),
                labels,
                pictures: mqtt.pictures,
                monitor: self.settings.monitor.enabled,
                orders: mqtt.orders.iter().map(|order| order.name().to_owned()).collect(),
                page_url: page_url(&self.settings.web),
            },
            messages,
            discovery: mqtt.discovery.clone(),
            topic_prefix: mqtt.topic_prefix.clone(),
            retained_file: folder.join(format!("{file}.retained.json")),
            spool: Spool::open(spool, limits, self.clock.clone(), &self.identity.boot_id),
            control: self.control.clone(),
            picture: mqtt.pictures.then(|| picture_of(self.frames.clone())),
            counts: {
                let counts = self.counts.clone();
                Arc::new(move |camera| counts.of(Some(camera)))
            },
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
            faults: MqttFaults {
                connection: (self.faults)(&format!("{name} connection")),
                spool: (self.faults)(&format!("{name} spool")),
            },
        })
    }
}

/// Address of the page for people: the public one, else the one on which it listens, if it is enabled. A page that listens
/// on every address of this machine is named by its host name.
fn page_url(web: &WebSettings) -> Option<String> {
    let host = |address: SocketAddr| {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        if address.ip().is_unspecified() { format!("{name}:{}", address.port()) } else { address.to_string() }
    };
    let listening = || format!("http://{}", host(web.listen));
    web.enabled.then(|| web.public_url.clone().unwrap_or_else(listening))
}

/// The broker of a sink.
pub fn broker(mqtt: &MqttSettings) -> Broker {
    Broker {
        host: mqtt.host.clone(),
        port: mqtt.port,
        protocol: mqtt.protocol,
        tls: mqtt.tls.then(|| Tls { ca_file: mqtt.ca_file.clone(), certificate: mqtt.certificate.clone() }),
        username: mqtt.username.clone(),
        password_file: mqtt.password_file.clone(),
        keep_alive: mqtt.keep_alive,
    }
}

/// Draws the boxes of a report on its frame.
fn picture_of(frames: FrameHistory) -> PictureOf {
    Arc::new(move |camera, sequence| {
        let kept = frames.at(camera, sequence)?;
        let BrokerPicture { max_width, min_score } = BROKER_PICTURE;
        picture::annotated(&kept.frame.image, &kept.report.detections, min_score, max_width).ok()
    })
}
