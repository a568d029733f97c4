//! Configuration: parsing, validation and resolution.
//!
//! In: built-in defaults, `/etc/lookout/lookout.toml` or a named file, `conf.d/*.toml` in its folder in the order of
//! their names, `LOOKOUT__SECTION__KEY` variables, `--set key=value`. The later wins. Tables merge key by key; a list
//! such as `[[camera]]` replaces the lower one. Out: valid [`Settings`], or every [`ConfigProblem`] with file, line, key and
//! the allowed values. Relative paths are relative to the working directory.

use std::fmt;
use std::path::{Path, PathBuf};

use config::{Value, ValueKind};

use crate::error::{Error, Kind};
use crate::redact::redact;

pub mod defaults;
pub mod document;
mod hints;
mod kind_hint;
mod kinds;
mod labels;
mod layer;
mod regions;
mod resolve;
mod secret;
mod settings;
mod shape;
mod show;
mod toml_value;
mod units;

pub use settings::{
    CameraKind, CameraSettings, CrowdSettings, DetectorSettings, DeviceSettings, HistorySettings, LineSettings,
    ModelSettings, ModelSource, MonitorSettings, MqttSettings, Recalibrate, Settings, SinkKind, SinkSettings,
    SocketAccessSettings, SupervisionSettings, TrackSettings, WeatherLine, WebSettings, ZoneSettings,
};

pub use hints::environment_hints;
pub use labels::WrongValue;
pub use secret::{credential, read_private_secret, read_secret};
pub use show::Shown;

use document::Document;
pub use document::Limits;

/// Sources of a configuration.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// The file to read instead of [`defaults::FILE`].
    pub file: Option<PathBuf>,
    /// Environment variables; only those with the prefix `LOOKOUT__` matter.
    pub environment: Vec<(String, String)>,
    /// `key=value` settings, the last wins.
    pub set: Vec<String>,
    /// Options of the command line that set keys: name and TOML. Their layer is above the files and below the environment.
    pub built_in: Option<(&'static str, &'static str)>,
    /// Defaults that an option of the command line changes: its name and TOML, below the files.
    pub defaults: Option<(&'static str, String)>,
    /// Files that are to be written, path and TOML: each counts as if it were there in place of the present one.
    pub planned: Vec<(PathBuf, String)>,
}

impl Inputs {
    /// The inputs of this process.
    pub fn of_process(file: Option<PathBuf>, set: Vec<String>) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
            .filter(|(name, _)| name.starts_with(layer::PREFIX))
            .collect();
        Self { file, environment, set, ..Self::default() }
    }
}

/// An error in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Origin: `file:line`, `environment NAME`, `--set` or `built-in`.
    pub origin: String,
    /// The key, such as `camera[0].rate`; empty if the error concerns no single key.
    pub key: String,
    /// The error and the allowed values.
    pub text: String,
}

impl ConfigProblem {
    fn at(value: &Value, key: &str, text: String) -> Self {
        Self { origin: value.origin().unwrap_or("built-in").to_owned(), key: key.to_owned(), text }
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", redact(&self.key))?;
        }
        f.write_str(&redact(&self.text))
    }
}

/// A refused configuration with all its errors, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub Vec<ConfigProblem>);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let between = if index == 0 { "" } else { "; " };
            write!(f, "{between}{problem}")?;
        }
        Ok(())
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::new(Kind::Config, refusal.to_string())
    }
}

/// Reads, checks and resolves the configuration.
///
/// # Errors
///
/// [`Refusal`] with all errors of the first stage that found any: parsing and schema, then resolution.
pub fn load(inputs: &Inputs) -> Result<Settings, Refusal> {
    resolved(inputs).map(|(settings, _)| settings)
}

/// The `[detector]` section, for commands that run a model without cameras. The other sections must be valid too.
///
/// # Errors
///
/// As [`load`].
pub fn load_detector(inputs: &Inputs) -> Result<DetectorSettings, Refusal> {
    resolved(inputs).map(|(settings, _)| settings.detector)
}

/// The `[device]` section, for commands that query the running daemon; otherwise as [`load_detector`].
///
/// # Errors
///
/// As [`load`].
pub fn load_device(inputs: &Inputs) -> Result<DeviceSettings, Refusal> {
    resolved(inputs).map(|(settings, _)| settings.device)
}

/// `wrong` values of a valid configuration as problems, each with the origin of its key.
pub fn problems(inputs: &Inputs, wrong: Vec<WrongValue>) -> Vec<ConfigProblem> {
    let merged = merge(inputs).unwrap_or_else(|_| Value::new(None, ValueKind::Table(config::Map::new())));
    wrong
        .into_iter()
        .map(|WrongValue { key, text }| ConfigProblem::at(resolve::locate(&merged, &key), &key, text))
        .collect()
}

/// Every key with its value and origin, secrets redacted. The configuration must be valid.
///
/// # Errors
///
/// As [`load`].
pub fn show(inputs: &Inputs) -> Result<Vec<Shown>, Refusal> {
    let (_, merged) = resolved(inputs)?;
    let mut found = Vec::new();
    show::shown("", &merged, &mut found);
    Ok(found)
}

/// JSON Schema of the TOML.
pub fn schema() -> serde_json::Value {
    shape::schema()
}

fn resolved(inputs: &Inputs) -> Result<(Settings, Value), Refusal> {
    let merged = merge(inputs)?;
    let document = document(&merged)?;
    Ok((resolve::resolve(&document, &merged)?, merged))
}

/// The merged values of all layers, each with its origin.
fn merge(inputs: &Inputs) -> Result<Value, Refusal> {
    let schema = shape::schema();
    let mut problems = Vec::new();
    let mut layers = Vec::new();
    if let Some((name, text)) = &inputs.defaults {
        layers.push(layer::text(name, text, &schema, &mut problems));
    }
    match layer::files(inputs.file.as_deref(), Path::new(defaults::FILE), &inputs.planned) {
        Ok(files) => layers.extend(files.iter().map(|path| match planned(inputs, path) {
            Some(text) => layer::text(&path.display().to_string(), text, &schema, &mut problems),
            None => layer::file(path, &schema, &mut problems),
        })),
        Err(problem) => problems.push(problem),
    }
    if let Some((name, text)) = inputs.built_in {
        layers.push(layer::text(name, text, &schema, &mut problems));
    }
    layers.push(layer::environment(&inputs.environment, &schema, &mut problems));
    layers.extend(inputs.set.iter().map(|text| layer::setting(text, &schema, &mut problems)));
    if !problems.is_empty() {
        return Err(Refusal(problems));
    }
    let build = || {
        let mut builder = config::Config::builder().add_source(config::Config::try_from(&defaults::document())?);
        for layer in layers {
            builder = builder.add_source(layer);
        }
        config::Source::collect(&builder.build()?)
    };
    build().map(|table| Value::new(None, ValueKind::Table(table))).map_err(not_in_schema)
}

/// The text of a file that is to be written.
fn planned<'a>(inputs: &'a Inputs, path: &Path) -> Option<&'a str> {
    inputs.planned.iter().find(|(planned, _)| planned == path).map(|(_, text)| text.as_str())
}

/// The merged values in the types of the document.
fn document(merged: &Value) -> Result<Document, Refusal> {
    merged.clone().try_deserialize().map_err(not_in_schema)
}

/// Converts a deserialization error that the schema check should have caught.
fn not_in_schema(error: config::ConfigError) -> Refusal {
    Refusal(vec![ConfigProblem { origin: "configuration".to_owned(), key: String::new(), text: error.to_string() }])
}
