//! The model that the configuration asks for, ready to detect, and what the monitor needs to know of it.
//!
//! In: `[model]`, `[detector]`, `[monitor]`. Out: an engine, and a [`Monitoring`] where something is to be watched. A
//! monitored model comes out of the state directory, where generations of it may have followed the configured one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::engine::{LocalEngine, detector_options};
use super::identity::Identity;
use super::monitoring::Monitoring;
use super::places::state_folder;
use crate::calibrate::{Options, quantize_cached};
use crate::config::{ModelSource, Settings};
use crate::detector::checkpoint::Checkpoint;
use crate::detector::{Detector, DetectorOptions, ModelSummary, thread_pool};
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
    crate::kernel::self_test(options.isa)?;
    let watched = settings.monitor.enabled;
    let (engine, monitoring) = match &settings.model.source {
        ModelSource::Checkpoint(path) => {
            if watched {
                tracing::warn!("model.checkpoint runs in full precision: the monitor has nothing to compare it with");
            }
            (load_as(path, "checkpoint", &options)?, None)
        }
        ModelSource::Artifact(path) if watched => {
            let bytes = Mapped::open(path)?;
            let artifact = Artifact::parse(&bytes).map_err(|error| error.at(path.display()))?;
            let reference = match &settings.model.reference {
                Some(reference) => Some(reference_of(&artifact, reference)?),
                None => None,
            };
            generations(settings, identity, &options, &bytes, stem(path), reference)?
        }
        ModelSource::Artifact(path) => (load_as(path, "artifact", &options)?, None),
        ModelSource::Quantize { checkpoint, pictures, count } => {
            let state = state_folder(&settings.device)?;
            let bytes = quantized(checkpoint, pictures, *count, &state, &options)?;
            if watched {
                let reference = Some(checkpoint.clone());
                generations(settings, identity, &options, &bytes, stem(checkpoint), reference)?
            } else {
                (LocalEngine::new(Detector::from_artifact(&bytes, stem(checkpoint), &options)?)?, None)
            }
        }
        ModelSource::Live { checkpoint, count } => live(settings, identity, &options, checkpoint, *count as usize)?,
        ModelSource::None => return Err(Error::new(Kind::Config, "there is no model to detect with")),
    };
    let detector = engine.detector();
    let summary = detector.summary();
    tracing::info!(
        model = summary.name,
        precision = summary.precision,
        generation = summary.generation,
        sha256 = summary.sha256,
        kernel = detector.kernel(),
        threads = detector.threads(),
        "model loaded"
    );
    Ok((engine, monitoring))
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The model at `path`, which the configuration names as `wanted`: a checkpoint or an artifact.
fn load_as(path: &Path, wanted: &str, options: &DetectorOptions) -> Result<LocalEngine> {
    let engine = LocalEngine::load(path, options)?;
    if (engine.detector().summary().precision == "fp32") == (wanted == "artifact") {
        let text = format!("model.{wanted} is {}, which is no {wanted}", path.display());
        return Err(Error::new(Kind::Config, text));
    }
    Ok(engine)
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
    first: &[u8],
    name: String,
    reference: Option<PathBuf>,
) -> Result<(LocalEngine, Option<Monitoring>)> {
    let state = state_folder(&settings.device)?;
    let mut generations = Generations::open(&state, &sha256(first), settings.monitor.keep_generations as usize)?;
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
    let engine = LocalEngine::new(Detector::from_artifact(&start.bytes, name, options)?)?;
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
    path: &PathBuf,
    count: usize,
) -> Result<(LocalEngine, Option<Monitoring>)> {
    let checkpoint = Checkpoint::open(path)?;
    let state = state_folder(&settings.device)?;
    let root = checkpoint.sha256();
    let mut generations = Generations::open(&state, &root, settings.monitor.keep_generations as usize)?;
    if generations.has_first() {
        let start = generations.start(&identity.boot_id)?;
        let reference = Some(path.clone());
        return serve(settings, options, generations, start, stem(path), reference, identity);
    }
    let summary = ModelSummary { name: stem(path), precision: "fp32", generation: 0, sha256: root };
    let engine = LocalEngine::new(Detector::from_checkpoint(&checkpoint, options, summary)?)?;
    let monitoring = Monitoring::of_live(settings, &engine, generations, checkpoint, count, identity)?;
    Ok((engine, Some(monitoring)))
}

/// Wall time now, as the ledger writes it.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The artifact of the checkpoint at `path`, quantized on `pictures`: made once, then taken from the state folder.
fn quantized(path: &Path, pictures: &Path, count: u32, state: &Path, options: &DetectorOptions) -> Result<Vec<u8>> {
    let checkpoint = Checkpoint::open(path)?;
    let how = Options { count: count as usize, ..Options::default() };
    let mut phase = "";
    let mut progress = |now: &'static str, _: usize, all: usize| {
        if now != phase {
            phase = now;
            tracing::info!(phase, pictures = all, "quantizing");
        }
    };
    let pool = Arc::new(thread_pool(options.threads)?);
    let made = pool.install(|| quantize_cached(&checkpoint, pictures, &how, options.isa, state, &mut progress))?;
    for warning in &made.warnings {
        tracing::warn!("{warning}");
    }
    tracing::info!(path = %made.path.display(), cached = made.found, "quantized");
    Ok(made.bytes)
}
