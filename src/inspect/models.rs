//! The two networks of an inspection, loaded to run in lock-step.

use std::path::Path;
use std::sync::Arc;

use super::report::ModelRow;
use crate::detector::checkpoint::Checkpoint;
use crate::detector::detection::Detection;
use crate::detector::fp32::Fp32Model;
use crate::detector::int8::{Int8Executor, Int8Model, Quantized};
use crate::detector::plan::Plan;
use crate::detector::{DetectorOptions, demo, thread_pool};
use crate::error::{Error, Kind, Result};
use crate::frame::Picture;
use crate::measure::{Lockstep, PairDetections, PairObserver};
use crate::preprocess::{Transform, TransformParams};
use crate::quant::artifact::Artifact;
use crate::tensor::Canvas;
use crate::tensor::digest::sha256;

/// Both networks with their input canvases.
pub struct ModelPair {
    reference: Fp32Model,
    quantized: Int8Executor,
    transform: Transform,
    canvas: Canvas<f32>,
    pixels: Canvas<u8>,
    pool: rayon::ThreadPool,
    labels: Vec<String>,
    /// Facts about the checkpoint.
    pub reference_row: ModelRow,
    /// Facts about the artifact.
    pub quantized_row: ModelRow,
    /// True if the artifact's provenance names this checkpoint.
    pub is_related: bool,
}

impl ModelPair {
    /// Loads the checkpoint `reference` and the artifact `model`.
    ///
    /// # Errors
    /// [`Kind::NoInput`] or [`Kind::Data`] with the file; [`Kind::Data`] if the two are different networks.
    pub fn load(reference: &Path, model: &Path, options: &DetectorOptions) -> Result<Self> {
        let pool = thread_pool(options.threads)?;
        let checkpoint = Checkpoint::open(reference)?;
        let header = checkpoint.header();
        let settings = options.apply(header.settings.clone())?;
        let plan = Arc::new(Plan::new(header.architecture.clone(), settings));
        let bytes = demo::read(model)?;
        let ReadArtifact { quantized, generation, parent } =
            read(&bytes, options).map_err(|error| error.at(model.display()))?;
        let int8 = pool.install(|| Int8Model::new(&quantized, options.isa));
        let int8 = int8.map_err(|error| error.at(model.display()))?;
        let (one, two) = (&plan, int8.plan());
        if one.architecture != two.architecture || one.settings != two.settings {
            let text = format!(
                "{} and {} are different networks: depth, widths, classes or sizes differ",
                reference.display(),
                model.display()
            );
            return Err(Error::new(Kind::Data, text));
        }
        let fp32 = pool.install(|| int8.reference(&checkpoint, options.isa))?.without_buffer_reuse();
        let labels = header.labels.clone();
        let source = checkpoint.sha256()?;
        // The folded weights are a copy.
        drop(checkpoint);
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
        let reference_row = row(reference, "fp32", 0, source.clone(), length);
        let quantized_row = row(model, precision, generation, sha256(&bytes), bytes.len() as u64);
        let transform = Transform::new(TransformParams::from(&plan.settings.transform))?.with_isa(options.isa);
        let pixels = int8.empty_canvas();
        Ok(Self {
            is_related: parent == source,
            quantized: Int8Executor::new(Arc::new(int8)).keeping_features(),
            reference: fp32,
            transform,
            canvas: Canvas::empty(3),
            pixels,
            pool,
            labels,
            reference_row,
            quantized_row,
        })
    }

    /// Plan of both networks.
    pub fn plan(&self) -> &Arc<Plan> {
        self.reference.plan()
    }

    /// The quantized network.
    pub fn int8(&self) -> &Int8Model {
        self.quantized.model()
    }

    /// Name of the kernels' instruction set.
    pub fn kernel(&self) -> &'static str {
        self.reference.isa().name().name()
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Class names.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Name of a class number.
    pub fn label(&self, class_id: u32) -> &str {
        self.labels.get((class_id as usize).wrapping_sub(1)).map_or("?", String::as_str)
    }

    /// Runs both networks on `picture`; see [`Lockstep::on_own_inputs`].
    ///
    /// # Errors
    /// [`Kind::Data`] for a picture that does not fit the network's sizes; otherwise as [`Lockstep::on_own_inputs`].
    pub fn on_own_inputs(
        &mut self,
        picture: &Picture,
        observer: &mut (dyn PairObserver + Send),
    ) -> Result<PairDetections> {
        self.fill_canvases(picture)?;
        let Self { reference, quantized, canvas, pixels, pool, .. } = self;
        let pair = Lockstep { reference, canvas, int8: quantized, pixels };
        let PairDetections { reference: f, int8: q } = pool.install(|| pair.on_own_inputs(observer))?;
        let fit = self.canvas.fit;
        let on_picture = |detections: Vec<Detection>| -> Vec<Detection> {
            detections.into_iter().map(|one| Detection { bbox: fit.to_frame(one.bbox), ..one }).collect()
        };
        Ok(PairDetections { reference: on_picture(f), int8: on_picture(q) })
    }

    /// Runs every layer of the quantized network on the reference's inputs; see [`Lockstep::on_reference_inputs`].
    ///
    /// # Errors
    /// As [`ModelPair::on_own_inputs`].
    pub fn on_reference_inputs(&mut self, picture: &Picture, observer: &mut (dyn PairObserver + Send)) -> Result<()> {
        self.fill_canvases(picture)?;
        let Self { reference, quantized, canvas, pixels, pool, .. } = self;
        let pair = Lockstep { reference, canvas, int8: quantized, pixels };
        pool.install(|| pair.on_reference_inputs(observer))
    }

    fn fill_canvases(&mut self, picture: &Picture) -> Result<()> {
        self.transform.to_f32(picture, &mut self.canvas)?;
        self.transform.to_u8(picture, &mut self.pixels)
    }
}

/// Parts of an artifact.
struct ReadArtifact {
    quantized: Quantized,
    generation: u64,
    /// SHA-256 of the checkpoint that it was quantized from.
    parent: String,
}

fn read(bytes: &[u8], options: &DetectorOptions) -> Result<ReadArtifact> {
    let artifact = Artifact::parse(bytes)?;
    let quantized = Quantized::from_artifact(&artifact, |settings| options.apply(settings))?;
    let provenance = &artifact.header().provenance;
    Ok(ReadArtifact {
        quantized,
        generation: u64::from(provenance.generation),
        parent: provenance.source_sha256.clone(),
    })
}
