//! The verbs that a running daemon obeys, in one table: whoever can do something registers it under a name, and every
//! way in (the control socket, MQTT commands, the web page) calls it by that name with JSON arguments.
//!
//! A handler runs on the caller's thread and answers with JSON; what takes long is begun there and reported by events.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use serde_json::Value;

use crate::error::{Error, Kind, Result};
use crate::sync::IgnorePoison;

/// What a verb does.
pub type Handler = Arc<dyn Fn(Value) -> Result<Value> + Send + Sync>;

/// The table of verbs; clones share it.
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
    /// Makes `handler` what `verb` does, in place of an earlier one.
    pub fn register(&self, verb: &'static str, handler: impl Fn(Value) -> Result<Value> + Send + Sync + 'static) {
        self.verbs.write().ignore_poison().insert(verb, Arc::new(handler));
    }

    /// Nobody does `verb` any more.
    pub fn remove(&self, verb: &str) {
        self.verbs.write().ignore_poison().remove(verb);
    }

    /// The verbs there are, in alphabetical order.
    pub fn verbs(&self) -> Vec<&'static str> {
        self.verbs.read().ignore_poison().keys().copied().collect()
    }

    /// Does `verb` with `args`, a JSON object or null.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a verb that nobody registered, naming those there are; else what the handler gives.
    pub fn call(&self, verb: &str, args: Value) -> Result<Value> {
        // Not held while the handler runs: it may take its time, or register.
        let handler = self.verbs.read().ignore_poison().get(verb).cloned();
        match handler {
            Some(handler) => handler(args),
            None => {
                let text = format!("\"{verb}\" is no verb of this daemon; it knows {}", self.verbs().join(", "));
                Err(Error::new(Kind::Usage, text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_verb_is_called_by_its_name_and_an_unknown_one_lists_the_known() {
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
