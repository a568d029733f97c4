//! Commands over MQTT: the topic names the verb, the payload holds its arguments.

use std::sync::Arc;

use serde_json::{Value, json};

use super::wire::{Incoming, PublishMode};
use super::{MqttShared, TransientMessage};
use crate::error::{Error, Kind, Result};
use crate::publish::aside;

/// Size limit of a command's payload.
const LONGEST: usize = 64 << 10;

/// Executes a command and queues its reply. A retained command is outdated and ignored.
pub async fn obey(inner: Arc<MqttShared>, verb: String, order: Incoming) {
    if order.retained {
        tracing::warn!(
            sink = inner.name,
            verb,
            "a retained order is passed over: it would be obeyed at every connection"
        );
        return;
    }
    let answer = match arguments(&order.payload) {
        Ok(arguments) => {
            let (control, asked) = (inner.control.clone(), verb.clone());
            aside(move || control.call(&asked, arguments)).await.and_then(std::convert::identity)
        }
        Err(error) => Err(error),
    };
    tracing::info!(sink = inner.name, verb, ok = answer.is_ok(), "an order came");
    let answer = match answer {
        Ok(result) => json!({ "ok": true, "result": result }),
        Err(error) => json!({ "ok": false, "error": { "kind": error.kind().name(), "message": error.chain() } }),
    };
    let (topic, correlation) = match order.answer_to {
        Some((topic, correlation)) => (topic, correlation),
        None => (inner.topics.reply(&verb), None),
    };
    let payload = answer.to_string().into_bytes();
    {
        let mut state = inner.state();
        inner.pass(&mut state, TransientMessage { topic, payload, manner: PublishMode::Sure, correlation });
    }
    inner.wake.notify_one();
}

/// Parses the payload: empty, or a JSON object.
fn arguments(payload: &[u8]) -> Result<Value> {
    let wrong = |text: &str| Error::new(Kind::Usage, text);
    if payload.len() > LONGEST {
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
        for wrong in [&b"ON"[..], b"[1]", b"\xff", &vec![b' '; LONGEST + 1]] {
            assert_eq!(arguments(wrong).unwrap_err().kind(), Kind::Usage);
        }
    }
}
