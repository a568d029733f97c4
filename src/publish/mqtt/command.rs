//! Commands over MQTT: the topic names the verb, the payload holds its arguments.

use std::sync::Arc;

use serde_json::{Value, json};

use super::connection::{Incoming, PublishMode};
use super::{MqttShared, TransientMessage};
use crate::error::{Error, Kind, Result};
use crate::publish::run_blocking;

/// Size limit of a command's payload.
const MAX_PAYLOAD: usize = 64 << 10;

/// Executes a command and queues its reply. A retained command is outdated and ignored.
pub async fn execute(shared: Arc<MqttShared>, verb: String, command: Incoming) {
    if command.retained {
        tracing::warn!(
            sink = shared.name,
            verb,
            "a retained command is ignored: it would be executed at every connection"
        );
        return;
    }
    let reply = match arguments(&command.payload) {
        Ok(arguments) => {
            let (control, called) = (shared.control.clone(), verb.clone());
            run_blocking(move || control.call(&called, arguments)).await.and_then(std::convert::identity)
        }
        Err(error) => Err(error),
    };
    tracing::info!(sink = shared.name, verb, ok = reply.is_ok(), "command executed");
    let reply = match reply {
        Ok(result) => json!({ "ok": true, "result": result }),
        Err(error) => json!({ "ok": false, "error": { "kind": error.kind().name(), "message": error.chain() } }),
    };
    let (topic, correlation) = match command.response_to {
        Some((topic, correlation)) => (topic, correlation),
        None => (shared.topics.reply(&verb), None),
    };
    let payload = reply.to_string().into_bytes();
    {
        let mut state = shared.state();
        shared.enqueue(&mut state, TransientMessage { topic, payload, mode: PublishMode::AtLeastOnce, correlation });
    }
    shared.wake.notify_one();
}

/// Parses the payload: empty, or a JSON object.
fn arguments(payload: &[u8]) -> Result<Value> {
    let wrong = |text: &str| Error::new(Kind::Usage, text);
    if payload.len() > MAX_PAYLOAD {
        return Err(wrong("the command is too long"));
    }
    if payload.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Null);
    }
    match serde_json::from_slice(payload) {
        Ok(value @ (Value::Object(_) | Value::Null)) => Ok(value),
        Ok(_) => Err(wrong("a command's arguments are a JSON object, or nothing")),
        Err(error) => Err(wrong("a command's arguments are a JSON object, or nothing").because(error)),
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
