//! Schema check: validates values against the JSON Schema of [`Document`], key by key.
//!
//! In: a value with its origin, and its schema. Out: one [`ConfigProblem`] for each unknown key, with the nearest known
//! one. The same for each value of the wrong type, outside of its range or not among the allowed words.

use config::{Value, ValueKind};
use serde_json::Value as Json;

use super::ConfigProblem;
use super::document::Document;
use super::kind_hint::{key_hint, kind_hint};
use crate::suggest::suggestion;

/// Node of the schema.
enum ExpectedValue<'a> {
    /// A table of known keys.
    Table(&'a serde_json::Map<String, Json>),
    /// A table with any keys and values of one schema.
    Map(&'a Json),
    /// An array, with its length if fixed.
    Array(&'a Json, Option<u64>),
    Words(Vec<&'a str>),
    Text,
    Integer,
    Number,
    Flag,
}

/// The schema of the configuration with all references inlined.
pub fn schema() -> Json {
    let settings =
        schemars::generate::SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<Document>().to_value()
}

/// Checks the value at `key` and all values below it.
pub fn check(schema: &Json, key: &str, value: &Value, problems: &mut Vec<ConfigProblem>) {
    let schema = form(schema, value);
    let mut report = |text: String| problems.push(ConfigProblem::at(value, key, text));
    match (expected_value(schema), &value.kind) {
        (ExpectedValue::Table(known), ValueKind::Table(table)) => {
            for (name, below) in ordered(table) {
                match known.get(name) {
                    Some(schema) => check(schema, &join(key, name), below, problems),
                    None => {
                        problems.push(ConfigProblem::at(below, &join(key, name), unknown_key(schema, key, name, known)))
                    }
                }
            }
        }
        (ExpectedValue::Map(schema), ValueKind::Table(table)) => {
            for (name, below) in ordered(table) {
                check(schema, &join(key, name), below, problems);
            }
        }
        (ExpectedValue::Array(schema, length), ValueKind::Array(items)) => {
            if length.is_some_and(|length| items.len() as u64 != length) {
                report(format!("has {} values, {} are expected", items.len(), length.unwrap_or_default()));
            }
            for (index, item) in items.iter().enumerate() {
                check(schema, &format!("{key}[{index}]"), item, problems);
            }
        }
        (ExpectedValue::Words(words), ValueKind::String(text)) if !words.contains(&text.as_str()) => {
            let hint = match kind_hint(key, text) {
                Some(hint) if key.ends_with("kind") => format!("; {hint}"),
                _ => suggestion(text, words.iter().copied()),
            };
            report(format!("\"{text}\" is not one of {}{hint}", list(&words)));
        }
        (ExpectedValue::Words(_), ValueKind::String(_)) | (ExpectedValue::Text, ValueKind::String(_)) => {}
        (ExpectedValue::Flag, ValueKind::Boolean(_)) => {}
        (ExpectedValue::Integer, ValueKind::I64(number)) => {
            if let Some(range) = outside(schema, *number as f64) {
                report(format!("{number} is out of range: {range}"));
            }
        }
        (ExpectedValue::Number, ValueKind::I64(_) | ValueKind::Float(_)) => {
            let number = match value.kind {
                ValueKind::Float(number) => number,
                ValueKind::I64(number) => number as f64,
                _ => f64::NAN,
            };
            if let Some(range) = outside(schema, number) {
                report(format!("{number} is out of range: {range}"));
            }
        }
        (ExpectedValue::Array(..), ValueKind::Table(_)) if !key.contains(['.', '[']) => {
            report(format!("there may be several: write [[{key}]]"));
        }
        (expected, found) => report(format!("{} is expected, this is {}", expected.name(), name(found))),
    }
}

/// The schema at a dotted `key`, as used by `--set` and the environment, or the reason why there is none.
pub fn find<'a>(root: &'a Json, key: &str) -> Result<&'a Json, String> {
    let mut schema = root;
    for segment in key.replace('[', ".[").split('.') {
        schema = match (expected_value(schema), segment.strip_prefix('[')) {
            (ExpectedValue::Array(items, _), Some(_)) => items,
            (ExpectedValue::Map(below), None) => below,
            (ExpectedValue::Table(known), None) => {
                known.get(segment).ok_or_else(|| missing(root, key, segment, known.keys()))?
            }
            (expected, _) => return Err(format!("{} has no part called {segment}", expected.name())),
        };
    }
    Ok(schema)
}

/// Converts `text` of an environment variable or argument to the type of the schema. Text may be written bare, or between
/// TOML quotes.
pub fn typed(schema: &Json, text: &str, origin: &str) -> Value {
    let verbatim = || {
        crate::redact::learn(text);
        Value::new(Some(&origin.to_owned()), text.to_owned())
    };
    match expected_value(schema) {
        ExpectedValue::Text | ExpectedValue::Words(_) if !text.starts_with(['"', '\'']) => verbatim(),
        _ => super::toml_value::inline(text, origin).unwrap_or_else(verbatim),
    }
}

/// Keys in a fixed order, so that problems do not depend on hashing.
fn ordered(table: &config::Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| *name);
    entries
}

fn join(key: &str, name: &str) -> String {
    if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") }
}

/// The form of a schema with several that fits the kind of `value`, else the schema.
fn form<'a>(schema: &'a Json, value: &Value) -> &'a Json {
    let forms = schema.get("anyOf").and_then(Json::as_array).into_iter().flatten();
    let fits = |form: &&Json| {
        matches!(
            (expected_value(form), &value.kind),
            (ExpectedValue::Table(_) | ExpectedValue::Map(_), ValueKind::Table(_))
                | (ExpectedValue::Array(..), ValueKind::Array(_))
        )
    };
    forms.filter(|form| form["type"] != "null").find(fits).unwrap_or(schema)
}

fn expected_value(schema: &Json) -> ExpectedValue<'_> {
    // An optional table or enum is a union with null.
    if let Some(forms) = schema.get("anyOf").and_then(Json::as_array) {
        return forms.iter().find(|form| form["type"] != "null").map_or(ExpectedValue::Text, expected_value);
    }
    let words: Vec<&str> = match (schema.get("oneOf"), schema.get("enum")) {
        (Some(forms), _) => forms.as_array().into_iter().flatten().flat_map(words_of).collect(),
        (None, Some(_)) => words_of(schema),
        (None, None) => Vec::new(),
    };
    if !words.is_empty() {
        return ExpectedValue::Words(words);
    }
    let is = |kind: &str| match &schema["type"] {
        Json::Array(kinds) => kinds.iter().any(|one| one == kind),
        one => one == kind,
    };
    if is("object") {
        return match schema.get("properties").and_then(Json::as_object) {
            Some(known) => ExpectedValue::Table(known),
            None => ExpectedValue::Map(&schema["additionalProperties"]),
        };
    }
    if is("array") {
        return ExpectedValue::Array(&schema["items"], schema.get("minItems").and_then(Json::as_u64));
    }
    match () {
        () if is("integer") => ExpectedValue::Integer,
        () if is("number") => ExpectedValue::Number,
        () if is("boolean") => ExpectedValue::Flag,
        () => ExpectedValue::Text,
    }
}

fn words_of(schema: &Json) -> Vec<&str> {
    let one = schema.get("const").and_then(Json::as_str);
    let many = schema.get("enum").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str);
    one.into_iter().chain(many).collect()
}

impl ExpectedValue<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::Table(_) | Self::Map(_) => "a table",
            Self::Array(..) => "an array",
            Self::Words(_) | Self::Text => "text in quotes",
            Self::Integer => "a whole number",
            Self::Number => "a number",
            Self::Flag => "true or false",
        }
    }
}

fn name(kind: &ValueKind) -> &'static str {
    match kind {
        ValueKind::Nil => "nothing",
        ValueKind::Boolean(_) => "true or false",
        ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => "a whole number",
        ValueKind::Float(_) => "a number",
        ValueKind::String(_) => "text",
        ValueKind::Table(_) => "a table",
        ValueKind::Array(_) => "an array",
    }
}

/// The allowed range, if `number` is outside of it. NaN always is.
fn outside(schema: &Json, number: f64) -> Option<String> {
    let low = schema.get("minimum").and_then(Json::as_f64);
    let high = schema.get("maximum").and_then(Json::as_f64);
    let inside = number.is_finite() && low.is_none_or(|low| number >= low) && high.is_none_or(|high| number <= high);
    if inside {
        return None;
    }
    Some(match (low, high) {
        (Some(low), Some(high)) => format!("{low} to {high}"),
        (Some(low), None) => format!("{low} or more"),
        (None, Some(high)) => format!("{high} or less"),
        (None, None) => "a finite number".to_owned(),
    })
}

/// The dotted keys that end with `name`, in sections of the configuration that are no lists.
fn keys_called(schema: &Json, name: &str) -> Vec<String> {
    let Some(sections) = schema["properties"].as_object() else { return Vec::new() };
    let has = |(_, section): &(&String, &Json)| matches!(expected_value(section), ExpectedValue::Table(known) if known.contains_key(name));
    sections.iter().filter(has).map(|(section, _)| format!("{section}.{name}")).collect()
}

/// The problem with `name` in the table at `key`; at the root, a key without its section is recognized.
fn unknown_key(schema: &Json, key: &str, name: &str, known: &serde_json::Map<String, Json>) -> String {
    if key.is_empty() {
        return missing(schema, name, name, known.keys());
    }
    match key_hint(key, name) {
        Some(hint) => format!("there is no such key; {hint}"),
        None => unknown(name, known.keys()),
    }
}

/// The reason why `key` has no part `segment`; a key without its section is recognized.
fn missing<'a>(root: &Json, key: &str, segment: &str, known: impl Iterator<Item = &'a String> + Clone) -> String {
    let is_first = key.split(['.', '[']).next() == Some(segment);
    let elsewhere = if is_first { keys_called(root, segment) } else { Vec::new() };
    if elsewhere.is_empty() {
        return unknown(segment, known);
    }
    format!("there is no such key; did you mean \"{}\"?", elsewhere.join("\" or \""))
}

fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a String> + Clone) -> String {
    let nearest = suggestion(name, known.clone().map(String::as_str));
    if nearest.is_empty() {
        format!("there is no such key; there are {}", known.cloned().collect::<Vec<_>>().join(", "))
    } else {
        format!("there is no such key{nearest}")
    }
}

fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_without_its_section_is_found_in_others() {
        assert_eq!(keys_called(&schema(), "log_level"), ["device.log_level"]);
        assert!(keys_called(&schema(), "enabled").len() > 2);
    }

    #[test]
    fn any_key_without_a_place_is_one_error() {
        let schema = schema();
        for key in
            ["", ".", "device", "device.", "device.device", "web.web.web", "camera.camera", "track[0]", "[", "a.a"]
        {
            let reason = find(&schema, key).err();
            assert!(key == "device" || reason.is_some_and(|reason| !reason.is_empty()), "{key}");
        }
    }
}
