//! Model loading with the monitor: the engine of the configured model, and the monitor's inputs.
//!
//! In: `[model]`, `[detector]`, `[monitor]`. Out: an engine, and a [`Monitoring`] if a quantized model is to be monitored
//! or calibrated from the cameras. A monitored model comes from the state folder, where recalibrations may have added
//! generations to the configured one.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::Monitoring;
use crate::config::{ModelSource, Settings};
use crate::daemon::identity::Identity;
use crate::daemon::model::engine::{LocalEngine, detector_options};
use crate::daemon::model::load::{self, load_checked, model_name, quantize};
use crate::daemon::paths::state_folder;
use crate::detector::checkpoint::Checkpoint;
use crate::detector::{Detector, DetectorOptions, ModelSummary, demo};
use crate::error::{Error, Kind, Result};
use crate::message::ModelPrecision;
use crate::monitor::{Generations, RejectedGeneration, StartGeneration};
use crate::quant::artifact::Artifact;
use crate::tensor::digest::sha256;
use crate::tensor::regular_file;

/// A loaded model.
pub struct LoadedModel {
    /// The engine, checked.
    pub engine: LocalEngine,
    /// The monitor, not started, if there is one.
    pub monitoring: Option<Monitoring>,
}

/// Loads the model that `settings` name.
///
/// # Errors
///
/// As [`load::load`]; an error of the state folder if the model is monitored.
pub fn load(settings: &Settings, identity: &Identity) -> Result<LoadedModel> {
    let loader = Loader { settings, identity, options: detector_options(&settings.detector)? };
    match &settings.model.source {
        ModelSource::Live { checkpoint, count } => loader.live(checkpoint, *count as usize),
        _ if !settings.monitor.enabled => loader.unmonitored(),
        ModelSource::Artifact(path) => {
            let bytes = match demo::named(path)? {
                // The demo has its own folder: it must not replace the device's generations. Without a writable folder
                // it must run all the same.
                Some(bytes) => match loader.demo_state() {
                    Ok(state) => return loader.artifact(path, Cow::Borrowed(bytes), &state),
                    Err(error) => {
                        tracing::warn!(error = error.chain(), "the demo runs without the monitor");
                        return loader.unmonitored();
                    }
                },
                None => regular_file::read(path)?,
            };
            loader.artifact(path, Cow::Owned(bytes), &state_folder(&settings.device)?)
        }
        ModelSource::Quantize { checkpoint, pictures, count } => {
            let state = state_folder(&settings.device)?;
            let name = model_name(checkpoint);
            let checkpoint = Checkpoint::open(checkpoint)?;
            let bytes = quantize(&checkpoint, pictures, *count, &state, &loader.options)?;
            let initial = InitialModel { bytes: Cow::Owned(bytes), name, reference: Some(checkpoint) };
            loader.serving_generation(initial, &state)
        }
        ModelSource::Checkpoint(_) | ModelSource::None => {
            tracing::warn!("model.checkpoint runs in full precision: the monitor has nothing to compare it with");
            loader.unmonitored()
        }
    }
}

/// Loads a model in one of the configured ways.
struct Loader<'a> {
    settings: &'a Settings,
    identity: &'a Identity,
    options: DetectorOptions,
}

/// Generation 0 of a model.
struct InitialModel<'a> {
    /// The artifact.
    bytes: Cow<'a, [u8]>,
    name: String,
    /// The full-precision checkpoint, if it is known. It stays open, so that the file that was checked is the one that is
    /// read.
    reference: Option<Checkpoint>,
}

impl Loader<'_> {
    fn unmonitored(&self) -> Result<LoadedModel> {
        Ok(LoadedModel { engine: load::load(self.settings)?, monitoring: None })
    }

    /// The state folder of the built-in model.
    fn demo_state(&self) -> Result<PathBuf> {
        let state = state_folder(&self.settings.device)?.join("demo");
        std::fs::create_dir_all(&state).map_err(|source| Error::writing(&state, source))?;
        Ok(state)
    }

    /// The serving generation of the artifact at `path`, whose generations are below `state`.
    fn artifact(&self, path: &Path, bytes: Cow<'_, [u8]>, state: &Path) -> Result<LoadedModel> {
        let artifact = Artifact::parse(&bytes).map_err(|error| error.at(path.display()))?;
        let reference = match &self.settings.model.reference {
            Some(reference) => Some(open_reference(&artifact, reference)?),
            None => None,
        };
        drop(artifact);
        self.serving_generation(InitialModel { bytes, name: model_name(path), reference }, state)
    }

    /// The serving generation of the lineage that starts with `initial`.
    fn serving_generation(&self, initial: InitialModel<'_>, state: &Path) -> Result<LoadedModel> {
        let InitialModel { bytes, name, reference } = initial;
        let mut generations = self.generations(state, &sha256(&bytes))?;
        generations.set_initial(&bytes, &now())?;
        // The serving generation is read from the state folder: two copies would be in memory.
        drop(bytes);
        let start = generations.start(&self.identity.boot_id)?;
        self.quantized(generations, start, name, reference)
    }

    fn generations(&self, state: &Path, initial_sha256: &str) -> Result<Generations> {
        Generations::open(state, initial_sha256, self.settings.monitor.keep_generations as usize)
    }

    /// The engine of the generation that [`Generations::start`] chose.
    fn quantized(
        &self,
        generations: Generations,
        start: StartGeneration,
        name: String,
        reference: Option<Checkpoint>,
    ) -> Result<LoadedModel> {
        for RejectedGeneration { generation, reason: why } in &start.rejected {
            tracing::warn!(generation, why, serving = start.generation, "generation rejected");
        }
        let engine = load_checked(&self.options, &|options| {
            LocalEngine::new(Detector::from_artifact(&start.bytes, name.clone(), options)?)
        })?;
        let StartGeneration { generation, rejected, .. } = start;
        let monitoring = Monitoring::of_generations(
            self.settings,
            &engine,
            generations,
            generation,
            rejected,
            reference,
            self.identity,
        )?;
        Ok(LoadedModel { engine, monitoring: Some(monitoring) })
    }

    /// A model that is calibrated from the cameras: in full precision until enough frames are collected, in int8 from
    /// then on, also after a restart.
    fn live(&self, path: &Path, count: usize) -> Result<LoadedModel> {
        let checkpoint = Checkpoint::open(path)?;
        let state = state_folder(&self.settings.device)?;
        let initial_sha256 = checkpoint.sha256()?;
        let mut generations = self.generations(&state, &initial_sha256)?;
        if generations.has_initial() {
            let start = generations.start(&self.identity.boot_id)?;
            return self.quantized(generations, start, model_name(path), Some(checkpoint));
        }
        let summary = ModelSummary {
            name: model_name(path),
            precision: ModelPrecision::Fp32,
            generation: 0,
            sha256: initial_sha256,
        };
        let engine = load_checked(&self.options, &|options| {
            LocalEngine::new(Detector::from_checkpoint(&checkpoint, options, summary.clone())?)
        })?;
        let monitoring = Monitoring::of_live(self.settings, &engine, generations, checkpoint, count, self.identity)?;
        Ok(LoadedModel { engine, monitoring: Some(monitoring) })
    }
}

/// Opens the checkpoint at `path`, which must be the one that `artifact` was quantized from. Any other would make every
/// comparison wrong.
fn open_reference(artifact: &Artifact<'_>, path: &Path) -> Result<Checkpoint> {
    let checkpoint = Checkpoint::open(path).map_err(|error| error.at("model.reference"))?;
    if checkpoint.sha256()? != artifact.header().provenance.source_sha256 {
        let text = format!("model.reference = \"{}\" is not what model.artifact was quantized from", path.display());
        return Err(Error::new(Kind::Config, text));
    }
    Ok(checkpoint)
}

/// Wall time now, as the ledger stores it.
fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
