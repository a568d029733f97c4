//! Conversion of TOML into the values of the crate `config`, each with its origin.

use config::{Map, Value, ValueKind};
use toml::de::{DeTable, DeValue};

/// Parses `text` as a TOML value with the origin `origin`. `None` if it is not TOML.
pub fn inline(text: &str, origin: &str) -> Option<Value> {
    let parsed = DeValue::parse(text).ok()?;
    let mut value = TomlText { name: origin, text: "" }.value(parsed.get_ref(), 0);
    relabel(&mut value, origin);
    Some(value)
}

/// Sets the origin of a value and of all values below it.
fn relabel(value: &mut Value, origin: &str) {
    let kind = match std::mem::take(&mut value.kind) {
        ValueKind::Table(mut table) => {
            table.values_mut().for_each(|below| relabel(below, origin));
            ValueKind::Table(table)
        }
        ValueKind::Array(mut items) => {
            items.iter_mut().for_each(|below| relabel(below, origin));
            ValueKind::Array(items)
        }
        plain => plain,
    };
    *value = Value::new(Some(&origin.to_owned()), kind);
}

/// A TOML text with its name, from which the origin of each value follows.
pub struct TomlText<'a> {
    pub name: &'a str,
    pub text: &'a str,
}

impl TomlText<'_> {
    /// Origin `name:line` of the byte at `offset`.
    pub fn line(&self, offset: usize) -> String {
        let before = self.text.as_bytes().iter().take(offset);
        format!("{}:{}", self.name, before.filter(|&&byte| byte == b'\n').count() + 1)
    }

    /// Converts a table.
    pub fn table(&self, table: &DeTable<'_>) -> Map<String, Value> {
        let mut entries = Map::new();
        for (key, value) in table {
            entries.insert(key.get_ref().to_string(), self.value(value.get_ref(), key.span().start));
        }
        entries
    }

    fn value(&self, value: &DeValue<'_>, offset: usize) -> Value {
        let kind = match value {
            DeValue::String(text) => {
                crate::redact::learn(text);
                ValueKind::String(text.to_string())
            }
            // No key accepts more than 64 bits. As text, the value is refused with the name of its key.
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| ValueKind::String(number.to_string()), ValueKind::I64),
            DeValue::Float(number) => {
                number.as_str().parse().map_or_else(|_| ValueKind::String(number.to_string()), ValueKind::Float)
            }
            DeValue::Boolean(flag) => ValueKind::Boolean(*flag),
            DeValue::Datetime(time) => ValueKind::String(time.to_string()),
            DeValue::Array(items) => {
                ValueKind::Array(items.iter().map(|item| self.value(item.get_ref(), item.span().start)).collect())
            }
            DeValue::Table(table) => ValueKind::Table(self.table(table)),
        };
        Value::new(Some(&self.line(offset)), kind)
    }
}
