//! The model of a life: loaded, or quantized at start, and proved on this CPU before it serves.

use std::path::Path;
use std::time::{Duration, Instant};

use super::engine::{LocalEngine, detector_options};
use super::startup_check;
use crate::calibrate::{Options, quantize_cached};
use crate::config::{ModelSource, Settings};
use crate::daemon::paths::state_folder;
use crate::daemon::supervision::systemd;
use crate::detector::checkpoint::Checkpoint;
use crate::detector::{Detector, DetectorOptions, thread_pool};
use crate::error::{Error, Kind, Result};

/// How long a step of quantizing may take before systemd loses patience.
const QUANTIZING: Duration = Duration::from_secs(120);

/// Loads a model once more, with other options.
type Load<'a> = Box<dyn Fn(&DetectorOptions) -> Result<LocalEngine> + 'a>;

/// The engine that `settings` ask for.
///
/// # Errors
///
/// [`Kind::Unavailable`] if this CPU lacks the kernel asked for, [`Kind::Internal`] if its kernels give wrong numbers;
/// whatever is wrong with the model.
pub fn load(settings: &Settings) -> Result<LocalEngine> {
    let options = detector_options(&settings.detector)?;
    let again: Load<'_> = match &settings.model.source {
        ModelSource::Checkpoint(path) => Box::new(|options| load_as(path, "checkpoint", options)),
        ModelSource::Artifact(path) => Box::new(|options| load_as(path, "artifact", options)),
        ModelSource::Quantize { checkpoint, pictures, count } => {
            let state = state_folder(&settings.device)?;
            let bytes = quantized(checkpoint, pictures, *count, &state, &options)?;
            let name = stem(checkpoint);
            Box::new(move |options| LocalEngine::new(Detector::from_artifact(&bytes, name.clone(), options)?))
        }
        ModelSource::Live { .. } | ModelSource::None => {
            return Err(Error::new(Kind::Config, "there is no model to detect with by itself"));
        }
    };
    proved(&options, &*again)
}

/// The engine that `again` makes, proved before it serves.
///
/// # Errors
///
/// As [`load`].
pub fn proved(
    options: &DetectorOptions,
    again: &dyn Fn(&DetectorOptions) -> Result<LocalEngine>,
) -> Result<LocalEngine> {
    crate::kernel::self_test(options.isa)?;
    let begin = Instant::now();
    let mut engine = again(options)?;
    let loaded = Instant::now();
    startup_check::prove(&mut engine, options, again)?;
    let (load_ms, proof_ms) = ((loaded - begin).as_millis() as u64, loaded.elapsed().as_millis() as u64);
    let detector = engine.detector();
    let summary = detector.summary();
    tracing::info!(
        model = summary.name,
        precision = summary.precision,
        generation = summary.generation,
        sha256 = summary.sha256,
        kernel = detector.kernel(),
        threads = detector.threads(),
        load_ms,
        proof_ms,
        "model loaded"
    );
    Ok(engine)
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

/// The name of the model in the file at `path`.
pub fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The checkpoint at `path`, quantized on `pictures`: made once, then taken from the state folder.
///
/// # Errors
///
/// As quantizing.
pub fn quantized(path: &Path, pictures: &Path, count: u32, state: &Path, options: &DetectorOptions) -> Result<Vec<u8>> {
    let checkpoint = Checkpoint::open(path)?;
    let how = Options { count: count as usize, ..Options::default() };
    let mut phase = "";
    let mut progress = |now: &'static str, done: usize, all: usize| {
        if now != phase {
            phase = now;
            tracing::info!(phase, pictures = all, "quantizing");
        }
        // Before the first life, more time to start in; between two, a sign of life.
        systemd::alive();
        systemd::more_time(QUANTIZING, &format!("quantizing: {phase}, {done} of {all}"));
    };
    let pool = thread_pool(options.threads)?;
    let made = pool.install(|| quantize_cached(&checkpoint, pictures, &how, options.isa, state, &mut progress))?;
    for warning in &made.warnings {
        tracing::warn!("{warning}");
    }
    tracing::info!(path = %made.path.display(), cached = made.found, "quantized");
    Ok(made.bytes)
}
