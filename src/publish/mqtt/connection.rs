//! A connection to a broker, for MQTT 3.1.1 and 5.
//!
//! In: messages to publish. Out: events of the broker, from a task that only runs the protocol. A broken connection is
//! discarded; the session publishes unacknowledged messages again on the next one. Packets above the size limits never
//! reach the client library, which would end the connection; see [`super::oversize`].

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Broker;
use super::access::Access;
use super::oversize::{self, FilteredStream, PacketFilter};
use crate::error::{Error, Kind, Result};

/// Queue length of requests in the client.
const REQUESTS: usize = 128;
/// Queue length of events of the broker.
const EVENTS: usize = 64;

/// Largest packet that is accepted, in bytes: an order with its topic. MQTT 5 announces it in CONNECT.
const LARGEST_INCOMING: u32 = 128 << 10;
/// Largest packet of MQTT, in bytes: the limit of what is sent, unless the broker announces a smaller one.
const LARGEST_OUTGOING: usize = 256 << 20;
/// Most bytes of a PUBLISH packet beside topic, payload and correlation data.
const PACKET_OVERHEAD: usize = 32;

/// An event of the broker.
#[derive(Debug)]
pub enum BrokerEvent {
    /// The connection was accepted.
    Connected(BrokerLimits),
    /// A message of a subscription arrived.
    Message(Incoming),
    /// A message above the size limit was passed over.
    Oversize {
        /// Begin of its topic.
        topic: String,
        /// Size of its packet, in bytes.
        size: usize,
    },
    /// The connection ended.
    Lost(Error),
}

/// Limits that a broker announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokerLimits {
    /// Largest packet that it accepts, in bytes.
    pub max_packet_size: usize,
    /// True if it retains messages.
    pub retains: bool,
}

/// Limits of a broker that announces none.
const UNLIMITED: BrokerLimits = BrokerLimits { max_packet_size: LARGEST_OUTGOING, retains: true };

/// A received message.
#[derive(Debug)]
pub struct Incoming {
    /// Topic.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// True if the broker had retained it.
    pub retained: bool,
    /// Response topic and correlation data (MQTT 5).
    pub response_to: Option<(String, Option<Vec<u8>>)>,
}

/// Quality of service and retain flag of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishMode {
    /// At most once, not retained.
    AtMostOnce,
    /// At least once, retained.
    Retained,
    /// At least once, not retained.
    AtLeastOnce,
}

/// Resolves to `Ok(true)` on acknowledgement, `Ok(false)` on permanent refusal, `Err` if the connection breaks.
pub type Acknowledged = std::pin::Pin<Box<dyn Future<Output = std::result::Result<bool, ()>> + Send>>;

/// A connection, established or in progress.
pub struct Connection {
    /// `None` once the connection is lost. The results of all messages are known then.
    client: Option<Client>,
    events: mpsc::Receiver<BrokerEvent>,
    running: JoinHandle<()>,
    limits: BrokerLimits,
}

enum Client {
    V4(rumqttc_v4::AsyncClient),
    V5(rumqttc_v5::AsyncClient),
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Connection {
    /// Starts a connection as `client_id`, with the last will `offline` on topic `will` if it has one.
    ///
    /// # Errors
    ///
    /// Errors of the credential files.
    pub fn open(broker: &Broker, client_id: &str, will: Option<&str>) -> Result<Self> {
        let access = Access::read(broker)?;
        let (sender, events) = mpsc::channel(EVENTS);
        let read_timeout = broker.keep_alive * 5 / 2;
        let keep_alive = u16::try_from(broker.keep_alive.as_secs()).unwrap_or(u16::MAX).max(5);
        let transport = Transport::new(broker, &access);
        macro_rules! open {
            ($library:ident, $will:expr, $variant:ident, $run:ident, $limit:expr) => {{
                let mut options = $library::MqttOptions::new(client_id, (broker.host.as_str(), broker.port));
                options.set_keep_alive(keep_alive);
                if let Some(will) = $will {
                    options.set_last_will(will);
                }
                let limit: fn(&mut $library::MqttOptions) = $limit;
                limit(&mut options);
                if let Some((user, password)) = &access.login {
                    options.set_credentials(user.clone(), password.clone());
                }
                options.set_socket_connector(move |address, network| {
                    let transport = transport.clone();
                    async move { transport.connect($library::default_socket_connect(address, network).await?).await }
                });
                let (client, events) = $library::AsyncClient::builder(options).capacity(REQUESTS).build();
                (Client::$variant(client), tokio::spawn($run(events, sender, read_timeout)))
            }};
        }
        let (client, running) = match broker.protocol {
            4 => {
                use rumqttc_v4::mqttbytes::QoS;
                let will = will.map(|topic| rumqttc_v4::LastWill::new(topic, "offline", QoS::AtLeastOnce, true));
                open!(rumqttc_v4, will, V4, run_v4, |options| {
                    options.set_max_packet_size(LARGEST_INCOMING as usize, LARGEST_OUTGOING);
                })
            }
            _ => {
                use rumqttc_v5::mqttbytes::{QoS, v5::LastWill};
                let will = will.map(|topic| LastWill::new(topic, "offline", QoS::AtLeastOnce, true, None));
                open!(rumqttc_v5, will, V5, run_v5, |options| {
                    options.set_max_packet_size(Some(LARGEST_INCOMING));
                })
            }
        };
        Ok(Self { client: Some(client), events, running, limits: UNLIMITED })
    }

    /// The next event; [`BrokerEvent::Lost`] is the last.
    pub async fn next(&mut self) -> BrokerEvent {
        let ended = || BrokerEvent::Lost(Error::new(Kind::Unavailable, "the connection ended"));
        let event = self.events.recv().await.unwrap_or_else(ended);
        self.note(&event);
        event
    }

    /// The next event, if one has arrived.
    pub fn try_next(&mut self) -> Option<BrokerEvent> {
        let event = self.events.try_recv().ok()?;
        self.note(&event);
        Some(event)
    }

    /// Follows the state of the connection.
    fn note(&mut self, event: &BrokerEvent) {
        match event {
            BrokerEvent::Connected(limits) => self.limits = *limits,
            // The client's queue may hold messages. Their results are known once it is dropped.
            BrokerEvent::Lost(_) => self.client = None,
            BrokerEvent::Message(_) | BrokerEvent::Oversize { .. } => {}
        }
    }

    /// True if the broker accepts a message with `size` bytes of topic, payload and correlation data.
    pub fn fits(&self, size: usize) -> bool {
        size + PACKET_OVERHEAD <= self.limits.max_packet_size
    }

    /// Publishes a message that [fits](Self::fits). `None` if the client's queue is full, or the connection is lost.
    pub fn publish(
        &self,
        topic: &str,
        payload: &[u8],
        mode: PublishMode,
        correlation: Option<Vec<u8>>,
    ) -> Option<Acknowledged> {
        let at_least_once = mode != PublishMode::AtMostOnce;
        // A broker that retains nothing would end the connection.
        let retain = mode == PublishMode::Retained && self.limits.retains;
        match self.client.as_ref()? {
            Client::V4(client) => {
                use rumqttc_v4::{PublishNoticeError, PublishOptions};
                let options =
                    if at_least_once { PublishOptions::at_least_once() } else { PublishOptions::at_most_once() }
                        .retain(retain);
                let notice = client.try_publish_tracked(topic, payload.to_vec(), options).ok()?;
                Some(Box::pin(async move {
                    match notice.wait_completion_async().await {
                        Ok(()) => Ok(true),
                        Err(PublishNoticeError::Recv | PublishNoticeError::SessionReset) => Err(()),
                        Err(_) => Err(()),
                    }
                }))
            }
            Client::V5(client) => {
                use rumqttc_v5::mqttbytes::v5::PublishProperties;
                use rumqttc_v5::{PublishNoticeError, PublishOptions};
                let mut options =
                    if at_least_once { PublishOptions::at_least_once() } else { PublishOptions::at_most_once() }
                        .retain(retain);
                if let Some(correlation) = correlation {
                    options = options.properties(PublishProperties {
                        correlation_data: Some(correlation.into()),
                        ..PublishProperties::default()
                    });
                }
                let notice = client.try_publish_tracked(topic, payload.to_vec(), options).ok()?;
                Some(Box::pin(async move {
                    match notice.wait_completion_async().await {
                        Ok(()) => Ok(true),
                        // Not authorized, too large or over quota: the broker would refuse the message again.
                        Err(PublishNoticeError::V5PubAck(_)) => Ok(false),
                        Err(_) => Err(()),
                    }
                }))
            }
        }
    }

    /// Subscribes to `filter`. False if the client's queue is full.
    pub fn subscribe(&self, filter: &str) -> bool {
        match &self.client {
            Some(Client::V4(client)) => client.try_subscribe(filter, rumqttc_v4::mqttbytes::QoS::AtLeastOnce).is_ok(),
            Some(Client::V5(client)) => client.try_subscribe(filter, rumqttc_v5::mqttbytes::QoS::AtLeastOnce).is_ok(),
            None => false,
        }
    }

    /// Disconnects cleanly, so that the broker does not publish the last will.
    pub async fn close(mut self, timeout: Duration) {
        let is_requested = match &self.client {
            Some(Client::V4(client)) => client.try_disconnect().is_ok(),
            Some(Client::V5(client)) => client.try_disconnect().is_ok(),
            None => false,
        };
        if is_requested {
            let end = async { while !matches!(self.next().await, BrokerEvent::Lost(_)) {} };
            let _ = tokio::time::timeout(timeout, end).await;
        }
    }
}

/// The way from a TCP connection to the stream that the client library reads.
#[derive(Clone)]
struct Transport {
    has_properties: bool,
    #[cfg(feature = "mqtt-tls")]
    tls: Option<(rumqttc_v5::TlsConfiguration, String, u16)>,
}

/// Stream that carries packets: TCP, or TLS where the build has it.
#[cfg(not(feature = "mqtt-tls"))]
type Stream = tokio::net::TcpStream;
#[cfg(feature = "mqtt-tls")]
type Stream = Box<dyn rumqttc_core::AsyncReadWrite>;

impl Transport {
    #[cfg_attr(not(feature = "mqtt-tls"), allow(unused_variables))]
    fn new(broker: &Broker, access: &Access) -> Self {
        Self {
            has_properties: broker.protocol >= 5,
            #[cfg(feature = "mqtt-tls")]
            tls: access.tls.clone().map(|tls| (tls, broker.host.clone(), broker.port)),
        }
    }

    /// Adds TLS, if enabled, and the packet filter.
    async fn connect(self, tcp: tokio::net::TcpStream) -> std::io::Result<FilteredStream<Stream>> {
        #[cfg(feature = "mqtt-tls")]
        let stream: Stream = match &self.tls {
            Some((tls, host, port)) => {
                rumqttc_core::tls_connect(host, *port, tls, Box::new(tcp)).await.map_err(std::io::Error::other)?
            }
            None => Box::new(tcp),
        };
        #[cfg(not(feature = "mqtt-tls"))]
        let stream: Stream = tcp;
        Ok(FilteredStream::new(stream, PacketFilter::new(LARGEST_INCOMING as usize, self.has_properties)))
    }
}

/// Declares the task that runs one version's protocol.
macro_rules! run {
    ($name:ident, $library:ident, $packet:path, $limits:expr, $response_to:expr) => {
        async fn $name(mut events: $library::EventLoop, sender: mpsc::Sender<BrokerEvent>, read_timeout: Duration) {
            use $library::Event;
            use $packet as Packet;
            let mut connected = false;
            loop {
                // Pings cause traffic in every interval. Without any the broker is unreachable, even if the kernel has not
                // noticed yet.
                let event = match tokio::time::timeout(read_timeout, events.poll()).await {
                    Ok(Ok(Event::Incoming(Packet::ConnAck(accepted)))) if !connected => {
                        connected = true;
                        BrokerEvent::Connected($limits(&accepted))
                    }
                    // The library would reconnect; messages in flight are handled by the session instead.
                    Ok(Ok(Event::Incoming(Packet::ConnAck(_)))) => {
                        BrokerEvent::Lost(Error::new(Kind::Unavailable, "the connection was replaced"))
                    }
                    Ok(Ok(Event::Incoming(Packet::Publish(publish)))) if publish.topic == oversize::TOPIC => {
                        let (size, topic) = oversize::describe(&publish.payload);
                        BrokerEvent::Oversize { topic, size }
                    }
                    Ok(Ok(Event::Incoming(Packet::Publish(publish)))) => BrokerEvent::Message(Incoming {
                        topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                        payload: publish.payload.to_vec(),
                        retained: publish.retain,
                        response_to: $response_to(&publish),
                    }),
                    Ok(Ok(_)) => continue,
                    Ok(Err(error @ $library::ConnectionError::ConnectionRefused(_))) => BrokerEvent::Lost(
                        Error::new(Kind::Permission, "the broker refuses the connection").because(error),
                    ),
                    Ok(Err(error)) => {
                        BrokerEvent::Lost(Error::new(Kind::Unavailable, "the broker cannot be used").because(error))
                    }
                    Err(_) => {
                        let text = "the broker sent nothing for 2.5 keep-alive intervals";
                        BrokerEvent::Lost(Error::new(Kind::Unavailable, text))
                    }
                };
                let last = matches!(event, BrokerEvent::Lost(_));
                if sender.send(event).await.is_err() || last {
                    return;
                }
            }
        }
    };
}

run!(
    run_v4,
    rumqttc_v4,
    rumqttc_v4::Packet,
    |_: &rumqttc_v4::mqttbytes::v4::ConnAck| UNLIMITED,
    |_: &rumqttc_v4::mqttbytes::v4::Publish| None
);
run!(
    run_v5,
    rumqttc_v5,
    rumqttc_v5::mqttbytes::v5::Packet,
    |accepted: &rumqttc_v5::mqttbytes::v5::ConnAck| accepted.properties.as_ref().map_or(UNLIMITED, |properties| {
        BrokerLimits {
            max_packet_size: properties.max_packet_size.map_or(LARGEST_OUTGOING, |size| size as usize),
            retains: properties.retain_available != Some(0),
        }
    }),
    |publish: &rumqttc_v5::mqttbytes::v5::Publish| {
        let properties = publish.properties.as_ref()?;
        let correlation = properties.correlation_data.as_ref().map(|data| data.to_vec());
        Some((properties.response_topic.clone()?, correlation))
    }
);
