//! The MQTT sink.
//!
//! In: messages. Out: the topics below. The broker may be late, disconnect, hang or lose its retained messages. Retained
//! topics are therefore published again on every connection. Events are acknowledged (QoS 1) and wait in the
//! [spool](crate::publish::spool) until then. Reports of single frames are sent at most once. This sink never blocks the
//! detector.
//!
//! | topic below `<topic_prefix>/<device>` | payload |
//! |---|---|
//! | `availability` | `online`, `stopped` after a clean stop, `offline` from the broker after any other; retained |
//! | `status` | the status message, retained |
//! | `events` | event messages, QoS 1, spooled |
//! | `<camera>/detections` | report messages, QoS 0, if `messages` includes them |
//! | `<camera>/<label>` | number of objects in sight, retained |
//! | `<camera>/<label>/occupancy` | `ON` while there was an object within `track.patience`, else `OFF`; retained |
//! | `<camera>/state`, `<camera>/stats` | state of the camera; frames a second and latency; retained |
//! | `<camera>/zones/<zone>/<label>` | number of objects in the zone, retained |
//! | `<camera>/zones/<zone>/<label>/occupancy` | `ON` while there was an object in it within `track.patience`, else `OFF`; retained |
//! | `<camera>/lines/<line>/<direction>/<label>` | number of crossings since the last reset, retained |
//! | `<camera>/zones/<zone>/event`, `<camera>/lines/<line>/event` | an event with its `event_type`, QoS 1, for automations |
//! | `<camera>/zones/<zone>/picture`, `<camera>/lines/<line>/picture` | JPEG of the last event, if pictures are allowed; retained |
//! | `<camera>/picture` | JPEG of the last frame in which an object started, if pictures are allowed; retained |
//! | `cmd/<verb>` | an order, if the configuration lists its verb; the reply goes to `reply/<verb>`, or to the response topic of an MQTT 5 request |

mod access;
mod connection;
mod device_info;
mod discovery;
mod in_flight;
mod link;
mod names;
mod orders;
mod oversize;
mod rates;
mod region_events;
mod retained_topics;
mod session;
mod table;
mod topics;

pub use device_info::{CameraInfo, DeviceInfo, LineInfo};
pub use names::check_names;
pub use orders::arguments as order_arguments;
pub use oversize::PacketFilter;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use connection::PublishMode;
use rates::Rates;
use retained_topics::{RetainedSet, RetainedTopics};
use table::RetainedTable;
use topics::Topics;

use super::spool::{Rank, Spool};
use super::{LineCount, Sink, SinkFuture, line, run_blocking};
use crate::clock::Clock;
use crate::control::Control;
use crate::error::{Error, Kind, Result};
use crate::fault::FaultReporter;
use crate::message::{CameraState, EventName, Message, MessageKind, Report, Status};
use crate::metrics::{MessageLabels, Metrics, SpoolLabels};
use crate::rate_limit::{LogLimit, TokenBucket};
use crate::sync::IgnorePoison;

/// Function that returns the JPEG of a camera's frame, given the camera's name and the frame's sequence number, if it is still available.
pub type PictureOf = Arc<dyn Fn(&str, u64) -> Option<Vec<u8>> + Send + Sync>;

/// Function that returns the counts of a camera's lines.
pub type CountsOf = Arc<dyn Fn(&str) -> Vec<LineCount> + Send + Sync>;

/// A broker and its credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Protocol version: 4 (MQTT 3.1.1) or 5.
    pub protocol: u8,
    /// Certificate files for TLS, if enabled.
    pub tls: Option<Tls>,
    /// User name.
    pub username: Option<String>,
    /// File with the password.
    pub password_file: Option<PathBuf>,
    /// Keep-alive interval. The connection ends if the broker sends nothing for 2.5 intervals.
    pub keep_alive: Duration,
}

/// Certificate files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// CA certificates of the broker; none: those of the system.
    pub ca_file: Option<PathBuf>,
    /// Client certificate and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// Configuration of an [`Mqtt`] sink.
pub struct MqttConfig {
    /// Name of the sink in the log and in metrics.
    pub name: String,
    /// The broker.
    pub broker: Broker,
    /// Client identifier of the device's sink.
    pub client_id: String,
    /// The device.
    pub about: DeviceInfo,
    /// Types of messages to publish, beyond counts and states.
    pub messages: Vec<MessageKind>,
    /// Discovery prefix of Home Assistant, if enabled.
    pub discovery: Option<String>,
    /// First levels of every topic of the device.
    pub topic_prefix: String,
    /// File that lists what the broker retains, so that a later run can clear it.
    pub retained_file: PathBuf,
    /// The spool of events.
    pub spool: Spool,
    /// The command table.
    pub control: Control,
    /// Source of pictures, if allowed.
    pub picture: Option<PictureOf>,
    /// Source of the counts of lines.
    pub counts: CountsOf,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Take reports of faults.
    pub faults: MqttFaults,
}

/// Reporters of faults that the outbox does not see: the sink accepts messages whatever the broker does.
#[derive(Debug, Clone)]
pub struct MqttFaults {
    /// Of the connection to the broker.
    pub connection: FaultReporter,
    /// Of the spool's disk.
    pub spool: FaultReporter,
}

/// Queue length of messages outside of the spool: reports and replies.
const TRANSIENT_QUEUE: usize = 64;
/// Time limit for the broker at shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(4);

/// The sink.
pub struct Mqtt {
    shared: Arc<MqttShared>,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

/// State shared by the sink and the connection task.
struct MqttShared {
    name: String,
    broker: Broker,
    client_id: String,
    topics: Topics,
    about: DeviceInfo,
    messages: Vec<MessageKind>,
    discovery: Option<String>,
    control: Control,
    picture: Option<PictureOf>,
    counts: CountsOf,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    faults: MqttFaults,
    spool: Mutex<Spool>,
    state: Mutex<MqttState>,
    retained_topics: Mutex<RetainedTopics>,
    log_limits: Mutex<LogLimits>,
    order_budget: Mutex<TokenBucket>,
    /// Signals that there is something to publish.
    wake: Notify,
}

/// Window of the limits of log lines.
const MINUTE: Duration = Duration::from_secs(60);

/// Limits of log lines that others can cause.
#[derive(Default)]
struct LogLimits {
    /// Messages that are too large, by direction.
    oversize: BTreeMap<&'static str, LogLimit>,
    /// Orders, by result.
    orders: BTreeMap<&'static str, LogLimit>,
}

struct MqttState {
    table: RetainedTable,
    transient: VecDeque<TransientMessage>,
    rates: Rates,
}

impl MqttState {
    /// Sets count and occupancy of a label.
    fn count(&mut self, topics: &Topics, camera: &str, label: &str, count: u32, is_occupied: bool) {
        self.table.set(topics.count(camera, label), count.to_string().into_bytes());
        let occupancy: &[u8] = if is_occupied { b"ON" } else { b"OFF" };
        self.table.set(topics.occupancy(camera, label), occupancy.to_vec());
    }
}

/// A message outside of the spool and the table: it is published once, or dropped if its queue is full.
struct TransientMessage {
    topic: String,
    payload: Vec<u8>,
    mode: PublishMode,
    correlation: Option<Vec<u8>>,
}

impl Mqtt {
    /// Starts the connection task on the current runtime.
    ///
    /// # Errors
    ///
    /// [`crate::error::Kind::Config`] if this build lacks a requested feature. An unreachable broker is not an error.
    pub fn start(config: MqttConfig) -> Result<Self> {
        access::check(&config.broker)?;
        if config.discovery.is_some() {
            check_names(&config.about.cameras, &config.about.labels)?;
        }
        let topics = Topics::new(&config.topic_prefix, &config.about.device);
        let mut table = RetainedTable::default();
        let discovery = config.discovery.as_ref().map(|prefix| discovery::topic(prefix, &config.about.device));
        if let Some(topic) = &discovery {
            table.set(topic.clone(), discovery::payload(&config.about, &topics, &BTreeMap::new()));
        }
        let mut retained = RetainedSet {
            topics: device_info::configured_topics(&config.about, &config.messages, &topics),
            ..RetainedSet::default()
        };
        retained.topics.extend(discovery);
        if config.discovery.is_some() {
            retained.components = discovery::platforms(&config.about, &topics);
        }
        let retained_topics = RetainedTopics::open(config.retained_file, retained);
        let rates = Rates::new(config.about.cameras.iter().map(|camera| camera.name.as_str()));
        let shared = Arc::new(MqttShared {
            topics,
            retained_topics: Mutex::new(retained_topics),
            log_limits: Mutex::default(),
            order_budget: Mutex::new(orders::budget()),
            state: Mutex::new(MqttState { table, transient: VecDeque::new(), rates }),
            spool: Mutex::new(config.spool),
            wake: Notify::new(),
            name: config.name,
            broker: config.broker,
            client_id: config.client_id,
            about: config.about,
            messages: config.messages,
            discovery: config.discovery,
            control: config.control,
            picture: config.picture,
            counts: config.counts,
            clock: config.clock,
            metrics: config.metrics,
            faults: config.faults,
        });
        shared.update_metrics();
        shared.about.cameras.iter().for_each(|camera| shared.line_counts(&mut shared.state(), &camera.name));
        let (stop, stopped) = watch::channel(false);
        let task = Some(tokio::spawn(session::run(shared.clone(), stopped)));
        Ok(Self { shared, stop, task })
    }
}

/// Time limit of [`probe`].
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects to `broker` once, with the configured login, and disconnects. It blocks for up to ten seconds.
///
/// # Errors
///
/// [`Kind::Permission`] if the broker refuses the login, [`Kind::Unavailable`] if it does not answer, otherwise errors of
/// the credential files.
pub fn probe(broker: &Broker) -> Result<()> {
    access::check(broker)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Error::new(Kind::Unavailable, "the system provides no event queue").because(error))?;
    runtime.block_on(async {
        // Not the name of the service, whose connection the broker would close.
        let client_id = format!("lookout-probe-{}", std::process::id());
        let mut connection = connection::Connection::open(broker, &client_id, None)?;
        match tokio::time::timeout(PROBE_TIMEOUT, connection.next()).await {
            Ok(connection::BrokerEvent::Lost(error)) => Err(error),
            Ok(_) => {
                connection.close(SHUTDOWN_TIMEOUT).await;
                Ok(())
            }
            Err(_) => Err(Error::new(Kind::Unavailable, "the broker does not answer")),
        }
    })
}

impl Drop for Mqtt {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Sink for Mqtt {
    fn send<'a>(&'a mut self, message: &'a Message) -> SinkFuture<'a> {
        Box::pin(async move {
            let shared = self.shared.clone();
            match message {
                Message::Report(report) => shared.report(report, message)?,
                Message::Status(status) => shared.status(status, message)?,
                Message::Event(event) => {
                    if shared.messages.contains(&MessageKind::Event) {
                        let payload = json(message)?;
                        if event.event.is_transient() {
                            let (topic, mode) = (shared.topics.events(), PublishMode::AtMostOnce);
                            let transient = TransientMessage { topic, payload, mode, correlation: None };
                            shared.enqueue(&mut shared.state(), transient);
                        } else {
                            let rank = if event.event.is_of_objects() { Rank::Object } else { Rank::System };
                            let with_spool = shared.clone();
                            run_blocking(move || with_spool.spool().push(rank, payload)).await?;
                            shared.update_metrics();
                        }
                    }
                    shared.clone().region_event(event).await?;
                    if event.event == EventName::ObjectNew
                        && let Some(camera) = &event.camera
                        && let Some(sequence) = event.details.get("sequence").and_then(serde_json::Value::as_u64)
                    {
                        shared.clone().picture(camera.clone(), sequence).await?;
                    }
                }
            }
            shared.wake.notify_one();
            Ok(())
        })
    }

    fn flush(&mut self) -> SinkFuture<'_> {
        Box::pin(async {
            self.stop.send_replace(true);
            if let Some(task) = self.task.take()
                && tokio::time::timeout(SHUTDOWN_TIMEOUT, task).await.is_err()
            {
                tracing::warn!(sink = self.shared.name, "disconnecting from the broker took too long and was given up");
            }
            Ok(())
        })
    }
}

impl MqttShared {
    fn state(&self) -> MutexGuard<'_, MqttState> {
        self.state.lock().ignore_poison()
    }

    fn retained_topics(&self) -> MutexGuard<'_, RetainedTopics> {
        self.retained_topics.lock().ignore_poison()
    }

    fn log_limits(&self) -> MutexGuard<'_, LogLimits> {
        self.log_limits.lock().ignore_poison()
    }

    fn spool(&self) -> MutexGuard<'_, Spool> {
        self.spool.lock().ignore_poison()
    }

    /// Updates the label counts from a report, and publishes the report if configured.
    fn report(&self, report: &Report, message: &Message) -> Result<()> {
        let mut state = self.state();
        for label in &self.about.labels {
            let count = report.objects.get(label).copied().unwrap_or(0);
            state.count(&self.topics, &report.camera, label, count, report.occupied.contains(label));
        }
        self.zone_counts(&mut state, &report.camera, &report.zones);
        self.line_counts(&mut state, &report.camera);
        if let Some(stats) = state.rates.add(report, self.clock.monotonic_ns()) {
            state.table.set(self.topics.stats(&report.camera), stats);
        }
        if self.messages.contains(&MessageKind::Report) {
            let topic = self.topics.detections(&report.camera);
            let transient =
                TransientMessage { topic, payload: json(message)?, mode: PublishMode::AtMostOnce, correlation: None };
            self.enqueue(&mut state, transient);
        }
        Ok(())
    }

    fn status(&self, status: &Status, message: &Message) -> Result<()> {
        let mut state = self.state();
        if self.messages.contains(&MessageKind::Status) {
            state.table.set(self.topics.status(), json(message)?);
        }
        for (camera, camera_status) in &status.cameras {
            let state_name = serde_json::to_value(camera_status.state).ok();
            let state_name = state_name.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
            state.table.set(self.topics.state(camera), state_name.into_bytes());
            if camera_status.state != CameraState::Streaming {
                // A camera without frames has no objects in sight.
                for label in &self.about.labels {
                    state.count(&self.topics, camera, label, 0, false);
                }
                self.zone_counts(&mut state, camera, &BTreeMap::new());
            }
        }
        Ok(())
    }

    async fn picture(self: Arc<Self>, camera: String, sequence: u64) -> Result<()> {
        let topic = self.topics.picture(&camera);
        self.picture_on(topic, camera, sequence).await
    }

    /// Publishes the picture of a frame on `topic`, unless there was one a moment ago.
    async fn picture_on(self: Arc<Self>, topic: String, camera: String, sequence: u64) -> Result<()> {
        let Some(picture_of) = self.picture.clone() else { return Ok(()) };
        if !self.state().rates.may_publish_picture(&topic, self.clock.monotonic_ns()) {
            return Ok(());
        }
        if let Some(jpeg) = run_blocking(move || picture_of(&camera, sequence)).await? {
            self.state().table.set(topic, jpeg);
        }
        Ok(())
    }

    /// Appends a message to the short queue. If it is full, the oldest message is dropped and counted.
    fn enqueue(&self, state: &mut MqttState, transient: TransientMessage) {
        if state.transient.len() >= TRANSIENT_QUEUE {
            state.transient.pop_front();
            self.metrics.publish.get_or_create(&MessageLabels { sink: self.name.clone(), result: "dropped" }).inc();
        }
        state.transient.push_back(transient);
    }

    /// Updates metrics and faults from the spool.
    fn update_metrics(&self) {
        let (counts, (entries, bytes), fault) = {
            let spool = self.spool();
            (spool.counts().clone(), spool.size(), spool.fault().map(str::to_owned))
        };
        match fault {
            Some(fault) => self.faults.spool.set(format!("output {}: events wait in memory: {fault}", self.name)),
            None => self.faults.spool.clear(),
        }
        let sink = || self.name.clone();
        let metrics = &self.metrics;
        metrics.spool_entries.get_or_create(&crate::metrics::SinkLabel { sink: sink() }).set(entries as i64);
        metrics.spool_bytes.get_or_create(&crate::metrics::SinkLabel { sink: sink() }).set(bytes as i64);
        let set_at_least = |result: &'static str, to: u64| {
            let counter = metrics.spool.get_or_create_owned(&SpoolLabels { sink: sink(), result });
            // The counts include earlier processes, and a counter only increases.
            counter.inc_by(to.saturating_sub(counter.get()));
        };
        set_at_least("produced", counts.produced);
        set_at_least("delivered", counts.delivered);
        for (reason, count) in counts.dropped {
            set_at_least(reason.name(), count);
        }
    }
}

fn json(message: &Message) -> Result<Vec<u8>> {
    let mut line = line(message)?;
    line.pop();
    Ok(line)
}

#[cfg(test)]
mod fake_broker;
#[cfg(test)]
mod link_tests;
#[cfg(test)]
mod tests;
