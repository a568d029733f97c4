//! Connection task: connects until stopped, publishes all retained topics on each connection, and keeps a few events of the
//! spool in flight.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::wire::{BrokerEvent, Connection, Incoming, PublishMode};
use super::{LEAVE, MqttShared, command, discovery};
use crate::backoff::Backoff;
use crate::error::Error;
use crate::publish::aside;
use crate::publish::spool::DropReason;

/// Limit of unacknowledged events.
const WINDOW: usize = 16;
/// Limit of concurrent commands.
const ORDERS: usize = 4;
/// Interval at which acknowledged events are removed from the spool, so that one commit covers many.
const TICK: Duration = Duration::from_millis(200);
/// Ticks between checks of the spool's age limit.
const TEND: u32 = 150;
/// Shortest and longest delay before a reconnection.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// ConnectionEnd of a connection.
enum ConnectionEnd {
    Stopped,
    Lost(Error),
}

/// Connects until stopped.
pub async fn run(inner: Arc<MqttShared>, mut stop: watch::Receiver<bool>) {
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    let mut told = false;
    loop {
        let end = match Connection::open(&inner.broker, &inner.client_id, &inner.topics.availability()) {
            Ok(wire) => Session::new(&inner, wire).run(&mut stop, &mut backoff, &mut told).await,
            Err(error) => ConnectionEnd::Lost(error),
        };
        inner.connected(false);
        let ConnectionEnd::Lost(error) = end else { return };
        let delay = backoff.delay();
        // Logged at the loss or the first failure, not at every attempt.
        if std::mem::replace(&mut told, true) {
            tracing::debug!(sink = inner.name, error = error.chain(), "still no broker");
        } else {
            let (error, retry_in_s) = (error.chain(), delay.as_secs_f64());
            tracing::warn!(sink = inner.name, host = inner.broker.host, error, retry_in_s, "no broker; events wait");
        }
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = stopped(&mut stop) => return,
        }
        tend(&inner).await;
    }
}

impl MqttShared {
    fn connected(&self, up: bool) {
        let gauge = self.metrics.mqtt_connected.get_or_create_owned(&crate::metrics::Sink { sink: self.name.clone() });
        gauge.set(i64::from(up));
    }
}

/// Waits for the end of the sink.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sink was dropped, which ends the task as well.
    let _ = stop.wait_for(|&stop| stop).await;
}

async fn tend(inner: &Arc<MqttShared>) {
    let tending = inner.clone();
    // A panic of the task was reported already.
    let _ = aside(move || tending.spool().tend()).await;
    inner.account();
}

/// A connection.
struct Session<'a> {
    inner: &'a Arc<MqttShared>,
    wire: Connection,
    up: bool,
    /// Pending acknowledgements by event number.
    flight: JoinSet<(u64, Result<bool, ()>)>,
    flying: BTreeSet<u64>,
    arrived: Vec<u64>,
    refused: Vec<u64>,
    orders: JoinSet<()>,
    /// Topics of earlier runs to clear, with their payloads, and the acknowledgements of those that were sent.
    clearing: VecDeque<(String, Vec<u8>)>,
    clears: JoinSet<Result<bool, ()>>,
    /// True if the spool may hold more events.
    more: bool,
}

impl<'a> Session<'a> {
    fn new(inner: &'a Arc<MqttShared>, wire: Connection) -> Self {
        Self {
            inner,
            wire,
            up: false,
            flight: JoinSet::new(),
            flying: BTreeSet::new(),
            arrived: Vec::new(),
            refused: Vec::new(),
            orders: JoinSet::new(),
            clearing: VecDeque::new(),
            clears: JoinSet::new(),
            more: true,
        }
    }

    async fn run(mut self, stop: &mut watch::Receiver<bool>, backoff: &mut Backoff, told: &mut bool) -> ConnectionEnd {
        let mut ticks = 0;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                happening = self.wire.next() => match happening {
                    BrokerEvent::Connected => {
                        backoff.reset();
                        *told = false;
                        self.begin();
                    }
                    BrokerEvent::Message(message) => self.message(message),
                    BrokerEvent::Lost(error) => {
                        while let Some(landed) = self.flight.try_join_next() {
                            self.land(landed);
                        }
                        self.note().await;
                        return ConnectionEnd::Lost(error);
                    }
                },
                Some(landed) = self.flight.join_next() => self.land(landed),
                Some(_) = self.orders.join_next() => {}
                Some(cleared) = self.clears.join_next() => self.cleared(cleared.is_ok_and(|cleared| cleared == Ok(true))).await,
                () = self.inner.wake.notified() => self.more = true,
                _ = tick.tick() => {
                    self.note().await;
                    ticks += 1;
                    if ticks >= TEND {
                        ticks = 0;
                        tend(self.inner).await;
                    }
                }
                () = stopped(stop) => {
                    self.leave().await;
                    return ConnectionEnd::Stopped;
                }
            }
            if self.up {
                self.publish().await;
            }
        }
    }

    /// Handles an accepted connection: everything retained is published again.
    fn begin(&mut self) {
        self.up = true;
        self.more = true;
        self.inner.connected(true);
        tracing::info!(sink = self.inner.name, host = self.inner.broker.host, "connected to the broker");
        let mut filters = vec![self.inner.topics.command("+")];
        filters.extend(self.inner.discovery.as_deref().map(discovery::birth));
        for filter in filters {
            if !self.wire.subscribe(&filter) {
                tracing::warn!(sink = self.inner.name, filter, "cannot subscribe");
            }
        }
        {
            let mut state = self.inner.state();
            state.table.set(self.inner.topics.availability(), b"online".to_vec());
            state.table.announce_all();
        }
        self.clearing = self.remains();
    }

    /// Messages that clear what earlier runs have left on the broker.
    fn remains(&self) -> VecDeque<(String, Vec<u8>)> {
        let inner = self.inner;
        let gone = inner.remains().obsolete().clone();
        let mut messages = VecDeque::new();
        if let Some(prefix) = inner.discovery.as_deref().filter(|_| !gone.components.is_empty()) {
            // Home Assistant removes components that have only a platform; the message without them follows.
            let topic = discovery::topic(prefix, &inner.about.device);
            messages.push_back((topic, discovery::payload(&inner.about, &inner.topics, &gone.components)));
        }
        messages.extend(gone.topics.into_iter().map(|topic| (topic, Vec::new())));
        messages
    }

    /// Notes that the broker has acknowledged a cleared topic, or refused it.
    async fn cleared(&mut self, is_cleared: bool) {
        if !is_cleared {
            // Tried again with the next connection.
            self.clears.abort_all();
        } else if self.clears.is_empty() && self.clearing.is_empty() {
            tracing::info!(sink = self.inner.name, "topics of earlier runs were cleared");
            let noting = self.inner.clone();
            let _ = aside(move || noting.remains().cleared()).await;
        }
    }

    fn message(&mut self, message: Incoming) {
        if let Some(verb) = self.inner.topics.verb(&message.topic) {
            if self.orders.len() < ORDERS {
                self.orders.spawn(command::obey(self.inner.clone(), verb.to_owned(), message));
            } else {
                tracing::warn!(sink = self.inner.name, verb, "too many orders at once; this one is passed over");
            }
        } else if self.inner.discovery.as_deref().is_some_and(|prefix| message.topic == discovery::birth(prefix))
            && message.payload == b"online"
            && !message.retained
        {
            tracing::info!(sink = self.inner.name, "Home Assistant has started; everything is announced again");
            self.inner.state().table.announce_all();
        }
    }

    /// Records the result of an event in flight.
    fn land(&mut self, landed: Result<(u64, Result<bool, ()>), tokio::task::JoinError>) {
        let Ok((number, outcome)) = landed else { return };
        self.flying.remove(&number);
        self.more = true;
        match outcome {
            Ok(true) => self.arrived.push(number),
            Ok(false) => self.refused.push(number),
            Err(()) => {}
        }
    }

    /// Removes acknowledged events from the spool.
    async fn note(&mut self) {
        let (arrived, refused) = (std::mem::take(&mut self.arrived), std::mem::take(&mut self.refused));
        if arrived.is_empty() && refused.is_empty() {
            return;
        }
        if !refused.is_empty() {
            tracing::warn!(sink = self.inner.name, events = refused.len(), "the broker refuses events");
        }
        let noting = self.inner.clone();
        let _ = aside(move || {
            let mut spool = noting.spool();
            spool.delivered(&arrived);
            if !refused.is_empty() {
                spool.give_up(&refused, DropReason::Refused);
            }
        })
        .await;
        self.inner.account();
    }

    /// Publishes pending messages, as far as the client accepts them.
    async fn publish(&mut self) {
        while let Some((topic, payload)) = self.clearing.pop_front() {
            match self.wire.publish(&topic, &payload, PublishMode::Retained, None) {
                Some(acknowledged) => drop(self.clears.spawn(acknowledged)),
                None => {
                    self.clearing.push_front((topic, payload));
                    return;
                }
            }
        }
        {
            let mut state = self.inner.state();
            let wire = &self.wire;
            // These need no acknowledgement: a new connection publishes all of them again.
            state.table.publish(|topic, payload| wire.publish(topic, payload, PublishMode::Retained, None).is_some());
            while let Some(next) = state.passing.pop_front() {
                if wire.publish(&next.topic, &next.payload, next.manner, next.correlation.clone()).is_none() {
                    state.passing.push_front(next);
                    break;
                }
            }
        }
        // Acknowledged events that were not removed yet are still in the spool.
        let out = self.flying.len() + self.arrived.len() + self.refused.len();
        if !self.more || out >= WINDOW {
            return;
        }
        let room = WINDOW - out;
        let mut except = self.flying.clone();
        except.extend(self.arrived.iter().chain(&self.refused));
        let reading = self.inner.clone();
        let Ok(waiting) = aside(move || reading.spool().waiting(room, &except)).await else { return };
        self.more = waiting.len() == room;
        for (number, payload) in waiting {
            let Some(acknowledged) = self.wire.publish(&self.inner.topics.events(), &payload, PublishMode::Sure, None)
            else {
                self.more = true;
                break;
            };
            self.flying.insert(number);
            self.flight.spawn(async move { (number, acknowledged.await) });
        }
    }

    /// Clean shutdown: publishes pending messages, then `stopped`, then disconnects.
    async fn leave(mut self) {
        let deadline = Instant::now() + LEAVE * 3 / 4;
        if !self.up {
            return;
        }
        self.settle(deadline).await;
        self.inner.state().table.set(self.inner.topics.availability(), b"stopped".to_vec());
        self.settle(deadline + LEAVE / 8).await;
        self.note().await;
        self.inner.connected(false);
        tracing::info!(sink = self.inner.name, "took leave of the broker");
        self.wire.close(LEAVE / 8).await;
    }

    /// Publishes until nothing is pending, the connection breaks, or the time limit is reached.
    async fn settle(&mut self, deadline: Instant) {
        loop {
            self.more = true;
            self.publish().await;
            let published = {
                let state = self.inner.state();
                state.table.is_published() && state.passing.is_empty()
            };
            if published && self.flying.is_empty() && !self.more {
                return;
            }
            let step = deadline.min(Instant::now() + TICK);
            tokio::select! {
                happening = self.wire.next() => if matches!(happening, BrokerEvent::Lost(_)) { return },
                Some(landed) = self.flight.join_next() => self.land(landed),
                () = tokio::time::sleep_until(step) => {}
            }
            self.note().await;
            if Instant::now() >= deadline {
                return;
            }
        }
    }
}
