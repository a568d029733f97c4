//! Connection task: connects until stopped, publishes all retained topics on each connection, and keeps a few events of the
//! spool in flight.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::connection::{BrokerEvent, Connection, Incoming, PublishMode};
use super::{MqttShared, SHUTDOWN_TIMEOUT, command, discovery};
use crate::backoff::Backoff;
use crate::error::Error;
use crate::publish::run_blocking;
use crate::publish::spool::DropReason;

/// Limit of unacknowledged events.
const MAX_IN_FLIGHT: usize = 16;
/// Limit of concurrent commands.
const MAX_COMMANDS: usize = 4;
/// Interval at which acknowledged events are removed from the spool, so that one commit covers many.
const TICK: Duration = Duration::from_millis(200);
/// Ticks between checks of the spool's age limit.
const MAINTENANCE_TICKS: u32 = 150;
/// Shortest delay before a reconnection.
const MIN_RETRY_DELAY: Duration = Duration::from_secs(1);
/// Longest delay before a reconnection.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(60);

/// Reason why a connection ended.
enum ConnectionEnd {
    Stopped,
    Lost(Error),
}

/// Connects until stopped.
pub async fn run(shared: Arc<MqttShared>, mut stop: watch::Receiver<bool>) {
    let mut backoff = Backoff::new(MIN_RETRY_DELAY, MAX_RETRY_DELAY);
    let mut is_failure_logged = false;
    loop {
        let end = match Connection::open(&shared.broker, &shared.client_id, &shared.topics.availability()) {
            Ok(connection) => {
                Session::new(&shared, connection).run(&mut stop, &mut backoff, &mut is_failure_logged).await
            }
            Err(error) => ConnectionEnd::Lost(error),
        };
        shared.set_connected(false);
        let ConnectionEnd::Lost(error) = end else { return };
        let delay = backoff.delay();
        // Logged at the loss or the first failure, not at every attempt.
        if std::mem::replace(&mut is_failure_logged, true) {
            tracing::debug!(sink = shared.name, error = error.chain(), "still no connection to the broker");
        } else {
            let (error, retry_in_s) = (error.chain(), delay.as_secs_f64());
            tracing::warn!(
                sink = shared.name,
                host = shared.broker.host,
                error,
                retry_in_s,
                "no connection to the broker; events wait"
            );
        }
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = stopped(&mut stop) => return,
        }
        maintain_spool(&shared).await;
    }
}

impl MqttShared {
    fn set_connected(&self, is_connected: bool) {
        let gauge =
            self.metrics.mqtt_connected.get_or_create_owned(&crate::metrics::SinkLabel { sink: self.name.clone() });
        gauge.set(i64::from(is_connected));
    }
}

/// Waits for the end of the sink.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sink was dropped, which ends the task as well.
    let _ = stop.wait_for(|&stop| stop).await;
}

async fn maintain_spool(shared: &Arc<MqttShared>) {
    let with_spool = shared.clone();
    // A panic of the task was reported already.
    let _ = run_blocking(move || with_spool.spool().maintain()).await;
    shared.update_metrics();
}

/// A connection.
struct Session<'a> {
    shared: &'a Arc<MqttShared>,
    connection: Connection,
    is_connected: bool,
    /// Pending acknowledgements by event number.
    acknowledgements: JoinSet<(u64, Result<bool, ()>)>,
    in_flight: BTreeSet<u64>,
    acknowledged_events: Vec<u64>,
    refused: Vec<u64>,
    commands: JoinSet<()>,
    /// Topics of earlier runs to clear, with their payloads, and the acknowledgements of those that were sent.
    to_clear: VecDeque<(String, Vec<u8>)>,
    clear_acknowledgements: JoinSet<Result<bool, ()>>,
    /// True if the spool may hold more events.
    may_have_more: bool,
}

impl<'a> Session<'a> {
    fn new(shared: &'a Arc<MqttShared>, connection: Connection) -> Self {
        Self {
            shared,
            connection,
            is_connected: false,
            acknowledgements: JoinSet::new(),
            in_flight: BTreeSet::new(),
            acknowledged_events: Vec::new(),
            refused: Vec::new(),
            commands: JoinSet::new(),
            to_clear: VecDeque::new(),
            clear_acknowledgements: JoinSet::new(),
            may_have_more: true,
        }
    }

    async fn run(
        mut self,
        stop: &mut watch::Receiver<bool>,
        backoff: &mut Backoff,
        is_failure_logged: &mut bool,
    ) -> ConnectionEnd {
        let mut ticks = 0;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = self.connection.next() => match event {
                    BrokerEvent::Connected => {
                        backoff.reset();
                        *is_failure_logged = false;
                        self.start_session();
                    }
                    BrokerEvent::Message(message) => self.message(message),
                    BrokerEvent::Lost(error) => {
                        while let Some(completed) = self.acknowledgements.try_join_next() {
                            self.record_outcome(completed);
                        }
                        self.update_spool().await;
                        return ConnectionEnd::Lost(error);
                    }
                },
                Some(completed) = self.acknowledgements.join_next() => self.record_outcome(completed),
                Some(_) = self.commands.join_next() => {}
                Some(cleared) = self.clear_acknowledgements.join_next() => self.cleared(cleared.is_ok_and(|cleared| cleared == Ok(true))).await,
                () = self.shared.wake.notified() => self.may_have_more = true,
                _ = tick.tick() => {
                    self.update_spool().await;
                    ticks += 1;
                    if ticks >= MAINTENANCE_TICKS {
                        ticks = 0;
                        maintain_spool(self.shared).await;
                    }
                }
                () = stopped(stop) => {
                    self.shut_down().await;
                    return ConnectionEnd::Stopped;
                }
            }
            if self.is_connected {
                self.publish().await;
            }
        }
    }

    /// Handles an accepted connection: everything retained is published again.
    fn start_session(&mut self) {
        self.is_connected = true;
        self.may_have_more = true;
        self.shared.set_connected(true);
        tracing::info!(sink = self.shared.name, host = self.shared.broker.host, "connected to the broker");
        let mut filters = vec![self.shared.topics.command("+")];
        filters.extend(self.shared.discovery.as_deref().map(discovery::birth));
        for filter in filters {
            if !self.connection.subscribe(&filter) {
                tracing::warn!(sink = self.shared.name, filter, "cannot subscribe");
            }
        }
        {
            let mut state = self.shared.state();
            state.table.set(self.shared.topics.availability(), b"online".to_vec());
            state.table.mark_all_pending();
        }
        self.to_clear = self.clearing_messages();
    }

    /// Messages that clear what earlier runs have left on the broker.
    fn clearing_messages(&self) -> VecDeque<(String, Vec<u8>)> {
        let shared = self.shared;
        let obsolete = shared.retained_topics().obsolete().clone();
        let mut messages = VecDeque::new();
        if let Some(prefix) = shared.discovery.as_deref().filter(|_| !obsolete.components.is_empty()) {
            // Home Assistant removes components that have only a platform; the message without them follows.
            let topic = discovery::topic(prefix, &shared.about.device);
            messages.push_back((topic, discovery::payload(&shared.about, &shared.topics, &obsolete.components)));
        }
        messages.extend(obsolete.topics.into_iter().map(|topic| (topic, Vec::new())));
        messages
    }

    /// Records that the broker has acknowledged a cleared topic, or refused it.
    async fn cleared(&mut self, is_cleared: bool) {
        if !is_cleared {
            // Tried again with the next connection.
            self.clear_acknowledgements.abort_all();
        } else if self.clear_acknowledgements.is_empty() && self.to_clear.is_empty() {
            tracing::info!(sink = self.shared.name, "topics of earlier runs were cleared");
            let shared = self.shared.clone();
            let _ = run_blocking(move || shared.retained_topics().set_cleared()).await;
        }
    }

    fn message(&mut self, message: Incoming) {
        if let Some(verb) = self.shared.topics.verb(&message.topic) {
            if self.commands.len() < MAX_COMMANDS {
                self.commands.spawn(command::execute(self.shared.clone(), verb.to_owned(), message));
            } else {
                tracing::warn!(sink = self.shared.name, verb, "too many commands at once; this one is ignored");
            }
        } else if self.shared.discovery.as_deref().is_some_and(|prefix| message.topic == discovery::birth(prefix))
            && message.payload == b"online"
            && !message.retained
        {
            tracing::info!(sink = self.shared.name, "Home Assistant has started; everything is announced again");
            self.shared.state().table.mark_all_pending();
        }
    }

    /// Records the result of an event in flight.
    fn record_outcome(&mut self, completed: Result<(u64, Result<bool, ()>), tokio::task::JoinError>) {
        let Ok((number, outcome)) = completed else { return };
        self.in_flight.remove(&number);
        self.may_have_more = true;
        match outcome {
            Ok(true) => self.acknowledged_events.push(number),
            Ok(false) => self.refused.push(number),
            Err(()) => {}
        }
    }

    /// Removes acknowledged events from the spool.
    async fn update_spool(&mut self) {
        let (acknowledged_events, refused) =
            (std::mem::take(&mut self.acknowledged_events), std::mem::take(&mut self.refused));
        if acknowledged_events.is_empty() && refused.is_empty() {
            return;
        }
        if !refused.is_empty() {
            tracing::warn!(sink = self.shared.name, events = refused.len(), "the broker refuses events");
        }
        let shared = self.shared.clone();
        let _ = run_blocking(move || {
            let mut spool = shared.spool();
            spool.delivered(&acknowledged_events);
            if !refused.is_empty() {
                spool.discard(&refused, DropReason::Refused);
            }
        })
        .await;
        self.shared.update_metrics();
    }

    /// Publishes pending messages, as far as the client accepts them.
    async fn publish(&mut self) {
        while let Some((topic, payload)) = self.to_clear.pop_front() {
            match self.connection.publish(&topic, &payload, PublishMode::Retained, None) {
                Some(acknowledged) => drop(self.clear_acknowledgements.spawn(acknowledged)),
                None => {
                    self.to_clear.push_front((topic, payload));
                    return;
                }
            }
        }
        {
            let mut state = self.shared.state();
            let connection = &self.connection;
            // These need no acknowledgement: a new connection publishes all of them again.
            state
                .table
                .publish(|topic, payload| connection.publish(topic, payload, PublishMode::Retained, None).is_some());
            while let Some(next) = state.transient.pop_front() {
                if connection.publish(&next.topic, &next.payload, next.mode, next.correlation.clone()).is_none() {
                    state.transient.push_front(next);
                    break;
                }
            }
        }
        // Acknowledged events that were not removed yet are still in the spool.
        let unremoved = self.in_flight.len() + self.acknowledged_events.len() + self.refused.len();
        if !self.may_have_more || unremoved >= MAX_IN_FLIGHT {
            return;
        }
        let room = MAX_IN_FLIGHT - unremoved;
        let mut except = self.in_flight.clone();
        except.extend(self.acknowledged_events.iter().chain(&self.refused));
        let shared = self.shared.clone();
        let Ok(waiting) = run_blocking(move || shared.spool().waiting(room, &except)).await else { return };
        self.may_have_more = waiting.len() == room;
        for (number, payload) in waiting {
            let Some(acknowledged) =
                self.connection.publish(&self.shared.topics.events(), &payload, PublishMode::AtLeastOnce, None)
            else {
                self.may_have_more = true;
                break;
            };
            self.in_flight.insert(number);
            self.acknowledgements.spawn(async move { (number, acknowledged.await) });
        }
    }

    /// Clean shutdown: publishes pending messages, then `stopped`, then disconnects.
    async fn shut_down(mut self) {
        let deadline = Instant::now() + SHUTDOWN_TIMEOUT * 3 / 4;
        if !self.is_connected {
            return;
        }
        self.publish_pending(deadline).await;
        self.shared.state().table.set(self.shared.topics.availability(), b"stopped".to_vec());
        self.publish_pending(deadline + SHUTDOWN_TIMEOUT / 8).await;
        self.update_spool().await;
        self.shared.set_connected(false);
        tracing::info!(sink = self.shared.name, "disconnected from the broker");
        self.connection.close(SHUTDOWN_TIMEOUT / 8).await;
    }

    /// Publishes until nothing is pending, the connection breaks, or the time limit is reached.
    async fn publish_pending(&mut self, deadline: Instant) {
        loop {
            self.may_have_more = true;
            self.publish().await;
            let published = {
                let state = self.shared.state();
                state.table.is_published() && state.transient.is_empty()
            };
            if published && self.in_flight.is_empty() && !self.may_have_more {
                return;
            }
            let step = deadline.min(Instant::now() + TICK);
            tokio::select! {
                event = self.connection.next() => if matches!(event, BrokerEvent::Lost(_)) { return },
                Some(completed) = self.acknowledgements.join_next() => self.record_outcome(completed),
                () = tokio::time::sleep_until(step) => {}
            }
            self.update_spool().await;
            if Instant::now() >= deadline {
                return;
            }
        }
    }
}
