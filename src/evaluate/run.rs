//! Models over pictures: each picture is decoded once, each model runs on it unless its result is known.
//!
//! In: loaded models and the pictures of a dataset. Out: for every model an [`Entry`] a picture. Results are kept in a
//! [`Cache`] as they come, so stopping costs one picture.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::cache::{Cache, Entry, Machine};
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

/// How to run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Kernels, threads, and numbers of the model to replace.
    pub detector: DetectorOptions,
    /// Folder of kept results.
    pub cache: PathBuf,
    /// Compute everything anew.
    pub fresh: bool,
    /// Stop at the first picture that cannot be used.
    pub strict: bool,
    /// Name of the processor.
    pub cpu: String,
}

/// A model under evaluation.
pub struct Contender {
    /// Its name in tables, unlike any other's.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// Bytes of the file.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: String,
    /// `fp32`, `int8` or `mixed`.
    pub precision: &'static str,
    /// Class names.
    pub labels: Vec<String>,
    /// What runs in int8.
    pub coverage: Vec<(Part, Coverage)>,
    detector: Detector,
    transform: Transform,
    input: Input,
    cache: Cache,
    machine: Machine,
    is_warm: bool,
}

impl Contender {
    /// Loads the model at `path`, called `name`.
    ///
    /// # Errors
    /// As [`Detector::load`] and [`Cache::open`].
    pub fn load(path: &Path, name: String, options: &RunOptions) -> Result<Self> {
        let bytes = match demo::named(path)? {
            Some(bytes) => bytes.len() as u64,
            None => std::fs::metadata(path).map_err(|source| Error::reading(path, source))?.len(),
        };
        let detector = Detector::load(path, &options.detector)?;
        let machine =
            Machine { cpu: options.cpu.clone(), threads: detector.threads(), kernel: detector.kernel().to_owned() };
        let DetectorOptions { score, proposals, max_detections, .. } = options.detector;
        let summary = detector.summary();
        // The kernels count: full precision differs between them in the last digits.
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
            cache: Cache::open(&options.cache, &key, options.fresh)?,
            detector,
            machine,
            is_warm: false,
        })
    }

    /// Kernel and threads, for the terminal.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The result for a picture with the digest `digest`; `picture` decodes it when it is needed.
    fn look(&mut self, digest: &str, picture: &mut dyn FnMut() -> Result<std::sync::Arc<Picture>>) -> Result<Entry> {
        if let Some(entry) = self.cache.get(digest) {
            return Ok(entry.clone());
        }
        let picture = picture()?;
        if !std::mem::replace(&mut self.is_warm, true) {
            // The first picture grows every buffer; its time would say nothing about the next ones.
            self.detect(&picture)?;
        }
        let (wall, cpu) = (Instant::now(), cpu_seconds());
        let found = self.detect(&picture)?;
        let ms = [wall.elapsed().as_secs_f64() * 1e3, (cpu_seconds() - cpu) * 1e3];
        let entry = Entry::new(digest, [picture.width, picture.height], ms, self.machine.clone(), &found);
        self.cache.put(entry).cloned()
    }

    fn detect(&mut self, picture: &Picture) -> Result<Vec<Detection>> {
        let Self { detector, transform, input, .. } = self;
        detector.pool().install(|| transform.fill(picture, input))?;
        let fit = *input.fit();
        let found = detector.detect(input)?.iter();
        Ok(found.map(|&detection| Detection { bbox: fit.to_frame(detection.bbox), ..detection }).collect())
    }
}

/// Runs every model over every picture of `dataset`. A picture that cannot be used is noted in its problems and left
/// out. Returns the entries by model, in the order of the pictures that remain.
///
/// # Errors
/// What running a model gives; with `strict`, [`Kind::Data`] at the first picture that cannot be used.
pub fn run(
    contenders: &mut [Contender],
    dataset: &mut Dataset,
    options: &RunOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Vec<Entry>>> {
    let mut entries: Vec<Vec<Entry>> = contenders.iter().map(|_| Vec::new()).collect();
    if contenders.is_empty() {
        return Ok(entries);
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
        match look_at(contenders, &labelled.picture) {
            Ok(found) => {
                entries.iter_mut().zip(found).for_each(|(list, entry)| list.push(entry));
                true
            }
            Err(Refusal::Picture(error)) if !options.strict => {
                problems.add(ProblemKind::Damaged, &labelled.picture, 0, format!("{}; left out", error.chain()));
                false
            }
            Err(Refusal::Picture(error) | Refusal::Model(error)) => {
                failed = Some(error);
                false
            }
        }
    });
    progress(all, all);
    match failed {
        Some(error) => Err(error),
        None if all > 0 && pictures.is_empty() => Err(Error::new(Kind::Data, "none of the pictures could be used")),
        None => Ok(entries),
    }
}

/// Why a picture has no result.
enum Refusal {
    Picture(Error),
    Model(Error),
}

fn look_at(contenders: &mut [Contender], path: &Path) -> std::result::Result<Vec<Entry>, Refusal> {
    let bytes = std::fs::read(path).map_err(|source| Refusal::Picture(Error::reading(path, source)))?;
    let digest = sha256(&bytes);
    let mut decoded = None;
    let mut damage = None;
    let mut found = Vec::with_capacity(contenders.len());
    for contender in contenders {
        let mut picture = || match &decoded {
            Some(picture) => Ok(std::sync::Arc::clone(picture)),
            None => match Picture::decode(&bytes) {
                Ok(picture) => Ok(decoded.insert(std::sync::Arc::new(picture)).clone()),
                Err(error) => {
                    let kind = error.kind();
                    damage = Some(error);
                    Err(Error::new(kind, "the picture is damaged"))
                }
            },
        };
        match contender.look(&digest, &mut picture) {
            Ok(entry) => found.push(entry),
            Err(error) => {
                return Err(match damage {
                    Some(damage) => Refusal::Picture(damage.at(path.display())),
                    // A picture too narrow for the network is the picture's fault, too.
                    None if error.kind() == Kind::Data => Refusal::Picture(error.at(path.display())),
                    None => Refusal::Model(error),
                });
            }
        }
    }
    Ok(found)
}

/// CPU time of this process, in seconds.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
