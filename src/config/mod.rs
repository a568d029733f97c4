//! The configuration: parsed, then validated, then resolved.
//!
//! In: built-in defaults, `/etc/lookout/lookout.toml` or the file named, `conf.d/*.toml` beside it in the order of
//! their names, `LOOKOUT__SECTION__KEY` variables, `--set key=value`; the later wins. Tables merge key by key; a list
//! such as `[[camera]]` replaces the one below it. Out: [`Settings`], which hold nothing that could still be wrong, or
//! every [`Complaint`] with file, line, key and what would be right. Relative paths count from the working directory.

use std::fmt;
use std::path::{Path, PathBuf};

use config::{Value, ValueKind};

use crate::error::{Error, Kind};

pub mod defaults;
pub mod document;
mod kinds;
mod layer;
mod resolve;
mod secret;
mod settings;
mod shape;
mod show;
mod units;

pub use settings::{
    CameraKind, CameraSettings, DetectorSettings, DeviceSettings, HistorySettings, ModelSettings, ModelSource,
    MonitorSettings, MqttSettings, Recalibrate, Settings, SinkKind, SinkSettings, SupervisionSettings, TrackSettings,
    WeatherLine, WebSettings,
};

pub use secret::credential;
pub use show::Shown;

use document::Document;
pub use document::Limits;

/// Where a configuration comes from.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// The file to read instead of [`defaults::FILE`].
    pub file: Option<PathBuf>,
    /// Environment variables; those that begin with `LOOKOUT__` count.
    pub environment: Vec<(String, String)>,
    /// `key=value` settings, the last wins.
    pub set: Vec<String>,
    /// What an option of the command line stands for: its name and TOML, over the files and below the environment.
    pub built_in: Option<(&'static str, &'static str)>,
}

impl Inputs {
    /// The inputs of this process.
    pub fn of_process(file: Option<PathBuf>, set: Vec<String>) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
            .filter(|(name, _)| name.starts_with(layer::PREFIX))
            .collect();
        Self { file, environment, set, built_in: None }
    }
}

/// One thing wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Where it was written: `file:line`, `environment NAME`, `--set` or `built-in`.
    pub origin: String,
    /// The key, as in `camera[0].rate`; empty if no key is to blame.
    pub key: String,
    /// What is wrong and what would be right.
    pub text: String,
}

impl Complaint {
    fn at(value: &Value, key: &str, text: String) -> Self {
        Self { origin: value.origin().unwrap_or("built-in").to_owned(), key: key.to_owned(), text }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.text)
    }
}

/// A configuration that is refused: everything that is wrong with it, at least one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub Vec<Complaint>);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, complaint) in self.0.iter().enumerate() {
            let between = if index == 0 { "" } else { "; " };
            write!(f, "{between}{complaint}")?;
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
/// [`Refusal`] with everything that is wrong in the earliest stage that found anything: reading and shape, then the
/// meaning of the whole.
pub fn load(inputs: &Inputs) -> Result<Settings, Refusal> {
    resolved(inputs).map(|(settings, _)| settings)
}

/// Only the `[detector]` section, for commands that run a model on something else than cameras. The rest must be right
/// too.
///
/// # Errors
///
/// As [`load`].
pub fn load_detector(inputs: &Inputs) -> Result<DetectorSettings, Refusal> {
    resolved(inputs).map(|(settings, _)| settings.detector)
}

/// Only the `[device]` section, for commands that ask the running daemon; otherwise as [`load_detector`].
///
/// # Errors
///
/// As [`load`].
pub fn load_device(inputs: &Inputs) -> Result<DeviceSettings, Refusal> {
    resolved(inputs).map(|(settings, _)| settings.device)
}

/// Every key with its value and where that was written, secrets redacted. The configuration must be right.
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

/// The values of all layers, merged, each with the origin that won.
fn merge(inputs: &Inputs) -> Result<Value, Refusal> {
    let schema = shape::schema();
    let mut complaints = Vec::new();
    let mut layers = Vec::new();
    match layer::files(inputs.file.as_deref(), Path::new(defaults::FILE)) {
        Ok(files) => layers.extend(files.iter().map(|path| layer::file(path, &schema, &mut complaints))),
        Err(complaint) => complaints.push(complaint),
    }
    if let Some((name, text)) = inputs.built_in {
        layers.push(layer::text(name, text, &schema, &mut complaints));
    }
    layers.push(layer::environment(&inputs.environment, &schema, &mut complaints));
    layers.extend(inputs.set.iter().map(|text| layer::setting(text, &schema, &mut complaints)));
    if !complaints.is_empty() {
        return Err(Refusal(complaints));
    }
    let build = || {
        let mut builder = config::Config::builder().add_source(config::Config::try_from(&defaults::document())?);
        for layer in layers {
            builder = builder.add_source(layer);
        }
        config::Source::collect(&builder.build()?)
    };
    build().map(|table| Value::new(None, ValueKind::Table(table))).map_err(unforeseen)
}

/// The merged values in the types of the document.
fn document(merged: &Value) -> Result<Document, Refusal> {
    merged.clone().try_deserialize().map_err(unforeseen)
}

/// What the shape check should have caught, told as it is.
fn unforeseen(error: config::ConfigError) -> Refusal {
    Refusal(vec![Complaint { origin: "configuration".to_owned(), key: String::new(), text: error.to_string() }])
}
