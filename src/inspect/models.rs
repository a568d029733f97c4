//! The two networks, loaded to run in lock-step.

use std::path::Path;
use std::sync::Arc;

use super::report::ModelRow;
use crate::detector::checkpoint::Checkpoint;
use crate::detector::detection::Detection;
use crate::detector::fp32::{Backend, Fp32Model};
use crate::detector::int8::{Int8Executor, Int8Model, Quantized};
use crate::detector::plan::Plan;
use crate::detector::{DetectorOptions, demo, thread_pool};
use crate::error::{Error, Kind, Result};
use crate::frame::Picture;
use crate::measure::{Lockstep, PairDetections, PairObserver};
use crate::preprocess::{Transform, TransformParams};
use crate::quant::artifact::Artifact;
use crate::tensor::digest::sha256;
use crate::tensor::mapped::Mapped;
use crate::tensor::{Canvas, Fit};

/// Detections of the reference and of the other, in pixels of the picture.
pub type Found = [Vec<Detection>; 2];

/// Both networks and the canvases they read.
pub struct Pair {
    reference: Fp32Model,
    other: Int8Executor,
    transform: Transform,
    canvas: Canvas<f32>,
    pixels: Canvas<u8>,
    pool: rayon::ThreadPool,
    labels: Vec<String>,
    /// What they are: the reference, the other.
    pub rows: [ModelRow; 2],
    /// Whether the artifact says that it was made from this checkpoint.
    pub is_related: bool,
}

impl Pair {
    /// Loads the checkpoint `reference` and the artifact `model`.
    ///
    /// # Errors
    /// [`Kind::NoInput`] or [`Kind::Data`] naming the file; [`Kind::Data`] if the two are not one network.
    pub fn load(reference: &Path, model: &Path, options: &DetectorOptions) -> Result<Self> {
        let pool = thread_pool(options.threads)?;
        let checkpoint = match demo::named(reference)? {
            Some(bytes) => Checkpoint::from_bytes(bytes)?,
            None => Checkpoint::open(reference)?,
        };
        let header = checkpoint.header();
        let settings = options.apply(header.settings.clone())?;
        let plan = Arc::new(Plan::new(header.architecture.clone(), settings));
        let (eps, backend) = (header.batch_norm_eps, Backend::Kernel(options.isa));
        let fp32 =
            pool.install(|| Fp32Model::new(plan, &checkpoint.var_builder(), eps, backend))?.without_buffer_reuse();
        let labels = header.labels.clone();
        let source = checkpoint.sha256();
        // The file's pages are not needed beside the folded weights.
        drop(checkpoint);

        let mapped;
        let bytes = match demo::named(model)? {
            Some(bytes) => bytes,
            None => {
                mapped = Mapped::open(model)?;
                mapped.as_ref()
            }
        };
        let (quantized, generation, parent) = read(bytes, options).map_err(|error| error.at(model.display()))?;
        let int8 = pool.install(|| Int8Model::new(&quantized, options.isa));
        let int8 = int8.map_err(|error| error.at(model.display()))?;
        let (one, two) = (fp32.plan(), int8.plan());
        if one.architecture != two.architecture || one.settings != two.settings {
            let text = format!(
                "{} and {} are not one network: depth, widths, classes or sizes differ",
                reference.display(),
                model.display()
            );
            return Err(Error::new(Kind::Data, text));
        }
        let row = |path: &Path, precision, generation, sha256, bytes| ModelRow {
            name: path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default(),
            precision,
            generation,
            sha256,
            bytes,
        };
        let length = match demo::named(reference)? {
            Some(bytes) => bytes.len() as u64,
            None => std::fs::metadata(reference).map_or(0, |file| file.len()),
        };
        let precision = if quantized.is_exact() { "int8" } else { "mixed" };
        let rows = [
            row(reference, "fp32", 0, source.clone(), length),
            row(model, precision, generation, sha256(bytes), bytes.len() as u64),
        ];
        let transform = Transform::new(TransformParams::from(&one.settings.transform))?.with_isa(options.isa);
        let fit = Fit { frame_height: 0, frame_width: 0, height: 0, width: 0, canvas_height: 0, canvas_width: 0 };
        Ok(Self {
            is_related: parent == source,
            other: Int8Executor::new(Arc::new(int8)).keeping_features(),
            reference: fp32,
            transform,
            canvas: Canvas { fit, channels: 3, data: Vec::new() },
            pixels: Canvas { fit, channels: 4, data: Vec::new() },
            pool,
            labels,
            rows,
        })
    }

    /// The network.
    pub fn plan(&self) -> &Arc<Plan> {
        self.reference.plan()
    }

    /// The quantized network.
    pub fn int8(&self) -> &Int8Model {
        self.other.model()
    }

    /// Name of the kernels' instruction set, and threads.
    pub fn kernel(&self) -> (&'static str, usize) {
        (self.reference.isa().name().name(), self.pool.current_num_threads())
    }

    /// The name of a class.
    pub fn label(&self, class_id: u32) -> &str {
        self.labels.get((class_id as usize).wrapping_sub(1)).map_or("?", String::as_str)
    }

    /// Runs both over `picture`; see [`Lockstep::on_own_inputs`].
    ///
    /// # Errors
    /// [`Kind::Data`] for a picture that does not fit the network's sizes, and what [`Lockstep`] returns.
    pub fn on_own_inputs(&mut self, picture: &Picture, observer: &mut (dyn PairObserver + Send)) -> Result<Found> {
        self.take_in(picture)?;
        let Self { reference, other, canvas, pixels, pool, .. } = self;
        let pair = Lockstep { reference, canvas, int8: other, pixels };
        let PairDetections { reference: f, int8: q } = pool.install(|| pair.on_own_inputs(observer))?;
        let fit = self.canvas.fit;
        let on_picture = |found: Vec<Detection>| -> Vec<Detection> {
            found.into_iter().map(|one| Detection { bbox: fit.to_frame(one.bbox), ..one }).collect()
        };
        Ok([on_picture(f), on_picture(q)])
    }

    /// Runs every layer of the other on the reference's inputs; see [`Lockstep::on_reference_inputs`].
    ///
    /// # Errors
    /// As [`Pair::on_own_inputs`].
    pub fn on_reference_inputs(&mut self, picture: &Picture, observer: &mut (dyn PairObserver + Send)) -> Result<()> {
        self.take_in(picture)?;
        let Self { reference, other, canvas, pixels, pool, .. } = self;
        let pair = Lockstep { reference, canvas, int8: other, pixels };
        pool.install(|| pair.on_reference_inputs(observer))
    }

    fn take_in(&mut self, picture: &Picture) -> Result<()> {
        self.transform.to_f32(picture, &mut self.canvas)?;
        self.transform.to_u8(picture, &mut self.pixels)
    }
}

/// The quantized network in an artifact's bytes, its generation, and the checkpoint it was made from.
fn read(bytes: &[u8], options: &DetectorOptions) -> Result<(Quantized, u64, String)> {
    let artifact = Artifact::parse(bytes)?;
    let quantized = Quantized::from_artifact(&artifact, |settings| options.apply(settings))?;
    let provenance = &artifact.header().provenance;
    Ok((quantized, u64::from(provenance.generation), provenance.source_sha256.clone()))
}
