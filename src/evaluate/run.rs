//! Runs models on pictures: each picture is decoded once, and each model runs on it unless its result is cached.
//!
//! In: loaded models and the pictures of a dataset. Out: one [`CachedResult`] for every model and picture. Results are
//! written to a [`ResultCache`] one by one, so an interruption costs one picture.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::cache::{CachedResult, DetectionTime, ResultCache, TimingMachine};
use super::dataset::Dataset;
use super::problem::ProblemKind;
use crate::detector::detection::Detection;
use crate::detector::plan::Part;
use crate::detector::{Detector, DetectorOptions, demo};
use crate::error::{Error, Kind, Result};
use crate::frame::Picture;
use crate::measure::{Coverage, coverage};
use crate::preprocess::{Transform, TransformParams};
use crate::tensor::Input;
use crate::tensor::digest::sha256;

/// Options of a run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Detector options.
    pub detector: DetectorOptions,
    /// Folder of cached results.
    pub cache: PathBuf,
    /// Ignore cached results.
    pub fresh: bool,
    /// Stop at the first picture that cannot be used.
    pub strict: bool,
    /// Processor name.
    pub cpu: String,
}

/// A model under evaluation.
pub struct EvaluatedModel {
    /// Unique name in tables.
    pub name: String,
    /// Path of its file.
    pub path: PathBuf,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: String,
    /// `fp32`, `int8` or `mixed`.
    pub precision: &'static str,
    /// Class names.
    pub labels: Vec<String>,
    /// Work and parameters in int8, by module.
    pub coverage: Vec<(Part, Coverage)>,
    detector: Detector,
    transform: Transform,
    input: Input,
    cache: ResultCache,
    machine: TimingMachine,
    is_warm: bool,
}

impl EvaluatedModel {
    /// Loads the model at `path` under the name `name`.
    ///
    /// # Errors
    /// As [`Detector::load`] and [`ResultCache::open`].
    pub fn load(path: &Path, name: String, options: &RunOptions) -> Result<Self> {
        let bytes = match demo::named(path)? {
            Some(bytes) => bytes.len() as u64,
            None => std::fs::metadata(path).map_err(|source| Error::reading(path, source))?.len(),
        };
        let detector = Detector::load(path, &options.detector)?;
        let machine = TimingMachine {
            cpu: options.cpu.clone(),
            threads: detector.threads(),
            kernel: detector.kernel().to_owned(),
        };
        let DetectorOptions { score, proposals, max_detections, .. } = options.detector;
        let summary = detector.summary();
        // The kernel is part of the key, because fp32 results differ between kernels in the last digits.
        let key = format!("{} {} {score:?} {proposals:?} {max_detections:?}", summary.sha256, machine.kernel);
        Ok(Self {
            name,
            path: path.to_owned(),
            bytes,
            sha256: summary.sha256.clone(),
            precision: summary.precision.name(),
            labels: detector.labels().to_vec(),
            coverage: coverage(detector.plan(), |step| detector.step_precision(step))?,
            transform: Transform::new(TransformParams::from(detector.transform()))?,
            input: detector.new_input(),
            cache: ResultCache::open(&options.cache, &key, options.fresh)?,
            detector,
            machine,
            is_warm: false,
        })
    }

    /// Processor, kernel and threads.
    pub fn machine(&self) -> &TimingMachine {
        &self.machine
    }

    /// The result for the picture with the digest `digest`; `picture` decodes it if needed.
    fn result(
        &mut self,
        digest: &str,
        picture: &mut dyn FnMut() -> Result<std::sync::Arc<Picture>>,
    ) -> Result<CachedResult> {
        if let Some(entry) = self.cache.get(digest) {
            return Ok(entry.clone());
        }
        let picture = picture()?;
        if !std::mem::replace(&mut self.is_warm, true) {
            // Warm-up: the first detection allocates the buffers and would distort the times.
            self.detect(&picture)?;
        }
        let (wall, cpu) = (Instant::now(), cpu_seconds());
        let detections = self.detect(&picture)?;
        let time = DetectionTime { wall_ms: wall.elapsed().as_secs_f64() * 1e3, cpu_ms: (cpu_seconds() - cpu) * 1e3 };
        let size = [picture.width, picture.height];
        self.cache.put(CachedResult::new(digest, size, time, self.machine.clone(), &detections)).cloned()
    }

    fn detect(&mut self, picture: &Picture) -> Result<Vec<Detection>> {
        let Self { detector, transform, input, .. } = self;
        detector.pool().install(|| transform.fill(picture, input))?;
        let fit = *input.fit();
        let detections = detector.detect(input)?.iter();
        Ok(detections.map(|&detection| Detection { bbox: fit.to_frame(detection.bbox), ..detection }).collect())
    }
}

/// Runs every model on every picture of `dataset`. A picture that cannot be used is removed and becomes a problem.
/// Returns the results by model, in the order of the remaining pictures.
///
/// # Errors
/// As [`Detector::detect`]; with `strict`, [`Kind::Data`] at the first picture that cannot be used.
pub fn run(
    models: &mut [EvaluatedModel],
    dataset: &mut Dataset,
    options: &RunOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Vec<CachedResult>>> {
    let mut results: Vec<Vec<CachedResult>> = models.iter().map(|_| Vec::new()).collect();
    if models.is_empty() {
        return Ok(results);
    }
    let all = dataset.pictures.len();
    let mut done = 0;
    let Dataset { pictures, problems, .. } = dataset;
    let mut failed = None;
    pictures.retain(|labelled| {
        if failed.is_some() {
            return false;
        }
        progress(done, all);
        done += 1;
        match results_of(models, &labelled.picture, labelled.as_stored) {
            Ok(found) => {
                results.iter_mut().zip(found).for_each(|(list, result)| list.push(result));
                true
            }
            Err(PictureError::Picture(error)) if !options.strict => {
                problems.add(ProblemKind::Damaged, &labelled.picture, 0, format!("{}; skipped", error.chain()));
                false
            }
            Err(PictureError::Picture(error) | PictureError::Model(error)) => {
                failed = Some(error);
                false
            }
        }
    });
    progress(all, all);
    match failed {
        Some(error) => Err(error),
        None if all > 0 && pictures.is_empty() => Err(Error::new(Kind::Data, "none of the pictures could be used")),
        None => Ok(results),
    }
}

/// Error of a picture, by its cause.
enum PictureError {
    /// The picture is damaged or does not fit the model.
    Picture(Error),
    /// The model failed.
    Model(Error),
}

/// The results of all models for the picture at `path`, which is decoded at most once, without its EXIF orientation if
/// `as_stored`.
fn results_of(
    models: &mut [EvaluatedModel],
    path: &Path,
    as_stored: bool,
) -> std::result::Result<Vec<CachedResult>, PictureError> {
    let bytes = std::fs::read(path).map_err(|source| PictureError::Picture(Error::reading(path, source)))?;
    // The same file gives other results in another orientation.
    let digest = sha256(&bytes) + if as_stored { "-as-stored" } else { "" };
    let decode = if as_stored { Picture::decode_as_stored } else { Picture::decode };
    let mut decoded = None;
    let mut damage = None;
    let mut results = Vec::with_capacity(models.len());
    for model in models {
        let mut picture = || match &decoded {
            Some(picture) => Ok(std::sync::Arc::clone(picture)),
            None => match decode(&bytes) {
                Ok(picture) => Ok(decoded.insert(std::sync::Arc::new(picture)).clone()),
                Err(error) => {
                    let kind = error.kind();
                    damage = Some(error);
                    Err(Error::new(kind, "the picture is damaged"))
                }
            },
        };
        match model.result(&digest, &mut picture) {
            Ok(result) => results.push(result),
            Err(error) => {
                return Err(match damage {
                    Some(damage) => PictureError::Picture(damage.at(path.display())),
                    // A picture of an unsupported size is an error of the picture too.
                    None if error.kind() == Kind::Data => PictureError::Picture(error.at(path.display())),
                    None => PictureError::Model(error),
                });
            }
        }
    }
    Ok(results)
}

/// CPU time of this process, in seconds.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
