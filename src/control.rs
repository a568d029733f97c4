//! Command table of the running daemon.
//!
//! Components register handlers under a verb. The control socket, MQTT and the web API call them by that verb with JSON
//! arguments. A handler runs on the caller's thread and returns JSON. It only starts long operations, which report their
//! result as events.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use serde::Serialize;
use serde_json::Value;

use crate::error::{Error, Kind, Result};
use crate::sync::IgnorePoison;

/// Handler of a verb.
pub type Handler = Arc<dyn Fn(Value) -> Result<Value> + Send + Sync>;

/// Table of handlers by verb. Clones share it.
#[derive(Clone, Default)]
pub struct Control {
    verbs: Arc<RwLock<BTreeMap<&'static str, Handler>>>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Control").field(&self.verbs()).finish()
    }
}

impl Control {
    /// Registers `handler` for `verb`, replacing an earlier one.
    pub fn register(&self, verb: &'static str, handler: impl Fn(Value) -> Result<Value> + Send + Sync + 'static) {
        self.verbs.write().ignore_poison().insert(verb, Arc::new(handler));
    }

    /// Removes the handler of `verb`.
    pub fn remove(&self, verb: &str) {
        self.verbs.write().ignore_poison().remove(verb);
    }

    /// Registered verbs, in alphabetical order.
    pub fn verbs(&self) -> Vec<&'static str> {
        self.verbs.read().ignore_poison().keys().copied().collect()
    }

    /// Calls the handler of `verb` with `args`, a JSON object or null.
    ///
    /// # Errors
    /// [`Kind::Usage`] for an unknown verb, with the list of known ones; otherwise the handler's error.
    pub fn call(&self, verb: &str, args: Value) -> Result<Value> {
        // The lock is released before the handler runs, since it may block or register verbs.
        let handler = self.verbs.read().ignore_poison().get(verb).cloned();
        match handler {
            Some(handler) => handler(args),
            None => {
                let text =
                    format!("\"{verb}\" is not a command of this daemon; commands are {}", self.verbs().join(", "));
                Err(Error::new(Kind::Usage, text))
            }
        }
    }
}

/// The JSON form of a handler's answer.
///
/// # Errors
/// [`Kind::Internal`] if `value` has no JSON form.
pub fn answer(value: &impl Serialize) -> Result<Value> {
    serde_json::to_value(value)
        .map_err(|error| Error::new(Kind::Internal, "the answer has no JSON form").because(error))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_verb_is_called_by_name_and_an_unknown_one_lists_the_known() {
        let control = Control::default();
        let same = control.clone();
        control.register("status", |args| Ok(json!({ "asked": args })));
        control.register("reload", |_| Err(Error::new(Kind::Config, "it is wrong")));
        assert_eq!(same.call("status", json!({ "a": 1 })).unwrap(), json!({ "asked": { "a": 1 } }));
        assert_eq!(same.call("reload", Value::Null).unwrap_err().kind(), Kind::Config);
        control.remove("echo");
        let error = same.call("restart", Value::Null).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.to_string().contains("reload, status"), "{error}");
    }
}
