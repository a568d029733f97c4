//! Orders over MQTT: the topic names the verb, the payload holds its arguments.
//!
//! In: messages below `cmd/`, from anyone whom the broker allows to publish there. Out: calls of the command table, for
//! the verbs that the configuration lists, and replies. Neither the log nor the replies grow with a flood of orders.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::connection::{Incoming, PublishMode};
use super::{MINUTE, MqttShared, TransientMessage};
use crate::error::{Error, Kind, Result};
use crate::metrics::OrderLabels;
use crate::publish::run_blocking;
use crate::rate_limit::{LogLimit, TokenBucket};
use crate::sync::IgnorePoison;

/// Size limit of an order's payload, in bytes.
const MAX_PAYLOAD: usize = 64 << 10;
/// Limit of orders that wait for another one to be executed.
const MAX_WAITING: usize = 20;
/// Longest verb in the log, in characters.
const MAX_LOGGED_VERB: usize = 40;

/// Orders that are executed at once after a pause.
const BURST: u32 = 20;
/// Time after which there is one more.
const REFILL: Duration = Duration::from_millis(500);

/// Orders that may be executed.
pub fn budget() -> TokenBucket {
    TokenBucket::new(BURST, REFILL)
}

impl MqttShared {
    /// True if the order is to be executed. Others are counted, and warned of at most once a minute for each reason.
    /// `waiting` is the number of orders that wait to be executed.
    pub(super) fn accepts(&self, verb: &str, order: &Incoming, waiting: usize) -> bool {
        let (result, reason) = match () {
            () if !self.about.orders.contains(verb) => {
                ("refused", "an order is refused: publish.orders does not list it")
            }
            // It would be executed at every connection.
            () if order.retained => ("retained", "a retained order is ignored"),
            () if waiting >= MAX_WAITING || !self.order_budget.lock().ignore_poison().take(self.now_ns()) => {
                ("excess", "an order is ignored: there are too many")
            }
            () => return true,
        };
        let logged = self.count_order(result, 1);
        if let Some(suppressed) = logged {
            let verb: String = verb.chars().take(MAX_LOGGED_VERB).collect();
            tracing::warn!(sink = self.name, verb, suppressed, "{reason}");
            // Whoever tries it out gets an answer, a flood of orders does not.
            if result == "refused" {
                let error = Error::new(Kind::Usage, format!("the order \"{verb}\" is not allowed on this device"));
                self.reply(&verb, order.response_to.clone(), Err(error));
            }
        }
        false
    }

    fn now_ns(&self) -> u64 {
        self.clock.monotonic_ns()
    }

    /// Counts an order, and returns the number of suppressed log lines if it may be logged.
    fn count_order(&self, result: &'static str, lines_per_minute: u32) -> Option<u64> {
        self.metrics.mqtt_orders.get_or_create(&OrderLabels { sink: self.name.clone(), result }).inc();
        let mut limits = self.log_limits();
        limits.orders.entry(result).or_insert(LogLimit::new(lines_per_minute, MINUTE)).allow(self.now_ns())
    }

    /// Queues the reply to an order.
    fn reply(&self, verb: &str, response_to: Option<(String, Option<Vec<u8>>)>, reply: Result<Value>) {
        let reply = match reply {
            Ok(result) => json!({ "ok": true, "result": result }),
            Err(error) => json!({ "ok": false, "error": { "kind": error.kind().name(), "message": error.chain() } }),
        };
        let (topic, correlation) = response_to.unwrap_or_else(|| (self.topics.reply(verb), None));
        let payload = reply.to_string().into_bytes();
        let mode = PublishMode::AtLeastOnce;
        self.enqueue(&mut self.state(), TransientMessage { topic, payload, mode, correlation });
        self.wake.notify_one();
    }
}

/// Lines a minute about executed orders.
const EXECUTED_LINES: u32 = 10;

/// Executes an order and queues its reply.
pub async fn execute(shared: Arc<MqttShared>, verb: String, order: Incoming) {
    let reply = match arguments(&order.payload) {
        Ok(arguments) => {
            let (control, called) = (shared.control.clone(), verb.clone());
            run_blocking(move || control.call(&called, arguments)).await.and_then(std::convert::identity)
        }
        Err(error) => Err(error),
    };
    let result = if reply.is_ok() { "executed" } else { "failed" };
    if let Some(suppressed) = shared.count_order(result, EXECUTED_LINES) {
        tracing::info!(sink = shared.name, verb, ok = reply.is_ok(), suppressed, "order executed");
    }
    shared.reply(&verb, order.response_to, reply);
}

/// The arguments in the payload of an order: empty, or a JSON object.
///
/// # Errors
///
/// [`Kind::Usage`] for other payloads, and for long ones.
pub fn arguments(payload: &[u8]) -> Result<Value> {
    let wrong = |text: &str| Error::new(Kind::Usage, text);
    if payload.len() > MAX_PAYLOAD {
        return Err(wrong("the order is too long"));
    }
    if payload.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Null);
    }
    match serde_json::from_slice(payload) {
        Ok(value @ (Value::Object(_) | Value::Null)) => Ok(value),
        Ok(_) => Err(wrong("an order's arguments are a JSON object, or nothing")),
        Err(error) => Err(wrong("an order's arguments are a JSON object, or nothing").because(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_an_object_or_nothing() {
        assert_eq!(arguments(b" \n").unwrap(), Value::Null);
        assert_eq!(arguments(b"{\"a\": 1}").unwrap(), json!({ "a": 1 }));
        for wrong in [&b"ON"[..], b"[1]", b"\xff", &vec![b' '; MAX_PAYLOAD + 1]] {
            assert_eq!(arguments(wrong).unwrap_err().kind(), Kind::Usage);
        }
    }
}
