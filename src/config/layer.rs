//! Configuration layers: files, environment, `--set`, each read into values with their origin.
//!
//! The crate `config` merges layers but keeps no line numbers. Files are therefore parsed with `toml`, and every value is
//! passed on with `file:line` as its origin.

use std::path::{Path, PathBuf};

use config::{ConfigError, Map, Value, ValueKind};
use serde_json::Value as Json;
use toml::de::DeTable;

use super::toml_value::TomlText;
use super::{ConfigProblem, shape};

/// Prefix of environment variables of the configuration.
pub const PREFIX: &str = "LOOKOUT__";

/// Keys with their values.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    entries: Map<String, Value>,
}

impl config::Source for Layer {
    fn clone_into_box(&self) -> Box<dyn config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.entries.clone())
    }
}

/// The configuration file and its drop-ins, in order of precedence, lowest first. A named file must exist; the default
/// file may be missing. `planned` files count as if they were there.
pub fn files(
    named: Option<&Path>,
    default: &Path,
    planned: &[(PathBuf, String)],
) -> Result<Vec<PathBuf>, ConfigProblem> {
    let main = named.unwrap_or(default);
    let mut files = Vec::new();
    if named.is_some() || main.exists() || planned.iter().any(|(path, _)| path == main) {
        files.push(main.to_owned());
    }
    let folder = main.with_file_name("conf.d");
    let mut drop_ins: Vec<PathBuf> =
        planned.iter().map(|(path, _)| path.clone()).filter(|path| path.parent() == Some(&folder)).collect();
    match std::fs::read_dir(&folder) {
        Ok(entries) => {
            for entry in entries {
                let path = entry.map_err(|error| unreadable(&folder, &error))?.path();
                if path.extension().is_some_and(|extension| extension == "toml") {
                    drop_ins.push(path);
                }
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(unreadable(&folder, &error)),
    }
    drop_ins.sort();
    drop_ins.dedup();
    files.extend(drop_ins);
    Ok(files)
}

fn unreadable(path: &Path, error: &std::io::Error) -> ConfigProblem {
    ConfigProblem { origin: path.display().to_string(), key: String::new(), text: format!("cannot be read: {error}") }
}

/// Reads and checks one file.
pub fn file(path: &Path, schema: &Json, problems: &mut Vec<ConfigProblem>) -> Layer {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            problems.push(unreadable(path, &error));
            return Layer::default();
        }
    };
    self::text(&path.display().to_string(), &text, schema, problems)
}

/// Checks a TOML text, called `name` in problems.
pub fn text(name: &str, text: &str, schema: &Json, problems: &mut Vec<ConfigProblem>) -> Layer {
    let source = TomlText { name, text };
    match DeTable::parse(text) {
        Ok(table) => {
            let entries = source.table(table.get_ref());
            let root = Value::new(Some(&name.to_owned()), ValueKind::Table(entries.clone()));
            shape::check(schema, "", &root, problems);
            Layer { entries }
        }
        Err(error) => {
            crate::redact::learn_within(text);
            let origin = error.span().map_or_else(|| name.to_owned(), |span| source.line(span.start));
            let text = format!("not TOML: {}", error.message());
            problems.push(ConfigProblem { origin, key: String::new(), text });
            Layer::default()
        }
    }
}

/// Reads and checks `LOOKOUT__SECTION__KEY` variables; a number between the underscores is an index.
pub fn environment(variables: &[(String, String)], schema: &Json, problems: &mut Vec<ConfigProblem>) -> Layer {
    let mut layer = Layer::default();
    for (variable, text) in variables {
        let Some(name) = variable.strip_prefix(PREFIX) else { continue };
        crate::redact::learn_within(text);
        let mut key = String::new();
        for part in name.split("__") {
            match part.parse::<u16>() {
                Ok(index) => key.push_str(&format!("[{index}]")),
                Err(_) if key.is_empty() => key = part.to_ascii_lowercase(),
                Err(_) => key.push_str(&format!(".{}", part.to_ascii_lowercase())),
            }
        }
        layer.add(&key, text, &format!("environment {variable}"), schema, problems);
    }
    layer
}

/// Reads and checks one `key=value`.
pub fn setting(text: &str, schema: &Json, problems: &mut Vec<ConfigProblem>) -> Layer {
    crate::redact::learn_within(text);
    crate::redact::learn(text);
    let mut layer = Layer::default();
    match text.split_once('=') {
        Some((key, value)) => layer.add(key.trim(), value.trim(), "--set", schema, problems),
        None => problems.push(ConfigProblem {
            origin: "--set".to_owned(),
            key: text.to_owned(),
            text: "a value is missing: write key=value, as in detector.threads=2".to_owned(),
        }),
    }
    layer
}

impl Layer {
    fn add(&mut self, key: &str, text: &str, origin: &str, schema: &Json, problems: &mut Vec<ConfigProblem>) {
        match shape::find(schema, key) {
            Ok(schema) => {
                let value = shape::typed(schema, text, origin);
                shape::check(schema, key, &value, problems);
                self.entries.insert(key.to_owned(), value);
            }
            Err(text) => problems.push(ConfigProblem { origin: origin.to_owned(), key: key.to_owned(), text }),
        }
    }
}
