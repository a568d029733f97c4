//! Quantization pipeline: from a checkpoint and pictures to an artifact.
//!
//! 1. Equalize the channels of the fp32 network, which leaves its results as they are.
//! 2. Observe it on every picture (or take a [`CalibrationRecord`], which has the factors of the channels, too).
//! 3. Choose the range of every edge, and quantize the weights.
//! 4. Correct the biases on some pictures, and keep the layers with the largest local errors in fp32 if requested.
//! 5. Compare both networks on the evidence pictures.
//! 6. Measure the bias shift of every layer under perturbations.
//!
//! The result does not depend on the number of threads, the location of the folder or the date: the same checkpoint,
//! pictures and options give the same bytes.

use std::path::Path;
use std::sync::Arc;

use super::bias::{
    LocalError, PERTURBED_PICTURES, RoundedNetwork, add_local_errors, rank_by_local_error, shift_models,
};
use super::choice::choose;
use super::collectors::{ChannelMaxima, Fp32Collector};
use super::comparison::{Comparison, ObservedEdges, compare_networks};
use super::convert::{LayerRecipe, convert, convert_layer, fold_all, least_scales};
use super::observer::{EdgeStatistics, Observer};
use super::options::{Progress, QuantizeOptions, QuantizeOutcome};
use super::pictures::{
    CalibrationPicture, PictureLoader, PictureSelection, seeded, select, select_recorded, select_recorded_in,
};
use super::power_profile::{PowerProfile, power_db};
use super::recipe::Recipe;
use super::record::CalibrationRecord;
use super::summary::{clipped_share, distance, mean_std};
use super::wide::{WidePart, WideParts, WideSearch};
use crate::detector::checkpoint::Checkpoint;
use crate::detector::equalization::{ChannelGroups, Equalization};
use crate::detector::fp32::{Fp32Model, Fp32Run};
use crate::detector::int8::{InputMeans, Int8Executor, Int8Model, MixedPrecision, Quantized, plan_value};
use crate::detector::plan::{LayerId, Plan, StepId};
use crate::detector::weights::FoldedLayer;
use crate::error::{Error, Kind, Result};
use crate::frame::Picture;
use crate::kernel::isa::Isa;
use crate::preprocess::{Transform, TransformParams};
use crate::quant::artifact::{self, CalibrationHeader, EdgeType, Header, Provenance};
use crate::quant::{BiasShiftModel, Digits, Precision, QuantParams, Range, Scheme};

/// Quantizes `checkpoint` on the pictures of `folder`, on the current rayon pool.
///
/// # Errors
/// As [`select`]; [`Kind::Data`] where a layer cannot be quantized.
pub fn quantize(
    checkpoint: &Checkpoint,
    folder: &Path,
    options: &QuantizeOptions,
    isa: Isa,
    progress: Progress<'_>,
) -> Result<QuantizeOutcome> {
    let selection = select(folder, options.observed_pictures(), options.seed, options.allow_unfit)?;
    quantize_selected(checkpoint, selection, options, isa, progress)
}

/// [`quantize`] on pictures that were already chosen.
///
/// # Errors
/// [`Kind::Data`] where a layer cannot be quantized; errors of decoding.
pub(super) fn quantize_selected(
    checkpoint: &Checkpoint,
    selection: PictureSelection,
    options: &QuantizeOptions,
    isa: Isa,
    progress: Progress<'_>,
) -> Result<QuantizeOutcome> {
    Quantization::new(checkpoint, options, isa, &open_file)?.run(selection, None, progress)
}

/// [`quantize`] on pictures in memory: `open` returns each one of `selection`.
///
/// # Errors
/// As [`quantize`], and what `open` returns.
pub fn quantize_frames(
    checkpoint: &Checkpoint,
    selection: PictureSelection,
    open: &dyn Fn(&CalibrationPicture) -> Result<Picture>,
    options: &QuantizeOptions,
    isa: Isa,
    progress: Progress<'_>,
) -> Result<QuantizeOutcome> {
    Quantization::new(checkpoint, options, isa, open)?.run(selection, None, progress)
}

/// Quantizes `checkpoint` with the ranges of `record` instead of observing. Its pictures are found in `folder` by their
/// content, for bias correction and comparison.
///
/// # Errors
/// As [`quantize`]; [`Kind::Data`] if the record belongs to another checkpoint or lacks an edge or picture.
pub fn quantize_from_record(
    checkpoint: &Checkpoint,
    folder: &Path,
    record: CalibrationRecord,
    options: &QuantizeOptions,
    isa: Isa,
    progress: Progress<'_>,
) -> Result<QuantizeOutcome> {
    check_origin(&record, checkpoint)?;
    let names = recorded_names(&record, options)?;
    let selection = select_recorded_in(folder, &record, &names, options.allow_unfit)?;
    Quantization::new(checkpoint, options, isa, &open_file)?.run(selection, Some(record), progress)
}

/// Quantizes `checkpoint` with the ranges of `record` only. No picture is read and no network is run. So biases stay
/// uncorrected, only named parts have two bytes, and the artifact has no error figures. `options` choose observer and
/// subset of the pictures.
///
/// # Errors
/// [`Kind::Data`] if the record belongs to another checkpoint or has no pictures; [`Kind::Usage`] if `options` keep
/// layers in fp32 by their local error, which is measured on pictures.
pub fn quantize_record_alone(
    checkpoint: &Checkpoint,
    record: CalibrationRecord,
    options: &QuantizeOptions,
    isa: Isa,
    progress: Progress<'_>,
) -> Result<QuantizeOutcome> {
    check_origin(&record, checkpoint)?;
    let options = QuantizeOptions { correction_pictures: 0, evidence_pictures: 0, ..options.clone() };
    let mut selection = select_recorded(&record, &recorded_names(&record, &options)?)?;
    if options.wide.needs_pictures() {
        let text =
            "nothing has two bytes: the effect is measured on pictures; give --images, or name layers with --wide";
        selection.warnings.push(text.to_owned());
    }
    Quantization::new(checkpoint, &options, isa, &open_file)?.run(selection, Some(record), progress)
}

/// The pictures of `record` that `options` calibrate with.
fn recorded_names(record: &CalibrationRecord, options: &QuantizeOptions) -> Result<Vec<String>> {
    if options.choose {
        return choose(record, &record.pictures().collect::<Vec<_>>(), options.count);
    }
    Ok(seeded(record.pictures(), options.count, options.seed))
}

fn check_origin(record: &CalibrationRecord, checkpoint: &Checkpoint) -> Result<()> {
    if record.checkpoint_sha256() == checkpoint.sha256()? {
        return Ok(());
    }
    Err(Error::new(Kind::Data, "the calibration record was made with another checkpoint"))
}

fn open_file(picture: &CalibrationPicture) -> Result<Picture> {
    Picture::open(&picture.path)
}

/// Range of an edge, and the quantization parameters that cover it.
#[derive(Debug, Clone, Copy)]
struct EdgeRange {
    range: Range,
    qparams: QuantParams,
}

fn qparams_of(ranges: &[Option<EdgeRange>]) -> Vec<Option<QuantParams>> {
    ranges.iter().map(|range| range.map(|EdgeRange { qparams, .. }| qparams)).collect()
}

/// Gives every edge a scale of at least `least`, by step.
fn coarsen(ranges: &mut [Option<EdgeRange>], least: &[f32]) {
    for (range, &least) in ranges.iter_mut().zip(least) {
        if let Some(EdgeRange { qparams, .. }) = range {
            *qparams = qparams.at_least(least);
        }
    }
}

/// Pictures on which the largest values of channels are measured. Factors need not be exact: few pictures show them.
const EQUALIZATION_PICTURES: usize = 8;

/// Pictures on which wide parts are chosen.
const WIDE_PICTURES: usize = 2;

/// Results of the steps of the pipeline that the header of the artifact describes.
struct HeaderInputs<'a> {
    quantized: &'a Quantized,
    record: &'a CalibrationRecord,
    selection: &'a PictureSelection,
    edges: ObservedEdges<'a>,
    /// By step of the plan.
    ranges: &'a [Option<EdgeRange>],
    comparison: &'a Comparison,
}

/// State of one quantization.
struct Quantization<'a> {
    checkpoint: &'a Checkpoint,
    options: &'a QuantizeOptions,
    isa: Isa,
    plan: Arc<Plan>,
    reference: Fp32Model,
    folded: Vec<FoldedLayer>,
    /// Folded into `reference` and `folded`.
    equalization: Arc<Equalization>,
    loader: PictureLoader<'a>,
}

impl<'a> Quantization<'a> {
    fn new(
        checkpoint: &'a Checkpoint,
        options: &'a QuantizeOptions,
        isa: Isa,
        open: &'a dyn Fn(&CalibrationPicture) -> Result<Picture>,
    ) -> Result<Self> {
        let header = checkpoint.header();
        let plan = Arc::new(Plan::new(header.architecture.clone(), header.settings.clone()));
        let tensors = checkpoint.var_builder();
        let folded = fold_all(&plan, &tensors, &header.batch_norm_eps)?;
        let reference = Fp32Model::from_folded(plan.clone(), &folded, isa)?;
        let transform = Transform::new(TransformParams::from(&plan.settings.transform))?;
        let loader = PictureLoader::new(open, transform);
        let equalization = Arc::default();
        Ok(Self { checkpoint, options, isa, plan, reference, folded, equalization, loader })
    }

    fn run(
        mut self,
        mut selection: PictureSelection,
        record: Option<CalibrationRecord>,
        progress: Progress<'_>,
    ) -> Result<QuantizeOutcome> {
        // Observe every output that int8 could store, so that the record also serves other recipes.
        let all_int8 = MixedPrecision::new(&self.plan, &vec![Precision::Int8Static; self.plan.layers.len()]);
        let steps: Vec<StepId> = all_int8.quantized_steps().collect();
        let equalizes = self.options.equalize && self.options.recipe == Recipe::Lookout;
        let record = match record {
            Some(record) => {
                let equalization = Equalization::from_stored(&self.plan, record.equalization())?;
                if equalizes && equalization.is_none() {
                    let text = "channels are not equalized: the calibration record was observed without";
                    selection.warnings.push(text.to_owned());
                }
                if !equalizes && !equalization.is_none() {
                    let text = "the calibration record was observed with equalized channels; make another with \
                                --equalize false";
                    return Err(Error::new(Kind::Usage, text));
                }
                self.equalize(equalization)?;
                record
            }
            None => {
                if equalizes {
                    let equalization = self.equalization(&selection, progress)?;
                    self.equalize(equalization)?;
                }
                let record = self.observe(&steps, &selection, progress)?;
                if self.options.choose {
                    let names = recorded_names(&record, self.options)?;
                    selection.pictures.retain(|picture| names.contains(&picture.name));
                }
                record
            }
        };
        let statistics = record.statistics(|name| selection.contains(name))?;
        if statistics.len() != steps.len() || statistics.iter().all(|edge| edge.merged().is_empty()) {
            return Err(Error::new(Kind::Data, "the calibration record lacks these pictures or this network's edges"));
        }
        let edges = ObservedEdges { steps: &steps, statistics: &statistics };

        // Choose the ranges and quantize.
        let mut ranges = vec![None; self.plan.steps.len()];
        for (&step, statistics) in steps.iter().zip(&statistics) {
            let range = self.options.observer.range(statistics, Scheme::Affine);
            ranges[step] = Some(EdgeRange { range, qparams: QuantParams::covering(range, Scheme::Affine) });
        }
        let mut recipes = self.options.recipe.layers(&self.plan);
        // Layers kept by name are honoured first: they may be those that cannot be quantized.
        let is_ranked = self.options.keep_float.needs_ranking();
        if !is_ranked {
            for layer in self.options.keep_float.layers(&self.plan, &[])? {
                recipes[layer].precision = Precision::Fp32;
            }
        }
        let least = least_scales(&self.plan, &self.folded, &recipes, &qparams_of(&ranges));
        coarsen(&mut ranges, &least);
        let mut quantized = self.convert(&recipes, qparams_of(&ranges), false)?;
        let mut wide = self.widen(&mut quantized, &mut recipes, &mut ranges, edges, &selection, progress)?;
        let wide_canvas = wide.has_edge(self.plan.key_steps.image);
        let edge_qparams = qparams_of(&ranges);
        if !wide.0.is_empty() {
            quantized = self.convert(&recipes, edge_qparams.clone(), wide_canvas)?;
        }
        self.loader.pixels.two_bytes = wide_canvas;

        // Measure the local error of every layer. Layers kept in fp32 change the inputs of others: measure again.
        let corrects = self.options.correction_pictures > 0;
        let mut locals = if corrects { self.local_errors(&quantized, &selection, progress)? } else { Vec::new() };
        let sensitivity = rank_by_local_error(&self.plan, &locals);
        if !corrects && is_ranked {
            let text =
                "the layers with the largest errors are only known from pictures: name the layers to keep in fp32";
            return Err(Error::new(Kind::Usage, text));
        }
        let kept = if is_ranked { self.options.keep_float.layers(&self.plan, &sensitivity)? } else { Vec::new() };
        if !kept.is_empty() {
            for layer in kept {
                recipes[layer].precision = Precision::Fp32;
                wide.0.retain(|&part| part != WidePart::Weights(layer));
            }
            quantized = self.convert(&recipes, edge_qparams, wide_canvas)?;
            if corrects {
                locals = self.local_errors(&quantized, &selection, progress)?;
            }
        }

        // Correct the biases.
        for (bias, local) in quantized.biases.iter_mut().zip(&locals) {
            bias.iter_mut().zip(local.mean_shift()).for_each(|(bias, shift)| *bias += shift);
        }
        quantized.limit_biases();

        // Compare with the reference. The input means of these pictures become the reference input means.
        let comparison = self.compare(&quantized, &selection, edges, progress)?;
        let means = comparison.image.map(|image| InputMeans::from_outputs(&self.plan, image, &comparison.output_means));
        if corrects && means.is_some() {
            quantized.bias_shift_models = self.shift_models(&quantized, &selection, progress)?;
        }
        quantized.set_reference_means(means);

        let inputs = HeaderInputs {
            quantized: &quantized,
            record: &record,
            selection: &selection,
            edges,
            ranges: &ranges,
            comparison: &comparison,
        };
        let header = self.header(&inputs)?;
        let bytes = encode(&quantized, &header, &statistics)?;
        let Comparison { errors, agreement, agreement_any_score, .. } = comparison;
        Ok(QuantizeOutcome {
            bytes,
            record,
            quantized,
            wide,
            errors,
            sensitivity,
            agreement,
            agreement_any_score,
            selection,
        })
    }

    fn convert(
        &self,
        recipes: &[LayerRecipe],
        edge_qparams: Vec<Option<QuantParams>>,
        wide_canvas: bool,
    ) -> Result<Quantized> {
        let quantized = convert(&self.plan, &self.folded, recipes, edge_qparams, wide_canvas)?;
        Ok(Quantized { equalization: Arc::clone(&self.equalization), ..quantized })
    }

    /// Chooses the wide parts of `narrow`, and gives them two digits in `recipes` and two bytes in `ranges`.
    fn widen(
        &mut self,
        narrow: &mut Quantized,
        recipes: &mut [LayerRecipe],
        ranges: &mut [Option<EdgeRange>],
        edges: ObservedEdges<'_>,
        selection: &PictureSelection,
        progress: Progress<'_>,
    ) -> Result<WideParts> {
        // Two bytes have levels enough for all observed values: nothing need be clipped.
        let mut wide_ranges = vec![None; ranges.len()];
        for (&step, statistics) in edges.steps.iter().zip(edges.statistics) {
            let range = Observer::MinMax.range(statistics, Scheme::Affine);
            let qparams = QuantParams::covering(range, Scheme::Affine).with_two_bytes(true);
            wide_ranges[step] = Some(EdgeRange { range, qparams });
        }
        let edge_qparams = qparams_of(ranges);
        coarsen(&mut wide_ranges, &least_scales(&self.plan, &self.folded, recipes, &edge_qparams));
        let Self { plan, folded, reference, loader, options, isa, .. } = self;
        let two_digits: Vec<LayerRecipe> =
            recipes.iter().map(|recipe| LayerRecipe { digits: Digits::Two, ..*recipe }).collect();
        let weights = |layer: LayerId| {
            let (quantized, _) = convert_layer(plan, layer, &folded[layer], &two_digits, &edge_qparams)?;
            Ok(quantized.weights)
        };
        let wide_qparams = qparams_of(&wide_ranges);
        let search = WideSearch { reference, edge_qparams: &wide_qparams, weights: &weights, isa: *isa };
        let pictures = selection.evenly_spaced(WIDE_PICTURES.min(options.correction_pictures));
        let mut report = |done, of| progress("widening", done, of);
        let wide = search.choose(narrow, &options.wide, loader, &pictures, &mut report)?;
        for part in &wide.0 {
            match *part {
                WidePart::Weights(layer) => recipes[layer].digits = Digits::Two,
                WidePart::Edge(step) if step == plan.key_steps.image => {}
                WidePart::Edge(step) => ranges[step] = wide_ranges[step],
            }
        }
        Ok(wide)
    }

    /// The factors of all channels, from their values on some pictures.
    fn equalization(&mut self, selection: &PictureSelection, progress: Progress<'_>) -> Result<Equalization> {
        let groups = ChannelGroups::new(&self.plan);
        let mut maxima = ChannelMaxima::new(&groups);
        let pictures = selection.evenly_spaced(EQUALIZATION_PICTURES);
        for (done, picture) in pictures.iter().enumerate() {
            progress("equalizing", done, pictures.len());
            self.loader.load(picture)?;
            Fp32Run::new(&self.reference, &self.loader.normalized)?.finish(&mut maxima)?;
        }
        let largest = maxima.finish();
        Ok(Equalization::new(&self.plan, groups, &self.folded, &largest))
    }

    /// Folds `equalization` into the weights and the reference.
    fn equalize(&mut self, equalization: Equalization) -> Result<()> {
        if equalization.is_none() {
            return Ok(());
        }
        for (layer, folded) in self.folded.iter_mut().enumerate() {
            equalization.fold_into(&self.plan, layer, folded);
        }
        self.reference = Fp32Model::from_folded(self.plan.clone(), &self.folded, self.isa)?;
        self.equalization = Arc::new(equalization);
        Ok(())
    }

    /// Runs the reference on every picture and records the outputs of `steps`.
    fn observe(
        &mut self,
        steps: &[StepId],
        selection: &PictureSelection,
        progress: Progress<'_>,
    ) -> Result<CalibrationRecord> {
        let mut collector = Fp32Collector::new(&self.plan, steps);
        let mut record =
            CalibrationRecord::new(self.checkpoint.sha256()?, collector.edges().to_vec(), self.equalization.stored());
        for (done, picture) in selection.pictures.iter().enumerate() {
            progress("observing", done, selection.pictures.len());
            self.loader.load(picture)?;
            let statistics = collector.observe(&self.reference, &self.loader.normalized);
            let statistics = statistics.map_err(|e| e.at(&picture.name))?;
            record.add(&picture.name, picture.sha256, &statistics.histograms, statistics.means)?;
        }
        Ok(record)
    }

    fn executor(&self, quantized: &Quantized) -> Result<Int8Executor> {
        Ok(Int8Executor::new(Arc::new(Int8Model::new(quantized, self.isa)?)).keeping_features())
    }

    /// Local error of every step, over the correction pictures.
    fn local_errors(
        &mut self,
        quantized: &Quantized,
        selection: &PictureSelection,
        progress: Progress<'_>,
    ) -> Result<Vec<LocalError>> {
        let mut executor = self.executor(quantized)?;
        let mut locals = vec![LocalError::default(); self.plan.steps.len()];
        let pictures = selection.evenly_spaced(self.options.correction_pictures);
        for (done, picture) in pictures.iter().enumerate() {
            progress("correcting", done, pictures.len());
            self.loader.load(picture)?;
            let PictureLoader { normalized, pixels, .. } = &self.loader;
            add_local_errors(&self.reference, normalized, &mut executor, pixels, &mut locals)?;
        }
        Ok(locals)
    }

    fn compare(
        &mut self,
        quantized: &Quantized,
        selection: &PictureSelection,
        edges: ObservedEdges<'_>,
        progress: Progress<'_>,
    ) -> Result<Comparison> {
        let mut executor = self.executor(quantized)?;
        let pictures = selection.evenly_spaced(self.options.evidence_pictures);
        compare_networks(&self.reference, &mut executor, &mut self.loader, &pictures, edges, progress)
    }

    fn shift_models(
        &mut self,
        quantized: &Quantized,
        selection: &PictureSelection,
        progress: Progress<'_>,
    ) -> Result<Vec<Option<BiasShiftModel>>> {
        let pictures = selection.evenly_spaced(PERTURBED_PICTURES.min(self.options.correction_pictures));
        let pictures: Vec<Picture> = pictures.iter().map(self.loader.open).collect::<Result<_>>()?;
        let network = RoundedNetwork { quantized, folded: &self.folded };
        let mut report = |done, of| progress("perturbing", done, of);
        shift_models(&self.reference, &mut self.loader.transform, &network, &pictures, &mut report)
    }

    fn header(&self, inputs: &HeaderInputs<'_>) -> Result<Header> {
        let HeaderInputs { quantized, record, selection, edges, ranges, comparison } = *inputs;
        let mixed_precision = quantized.mixed_precision();
        let stored_in_bytes: Vec<StepId> = mixed_precision.quantized_steps().collect();

        // Statistics of single pictures: from the comparison where int8 counted the edge, else from the record.
        let (mut clipped, mut distances) = (comparison.clipped.clone(), comparison.distances.clone());
        let has_power = |step: &StepId| self.plan.steps[*step].layer().is_some() && stored_in_bytes.contains(step);
        let mut powers: Vec<Vec<Option<f64>>> = Vec::new();
        for picture in record.pictures().filter(|name| selection.contains(name)) {
            let histograms = record.histograms(picture)?;
            let pairs = histograms.iter().zip(edges.steps);
            powers.push(pairs.map(|(histogram, step)| power_db(histogram).filter(|_| has_power(step))).collect());
            for (edge, histogram) in histograms.iter().enumerate() {
                let Some(EdgeRange { qparams, .. }) = &ranges[edges.steps[edge]] else { continue };
                if comparison.clipped[edge].is_empty() && !histogram.is_empty() {
                    clipped[edge].push(clipped_share(histogram, qparams));
                    distances[edge].push(distance(histogram, edges.statistics[edge].merged()));
                }
            }
        }
        let profile = PowerProfile::of(&powers, None);

        let mut edge_headers = Vec::with_capacity(edges.steps.len());
        for (edge, &step) in edges.steps.iter().enumerate() {
            let Some(EdgeRange { range, qparams }) = ranges[step] else { continue };
            edge_headers.push(artifact::EdgeHeader {
                name: self.plan.steps[step].name.clone(),
                qparams: stored_in_bytes.contains(&step).then(|| qparams.into()),
                range,
                clipped: mean_std(&clipped[edge]),
                distance: mean_std(&distances[edge]),
                power_db: profile.as_ref().and_then(|profile| profile.power_db[edge]).into_iter().collect(),
                histogram: edges.statistics[edge].merged().stored().map(|(bins, _)| bins),
            });
        }
        let mut steps = quantized.to_steps().0;
        for (id, step) in steps.iter_mut().enumerate() {
            let of_users: Option<Vec<_>> =
                quantized.users(id).map(|user| mean_std(&comparison.sqnr_db[user])).collect();
            step.sqnr_db = of_users.unwrap_or_default();
        }
        Ok(Header {
            format: artifact::FORMAT.to_owned(),
            plan: plan_value(&self.plan)?,
            labels: self.checkpoint.header().labels.clone(),
            recipe: self.options.recipe.name().to_owned(),
            pair_safe: true,
            steps,
            edges: edge_headers,
            canvas: quantized.wide_canvas.then_some(EdgeType::U16),
            equalization: quantized.equalization.stored().len(),
            calibration: CalibrationHeader {
                observer: self.options.observer.to_string(),
                scheme: Scheme::Affine,
                pictures: selection.pictures.len(),
                sha256: record.pictures_sha256(|name| selection.contains(name)),
                unusable_reasons: selection.unusable_reasons.clone(),
                agreement: (self.options.evidence_pictures > 0).then(|| {
                    comparison.agreement.to_artifact(selection.pictures.len().min(self.options.evidence_pictures))
                }),
                power_profiles: profile.iter().map(|profile| profile.mean_abs_z).collect(),
            },
            provenance: Provenance { source_sha256: self.checkpoint.sha256()?, generation: 0, parent: None },
        })
    }
}

fn encode(quantized: &Quantized, header: &Header, statistics: &[EdgeStatistics]) -> Result<Vec<u8>> {
    let tensors = quantized.to_steps().1;
    let counts = |edge: &EdgeStatistics| edge.merged().stored().map(|(_, counts)| counts).unwrap_or_default();
    let histograms: Vec<Vec<u32>> = statistics.iter().map(counts).collect();
    artifact::encode(header, &tensors, &quantized.equalization.stored(), &histograms)
}
