//! The MQTT sink.
//!
//! In: messages. Out: the topics below, on a broker that may come late, go, hang or lose its memory. Everything that
//! late-comers need is retained and published again on every connection; events are acknowledged (QoS 1) and wait in
//! the [spool](crate::publish::spool) until they are; reports of single frames go by as they can. Nothing here ever
//! keeps the detector waiting.
//!
//! | topic below `lookout/<device>` | payload |
//! |---|---|
//! | `availability` | `online`, `stopped` after a clean stop, `offline` from the broker after any other; retained |
//! | `status` | the status message, retained |
//! | `events` | event messages, QoS 1, spooled |
//! | `<camera>/detections` | report messages, QoS 0, where `messages` asks for them |
//! | `<camera>/<label>` | how many are in sight, retained |
//! | `<camera>/state`, `<camera>/stats` | the camera in one word; frames a second and latency; retained |
//! | `<camera>/picture` | JPEG of the last frame in which an object began, where allowed; retained |
//! | `cmd/<verb>` | an order; the answer goes to `reply/<verb>`, or where an MQTT 5 request wants it |

mod access;
mod command;
mod discovery;
mod rates;
mod session;
mod table;
mod topics;
mod wire;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use rates::Rates;
use table::Table;
use topics::Topics;
pub use topics::identifier;
use wire::Manner;

use super::spool::{Rank, Spool};
use super::{Sending, Sink, aside, line};
use crate::clock::Clock;
use crate::control::Control;
use crate::error::Result;
use crate::message::{CameraState, EventName, Message, MessageKind, Report, Status};
use crate::metrics::{Metrics, Said, Spooled};
use crate::sync::IgnorePoison;

/// The JPEG of a camera's frame, by the camera's name and the frame's number, if it is still there.
pub type PictureOf = Arc<dyn Fn(&str, u64) -> Option<Vec<u8>> + Send + Sync>;

/// A broker and how to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// 4 (MQTT 3.1.1) or 5.
    pub protocol: u8,
    /// How to encrypt, if at all.
    pub tls: Option<Tls>,
    /// User.
    pub username: Option<String>,
    /// File that holds the password.
    pub password_file: Option<PathBuf>,
    /// Time between signs of life; a broker silent for two and a half of them is given up.
    pub keep_alive: Duration,
}

/// Files of certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Who signs the broker's; none: whom the system trusts.
    pub ca_file: Option<PathBuf>,
    /// Ours, and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// The device as Home Assistant is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Name of the device.
    pub device: String,
    /// Name of the model.
    pub model: String,
    /// Names of the cameras.
    pub cameras: Vec<String>,
    /// Labels that are counted.
    pub labels: Vec<String>,
    /// Pictures are published.
    pub pictures: bool,
    /// The monitor runs: it tells of drift and can recalibrate.
    pub monitor: bool,
}

/// Everything an [`Mqtt`] needs.
pub struct Setup {
    /// The sink's name in the log and in metrics.
    pub name: String,
    /// Where to.
    pub broker: Broker,
    /// The device's and this sink's own id at the broker.
    pub client_id: String,
    /// Who we are.
    pub about: About,
    /// What is published beyond counts and states.
    pub messages: Vec<MessageKind>,
    /// Home Assistant's prefix, if it shall be told.
    pub discovery: Option<String>,
    /// Where events wait.
    pub spool: Spool,
    /// What orders can do.
    pub control: Control,
    /// Pictures, where they are allowed.
    pub picture: Option<PictureOf>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where things are counted.
    pub metrics: Arc<Metrics>,
}

/// Messages that may wait beside the spool: reports and answers.
const PASSING: usize = 64;
/// Longest that stopping waits for the broker.
const LEAVE: Duration = Duration::from_secs(4);

/// The sink.
pub struct Mqtt {
    inner: Arc<Inner>,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

/// What the sink and the connection's task share.
struct Inner {
    name: String,
    broker: Broker,
    client_id: String,
    topics: Topics,
    about: About,
    messages: Vec<MessageKind>,
    discovery: Option<String>,
    control: Control,
    picture: Option<PictureOf>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    spool: Mutex<Spool>,
    state: Mutex<State>,
    /// There is something to publish.
    wake: Notify,
}

struct State {
    table: Table,
    passing: VecDeque<Passing>,
    rates: Rates,
}

/// A message that is published once, if at all.
struct Passing {
    topic: String,
    payload: Vec<u8>,
    manner: Manner,
    correlation: Option<Vec<u8>>,
}

impl Mqtt {
    /// Begins to connect, on the runtime this is called in.
    ///
    /// # Errors
    ///
    /// [`crate::error::Kind::Config`] if this build cannot do what is asked. A broker that is not there is no error.
    pub fn start(setup: Setup) -> Result<Self> {
        access::check(&setup.broker)?;
        let topics = Topics::new(&setup.about.device);
        let mut table = Table::default();
        if let Some(prefix) = &setup.discovery {
            let payload = discovery::payload(&setup.about, &topics);
            table.set(discovery::topic(prefix, &setup.about.device), payload);
        }
        let rates = Rates::new(&setup.about.cameras);
        let inner = Arc::new(Inner {
            topics,
            state: Mutex::new(State { table, passing: VecDeque::new(), rates }),
            spool: Mutex::new(setup.spool),
            wake: Notify::new(),
            name: setup.name,
            broker: setup.broker,
            client_id: setup.client_id,
            about: setup.about,
            messages: setup.messages,
            discovery: setup.discovery,
            control: setup.control,
            picture: setup.picture,
            clock: setup.clock,
            metrics: setup.metrics,
        });
        inner.account();
        let (stop, stopped) = watch::channel(false);
        let task = Some(tokio::spawn(session::run(inner.clone(), stopped)));
        Ok(Self { inner, stop, task })
    }
}

impl Drop for Mqtt {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Sink for Mqtt {
    fn send<'a>(&'a mut self, message: &'a Message) -> Sending<'a> {
        Box::pin(async move {
            let inner = self.inner.clone();
            match message {
                Message::Report(report) => inner.report(report, message)?,
                Message::Status(status) => inner.status(status, message)?,
                Message::Event(event) => {
                    if inner.messages.contains(&MessageKind::Event) {
                        let payload = json(message)?;
                        let system = !matches!(event.event, EventName::ObjectNew | EventName::ObjectEnd);
                        let rank = if system { Rank::System } else { Rank::Object };
                        let spooling = inner.clone();
                        aside(move || spooling.spool().push(rank, payload)).await?;
                        inner.account();
                    }
                    if event.event == EventName::ObjectNew
                        && let Some(camera) = &event.camera
                        && let Some(sequence) = event.details.get("sequence").and_then(serde_json::Value::as_u64)
                    {
                        inner.clone().picture(camera.clone(), sequence).await?;
                    }
                }
            }
            inner.wake.notify_one();
            Ok(())
        })
    }

    fn flush(&mut self) -> Sending<'_> {
        Box::pin(async {
            self.stop.send_replace(true);
            if let Some(task) = self.task.take()
                && tokio::time::timeout(LEAVE, task).await.is_err()
            {
                tracing::warn!(sink = self.inner.name, "the broker did not take leave in time");
            }
            Ok(())
        })
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().ignore_poison()
    }

    fn spool(&self) -> MutexGuard<'_, Spool> {
        self.spool.lock().ignore_poison()
    }

    /// Counts of labels change with every report; the report itself is published where that is asked for.
    fn report(&self, report: &Report, message: &Message) -> Result<()> {
        let mut state = self.state();
        for label in &self.about.labels {
            let count = report.detections.iter().filter(|found| found.label == *label).count();
            state.table.set(self.topics.count(&report.camera, label), count.to_string().into_bytes());
        }
        if let Some(stats) = state.rates.seen(report, self.clock.monotonic_ns()) {
            state.table.set(self.topics.stats(&report.camera), stats);
        }
        if self.messages.contains(&MessageKind::Report) {
            let topic = self.topics.detections(&report.camera);
            let passing = Passing { topic, payload: json(message)?, manner: Manner::Passing, correlation: None };
            self.pass(&mut state, passing);
        }
        Ok(())
    }

    fn status(&self, status: &Status, message: &Message) -> Result<()> {
        let mut state = self.state();
        if self.messages.contains(&MessageKind::Status) {
            state.table.set(self.topics.status(), json(message)?);
        }
        for (camera, told) in &status.cameras {
            let word = serde_json::to_value(told.state).ok();
            let word = word.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
            state.table.set(self.topics.state(camera), word.into_bytes());
            if told.state != CameraState::Streaming {
                // Nothing is in sight of a camera that does not see.
                for label in &self.about.labels {
                    state.table.set(self.topics.count(camera, label), b"0".to_vec());
                }
            }
        }
        Ok(())
    }

    async fn picture(self: Arc<Self>, camera: String, sequence: u64) -> Result<()> {
        let Some(picture_of) = self.picture.clone() else { return Ok(()) };
        if !self.state().rates.may_show(&camera, self.clock.monotonic_ns()) {
            return Ok(());
        }
        let topic = self.topics.picture(&camera);
        if let Some(jpeg) = aside(move || picture_of(&camera, sequence)).await? {
            self.state().table.set(topic, jpeg);
        }
        Ok(())
    }

    /// Puts a message in the short queue; the oldest gives way and is counted.
    fn pass(&self, state: &mut State, passing: Passing) {
        if state.passing.len() >= PASSING {
            state.passing.pop_front();
            self.metrics.publish.get_or_create(&Said { sink: self.name.clone(), result: "dropped" }).inc();
        }
        state.passing.push_back(passing);
    }

    /// Brings the metrics up to the spool's account.
    fn account(&self) {
        let (tally, (entries, bytes)) = {
            let spool = self.spool();
            (spool.tally().clone(), spool.size())
        };
        let sink = || self.name.clone();
        let metrics = &self.metrics;
        metrics.spool_entries.get_or_create(&crate::metrics::Sink { sink: sink() }).set(entries as i64);
        metrics.spool_bytes.get_or_create(&crate::metrics::Sink { sink: sink() }).set(bytes as i64);
        let raise = |result: &'static str, to: u64| {
            let counter = metrics.spool.get_or_create_owned(&Spooled { sink: sink(), result });
            // The account is older than this life of the process; a counter only goes up.
            counter.inc_by(to.saturating_sub(counter.get()));
        };
        raise("produced", tally.produced);
        raise("delivered", tally.delivered);
        for (reason, count) in tally.dropped {
            raise(reason.name(), count);
        }
    }
}

fn json(message: &Message) -> Result<Vec<u8>> {
    let mut line = line(message)?;
    line.pop();
    Ok(line)
}

#[cfg(test)]
mod tests;
