//! Detector: runs a model file in full precision or in int8, behind one interface.
//!
//! In: a checkpoint or an artifact, options, then canvases. Out: detections in canvas pixels.

use std::path::Path;
use std::sync::Arc;

use super::checkpoint::{Checkpoint, stored_format, stored_format_of};
use super::demo;
use super::detection::Detection;
use super::fp32::{Fp32Model, Fp32Run, StepOutput};
use super::int8::{Int8Executor, Int8Model, Quantized};
use super::plan::{Plan, StepId};
use super::settings::{Settings, TransformSettings};
use super::tap::{NoTap, Tap};
use crate::error::{Error, Kind, Result};
use crate::kernel::isa::Isa;
use crate::message::ModelPrecision;
use crate::quant::Precision;
use crate::quant::artifact::Artifact;
use crate::tensor::digest::sha256;
use crate::tensor::regular_file::RegularFile;
use crate::tensor::{Canvas, Fit, Input};

/// Options of a detector: kernels and threads, and values that replace those of the model.
#[derive(Debug, Clone, Copy)]
pub struct DetectorOptions {
    /// The instruction set of the kernels.
    pub isa: Isa,
    /// Threads of the detector's pool; 0 for one a core.
    pub threads: usize,
    /// Score that detections must exceed, 0 to 1; the model's own threshold if `None`.
    pub score: Option<f64>,
    /// Proposals that reach the second stage; the model's own number if `None`.
    pub proposals: Option<usize>,
    /// Detections of one picture; the model's own number if `None`.
    pub max_detections: Option<usize>,
}

impl Default for DetectorOptions {
    /// The best kernels, one thread a core, the model's own values.
    fn default() -> Self {
        Self { isa: Isa::best(), threads: 0, score: None, proposals: None, max_detections: None }
    }
}

impl DetectorOptions {
    /// `settings` with the values of these options.
    ///
    /// # Errors
    /// [`Kind::Config`] for a value out of range.
    pub fn apply(&self, mut settings: Settings) -> Result<Settings> {
        let refuse = |text: String| Err(Error::new(Kind::Config, text));
        if let Some(score) = self.score {
            if !(0.0..=1.0).contains(&score) {
                return refuse(format!("detector.score is {score}; it must be from 0 to 1"));
            }
            settings.roi.score_threshold = score;
        }
        if let Some(proposals) = self.proposals {
            if !(1..=10_000).contains(&proposals) {
                return refuse(format!("detector.proposals is {proposals}; it must be from 1 to 10000"));
            }
            settings.rpn.post_nms_top_n = proposals;
        }
        if let Some(most) = self.max_detections {
            if !(1..=10_000).contains(&most) {
                return refuse(format!("detector.max_detections is {most}; it must be from 1 to 10000"));
            }
            settings.roi.max_detections = most;
        }
        Ok(settings)
    }
}

/// Identity of a loaded model, for reports and tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSummary {
    /// File name without its extension.
    pub name: String,
    /// Precision of the whole network.
    pub precision: ModelPrecision,
    /// Number of recalibrations since it was quantized.
    pub generation: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

/// A model with its executor and thread pool.
pub struct Detector {
    executor: Executor,
    pool: Arc<rayon::ThreadPool>,
    labels: Vec<String>,
    summary: ModelSummary,
    detections: Vec<Detection>,
    proposals: usize,
}

/// A model's file without its weights being packed: form and labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelDescription {
    /// True for an artifact (int8), false for a checkpoint (fp32).
    pub is_artifact: bool,
    /// Class names.
    pub labels: Vec<String>,
}

/// Reads and checks the model at `path` as [`Detector::load`] does, without preparing it for a CPU.
///
/// # Errors
/// As [`Detector::load`].
pub fn describe(path: &Path) -> Result<ModelDescription> {
    match ModelFile::open(path)? {
        ModelFile::Artifact(file) => {
            let artifact = file.artifact().map_err(|error| error.at(path.display()))?;
            Ok(ModelDescription { is_artifact: true, labels: artifact.header().labels.clone() })
        }
        ModelFile::Checkpoint(checkpoint) => {
            Ok(ModelDescription { is_artifact: false, labels: checkpoint.header().labels.clone() })
        }
    }
}

/// A model's file by its form.
enum ModelFile {
    Artifact(ArtifactFile<'static>),
    Checkpoint(Checkpoint),
}

/// The file of an artifact. On disk it is read tensor by tensor: file and weights are as large as each other.
enum ArtifactFile<'a> {
    Bytes(&'a [u8]),
    Disk(RegularFile),
}

impl ArtifactFile<'_> {
    fn artifact(&self) -> Result<Artifact<'_>> {
        match self {
            Self::Bytes(bytes) => Artifact::parse(bytes),
            Self::Disk(file) => Artifact::open(file),
        }
    }

    /// SHA-256 of the whole file, in hexadecimal.
    fn sha256(&self) -> Result<String> {
        match self {
            Self::Bytes(bytes) => Ok(sha256(bytes)),
            Self::Disk(file) => file.sha256(),
        }
    }

    /// Checks that the file is still what was read, as [`RegularFile::check_unchanged`] does.
    fn check_unchanged(&self) -> Result<()> {
        match self {
            Self::Bytes(_) => Ok(()),
            Self::Disk(file) => file.check_unchanged(),
        }
    }
}

impl ModelFile {
    /// Opens the file at `path`, or the built-in model that it names. An artifact is read, a checkpoint stays open.
    fn open(path: &Path) -> Result<Self> {
        // The reader of artifacts checks the rest.
        let is_artifact = |format: Option<String>| format.is_some_and(|format| format.starts_with("artifact/"));
        if let Some(bytes) = demo::named(path)? {
            return Ok(match is_artifact(stored_format_of(bytes)) {
                true => Self::Artifact(ArtifactFile::Bytes(bytes)),
                false => Self::Checkpoint(Checkpoint::from_bytes(bytes)?),
            });
        }
        let file = RegularFile::open(path)?;
        match is_artifact(stored_format(&file)) {
            true => Ok(Self::Artifact(ArtifactFile::Disk(file))),
            false => Checkpoint::of_file(file).map(Self::Checkpoint).map_err(|error| error.at(path.display())),
        }
    }
}

/// The executor of the model's precision.
enum Executor {
    Fp32(Arc<Fp32Model>),
    Int8(Box<Int8Executor>),
}

impl Detector {
    /// Loads `path`: a checkpoint runs in full precision, an artifact in int8. The paths [`demo::INT8`] and [`demo::FP32`]
    /// name the built-in models.
    ///
    /// # Errors
    /// [`Kind::NoInput`] or [`Kind::Data`], naming the file and its defect; [`Kind::Config`] for a wrong option.
    pub fn load(path: &Path, options: &DetectorOptions) -> Result<Self> {
        let is_built_in = demo::named(path)?.is_some();
        let name = match is_built_in {
            true => "demo".to_owned(),
            false => path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default(),
        };
        let detector = match ModelFile::open(path)? {
            ModelFile::Artifact(file) => Self::quantized(&file, name, options),
            ModelFile::Checkpoint(checkpoint) => Self::full_precision(&checkpoint, name, options),
        };
        detector.map_err(|error| if is_built_in { error } else { error.at(path.display()) })
    }

    /// Loads the full-precision network of `checkpoint`, with the name `name`.
    fn full_precision(checkpoint: &Checkpoint, name: String, options: &DetectorOptions) -> Result<Self> {
        let (precision, sha256) = (ModelPrecision::Fp32, checkpoint.sha256()?);
        Self::from_checkpoint(checkpoint, options, ModelSummary { name, precision, generation: 0, sha256 })
    }

    /// Loads the quantized network from an artifact's bytes, with the name `name`.
    ///
    /// # Errors
    /// [`Kind::Data`] naming the defect of the file, [`Kind::Config`] for a wrong option.
    pub fn from_artifact(file: &[u8], name: String, options: &DetectorOptions) -> Result<Self> {
        Self::quantized(&ArtifactFile::Bytes(file), name, options)
    }

    fn quantized(file: &ArtifactFile<'_>, name: String, options: &DetectorOptions) -> Result<Self> {
        let pool = Arc::new(thread_pool(options.threads)?);
        let read = || {
            let artifact = file.artifact()?;
            let quantized = Quantized::from_artifact(&artifact, |settings| options.apply(settings))?;
            Ok::<_, Error>((artifact, quantized))
        };
        // The digest takes as long as the rest of the reading.
        let (digest, read) = pool.install(|| rayon::join(|| file.sha256(), read));
        let (artifact, quantized) = read?;
        let digest = digest?;
        file.check_unchanged()?;
        let header = artifact.header();
        let summary = ModelSummary {
            name,
            precision: if quantized.is_exact() { ModelPrecision::Int8 } else { ModelPrecision::Mixed },
            generation: u64::from(header.provenance.generation),
            sha256: digest,
        };
        let labels = header.labels.clone();
        drop(artifact);
        let model = pool.install(|| Int8Model::of(quantized, options.isa))?;
        let executor = Executor::Int8(Box::new(Int8Executor::new(Arc::new(model))));
        Ok(Self { executor, pool, labels, summary, detections: Vec::new(), proposals: 0 })
    }

    /// Loads the full-precision network from an open checkpoint.
    ///
    /// # Errors
    /// [`Kind::Data`] naming the tensor that is wrong, [`Kind::Config`] for a wrong option.
    pub fn from_checkpoint(checkpoint: &Checkpoint, options: &DetectorOptions, summary: ModelSummary) -> Result<Self> {
        let pool = Arc::new(thread_pool(options.threads)?);
        let header = checkpoint.header();
        let settings = options.apply(header.settings.clone())?;
        let plan = Arc::new(Plan::new(header.architecture.clone(), settings));
        let eps = &header.batch_norm_eps;
        let model = pool.install(|| Fp32Model::new(plan, &checkpoint.var_builder(), eps, options.isa))?;
        let labels = header.labels.clone();
        let executor = Executor::Fp32(Arc::new(model));
        Ok(Self { executor, pool, labels, summary, detections: Vec::new(), proposals: 0 })
    }

    /// A detector of a packed model, such as a recalibrated one, on a pool that may be shared.
    pub fn from_model(
        model: Arc<Int8Model>,
        pool: Arc<rayon::ThreadPool>,
        labels: Vec<String>,
        summary: ModelSummary,
    ) -> Self {
        let executor = Executor::Int8(Box::new(Int8Executor::new(model)));
        Self { executor, pool, labels, summary, detections: Vec::new(), proposals: 0 }
    }

    /// Allocates the int8 buffers for frames with the geometry `fit`, so that the first frame need not.
    pub fn reserve(&mut self, fit: Fit) {
        if let Executor::Int8(executor) = &mut self.executor {
            executor.reserve(fit);
        }
    }

    /// The quantized network, if it is one.
    pub fn int8_model(&self) -> Option<&Arc<Int8Model>> {
        match &self.executor {
            Executor::Int8(executor) => Some(executor.model()),
            Executor::Fp32(_) => None,
        }
    }

    /// The full-precision network, if it is one.
    pub fn fp32_model(&self) -> Option<&Arc<Fp32Model>> {
        match &self.executor {
            Executor::Fp32(model) => Some(model),
            Executor::Int8(_) => None,
        }
    }

    /// The pool, to be shared with the detector that replaces this one.
    pub fn shared_pool(&self) -> Arc<rayon::ThreadPool> {
        Arc::clone(&self.pool)
    }

    /// The network.
    pub fn plan(&self) -> &Arc<Plan> {
        match &self.executor {
            Executor::Fp32(model) => model.plan(),
            Executor::Int8(executor) => executor.model().plan(),
        }
    }

    /// Preprocessing parameters of this model.
    pub fn transform(&self) -> &TransformSettings {
        &self.plan().settings.transform
    }

    /// An empty canvas of the type that this model reads: f32 RGB, or u8 RGBx.
    pub fn new_input(&self) -> Input {
        match &self.executor {
            Executor::Fp32(_) => Input::F32(Canvas::empty(3)),
            Executor::Int8(executor) => Input::U8(executor.model().empty_canvas()),
        }
    }

    /// The names of classes 1, 2, …: `labels()[class_id - 1]`.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The name of a detection's class.
    pub fn label(&self, detection: &Detection) -> &str {
        let index = (detection.class_id as usize).wrapping_sub(1);
        self.labels.get(index).map_or("?", String::as_str)
    }

    /// Identity of the model.
    pub fn summary(&self) -> &ModelSummary {
        &self.summary
    }

    /// The kernels' instruction set.
    pub fn isa(&self) -> Isa {
        match &self.executor {
            Executor::Fp32(model) => model.isa(),
            Executor::Int8(executor) => executor.model().isa(),
        }
    }

    /// Name of the kernels' instruction set.
    pub fn kernel(&self) -> &'static str {
        match &self.executor {
            Executor::Fp32(model) => model.isa().name().name(),
            Executor::Int8(executor) => executor.model().isa().name().name(),
        }
    }

    /// Threads of the pool.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Number of proposals of the last picture.
    pub fn proposals(&self) -> usize {
        self.proposals
    }

    /// The precision of a step.
    pub fn step_precision(&self, step: StepId) -> Precision {
        match &self.executor {
            Executor::Fp32(_) => Precision::Fp32,
            Executor::Int8(executor) => executor.model().mixed_precision().precision[step],
        }
    }

    /// The pool that the network runs on, for other work on the same frame.
    pub fn pool(&self) -> &rayon::ThreadPool {
        &self.pool
    }

    /// Detects the objects on a canvas: boxes in canvas pixels, best first.
    ///
    /// # Errors
    /// [`Kind::Internal`] if the canvas has the other type, or another size than its fit.
    pub fn detect(&mut self, input: &Input) -> Result<&[Detection]> {
        self.detect_with(input, &mut NoTap, &mut |_| {})
    }

    /// [`Detector::detect`] with a tap; calls `after` when a step is done.
    ///
    /// # Errors
    /// As [`Detector::detect`].
    pub fn detect_with(
        &mut self,
        input: &Input,
        tap: &mut (dyn Tap + Send),
        after: &mut (dyn FnMut(StepId) + Send),
    ) -> Result<&[Detection]> {
        let Self { executor, pool, detections, proposals, .. } = self;
        // One entry into the pool a frame: threads do not sleep between layers.
        pool.install(|| match (executor, input) {
            (Executor::Fp32(model), Input::F32(canvas)) => {
                let mut run = Fp32Run::new(model, canvas)?;
                while let Some(step) = run.advance(tap)? {
                    if let Some(StepOutput::Boxes(boxes)) = run.value(step) {
                        *proposals = boxes.len();
                    }
                    after(step);
                }
                *detections = run.finish(tap)?;
                Ok(())
            }
            (Executor::Int8(int8), Input::U8(canvas)) => {
                int8.begin(canvas)?;
                while let Some(step) = int8.advance(tap)? {
                    after(step);
                }
                *proposals = int8.proposals().len();
                detections.clear();
                detections.extend_from_slice(int8.detections());
                Ok(())
            }
            (Executor::Fp32(_), Input::U8(_)) => {
                Err(Error::new(Kind::Internal, "the full-precision network reads a normalized canvas"))
            }
            (Executor::Int8(_), Input::F32(_)) => {
                Err(Error::new(Kind::Internal, "the quantized network reads a canvas of pixels"))
            }
        })?;
        Ok(&self.detections)
    }
}

/// A pool of `threads` workers, or of one a core for 0.
///
/// # Errors
/// [`Kind::Unavailable`] if the system cannot start them.
pub fn thread_pool(threads: usize) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|index| format!("detect-{index}"))
        .build()
        .map_err(|source| Error::new(Kind::Unavailable, format!("cannot start {threads} threads")).because(source))
}
