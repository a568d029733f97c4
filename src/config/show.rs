//! Display of the merged configuration: each key with value and origin, without secrets.

use std::path::Path;

use config::{Value, ValueKind};
use serde::Serialize;
use serde_json::Value as Json;

use super::secret::is_path;
use crate::redact::redact;

/// A key of the merged configuration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    /// The dotted key, as used by `--set`.
    pub key: String,
    /// The value, redacted if it may contain a secret.
    pub value: Json,
    /// `built-in`, `file:line`, `environment NAME` or `--set`.
    pub origin: String,
}

impl Shown {
    /// The value as TOML.
    pub fn text(&self) -> String {
        match &self.value {
            // An inline table, whose TOML differs from JSON.
            Json::Object(fields) => {
                let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name} = {value}")).collect();
                format!("{{ {} }}", fields.join(", "))
            }
            value => value.to_string(),
        }
    }
}

/// All keys below the value at `key`, in alphabetical order. Lists of tables are expanded, other lists are not.
pub fn shown(key: &str, value: &Value, found: &mut Vec<Shown>) {
    match &value.kind {
        ValueKind::Table(table) if !table.is_empty() => {
            let mut entries: Vec<_> = table.iter().collect();
            entries.sort_by_key(|(name, _)| *name);
            for (name, below) in entries {
                shown(&if key.is_empty() { name.clone() } else { format!("{key}.{name}") }, below, found);
            }
        }
        ValueKind::Array(items) if items.first().is_some_and(|item| matches!(item.kind, ValueKind::Table(_))) => {
            for (index, item) in items.iter().enumerate() {
                shown(&format!("{key}[{index}]"), item, found);
            }
        }
        _ => found.push(Shown {
            key: key.to_owned(),
            value: redacted(key, json(value)),
            origin: value.origin().unwrap_or("built-in").to_owned(),
        }),
    }
}

fn json(value: &Value) -> Json {
    match &value.kind {
        ValueKind::Nil => Json::Null,
        ValueKind::Boolean(flag) => (*flag).into(),
        ValueKind::I64(number) => (*number).into(),
        ValueKind::U64(number) => (*number).into(),
        ValueKind::I128(_) | ValueKind::U128(_) => value.to_string().into(),
        // 0.1 as f32 is 0.10000000149; the shortest text with the same f32 value is the one in the file.
        ValueKind::Float(number) if f64::from(*number as f32) == *number => {
            (*number as f32).to_string().parse::<f64>().map_or(Json::Null, Json::from)
        }
        ValueKind::Float(number) => (*number).into(),
        ValueKind::String(text) => text.clone().into(),
        ValueKind::Table(table) => table.iter().map(|(name, below)| (name.clone(), json(below))).collect(),
        ValueKind::Array(items) => items.iter().map(json).collect(),
    }
}

/// Redacts secrets: passwords and tokens by the name of the key, and the login of an address. Paths of files with secrets
/// are not redacted.
fn redacted(key: &str, value: Json) -> Json {
    const HIDDEN: &str = "***";
    let name = key.rsplit('.').next().unwrap_or_default();
    let secret = ["password", "token", "secret"].iter().any(|word| name.contains(word)) && !name.ends_with("_file");
    // Some write the secret itself in place of the path of its file.
    let is_file = ["password_file", "token_file"].contains(&name);
    match value {
        Json::String(text) if is_file && !text.is_empty() && !is_path(Path::new(&text)) => HIDDEN.into(),
        Json::String(text) if secret && !text.is_empty() => HIDDEN.into(),
        Json::String(text) => redact(&text).into(),
        Json::Array(items) => items.into_iter().map(|item| redacted(key, item)).collect(),
        Json::Object(fields) => {
            let below = |(name, value): (String, Json)| (name.clone(), redacted(&format!("{key}.{name}"), value));
            Json::Object(fields.into_iter().map(below).collect())
        }
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let hide = |key: &str, text: &str| redacted(key, text.into()).as_str().unwrap().to_owned();
        assert_eq!(hide("camera[0].input", "rtsp://user:p@ss@host/stream"), "rtsp://***@host/stream");
        assert_eq!(hide("camera[0].input", "rtsp://host/stream"), "rtsp://host/stream");
        assert_eq!(hide("camera[0].input", "http://host/v?token=abc"), "http://host/v?token=***");
        assert_eq!(hide("publish[0].password", "x"), "***");
        assert_eq!(hide("publish[0].password_file", "/etc/p"), "/etc/p");
        assert_eq!(hide("web.token_file", ""), "");
        assert_eq!(hide("web.token_file", "credential:web-token"), "credential:web-token");
        assert_eq!(hide("web.token_file", "hunter"), "***");
    }

    #[test]
    fn floats_are_shown_as_they_were_written() {
        let share = Value::new(None, ValueKind::Float(f64::from(0.1f32)));
        assert_eq!(json(&share), 0.1);
        assert_eq!(json(&Value::new(None, ValueKind::Float(0.05))), 0.05);
    }
}
