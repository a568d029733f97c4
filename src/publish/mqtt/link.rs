//! The link to a broker over all its connections: delays, the log, faults and size limits.

use std::time::Duration;

use super::in_flight::SizeLimit;
use super::{MINUTE, MqttShared};
use crate::backoff::Backoff;
use crate::error::Error;
use crate::rate_limit::LogLimit;

/// Shortest delay before a reconnection.
const MIN_RETRY_DELAY: Duration = Duration::from_secs(1);
/// Longest delay before a reconnection.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(60);
/// Failures in succession that make the connection a fault. A broker that restarts causes fewer.
const FAULT_AFTER: u32 = 3;

/// Fault of a broker that accepts the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerFault {
    /// It refuses events, until it acknowledges one.
    RefusesEvents,
    /// It acknowledges nothing, until it acknowledges any message.
    Silent,
}

/// State that outlasts a connection.
pub struct Link {
    backoff: Backoff,
    /// True after the loss was logged, until a connection has lasted.
    is_failure_logged: bool,
    /// Connections that failed or broke since one has lasted.
    failures: u32,
    /// What a connected broker does not do.
    broker_fault: Option<BrokerFault>,
    /// Sizes of messages that the broker takes.
    pub sizes: SizeLimit,
}

impl Link {
    /// The state before the first connection.
    pub fn new() -> Self {
        Self {
            backoff: Backoff::new(MIN_RETRY_DELAY, MAX_RETRY_DELAY),
            is_failure_logged: false,
            failures: 0,
            broker_fault: None,
            sizes: SizeLimit::default(),
        }
    }

    /// Records that a connection failed or broke. Returns the delay before the next one.
    pub fn failed(&mut self, shared: &MqttShared, error: &Error) -> Duration {
        let delay = self.backoff.delay();
        self.failures = self.failures.saturating_add(1);
        let (name, host) = (&shared.name, &shared.broker.host);
        if self.failures >= FAULT_AFTER {
            let reason = format!("output {name}: no connection to the broker {host}: {}", error.chain());
            shared.faults.connection.set(reason);
        }
        // Logged at the loss or the first failure, not at every attempt.
        if std::mem::replace(&mut self.is_failure_logged, true) {
            tracing::debug!(sink = name, error = error.chain(), "still no connection to the broker");
        } else {
            let (error, retry_in_s) = (error.chain(), delay.as_secs_f64());
            tracing::warn!(sink = name, host, error, retry_in_s, "no connection to the broker; events wait");
        }
        delay
    }

    /// Forgets earlier failures: the connection has lasted.
    pub fn lasted(&mut self, shared: &MqttShared) {
        if std::mem::take(&mut self.failures) == 0 {
            return;
        }
        self.backoff.reset();
        self.is_failure_logged = false;
        if self.broker_fault.is_none() {
            shared.faults.connection.clear();
        }
    }

    /// Reports a fault of the connected broker, unless one is reported.
    pub fn set_broker_fault(&mut self, shared: &MqttShared, fault: BrokerFault) {
        if self.broker_fault.is_some() {
            return;
        }
        self.broker_fault = Some(fault);
        let what = match fault {
            BrokerFault::RefusesEvents => "refuses events",
            BrokerFault::Silent => "acknowledges nothing",
        };
        let (name, host) = (&shared.name, &shared.broker.host);
        shared.faults.connection.set(format!("output {name}: the broker {host} {what}"));
    }

    /// Ends a fault that is one of `faults`.
    pub fn clear_broker_fault(&mut self, shared: &MqttShared, faults: &[BrokerFault]) {
        if self.broker_fault.is_some_and(|fault| faults.contains(&fault)) {
            self.broker_fault = None;
            shared.faults.connection.clear();
        }
    }
}

impl MqttShared {
    /// Sets the metric of the connection.
    pub(super) fn set_connected(&self, is_connected: bool) {
        let gauge =
            self.metrics.mqtt_connected.get_or_create_owned(&crate::metrics::SinkLabel { sink: self.name.clone() });
        gauge.set(i64::from(is_connected));
    }

    /// Counts a message that was passed over because of its size, and logs it at most once a minute.
    pub(super) fn oversize(&self, direction: &'static str, topic: &str, size: usize) {
        let labels = crate::metrics::OversizeLabels { sink: self.name.clone(), direction };
        self.metrics.mqtt_oversize.get_or_create(&labels).inc();
        let now_ns = self.clock.monotonic_ns();
        if let Some(suppressed) =
            self.log_limits().oversize.entry(direction).or_insert(LogLimit::new(1, MINUTE)).allow(now_ns)
        {
            tracing::warn!(
                sink = self.name,
                direction,
                topic,
                bytes = size,
                suppressed,
                "a message is too large and was passed over"
            );
        }
    }
}
