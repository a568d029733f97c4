//! The whole evaluation: dataset, models and detections from files in, report and result files out.

use std::path::PathBuf;

use super::bootstrap::Draws;
use super::classes::{ClassMap, Classes, DontCare, Truth};
use super::dataset::{Dataset, Source};
use super::figures::Board;
use super::found::Found;
use super::report::{self, Judged, ModelFacts, Report};
use super::results::{Naming, read_coco_results};
use super::run::{Contender, RunOptions, run};
use super::split::Split;
use crate::detector::detection::Detection;
use crate::error::{Error, Kind, Result};

/// What to evaluate and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The labelled pictures.
    pub source: Source,
    /// Where COCO's pictures are.
    pub images: Option<PathBuf>,
    /// Which of the pictures.
    pub split: Split,
    /// Labelled class → model's class.
    pub class_map: ClassMap,
    /// What the paper's figures take `DontCare` for.
    pub dont_care: DontCare,
    /// Models, with their names.
    pub models: Vec<(String, PathBuf)>,
    /// Files of detections in COCO's result format, with their names.
    pub detections: Vec<(String, PathBuf)>,
    /// Score threshold of what is counted at one threshold.
    pub score: f64,
    /// Draws of the bootstrap.
    pub resamples: usize,
    /// Seed of the draws.
    pub seed: u32,
    /// How the models run.
    pub run: RunOptions,
}

/// What an evaluation gave.
pub struct Outcome {
    /// All figures.
    pub report: Report,
    /// The judged pictures.
    pub dataset: Dataset,
    /// The classes.
    pub classes: Classes,
    /// Ground truth by picture.
    pub truths: Vec<Vec<Truth>>,
    /// Detections by model and picture.
    pub found: Vec<(String, Vec<Vec<Found>>)>,
}

/// Evaluates. `progress` is told how many of how many pictures are done; `note` what the owner should read at once.
///
/// # Errors
/// What reading the dataset or a model gives; with `strict`, [`Kind::Data`] at the first wrong label or picture.
pub fn evaluate(
    options: &Options,
    progress: &mut dyn FnMut(usize, usize),
    note: &mut dyn FnMut(&str),
) -> Result<Outcome> {
    let mut dataset = Dataset::read(&options.source, options.images.as_deref())?;
    options.split.apply(&mut dataset)?;
    let read_files_only = options.models.is_empty();
    if !read_files_only {
        dataset.check_pictures();
    }
    if options.run.strict {
        dataset.problems.refuse()?;
    }
    if dataset.pictures.is_empty() {
        let text = format!("{}: none of its labelled pictures is there", options.source.path.display());
        return Err(Error::new(Kind::NoInput, text));
    }
    let mut contenders = Vec::with_capacity(options.models.len());
    for (name, path) in &options.models {
        contenders.push(Contender::load(path, name.clone(), &options.run)?);
    }
    for contender in &contenders {
        let (machine, precision) = (contender.machine(), contender.precision);
        let plural = if machine.threads == 1 { "" } else { "s" };
        note(&format!(
            "model {} ({precision}), kernel {}, {} thread{plural}",
            contender.name, machine.kernel, machine.threads
        ));
    }
    let labels: Vec<&[String]> = contenders.iter().map(|contender| contender.labels.as_slice()).collect();
    let classes = Classes::new(&mut dataset, &options.class_map, &labels, options.dont_care)?;
    if options.run.strict {
        dataset.problems.refuse()?;
    }
    let entries = run(&mut contenders, &mut dataset, &options.run, progress)?;
    for line in dataset.problems.summary(3) {
        note(&format!("lookout: warning: {line}"));
    }

    let layout = dataset.layout;
    let truth_of = |labels: &[super::dataset::Label]| {
        labels.iter().map(|label| classes.truth(label, &options.class_map, layout)).collect()
    };
    let truths: Vec<Vec<Truth>> = dataset.pictures.iter().map(|labelled| truth_of(&labelled.labels)).collect();
    let mut lists: Vec<(String, Option<ModelFacts>, Vec<Vec<Found>>)> = Vec::new();
    for (contender, entries) in contenders.iter().zip(&entries) {
        let class_of: Vec<Option<usize>> = contender.labels.iter().map(|label| classes.find(label)).collect();
        let found = |detection: Detection| {
            let class = class_of.get((detection.class_id as usize).wrapping_sub(1)).copied().flatten()?;
            let bounds = super::Bounds::from_corners(detection.bbox.map(f64::from));
            Some(Found { class, score: f64::from(detection.score), bounds })
        };
        let by_picture = entries.iter().map(|entry| entry.detections().filter_map(found).collect()).collect();
        lists.push((contender.name.clone(), Some(ModelFacts::new(contender, entries)), by_picture));
    }
    for (name, path) in &options.detections {
        let (found, left_out) = read_coco_results(path, &Naming::new(&dataset, &classes, &options.class_map))?;
        if left_out > 0 {
            let all = left_out + found.iter().map(Vec::len).sum::<usize>();
            note(&format!(
                "lookout: warning: {}: {left_out} of {all} detections are of pictures or classes that are not judged",
                path.display()
            ));
        }
        lists.push((name.clone(), None, found));
    }

    let boards: Vec<Board> =
        lists.iter().map(|(.., found)| Board::new(&truths, found, &classes, options.score)).collect();
    let draws = Draws::new(&boards, truths.len(), options.resamples, options.seed);
    let detections: Vec<Vec<Vec<Detection>>> = lists.iter().map(|(.., found)| plain(found)).collect();
    let judged: Vec<Judged<'_>> = lists
        .iter()
        .zip(&boards)
        .zip(&detections)
        .map(|(((name, facts, _), board), detections)| Judged {
            name: name.clone(),
            facts: facts.clone(),
            board,
            detections,
        })
        .collect();
    let (models, pairs) = report::compare(&judged, &draws, options.score);
    let all = truths.iter().flatten();
    let report = Report {
        dataset: format!("{}:{}", layout.name(), options.source.path.display()),
        split: options.split.to_string(),
        pictures: truths.len(),
        truths: all.clone().filter(|t| t.class.is_some() && t.role == super::dataset::Role::Object).count(),
        regions: all.filter(|t| t.class.is_none() || t.role != super::dataset::Role::Object).count(),
        classes: classes.names[..classes.judged].to_vec(),
        dont_care: if classes.dont_care.is_some() { "class" } else { "ignore" },
        score: options.score,
        resamples: options.resamples,
        models,
        pairs,
        problem_counts: report::problem_counts(&dataset.problems),
        problems: dataset.problems.0.clone(),
    };
    let found = lists.into_iter().map(|(name, _, found)| (name, found)).collect();
    Ok(Outcome { report, dataset, classes, truths, found })
}

/// Detections as the agreement takes them: class numbers are those of the evaluation, from 1.
fn plain(found: &[Vec<Found>]) -> Vec<Vec<Detection>> {
    let detection = |found: &Found| Detection {
        class_id: found.class as u32 + 1,
        score: found.score as f32,
        bbox: found.bounds.corners.map(|edge| edge as f32),
    };
    found.iter().map(|picture| picture.iter().map(detection).collect()).collect()
}
