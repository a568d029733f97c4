//! From a checkpoint and pictures to an artifact.
//!
//! Observe the reference on every picture, choose ranges, quantize, correct biases, then run both networks side by side
//! for the evidence. Nothing depends on the number of threads, the folder's place or the day: the same checkpoint,
//! pictures and options give the same bytes.

use std::path::Path;
use std::sync::Arc;

use super::comparison::Comparison;
use super::convert::{convert, fold_all};
use super::correct::{LocalError, add_local_errors, rank};
use super::evidence::{clipped_share, distance, spread, stored};
use super::observe::EdgeWatcher;
use super::observer::EdgeStatistics;
use super::options::{Options, Outcome, Progress};
use super::pictures::{Chosen, Selection, select, select_recorded};
use super::record::Record;
use super::respond::{ALTERED, responses};
use super::scene::{Scene, power_db};
use crate::detector::checkpoint::Checkpoint;
use crate::detector::fp32::{Backend, Fp32Model};
use crate::detector::int8::{InputMeans, Int8Executor, Int8Model, Mixture, Quantized, plan_value};
use crate::detector::plan::{Plan, StepId};
use crate::detector::weights::Folded;
use crate::error::{Error, Kind, Result};
use crate::frame::Picture;
use crate::kernel::isa::Isa;
use crate::preprocess::{Transform, TransformParams};
use crate::quant::artifact::{self, Calibration, Header, Provenance};
use crate::quant::{Precision, QuantParams, Response, Scheme};
use crate::tensor::{Canvas, Fit};

/// Quantizes `checkpoint` on the pictures of `folder`, on the current rayon pool.
///
/// # Errors
/// As [`select`]; [`Kind::Data`] where a layer cannot be quantized.
pub fn quantize(
    checkpoint: &Checkpoint,
    folder: &Path,
    options: &Options,
    isa: Isa,
    progress: Progress<'_>,
) -> Result<Outcome> {
    let selection = select(folder, options.count, options.seed, options.allow_unfit)?;
    quantize_selected(checkpoint, selection, options, isa, progress)
}

/// [`quantize`] on pictures that were chosen already.
///
/// # Errors
/// As there, without those of choosing.
pub(super) fn quantize_selected(
    checkpoint: &Checkpoint,
    selection: Selection,
    options: &Options,
    isa: Isa,
    progress: Progress<'_>,
) -> Result<Outcome> {
    Job::new(checkpoint, options, isa)?.run(selection, None, progress)
}

/// [`quantize`] on pictures that lie in memory: `open` gives each one of `selection`.
///
/// # Errors
/// As [`quantize`], and what `open` returns.
pub fn quantize_frames(
    checkpoint: &Checkpoint,
    selection: Selection,
    open: &dyn Fn(&Chosen) -> Result<Picture>,
    options: &Options,
    isa: Isa,
    progress: Progress<'_>,
) -> Result<Outcome> {
    Job { open, ..Job::new(checkpoint, options, isa)? }.run(selection, None, progress)
}

/// Quantizes `checkpoint` with the ranges of `record` instead of observing; the pictures of `folder` still serve bias
/// correction and evidence.
///
/// # Errors
/// As [`quantize`]; [`Kind::Data`] if the record belongs to another checkpoint or lacks an edge or picture.
pub fn quantize_from_record(
    checkpoint: &Checkpoint,
    folder: &Path,
    record: Record,
    options: &Options,
    isa: Isa,
    progress: Progress<'_>,
) -> Result<Outcome> {
    belongs(&record, checkpoint)?;
    let selection = select(folder, options.count, options.seed, options.allow_unfit)?;
    for picture in &selection.pictures {
        if record.sha256(&picture.name)? != picture.sha256 {
            let text = format!("{} is not the picture of this name that was recorded", picture.name);
            return Err(Error::new(Kind::Data, text));
        }
    }
    Job::new(checkpoint, options, isa)?.run(selection, Some(record), progress)
}

/// Quantizes `checkpoint` with the ranges of `record` and nothing else: no picture is read and no network is run, so
/// biases stay uncorrected and the artifact carries no error figures. `options` choose observer and subset.
///
/// # Errors
/// [`Kind::Data`] if the record belongs to another checkpoint or holds nothing; [`Kind::Usage`] if layers are to be
/// kept in fp32 by how much they err, which only pictures tell.
pub fn quantize_record_alone(
    checkpoint: &Checkpoint,
    record: Record,
    options: &Options,
    isa: Isa,
    progress: Progress<'_>,
) -> Result<Outcome> {
    belongs(&record, checkpoint)?;
    let options = Options { correction_pictures: 0, evidence_pictures: 0, ..options.clone() };
    let selection = select_recorded(&record, options.count, options.seed)?;
    Job::new(checkpoint, &options, isa)?.run(selection, Some(record), progress)
}

fn belongs(record: &Record, checkpoint: &Checkpoint) -> Result<()> {
    if record.checkpoint_sha256() == checkpoint.sha256() {
        return Ok(());
    }
    Err(Error::new(Kind::Data, "the calibration record was made with another checkpoint"))
}

/// One quantization under way.
pub(super) struct Job<'a> {
    checkpoint: &'a Checkpoint,
    pub(super) options: &'a Options,
    open: &'a dyn Fn(&Chosen) -> Result<Picture>,
    isa: Isa,
    pub(super) plan: Arc<Plan>,
    pub(super) reference: Fp32Model,
    folded: Vec<Folded>,
    transform: Transform,
    pub(super) normalized: Canvas<f32>,
    pub(super) pixels: Canvas<u8>,
}

impl<'a> Job<'a> {
    fn new(checkpoint: &'a Checkpoint, options: &'a Options, isa: Isa) -> Result<Self> {
        let header = checkpoint.header();
        let plan = Arc::new(Plan::new(header.architecture.clone(), header.settings.clone()));
        let tensors = checkpoint.var_builder();
        let reference = Fp32Model::new(plan.clone(), &tensors, header.batch_norm_eps, Backend::Kernel(isa))?;
        let folded = fold_all(&plan, &tensors, header.batch_norm_eps)?;
        let transform = Transform::new(TransformParams::from(&plan.settings.transform))?;
        let fit = Fit { frame_height: 0, frame_width: 0, height: 0, width: 0, canvas_height: 0, canvas_width: 0 };
        let normalized = Canvas { fit, channels: 3, data: Vec::new() };
        let pixels = Canvas { fit, channels: 4, data: Vec::new() };
        let open = &|chosen: &Chosen| Picture::open(&chosen.path);
        Ok(Self { checkpoint, options, open, isa, plan, reference, folded, transform, normalized, pixels })
    }

    /// Reads a picture into both canvases.
    pub(super) fn load(&mut self, chosen: &Chosen) -> Result<()> {
        let picture = (self.open)(chosen)?;
        self.transform.to_f32(&picture, &mut self.normalized)?;
        self.transform.to_u8(&picture, &mut self.pixels)
    }

    fn run(mut self, selection: Selection, record: Option<Record>, progress: Progress<'_>) -> Result<Outcome> {
        // Every output that int8 could store is observed, so that the record serves other mixtures too.
        let all = Mixture::new(&self.plan, &vec![Precision::Int8Static; self.plan.layers.len()]);
        let steps: Vec<StepId> = all.quantized_steps().collect();
        let record = match record {
            Some(record) => record,
            None => self.observe(&steps, &selection, progress)?,
        };
        let chosen = |name: &str| selection.pictures.iter().any(|picture| picture.name == name);
        let statistics = record.statistics(chosen)?;
        if statistics.len() != steps.len() || statistics.iter().all(|seen| seen.merged().is_empty()) {
            return Err(Error::new(Kind::Data, "the calibration record lacks these pictures or this network's edges"));
        }
        let mut ranges = vec![None; self.plan.steps.len()];
        for (&step, seen) in steps.iter().zip(&statistics) {
            let range = self.options.observer.range(seen, Scheme::Affine);
            ranges[step] = Some((range, QuantParams::covering(range, Scheme::Affine)));
        }
        let edge_qparams: Vec<Option<QuantParams>> =
            ranges.iter().map(|range| range.map(|(_, qparams)| qparams)).collect();
        let mut recipes = self.options.recipe.layers(&self.plan);
        let mut quantized = convert(&self.plan, &self.folded, &recipes, edge_qparams.clone())?;

        let corrects = self.options.correction_pictures > 0;
        let mut locals = if corrects { self.local_errors(&quantized, &selection, progress)? } else { Vec::new() };
        let sensitivity = rank(&self.plan, &locals);
        if !corrects && self.options.keep_float.needs_ranking() {
            let text = "which layers err most is only known from pictures: name the layers to keep in fp32";
            return Err(Error::new(Kind::Usage, text));
        }
        let kept = self.options.keep_float.layers(&self.plan, &sensitivity)?;
        if !kept.is_empty() {
            for layer in kept {
                recipes[layer].precision = Precision::Fp32;
            }
            quantized = convert(&self.plan, &self.folded, &recipes, edge_qparams)?;
            if corrects {
                locals = self.local_errors(&quantized, &selection, progress)?;
            }
        }
        for (bias, local) in quantized.biases.iter_mut().zip(&locals) {
            bias.iter_mut().zip(local.mean_shift()).for_each(|(bias, shift)| *bias += shift);
        }
        let compared = self.compare(&quantized, &selection, &steps, &statistics, progress)?;
        let means = compared.image.map(|image| InputMeans::of_outputs(&self.plan, image, &compared.outputs));
        if corrects && means.is_some() {
            quantized.responses = self.responses(&quantized, &selection, progress)?;
        }
        quantized.note_means(means);
        let header = self.header(&quantized, &record, &selection, &steps, &ranges, &statistics, &compared)?;
        let bytes = self.encode(&quantized, header, &statistics)?;
        let Comparison { errors, agreement, found_again, .. } = compared;
        Ok(Outcome { bytes, record, quantized, errors, sensitivity, agreement, found_again, selection })
    }

    fn observe(&mut self, steps: &[StepId], selection: &Selection, progress: Progress<'_>) -> Result<Record> {
        let mut watcher = EdgeWatcher::new(&self.plan, steps);
        let mut record = Record::new(self.checkpoint.sha256(), watcher.edges().to_vec());
        for (done, picture) in selection.pictures.iter().enumerate() {
            progress("observing", done, selection.pictures.len());
            self.load(picture)?;
            let seen = watcher.observe(&self.reference, &self.normalized).map_err(|e| e.at(&picture.name))?;
            record.add(&picture.name, picture.sha256, &seen.histograms, seen.means)?;
        }
        Ok(record)
    }

    fn responses(
        &mut self,
        quantized: &Quantized,
        selection: &Selection,
        progress: Progress<'_>,
    ) -> Result<Vec<Option<Response>>> {
        let pictures = evenly(&selection.pictures, ALTERED.min(self.options.correction_pictures));
        let pictures: Vec<Picture> = pictures.iter().map(self.open).collect::<Result<_>>()?;
        let Self { reference, transform, folded, .. } = self;
        let mut done = |done, of| progress("altering", done, of);
        responses(reference, transform, (quantized, folded), &pictures, &mut done)
    }

    pub(super) fn executor(&self, quantized: &Quantized) -> Result<Int8Executor> {
        Ok(Int8Executor::new(Arc::new(Int8Model::new(quantized, self.isa)?)).keeping_features())
    }

    fn local_errors(
        &mut self,
        quantized: &Quantized,
        selection: &Selection,
        progress: Progress<'_>,
    ) -> Result<Vec<LocalError>> {
        let mut executor = self.executor(quantized)?;
        let mut locals = vec![LocalError::default(); self.plan.steps.len()];
        let pictures = evenly(&selection.pictures, self.options.correction_pictures);
        for (done, picture) in pictures.iter().enumerate() {
            progress("correcting", done, pictures.len());
            self.load(picture)?;
            let Self { reference, normalized, pixels, .. } = self;
            add_local_errors(reference, normalized, &mut executor, pixels, &mut locals)?;
        }
        Ok(locals)
    }

    #[allow(clippy::too_many_arguments)]
    fn header(
        &self,
        quantized: &Quantized,
        record: &Record,
        selection: &Selection,
        steps: &[StepId],
        ranges: &[Option<(crate::quant::Range, QuantParams)>],
        statistics: &[EdgeStatistics],
        compared: &Comparison,
    ) -> Result<Header> {
        let agreement = compared.agreement;
        let mixture = quantized.mixture();
        let serving: Vec<StepId> = mixture.quantized_steps().collect();
        let chosen = |name: &str| selection.pictures.iter().any(|picture| picture.name == name);
        let (mut clipped, mut distances) = (compared.clipped.clone(), compared.distances.clone());
        let of_layer = |step: &StepId| self.plan.steps[*step].layer().is_some() && serving.contains(step);
        let mut powers: Vec<Vec<Option<f64>>> = Vec::new();
        for picture in record.pictures().filter(|name| chosen(name)) {
            let histograms = record.histograms(picture)?;
            let told = histograms.iter().zip(steps);
            powers.push(told.map(|(seen, step)| power_db(seen).filter(|_| of_layer(step))).collect());
            for (edge, histogram) in histograms.iter().enumerate() {
                let Some((_, qparams)) = &ranges[steps[edge]] else { continue };
                // Where nothing was run, or this edge is not stored in bytes, the reference's values must do.
                if compared.clipped[edge].is_empty() && !histogram.is_empty() {
                    clipped[edge].push(clipped_share(histogram, qparams));
                    distances[edge].push(distance(histogram, statistics[edge].merged()));
                }
            }
        }
        let scene = Scene::of(&powers, None);
        let mut edges = Vec::with_capacity(steps.len());
        for (edge, &step) in steps.iter().enumerate() {
            let Some((range, qparams)) = ranges[step] else { continue };
            edges.push(artifact::Edge {
                name: self.plan.steps[step].name.clone(),
                qparams: serving.contains(&step).then(|| qparams.into()),
                range,
                clipped: spread(&clipped[edge]),
                distance: spread(&distances[edge]),
                power_db: scene.as_ref().and_then(|scene| scene.power_db[edge]).into_iter().collect(),
                histogram: stored(statistics[edge].merged()).0,
            });
        }
        let mut layers = quantized.to_steps().0;
        for (id, layer) in layers.iter_mut().enumerate() {
            let of_users: Option<Vec<_>> = quantized.users(id).map(|user| spread(&compared.spreads[user])).collect();
            layer.sqnr_db = of_users.unwrap_or_default();
        }
        Ok(Header {
            format: artifact::FORMAT.to_owned(),
            plan: plan_value(&self.plan)?,
            labels: self.checkpoint.header().labels.clone(),
            recipe: self.options.recipe.name().to_owned(),
            pair_safe: true,
            steps: layers,
            edges,
            calibration: Calibration {
                observer: self.options.observer.to_string(),
                scheme: Scheme::Affine,
                pictures: selection.pictures.len(),
                sha256: record.pictures_sha256(chosen),
                unfit: selection.unfit.clone(),
                agreement: (self.options.evidence_pictures > 0)
                    .then(|| agreement.noted(selection.pictures.len().min(self.options.evidence_pictures))),
                scenes: scene.iter().map(|scene| scene.apart).collect(),
            },
            provenance: Provenance { source_sha256: self.checkpoint.sha256(), generation: 0, parent: None },
        })
    }

    fn encode(&self, quantized: &Quantized, header: Header, statistics: &[EdgeStatistics]) -> Result<Vec<u8>> {
        let weights = quantized.to_steps().1;
        let histograms: Vec<Vec<u32>> = statistics.iter().map(|seen| stored(seen.merged()).1).collect();
        artifact::encode(&header, &weights, &histograms)
    }
}

/// At most `count` of `all`, evenly spread.
pub(super) fn evenly(all: &[Chosen], count: usize) -> Vec<Chosen> {
    let count = count.min(all.len());
    (0..count).map(|i| all[i * all.len() / count].clone()).collect()
}
