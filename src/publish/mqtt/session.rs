//! Connection task: connects until stopped, publishes events, and all retained topics on each connection.
//!
//! Events go first: at most a few of them and a few retained messages are under way at a time. An event therefore never
//! waits behind the whole table of retained topics, which a link that breaks early would not carry.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::connection::{BrokerEvent, BrokerLimits, Connection, Incoming, PublishMode};
use super::in_flight::{RetainedInFlight, RetainedMessage};
use super::link::{BrokerFault, Link};
use super::{MqttShared, SHUTDOWN_TIMEOUT, discovery, orders};
use crate::error::Error;
use crate::publish::run_blocking;
use crate::publish::spool::DropReason;

/// Limit of unacknowledged events.
const MAX_IN_FLIGHT: usize = 16;
/// Acknowledged events that are removed from the spool at once, before the tick.
const MAX_ACKNOWLEDGED: usize = 64;
/// Events of the broker that are handled before the next messages are published.
const MAX_EVENTS: u32 = 64;
/// Interval at which acknowledged events are removed from the spool, so that one commit covers many.
const TICK: Duration = Duration::from_millis(200);
/// Ticks between checks of the spool's age limit.
const MAINTENANCE_TICKS: u32 = 150;
/// Duration after which a connection has proved itself. A shorter one is a failed attempt: the delay continues to grow.
const LASTING: Duration = Duration::from_secs(10);
/// Wait for the results of messages after a connection broke. They are known at once; this only guards against a wait
/// for ever.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(1);
/// Wait for an acknowledgement after which the connection is a fault.
const UNANSWERED: Duration = Duration::from_secs(15);
/// Shortest interval between two announcements for Home Assistant.
const ANNOUNCEMENT_INTERVAL: Duration = Duration::from_secs(10);

/// Reason why a connection ended.
enum ConnectionEnd {
    Stopped,
    Lost(Error),
}

/// Connects until stopped.
pub async fn run(shared: Arc<MqttShared>, mut stop: watch::Receiver<bool>) {
    let mut link = Link::new();
    loop {
        let will = shared.topics.availability();
        let end = match Connection::open(&shared.broker, &shared.client_id, Some(&will)) {
            Ok(connection) => Session::new(&shared, connection, &mut link).run(&mut stop).await,
            Err(error) => ConnectionEnd::Lost(error),
        };
        shared.set_connected(false);
        let ConnectionEnd::Lost(error) = end else { return };
        let delay = link.failed(&shared, &error);
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = stopped(&mut stop) => return,
        }
        maintain_spool(&shared).await;
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
    link: &'a mut Link,
    /// When the broker accepted the connection.
    connected_at: Option<Instant>,
    /// Pending acknowledgements by event number.
    acknowledgements: JoinSet<(u64, Result<bool, ()>)>,
    in_flight: BTreeSet<u64>,
    acknowledged_events: Vec<u64>,
    refused: Vec<u64>,
    /// Retained messages under way.
    retained: RetainedInFlight,
    /// The order being executed, and those that wait for its end. They are executed in their order.
    orders: JoinSet<()>,
    waiting_orders: VecDeque<(String, Incoming)>,
    /// Topics of earlier runs to clear, with their payloads.
    to_clear: VecDeque<(String, Vec<u8>)>,
    /// Number of topics that the broker has not cleared yet; `None` if there are none, or one could not be cleared.
    uncleared: Option<usize>,
    /// True if the spool may hold more events.
    may_have_more: bool,
    /// When everything was announced for Home Assistant, and true if it must be again.
    announced_at: Option<Instant>,
    must_announce: bool,
    /// Since when messages wait and none is acknowledged.
    waiting_since: Option<Instant>,
}

impl<'a> Session<'a> {
    fn new(shared: &'a Arc<MqttShared>, connection: Connection, link: &'a mut Link) -> Self {
        Self {
            shared,
            connection,
            link,
            connected_at: None,
            acknowledgements: JoinSet::new(),
            in_flight: BTreeSet::new(),
            acknowledged_events: Vec::new(),
            refused: Vec::new(),
            retained: RetainedInFlight::default(),
            orders: JoinSet::new(),
            waiting_orders: VecDeque::new(),
            to_clear: VecDeque::new(),
            uncleared: None,
            may_have_more: true,
            announced_at: None,
            must_announce: false,
            waiting_since: None,
        }
    }

    async fn run(mut self, stop: &mut watch::Receiver<bool>) -> ConnectionEnd {
        let mut ticks = 0;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = self.connection.next() => if let Some(error) = self.events(event) {
                    self.settle().await;
                    return ConnectionEnd::Lost(error);
                },
                Some(completed) = self.acknowledgements.join_next() => self.record_outcome(completed),
                Some((_, message, outcome)) = self.retained.next() => self.retained_outcome(&message, outcome).await,
                Some(_) = self.orders.join_next() => self.start_order(),
                () = self.shared.wake.notified() => self.may_have_more = true,
                _ = tick.tick() => {
                    self.update_spool().await;
                    self.check_lasting();
                    self.check_answers();
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
            if self.connected_at.is_some() {
                self.announce();
                self.publish().await;
            }
            if self.acknowledged_events.len() >= MAX_ACKNOWLEDGED {
                self.update_spool().await;
            }
        }
    }

    /// Handles `event` and those that arrived with it, so that a flood of messages costs little. Returns the error if the
    /// connection is lost.
    fn events(&mut self, event: BrokerEvent) -> Option<Error> {
        let mut next = Some(event);
        let mut handled = 0;
        while let Some(event) = next {
            match event {
                BrokerEvent::Connected(limits) => self.start_session(limits),
                BrokerEvent::Message(message) => self.message(message),
                BrokerEvent::Oversize { topic, size } => self.shared.oversize("received", &topic, size),
                BrokerEvent::Lost(error) => return Some(error),
            }
            handled += 1;
            next = if handled < MAX_EVENTS { self.connection.try_next() } else { None };
        }
        None
    }

    /// Handles an accepted connection: everything retained is published again.
    fn start_session(&mut self, limits: BrokerLimits) {
        self.connected_at = Some(Instant::now());
        self.may_have_more = true;
        self.shared.set_connected(true);
        tracing::info!(sink = self.shared.name, host = self.shared.broker.host, "connected to the broker");
        if !limits.retains {
            tracing::warn!(sink = self.shared.name, "the broker retains no messages: late subscribers see no states");
        }
        let mut filters = vec![self.shared.topics.command("+")];
        filters.extend(self.shared.discovery.as_deref().map(discovery::birth));
        for filter in filters {
            if !self.connection.subscribe(&filter) {
                tracing::warn!(sink = self.shared.name, filter, "cannot subscribe");
            }
        }
        let availability = self.shared.topics.availability();
        let online = {
            let mut state = self.shared.state();
            state.table.set(availability.clone(), b"online".to_vec());
            state.table.mark_all_pending();
            state.table.take(&availability)
        };
        // Before the other topics, wherever their circle continues: the broker has published the last will.
        if let Some(payload) = online {
            self.send_retained(availability, payload, false);
        }
        self.to_clear = self.clearing_messages();
        self.uncleared = Some(self.to_clear.len()).filter(|&count| count > 0);
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

    /// Records the result of a retained message.
    async fn retained_outcome(&mut self, message: &RetainedMessage, outcome: Result<bool, ()>) {
        if outcome == Ok(true) {
            self.link.sizes.acknowledged(message.size);
            self.waiting_since = None;
            self.link.clear_broker_fault(self.shared, &[BrokerFault::Silent]);
        }
        if !message.clears {
            return;
        }
        // What is not cleared now is tried again with the next connection.
        self.uncleared = self.uncleared.filter(|_| outcome == Ok(true)).map(|count| count - 1);
        if self.uncleared == Some(0) {
            self.uncleared = None;
            tracing::info!(sink = self.shared.name, "topics of earlier runs were cleared");
            let shared = self.shared.clone();
            let _ = run_blocking(move || shared.retained_topics().set_cleared()).await;
        }
    }

    /// Handles a broken connection: an acknowledgement that arrived before the break counts.
    async fn settle(&mut self) {
        let mut waiting = Vec::new();
        let settled = async {
            while let Some(completed) = self.acknowledgements.join_next().await {
                self.record_outcome(completed);
            }
            while let Some((number, message, outcome)) = self.retained.next().await {
                self.retained_outcome(&message, outcome).await;
                if outcome.is_err() {
                    waiting.push((number, message));
                }
            }
        };
        if tokio::time::timeout(SETTLE_TIMEOUT, settled).await.is_err() {
            tracing::debug!(sink = self.shared.name, "results of messages on the broken connection are unknown");
        }
        self.update_spool().await;
        if self.connected_at.is_none() {
            return;
        }
        self.check_lasting();
        waiting.sort_by_key(|(number, _)| *number);
        let waiting: Vec<RetainedMessage> = waiting.into_iter().map(|(_, message)| message).collect();
        if let Some(first) = waiting.iter().find(|message| !message.clears) {
            self.shared.state().table.put_back(first.topic.clone());
        }
        if let Some(bytes) = self.link.sizes.connection_lost(&waiting, Instant::now()) {
            tracing::warn!(
                sink = self.shared.name,
                bytes,
                "the connection broke twice during a message of this size; such messages are not sent for a day"
            );
        }
    }

    /// Forgets earlier failures once the connection has lasted.
    fn check_lasting(&mut self) {
        if self.connected_at.is_some_and(|at| at.elapsed() >= LASTING) {
            self.link.lasted(self.shared);
        }
    }

    /// Reports a broker that acknowledges nothing. The keep-alive interval notices that later.
    fn check_answers(&mut self) {
        if self.in_flight.is_empty() && self.retained.is_empty() {
            self.waiting_since = None;
            return;
        }
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= UNANSWERED {
            self.link.set_broker_fault(self.shared, BrokerFault::Silent);
        }
    }

    /// Marks everything as pending if Home Assistant has started, at most once in an interval.
    fn announce(&mut self) {
        if !self.must_announce || self.announced_at.is_some_and(|at| at.elapsed() < ANNOUNCEMENT_INTERVAL) {
            return;
        }
        self.must_announce = false;
        self.announced_at = Some(Instant::now());
        tracing::info!(sink = self.shared.name, "Home Assistant has started; everything is announced again");
        self.shared.state().table.mark_all_pending();
    }

    fn message(&mut self, message: Incoming) {
        if let Some(verb) = self.shared.topics.verb(&message.topic).map(str::to_owned) {
            if self.shared.accepts(&verb, &message, self.waiting_orders.len()) {
                self.waiting_orders.push_back((verb, message));
                self.start_order();
            }
        } else if self.shared.discovery.as_deref().is_some_and(|prefix| message.topic == discovery::birth(prefix))
            && message.payload == b"online"
            && !message.retained
        {
            self.must_announce = true;
        }
    }

    /// Executes the next order, unless one is being executed.
    fn start_order(&mut self) {
        if self.orders.is_empty()
            && let Some((verb, order)) = self.waiting_orders.pop_front()
        {
            self.orders.spawn(orders::execute(self.shared.clone(), verb, order));
        }
    }

    /// Records the result of an event in flight.
    fn record_outcome(&mut self, completed: Result<(u64, Result<bool, ()>), tokio::task::JoinError>) {
        let Ok((number, outcome)) = completed else { return };
        self.in_flight.remove(&number);
        self.may_have_more = true;
        match outcome {
            Ok(true) => {
                self.acknowledged_events.push(number);
                self.waiting_since = None;
                self.link.clear_broker_fault(self.shared, &[BrokerFault::RefusesEvents, BrokerFault::Silent]);
            }
            Ok(false) => {
                self.refused.push(number);
                self.link.set_broker_fault(self.shared, BrokerFault::RefusesEvents);
            }
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
        self.publish_events().await;
        self.publish_transient();
        self.publish_retained();
    }

    async fn publish_events(&mut self) {
        if !self.may_have_more || self.in_flight.len() >= MAX_IN_FLIGHT {
            return;
        }
        let room = MAX_IN_FLIGHT - self.in_flight.len();
        // Acknowledged events that were not removed yet are still in the spool.
        let mut except = self.in_flight.clone();
        except.extend(self.acknowledged_events.iter().chain(&self.refused));
        let shared = self.shared.clone();
        let Ok(waiting) = run_blocking(move || shared.spool().waiting(room, &except)).await else { return };
        self.may_have_more = waiting.len() == room;
        let topic = self.shared.topics.events();
        for (number, payload) in waiting {
            if !self.fits(&topic, payload.len()) {
                // It would be too large at every attempt.
                self.refused.push(number);
                continue;
            }
            let Some(acknowledged) = self.connection.publish(&topic, &payload, PublishMode::AtLeastOnce, None) else {
                self.may_have_more = true;
                break;
            };
            self.in_flight.insert(number);
            self.acknowledgements.spawn(async move { (number, acknowledged.await) });
        }
    }

    /// Publishes reports and replies.
    fn publish_transient(&mut self) {
        loop {
            let Some(next) = self.shared.state().transient.pop_front() else { return };
            let correlation = next.correlation.clone();
            if !self.fits(&next.topic, next.payload.len() + correlation.as_ref().map_or(0, Vec::len)) {
                continue;
            }
            if self.connection.publish(&next.topic, &next.payload, next.mode, correlation).is_none() {
                self.shared.state().transient.push_front(next);
                return;
            }
        }
    }

    /// Publishes topics of earlier runs to clear, then those of the table, within the limits of what may be under way.
    fn publish_retained(&mut self) {
        while self.retained.has_room() {
            let is_sent = if let Some((topic, payload)) = self.to_clear.pop_front() {
                let is_sent = self.send_retained(topic.clone(), payload.clone(), true);
                if !is_sent {
                    self.to_clear.push_front((topic, payload));
                }
                is_sent
            } else {
                let Some((topic, payload)) = self.shared.state().table.take_next() else { return };
                let is_sent = self.send_retained(topic.clone(), payload, false);
                if !is_sent {
                    self.shared.state().table.put_back(topic);
                }
                is_sent
            };
            if !is_sent {
                return;
            }
        }
    }

    /// Sends a retained message. False if the client's queue is full. A message that is too large counts as sent.
    fn send_retained(&mut self, topic: String, payload: Vec<u8>, clears: bool) -> bool {
        let size = topic.len() + payload.len();
        if !self.fits(&topic, payload.len()) {
            if clears {
                self.uncleared = None;
            }
            return true;
        }
        match self.connection.publish(&topic, &payload, PublishMode::Retained, None) {
            Some(acknowledged) => {
                self.retained.add(RetainedMessage { topic, size, clears }, acknowledged);
                true
            }
            None => false,
        }
    }

    /// True if the broker takes a message of this size. Others are counted.
    fn fits(&self, topic: &str, payload: usize) -> bool {
        let size = topic.len() + payload;
        let fits = self.connection.fits(size) && self.link.sizes.allows(size, Instant::now());
        if !fits {
            self.shared.oversize("sent", topic, size);
        }
        fits
    }

    /// Clean shutdown: publishes pending messages, then `stopped`, then disconnects.
    async fn shut_down(mut self) {
        let deadline = Instant::now() + SHUTDOWN_TIMEOUT * 3 / 4;
        if self.connected_at.is_none() {
            return;
        }
        self.publish_pending(deadline).await;
        // Before whatever else is pending after the time limit.
        let availability = self.shared.topics.availability();
        let stopped = {
            let mut state = self.shared.state();
            state.table.set(availability.clone(), b"stopped".to_vec());
            state.table.take(&availability)
        };
        if let Some(payload) = stopped {
            self.send_retained(availability, payload, false);
        }
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
            if published && self.retained.is_empty() && self.in_flight.is_empty() && !self.may_have_more {
                return;
            }
            let step = deadline.min(Instant::now() + TICK);
            tokio::select! {
                event = self.connection.next() => if matches!(event, BrokerEvent::Lost(_)) {
                    self.settle().await;
                    return;
                },
                Some(completed) = self.acknowledgements.join_next() => self.record_outcome(completed),
                Some((_, message, outcome)) = self.retained.next() => self.retained_outcome(&message, outcome).await,
                () = tokio::time::sleep_until(step) => {}
            }
            self.update_spool().await;
            if Instant::now() >= deadline {
                return;
            }
        }
    }
}
