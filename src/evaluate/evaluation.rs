//! Evaluation: dataset, models and detection files in, report and result files out.

use std::path::PathBuf;

use super::bootstrap::BootstrapSamples;
use super::bounds::Bounds;
use super::cache::CachedResult;
use super::classes::{ClassMap, Classes, DontCare, GroundTruth};
use super::dataset::{BoxRole, Dataset, DatasetSource, LabelledBox};
use super::figures::ModelScores;
use super::picture_check::ExifMode;
use super::prediction::Prediction;
use super::report::{self, EvaluatedModelInfo, EvaluationReport, ScoredModel};
use super::results::{ReadResults, ResultKeys, read_coco_results};
use super::run::{EvaluatedModel, RunOptions, run};
use super::split::Split;
use crate::detector::detection::Detection;
use crate::error::{Error, Kind, Result};

/// A file with its unique name in the report.
#[derive(Debug, Clone)]
pub struct NamedFile {
    /// Name.
    pub name: String,
    /// Path.
    pub path: PathBuf,
}

/// Options of an evaluation.
#[derive(Debug, Clone)]
pub struct EvaluateOptions {
    /// The dataset.
    pub source: DatasetSource,
    /// Folder of COCO's pictures.
    pub images: Option<PathBuf>,
    /// Selection of pictures.
    pub split: Split,
    /// Map from labelled class to the models' class.
    pub class_map: ClassMap,
    /// Treatment of `DontCare` in the paper's metrics.
    pub dont_care: DontCare,
    /// Model files.
    pub models: Vec<NamedFile>,
    /// Detection files in COCO's result format.
    pub detections: Vec<NamedFile>,
    /// Score threshold.
    pub score: f64,
    /// Number of bootstrap resamples.
    pub resamples: usize,
    /// Seed of the bootstrap.
    pub seed: u32,
    /// Treatment of the pictures' EXIF orientation.
    pub exif: ExifMode,
    /// Options of the models' runs.
    pub run: RunOptions,
}

/// Result of an evaluation.
pub struct Evaluation {
    /// All metrics.
    pub report: EvaluationReport,
    /// The evaluated pictures.
    pub dataset: Dataset,
    /// The classes.
    pub classes: Classes,
    /// Ground truth by picture.
    pub truths: Vec<Vec<GroundTruth>>,
    /// Detections of each model and detection file.
    pub predictions: Vec<NamedPredictions>,
}

/// Detections of a model or detection file.
pub struct NamedPredictions {
    /// Name of the model or file.
    pub name: String,
    /// Detections by picture.
    pub pictures: Vec<Vec<Prediction>>,
}

/// Detections with the facts about the model that made them.
struct PredictionSet {
    name: String,
    info: Option<EvaluatedModelInfo>,
    predictions: Vec<Vec<Prediction>>,
}

/// Loaded models, the evaluated classes, and the models' results by picture.
struct ModelRuns {
    models: Vec<EvaluatedModel>,
    classes: Classes,
    results: Vec<Vec<CachedResult>>,
}

/// Checks labels and pictures, loads the models and runs them.
fn run_models(
    options: &EvaluateOptions,
    dataset: &mut Dataset,
    progress: &mut dyn FnMut(usize, usize),
    note: &mut dyn FnMut(&str),
) -> Result<ModelRuns> {
    options.split.apply(dataset)?;
    // Detection files need the labels only.
    if !options.models.is_empty() {
        for line in dataset.check_pictures(options.exif) {
            note(&format!("lookout: {line}"));
        }
    }
    if options.run.strict {
        dataset.problems.refuse()?;
    }
    if dataset.pictures.is_empty() {
        let text = format!("{}: none of its labelled pictures exists", options.source.path.display());
        return Err(Error::new(Kind::NoInput, text));
    }
    let load = |file: &NamedFile| EvaluatedModel::load(&file.path, file.name.clone(), &options.run);
    let mut models = options.models.iter().map(load).collect::<Result<Vec<_>>>()?;
    for model in &models {
        let (machine, precision) = (model.machine(), model.precision);
        let plural = if machine.threads == 1 { "" } else { "s" };
        note(&format!(
            "model {} ({precision}), kernel {}, {} thread{plural}",
            model.name, machine.kernel, machine.threads
        ));
    }
    let labels: Vec<&[String]> = models.iter().map(|model| model.labels.as_slice()).collect();
    let classes = Classes::new(dataset, &options.class_map, &labels, options.dont_care)?;
    if options.run.strict {
        dataset.problems.refuse()?;
    }
    let results = run(&mut models, dataset, &options.run, progress)?;
    Ok(ModelRuns { models, classes, results })
}

/// Evaluates. `progress` receives the number of pictures done and of all; `note` receives messages for the terminal.
///
/// # Errors
/// As [`Dataset::read`] and loading a model; with `strict`, [`Kind::Data`] at the first problem.
pub fn evaluate(
    options: &EvaluateOptions,
    progress: &mut dyn FnMut(usize, usize),
    note: &mut dyn FnMut(&str),
) -> Result<Evaluation> {
    let mut dataset = Dataset::read(&options.source, options.images.as_deref())?;
    let ran = run_models(options, &mut dataset, progress, note);
    // An early end is often explained by the problems of the labels.
    for line in dataset.problems.summary(3) {
        note(&format!("lookout: warning: {line}"));
    }
    let ModelRuns { models, classes, results } = ran?;

    let layout = dataset.layout;
    let truth_of = |labels: &[LabelledBox]| -> Vec<GroundTruth> {
        labels.iter().map(|label| classes.truth(label, &options.class_map, layout)).collect()
    };
    let truths: Vec<Vec<GroundTruth>> = dataset.pictures.iter().map(|labelled| truth_of(&labelled.labels)).collect();
    let mut sets: Vec<PredictionSet> = Vec::new();
    for (model, results) in models.iter().zip(&results) {
        // The model's class numbers start at 1; a class that the evaluation does not have is left out.
        let class_of: Vec<Option<usize>> = model.labels.iter().map(|label| classes.find(label)).collect();
        let prediction = |detection: Detection| {
            let class = class_of.get((detection.class_id as usize).wrapping_sub(1)).copied().flatten()?;
            let bounds = Bounds::from_corners(detection.bbox.map(f64::from));
            Some(Prediction { class, score: f64::from(detection.score), bounds })
        };
        sets.push(PredictionSet {
            name: model.name.clone(),
            info: Some(EvaluatedModelInfo::new(model, results)),
            predictions: results.iter().map(|result| result.detections().filter_map(prediction).collect()).collect(),
        });
    }
    for NamedFile { name, path } in &options.detections {
        let keys = ResultKeys::new(&dataset, &classes, &options.class_map);
        let ReadResults { predictions, skipped } = read_coco_results(path, &keys)?;
        if skipped > 0 {
            let all = skipped + predictions.iter().map(Vec::len).sum::<usize>();
            note(&format!(
                "lookout: warning: {}: {skipped} of {all} detections belong to pictures or classes that are not evaluated",
                path.display()
            ));
        }
        sets.push(PredictionSet { name: name.clone(), info: None, predictions });
    }

    if let Some(text) = nothing_to_find(&dataset, &truths) {
        note(&format!("lookout: warning: {text}"));
    }
    for set in &sets {
        if let Some(text) = nothing_found(&dataset, &classes, &truths, &set.predictions) {
            note(&format!("lookout: warning: {}: {text}", set.name));
        }
    }
    let score = |set: &PredictionSet| ModelScores::new(&truths, &set.predictions, &classes, options.score);
    let scores: Vec<ModelScores> = sets.iter().map(score).collect();
    let samples = BootstrapSamples::new(&scores, truths.len(), options.resamples, options.seed);
    let detections: Vec<Vec<Vec<Detection>>> = sets.iter().map(|set| numbered_detections(&set.predictions)).collect();
    let scored: Vec<ScoredModel<'_>> = sets
        .iter()
        .zip(&scores)
        .zip(&detections)
        .map(|((set, scores), detections)| ScoredModel {
            name: set.name.clone(),
            info: set.info.clone(),
            scores,
            detections,
        })
        .collect();
    let (models, pairs) = report::compare(&scored, &samples, options.score);
    let all = truths.iter().flatten();
    let report = EvaluationReport {
        dataset: format!("{}:{}", layout.name(), options.source.path.display()),
        split: options.split.to_string(),
        pictures: truths.len(),
        truths: all.clone().filter(is_object).count(),
        regions: all.filter(|truth| !is_object(truth)).count(),
        classes: classes.names[..classes.evaluated].to_vec(),
        dont_care: if classes.dont_care.is_some() { "class" } else { "ignore" },
        score: options.score,
        resamples: options.resamples,
        models,
        pairs,
        problem_counts: report::problem_counts(&dataset.problems),
        problems: dataset.problems.0.clone(),
    };
    let named = |PredictionSet { name, predictions, .. }| NamedPredictions { name, pictures: predictions };
    let predictions = sets.into_iter().map(named).collect();
    Ok(Evaluation { report, dataset, classes, truths, predictions })
}

/// True for a box that is to be found.
fn is_object(truth: &&GroundTruth) -> bool {
    truth.class.is_some() && truth.role == BoxRole::Object
}

/// A warning if there is no box to find: why the others do not count.
fn nothing_to_find(dataset: &Dataset, truths: &[Vec<GroundTruth>]) -> Option<String> {
    if truths.iter().flatten().any(|truth| is_object(&truth)) {
        return None;
    }
    let labels = || dataset.pictures.iter().flat_map(|labelled| &labelled.labels);
    let count = |role: BoxRole| labels().filter(|label| label.role == role).count();
    Some(match labels().count() {
        0 => format!("none of the {} pictures has a labelled box; there is nothing to find", truths.len()),
        all => format!(
            "none of the {all} labelled boxes is to be found: {} are crowds, {} difficult, the others of ignored classes",
            count(BoxRole::Crowd),
            count(BoxRole::Difficult)
        ),
    })
}

/// Labelled boxes from which a set without any match is worth a warning.
const ENOUGH_TRUTHS: usize = 10;

/// A warning if no labelled box was found at all: what was compared with what.
fn nothing_found(
    dataset: &Dataset,
    classes: &Classes,
    truths: &[Vec<GroundTruth>],
    predictions: &[Vec<Prediction>],
) -> Option<String> {
    let objects: Vec<&GroundTruth> = truths.iter().flatten().filter(is_object).collect();
    let is_found = |truth: &GroundTruth, found: &[Prediction]| {
        let fits =
            |found: &Prediction| Some(found.class) == truth.class && found.bounds.iou(&truth.bounds, false) >= 0.5;
        found.iter().any(fits)
    };
    let mut pairs = truths.iter().zip(predictions);
    let any = pairs.any(|(truths, found)| truths.iter().filter(is_object).any(|truth| is_found(truth, found)));
    if any || objects.len() < ENOUGH_TRUTHS {
        return None;
    }
    let describe = |what: &str, boxes: Vec<(usize, Bounds)>| {
        let mut counts = std::collections::BTreeMap::<&str, usize>::new();
        for (class, _) in &boxes {
            *counts.entry(classes.names.get(*class).map_or("?", String::as_str)).or_default() += 1;
        }
        let named: Vec<String> = counts.iter().take(6).map(|(name, count)| format!("{name} {count}")).collect();
        let median = |axis: usize| {
            let mut sides: Vec<f64> = boxes.iter().map(|(_, bounds)| bounds.sides[axis]).collect();
            sides.sort_by(f64::total_cmp);
            sides.get(sides.len() / 2).copied().unwrap_or(0.0)
        };
        match boxes.len() {
            0 => format!("no {what}"),
            count => format!("{count} {what} ({}), the median {:.0}×{:.0} px", named.join(", "), median(0), median(1)),
        }
    };
    let labelled =
        describe("labelled boxes", objects.iter().filter_map(|truth| Some((truth.class?, truth.bounds))).collect());
    let found = predictions.iter().flatten().map(|found| (found.class, found.bounds)).collect();
    let size = dataset.pictures.first().and_then(|labelled| labelled.size);
    let size = size.map_or_else(String::new, |(width, height)| format!(" in pictures of {width}×{height}"));
    Some(format!(
        "no labelled box was found (same class, IoU ≥ 0.5): {labelled}{size}, against {}; compare class names, picture \
         sizes, turns (--exif) and units of the boxes",
        describe("detections", found)
    ))
}

/// Predictions as detections, for the agreement: class numbers are the evaluation's, from 1.
fn numbered_detections(predictions: &[Vec<Prediction>]) -> Vec<Vec<Detection>> {
    let detection = |prediction: &Prediction| Detection {
        class_id: prediction.class as u32 + 1,
        score: prediction.score as f32,
        bbox: prediction.bounds.corners.map(|edge| edge as f32),
    };
    predictions.iter().map(|picture| picture.iter().map(detection).collect()).collect()
}
