//! Model loading: loads a model, or quantizes one at start, and checks it on this CPU.

use std::path::Path;
use std::time::{Duration, Instant};

use super::engine::{LocalEngine, detector_options};
use super::startup_check;
use crate::calibrate::{QuantizeOptions, quantize_cached};
use crate::config::{ModelSource, Settings};
use crate::daemon::paths::state_folder;
use crate::daemon::supervision::systemd;
use crate::detector::checkpoint::Checkpoint;
use crate::detector::{self, Detector, DetectorOptions, thread_pool};
use crate::error::{Error, Kind, Result};
use crate::message::ModelPrecision;
use crate::tensor::mapped::return_free_memory;

/// Longest time of one quantization step: systemd's start timeout is extended by it at each step.
const QUANTIZATION_STEP: Duration = Duration::from_secs(120);

/// Loads a model with the given options; called once for the service and once for the start-up check.
type Load<'a> = Box<dyn Fn(&DetectorOptions) -> Result<LocalEngine> + 'a>;

/// Loads the model that `settings` name, without a monitor.
///
/// # Errors
///
/// [`Kind::Unavailable`] if this CPU lacks the configured instruction set. [`Kind::Internal`] if its kernels compute
/// wrong numbers. Otherwise the error of reading or quantizing the model.
pub fn load(settings: &Settings) -> Result<LocalEngine> {
    let options = detector_options(&settings.detector)?;
    let load: Load<'_> = match &settings.model.source {
        ModelSource::Checkpoint(path) => Box::new(|options| load_as(path, ModelForm::Checkpoint, options)),
        ModelSource::Artifact(path) => Box::new(|options| load_as(path, ModelForm::Artifact, options)),
        ModelSource::Quantize { checkpoint, pictures, count } => {
            let state = state_folder(&settings.device)?;
            let name = model_name(checkpoint);
            let bytes = quantize(&Checkpoint::open(checkpoint)?, pictures, *count, &state, &options)?;
            Box::new(move |options| LocalEngine::new(Detector::from_artifact(&bytes, name.clone(), options)?))
        }
        ModelSource::Live { .. } | ModelSource::None => {
            return Err(Error::new(Kind::Config, "there is no model that can be loaded without the monitor"));
        }
    };
    load_checked(&options, &*load)
}

/// Calls `load` and runs the start-up check on the engine.
///
/// # Errors
///
/// As [`load`].
pub fn load_checked(
    options: &DetectorOptions,
    load: &dyn Fn(&DetectorOptions) -> Result<LocalEngine>,
) -> Result<LocalEngine> {
    crate::kernel::self_test(options.isa)?;
    let begin = Instant::now();
    let expected = startup_check::expect(options, load)?;
    return_free_memory();
    let loading = Instant::now();
    let mut engine = load(options)?;
    let load_ms = loading.elapsed().as_millis() as u64;
    startup_check::check(&mut engine, &expected)?;
    return_free_memory();
    let check_ms = begin.elapsed().as_millis() as u64 - load_ms;
    let detector = engine.detector();
    let summary = detector.summary();
    tracing::info!(
        model = summary.name,
        precision = summary.precision.name(),
        generation = summary.generation,
        sha256 = summary.sha256,
        kernel = detector.kernel(),
        threads = detector.threads(),
        load_ms,
        proof_ms = check_ms,
        "model loaded"
    );
    Ok(engine)
}

/// Form of a model file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ModelForm {
    Checkpoint,
    Artifact,
}

impl ModelForm {
    /// The key below `[model]`.
    fn name(self) -> &'static str {
        match self {
            Self::Checkpoint => "checkpoint",
            Self::Artifact => "artifact",
        }
    }
}

/// Loads the model at `path`, which must have the form `expected` by the configuration: a checkpoint or an artifact.
fn load_as(path: &Path, expected: ModelForm, options: &DetectorOptions) -> Result<LocalEngine> {
    let engine = LocalEngine::load(path, options)?;
    let is_checkpoint = engine.detector().summary().precision == ModelPrecision::Fp32;
    if is_checkpoint != (expected == ModelForm::Checkpoint) {
        let expected = expected.name();
        let text = format!("model.{expected} is {}, which is no {expected}", path.display());
        return Err(Error::new(Kind::Config, text));
    }
    Ok(engine)
}

/// Reads the files of the model in `settings` and checks all that they hold, without loading the model.
///
/// # Errors
///
/// As [`detector::describe`] and [`Checkpoint::verify`].
pub fn check_files(settings: &Settings) -> Result<()> {
    let verify = |path: &Path| Checkpoint::open(path)?.verify().map_err(|error| error.at(path.display()));
    match &settings.model.source {
        ModelSource::None => {}
        ModelSource::Artifact(path) => detector::describe(path).map(drop)?,
        ModelSource::Checkpoint(path)
        | ModelSource::Quantize { checkpoint: path, .. }
        | ModelSource::Live { checkpoint: path, .. } => verify(path)?,
    }
    match &settings.model.reference {
        Some(path) if settings.monitor.enabled => verify(path).map_err(|error| error.at("model.reference")),
        _ => Ok(()),
    }
}

/// The name of the model in the file at `path`: the file name without its extension.
pub fn model_name(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Quantizes `checkpoint` on `count` of the `pictures`. A result in the state folder is reused.
///
/// # Errors
///
/// As [`quantize_cached`].
pub fn quantize(
    checkpoint: &Checkpoint,
    pictures: &Path,
    count: u32,
    state: &Path,
    options: &DetectorOptions,
) -> Result<Vec<u8>> {
    let calibration = QuantizeOptions { count: count as usize, ..QuantizeOptions::default() };
    let mut phase = "";
    let mut progress = |now: &'static str, done: usize, all: usize| {
        if now != phase {
            phase = now;
            tracing::info!(phase, pictures = all, "quantizing");
        }
        // The watchdog is already active if this is not the first run of the process.
        systemd::feed_watchdog();
        systemd::extend_timeout(QUANTIZATION_STEP, &format!("quantizing: {phase}, {done} of {all}"));
    };
    let pool = thread_pool(options.threads)?;
    let outcome =
        pool.install(|| quantize_cached(checkpoint, pictures, &calibration, options.isa, state, &mut progress))?;
    for warning in &outcome.warnings {
        tracing::warn!("{warning}");
    }
    tracing::info!(path = %outcome.path.display(), cached = outcome.found, "quantized");
    Ok(outcome.bytes)
}
