//! Settings check: refuses settings that are valid in themselves but not enough to run.

use std::path::Path;

use super::model::engine::detector_options;
use crate::config::{ModelSource, Settings};
use crate::detector;
use crate::error::{Error, Kind, Result};
use crate::publish::mqtt;

/// Checks that `settings` name a camera, a model, and an instruction set that this CPU has.
///
/// # Errors
///
/// [`Kind::Config`], naming the section; [`Kind::Unavailable`] for a missing instruction set. A retry cannot help in
/// either case.
pub fn check_settings(settings: &Settings) -> Result<()> {
    let refuse = |text: &str| Err(Error::new(Kind::Config, text));
    if settings.cameras.is_empty() {
        return refuse("there is no camera to watch: add a [[camera]] to the configuration");
    }
    if settings.model.source == ModelSource::None {
        return refuse("there is no model to detect with: name a checkpoint as model.checkpoint in the configuration");
    }
    detector_options(&settings.detector).map(drop)
}

/// The file of the configured model, which has its labels; `None` without a model.
pub fn model_file(settings: &Settings) -> Option<&Path> {
    match &settings.model.source {
        ModelSource::None => None,
        ModelSource::Artifact(path) | ModelSource::Checkpoint(path) => Some(path),
        ModelSource::Quantize { checkpoint, .. } | ModelSource::Live { checkpoint, .. } => Some(checkpoint),
    }
}

/// Checks that the model has the labels that `settings` name.
///
/// # Errors
///
/// [`Kind::Config`] with every wrong label and the nearest one. A model that cannot be read is no error here: loading
/// it gives a better message.
pub fn check_labels(settings: &Settings) -> Result<()> {
    let Some(file) = model_file(settings).filter(|_| settings.names_labels()) else { return Ok(()) };
    let Ok(model) = detector::describe(file) else { return Ok(()) };
    let wrong: Vec<String> = settings
        .unknown_labels(&model.labels)
        .into_iter()
        .map(|wrong| format!("{}: {}", wrong.key, wrong.text))
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(Error::new(Kind::Config, wrong.join("; "))) }
}

/// Checks that the names of cameras, zones and lines and the model's `labels` have distinct topics and identifiers at a broker.
///
/// # Errors
///
/// As [`mqtt::check_names`].
pub fn check_names(settings: &Settings, labels: &[String]) -> Result<()> {
    let cameras: Vec<mqtt::CameraInfo> = settings.cameras.iter().map(Into::into).collect();
    settings.sinks.iter().try_for_each(|sink| match &sink.kind {
        crate::config::SinkKind::Mqtt(mqtt) if mqtt.discovery.is_some() => {
            let labels = if mqtt.labels.is_empty() { labels } else { &mqtt.labels };
            mqtt::check_names(&cameras, labels)
        }
        _ => Ok(()),
    })
}
