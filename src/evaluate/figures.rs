//! Metrics of one model from its detections and the ground truth.
//!
//! In: ground truth and detections of every picture. Out: [`ModelScores`], which give all metrics for any weights of the
//! pictures: weight 1 for the result itself, numbers of draws for a bootstrap resample.

use serde::Serialize;

use super::average_precision::RankedDetections;
use super::classes::{Classes, GroundTruth};
use super::matching::{ByArea, IOU_50, IOU_75, MAX_DETECTIONS, PictureMatches, THRESHOLDS, match_class};
use super::paper::{PaperMatches, PaperSums};
use super::prediction::Prediction;

/// Names of the metrics, in the order of a model's scores: the paper's three, three at the score threshold with
/// regions to ignore, COCO's twelve.
pub const FIGURES: [&str; 18] = [
    "paper.accuracy",
    "paper.precision",
    "paper.mean_iou",
    "regions.recall",
    "regions.precision",
    "regions.f1",
    "coco.ap",
    "coco.ap50",
    "coco.ap75",
    "coco.ap_small",
    "coco.ap_medium",
    "coco.ap_large",
    "coco.ar1",
    "coco.ar10",
    "coco.ar100",
    "coco.ar_small",
    "coco.ar_medium",
    "coco.ar_large",
];

/// One value for each of [`FIGURES`]; NaN if it is not defined.
pub type FigureValues = [f64; FIGURES.len()];

/// Counts of one class at the score threshold and IoU 0.5, with regions to ignore.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct DetectionCounts {
    /// Ground-truth boxes.
    pub truths: f64,
    /// Detections that are right or wrong.
    pub predictions: f64,
    /// Detections that are right.
    pub hits: f64,
}

impl DetectionCounts {
    fn of(matches: &PictureMatches) -> Self {
        let counted = || matches.detections.iter().map(|d| d.flags).filter(|flags| flags.ignored >> IOU_50 & 1 == 0);
        Self {
            truths: f64::from(matches.truths),
            predictions: counted().count() as f64,
            hits: counted().filter(|flags| flags.hit >> IOU_50 & 1 == 1).count() as f64,
        }
    }

    fn add(&mut self, other: &Self, weight: f64) {
        self.truths += weight * other.truths;
        self.predictions += weight * other.predictions;
        self.hits += weight * other.hits;
    }

    /// Hits / truths; NaN without truths.
    pub fn recall(&self) -> f64 {
        self.hits / self.truths
    }

    /// Hits / predictions; NaN without predictions.
    pub fn precision(&self) -> f64 {
        self.hits / self.predictions
    }

    /// Harmonic mean of both, 2·hits / (truths + predictions); NaN without either.
    pub fn f1(&self) -> f64 {
        2.0 * self.hits / (self.truths + self.predictions)
    }
}

/// Metrics of one class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassFigures {
    /// Class name.
    pub class: String,
    /// Counts at the score threshold.
    #[serde(flatten)]
    pub counts: DetectionCounts,
    /// Average precision over IoU 0.5 to 0.95; `None` without ground truth.
    pub ap: Option<f64>,
    /// Average precision at IoU 0.5.
    pub ap50: Option<f64>,
    /// Average precision at IoU 0.75.
    pub ap75: Option<f64>,
}

/// Scores of one model on every picture; metrics are their weighted sums.
#[derive(Debug)]
pub struct ModelScores {
    /// By picture.
    paper: Vec<PaperSums>,
    /// Every evaluated class but `DontCare`.
    classes: Vec<ClassScores>,
}

/// Scores of one class.
#[derive(Debug)]
struct ClassScores {
    name: String,
    /// By picture.
    counts: Vec<DetectionCounts>,
    ranked: ByArea<RankedDetections>,
}

impl ModelScores {
    /// Scores the `predictions` of each picture against its `truths`, with the score threshold `min_score`.
    pub fn new(
        truths: &[Vec<GroundTruth>],
        predictions: &[Vec<Prediction>],
        classes: &Classes,
        min_score: f64,
    ) -> Self {
        // Classes that the labels do not have can be neither right nor wrong.
        let evaluated = |predictions: &Vec<Prediction>| -> Vec<Prediction> {
            let mut kept: Vec<_> = predictions.iter().copied().filter(|p| p.class < classes.evaluated).collect();
            kept.sort_by(|a, b| b.score.total_cmp(&a.score));
            kept
        };
        let predictions: Vec<Vec<Prediction>> = predictions.iter().map(evaluated).collect();
        let pictures = || truths.iter().zip(&predictions);
        let paper =
            pictures().map(|(t, p)| PaperMatches::of_picture(t, p, min_score, classes.dont_care).sums()).collect();
        let of_class = |class: usize| {
            let mut counts = Vec::with_capacity(truths.len());
            let mut matches: ByArea<Vec<PictureMatches>> = ByArea::default();
            for (truths, predictions) in pictures() {
                let truths: Vec<&GroundTruth> = truths.iter().filter(|t| t.class.is_none_or(|c| c == class)).collect();
                let predictions: Vec<&Prediction> = predictions.iter().filter(|p| p.class == class).collect();
                let certain: Vec<&Prediction> = predictions.iter().copied().filter(|p| p.score >= min_score).collect();
                counts.push(DetectionCounts::of(&match_class(&truths, &certain).all));
                let ByArea { all, small, medium, large } = match_class(&truths, &predictions);
                matches.all.push(all);
                matches.small.push(small);
                matches.medium.push(medium);
                matches.large.push(large);
            }
            let ranked = matches.map(|pictures| RankedDetections::new(pictures.iter()));
            ClassScores { name: classes.names[class].clone(), counts, ranked }
        };
        let counted = (0..classes.evaluated).filter(|class| Some(*class) != classes.dont_care);
        Self { paper, classes: counted.map(of_class).collect() }
    }

    /// The paper's sums over all pictures.
    pub fn paper(&self) -> PaperSums {
        self.weighted_paper(&self.equal_weights())
    }

    /// Counts at the score threshold over all pictures and classes.
    pub fn counts(&self) -> DetectionCounts {
        self.weighted_counts(&self.equal_weights())
    }

    fn equal_weights(&self) -> Vec<f64> {
        vec![1.0; self.paper.len()]
    }

    fn weighted_paper(&self, weights: &[f64]) -> PaperSums {
        let mut sums = PaperSums::default();
        self.paper.iter().zip(weights).for_each(|(picture, &weight)| sums.add(picture, weight));
        sums
    }

    fn weighted_counts(&self, weights: &[f64]) -> DetectionCounts {
        let mut sums = DetectionCounts::default();
        for class in &self.classes {
            class.counts.iter().zip(weights).for_each(|(picture, &weight)| sums.add(picture, weight));
        }
        sums
    }

    /// All metrics with a weight for each picture.
    pub fn figures(&self, weights: &[f64]) -> FigureValues {
        let paper = self.weighted_paper(weights);
        let counts = self.weighted_counts(weights);
        // COCO's metrics are means over the classes that have ground truth.
        type InArea = fn(&ByArea<RankedDetections>) -> &RankedDetections;
        let precisions = |area: InArea| -> Vec<[f64; THRESHOLDS]> {
            self.classes.iter().filter_map(|class| area(&class.ranked).precision(weights)).collect()
        };
        let mean_precision = |area: InArea| mean_over(&precisions(area), mean_of_thresholds);
        let mean_recall = |area: InArea, max_detections: usize| {
            let recall = |class: &ClassScores| area(&class.ranked).recall(weights, max_detections as u32);
            mean_over(&self.classes.iter().filter_map(recall).collect::<Vec<_>>(), |recall| *recall)
        };
        let all = precisions(|ranked| &ranked.all);
        [
            paper.accuracy(),
            paper.precision(),
            paper.mean_iou(),
            counts.recall(),
            counts.precision(),
            counts.f1(),
            mean_over(&all, mean_of_thresholds),
            mean_over(&all, |precision| precision[IOU_50]),
            mean_over(&all, |precision| precision[IOU_75]),
            mean_precision(|ranked| &ranked.small),
            mean_precision(|ranked| &ranked.medium),
            mean_precision(|ranked| &ranked.large),
            mean_recall(|ranked| &ranked.all, 1),
            mean_recall(|ranked| &ranked.all, 10),
            mean_recall(|ranked| &ranked.all, MAX_DETECTIONS),
            mean_recall(|ranked| &ranked.small, MAX_DETECTIONS),
            mean_recall(|ranked| &ranked.medium, MAX_DETECTIONS),
            mean_recall(|ranked| &ranked.large, MAX_DETECTIONS),
        ]
    }

    /// Metrics of each class over all pictures.
    pub fn class_figures(&self) -> Vec<ClassFigures> {
        let weights = self.equal_weights();
        let figures = |class: &ClassScores| {
            let mut counts = DetectionCounts::default();
            class.counts.iter().for_each(|picture| counts.add(picture, 1.0));
            let precision = class.ranked.all.precision(&weights);
            ClassFigures {
                class: class.name.clone(),
                counts,
                ap: precision.as_ref().map(mean_of_thresholds),
                ap50: precision.map(|precision| precision[IOU_50]),
                ap75: precision.map(|precision| precision[IOU_75]),
            }
        };
        self.classes.iter().map(figures).collect()
    }
}

/// Mean of the average precisions at all IoU thresholds.
fn mean_of_thresholds(precision: &[f64; THRESHOLDS]) -> f64 {
    precision.iter().sum::<f64>() / THRESHOLDS as f64
}

/// Mean of `value` over `items`; NaN without items.
fn mean_over<T>(items: &[T], value: impl Fn(&T) -> f64) -> f64 {
    items.iter().map(value).sum::<f64>() / items.len() as f64
}
