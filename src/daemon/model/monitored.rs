//! The model that the configuration asks for, ready to detect, and what the monitor needs to know of it.
//!
//! In: `[model]`, `[detector]`, `[monitor]`. Out: an engine, and a [`Monitoring`] where something is to be watched. A
//! monitored model comes out of the state directory, where generations of it may have followed the configured one.

use std::path::{Path, PathBuf};

use super::engine::{LocalEngine, detector_options};
use super::load::{self, proved, quantized, stem};
use crate::config::{ModelSource, Settings};
use crate::daemon::identity::Identity;
use crate::daemon::monitoring::Monitoring;
use crate::daemon::paths::state_folder;
use crate::detector::checkpoint::Checkpoint;
use crate::detector::{Detector, DetectorOptions, ModelSummary, demo};
use crate::error::{Error, Kind, Result};
use crate::monitor::{Generations, Start};
use crate::quant::artifact::Artifact;
use crate::tensor::digest::sha256;
use crate::tensor::mapped::Mapped;

/// Loads what `settings` ask for.
///
/// # Errors
///
/// Whatever is wrong with the model.
pub fn load(settings: &Settings, identity: &Identity) -> Result<(LocalEngine, Option<Monitoring>)> {
    let options = detector_options(&settings.detector)?;
    match &settings.model.source {
        ModelSource::Live { checkpoint, count } => live(settings, identity, &options, checkpoint, *count as usize),
        _ if !settings.monitor.enabled => Ok((load::load(settings)?, None)),
        ModelSource::Artifact(path) => {
            let bytes = match demo::named(path)? {
                // The demo must not take the place of what the device has learned, nor fail where nothing can be kept.
                Some(bytes) => match demo_state(settings) {
                    Ok(state) => return of_artifact(settings, identity, &options, path, bytes, &state),
                    Err(error) => {
                        tracing::warn!(error = error.chain(), "the demo runs without the monitor");
                        return Ok((load::load(settings)?, None));
                    }
                },
                None => Mapped::open(path)?,
            };
            of_artifact(settings, identity, &options, path, &bytes, &state_folder(&settings.device)?)
        }
        ModelSource::Quantize { checkpoint, pictures, count } => {
            let state = state_folder(&settings.device)?;
            let bytes = quantized(checkpoint, pictures, *count, &state, &options)?;
            let reference = Some(checkpoint.clone());
            generations(settings, identity, &options, &state, &bytes, stem(checkpoint), reference)
        }
        ModelSource::Checkpoint(_) | ModelSource::None => {
            tracing::warn!("model.checkpoint runs in full precision: the monitor has nothing to compare it with");
            Ok((load::load(settings)?, None))
        }
    }
}

/// Where generations of the built-in model are kept.
fn demo_state(settings: &Settings) -> Result<PathBuf> {
    let state = state_folder(&settings.device)?.join("demo");
    std::fs::create_dir_all(&state).map_err(|source| Error::writing(&state, source))?;
    Ok(state)
}

/// The generation that serves of the artifact at `path`, kept below `state`.
fn of_artifact(
    settings: &Settings,
    identity: &Identity,
    options: &DetectorOptions,
    path: &Path,
    bytes: &[u8],
    state: &Path,
) -> Result<(LocalEngine, Option<Monitoring>)> {
    let artifact = Artifact::parse(bytes).map_err(|error| error.at(path.display()))?;
    let reference = match &settings.model.reference {
        Some(reference) => Some(reference_of(&artifact, reference)?),
        None => None,
    };
    generations(settings, identity, options, state, bytes, stem(path), reference)
}

/// The checkpoint at `path`, which must be the one that `artifact` was made from: any other would make every figure
/// wrong.
fn reference_of(artifact: &Artifact<'_>, path: &Path) -> Result<PathBuf> {
    let checkpoint = Checkpoint::open(path).map_err(|error| error.at("model.reference"))?;
    if checkpoint.sha256() != artifact.header().provenance.source_sha256 {
        let text = format!("model.reference = \"{}\" is not what model.artifact was quantized from", path.display());
        return Err(Error::new(Kind::Config, text));
    }
    Ok(path.to_owned())
}

/// The generation that serves, of the lineage that begins with `first`.
fn generations(
    settings: &Settings,
    identity: &Identity,
    options: &DetectorOptions,
    state: &Path,
    first: &[u8],
    name: String,
    reference: Option<PathBuf>,
) -> Result<(LocalEngine, Option<Monitoring>)> {
    let mut generations = Generations::open(state, &sha256(first), settings.monitor.keep_generations as usize)?;
    generations.found(first, &now())?;
    let start = generations.start(&identity.boot_id)?;
    serve(settings, options, generations, start, name, reference, identity)
}

/// The engine of what [`Generations::start`] gave.
fn serve(
    settings: &Settings,
    options: &DetectorOptions,
    generations: Generations,
    start: Start,
    name: String,
    reference: Option<PathBuf>,
    identity: &Identity,
) -> Result<(LocalEngine, Option<Monitoring>)> {
    for (number, why) in &start.gave_up {
        tracing::warn!(generation = number, why, serving = start.generation, "a generation is given up");
    }
    let engine =
        proved(options, &|options| LocalEngine::new(Detector::from_artifact(&start.bytes, name.clone(), options)?))?;
    let monitoring = Monitoring::of_generations(
        settings,
        &engine,
        generations,
        start.generation,
        start.gave_up,
        reference,
        identity,
    )?;
    Ok((engine, Some(monitoring)))
}

/// In full precision until the cameras gave enough frames; in int8 from then on, also after a restart.
fn live(
    settings: &Settings,
    identity: &Identity,
    options: &DetectorOptions,
    path: &Path,
    count: usize,
) -> Result<(LocalEngine, Option<Monitoring>)> {
    let checkpoint = Checkpoint::open(path)?;
    let state = state_folder(&settings.device)?;
    let root = checkpoint.sha256();
    let mut generations = Generations::open(&state, &root, settings.monitor.keep_generations as usize)?;
    if generations.has_first() {
        let start = generations.start(&identity.boot_id)?;
        let reference = Some(path.to_path_buf());
        return serve(settings, options, generations, start, stem(path), reference, identity);
    }
    let summary = ModelSummary { name: stem(path), precision: "fp32", generation: 0, sha256: root };
    let engine = proved(options, &|options| {
        LocalEngine::new(Detector::from_checkpoint(&checkpoint, options, summary.clone())?)
    })?;
    let monitoring = Monitoring::of_live(settings, &engine, generations, checkpoint, count, identity)?;
    Ok((engine, Some(monitoring)))
}

/// Wall time now, as the ledger writes it.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
