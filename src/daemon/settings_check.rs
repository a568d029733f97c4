//! Settings check: refuses settings that are valid in themselves but not enough to run.

use super::model::engine::detector_options;
use crate::config::{ModelSource, Settings};
use crate::error::{Error, Kind, Result};

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
