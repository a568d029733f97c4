//! From what a model found to its figures.
//!
//! In: ground truth and detections of every picture. Out: a [`Board`], which gives all figures for any weighting of the
//! pictures: once each for the result, drawn with replacement for its interval.

use serde::Serialize;

use super::average_precision::Ranked;
use super::classes::{Classes, Truth};
use super::found::Found;
use super::matching::{AREAS, MAX_DETECTIONS, Matches, OVERLAPS, match_class};
use super::paper::PaperSums;

/// The figures, in the order of [`Board::figures`]: the paper's three; at the score threshold with regions ignored;
/// COCO's twelve.
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

/// One value for each of [`FIGURES`]; what is not defined is NaN.
pub type Values = [f64; FIGURES.len()];

/// Counts at the score threshold of one class, regions ignored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Counts {
    /// Boxes to be found.
    pub truths: f64,
    /// Detections that are right or wrong.
    pub predictions: f64,
    /// Detections that are right.
    pub hits: f64,
}

impl Counts {
    fn add(&mut self, other: &Self, times: f64) {
        self.truths += times * other.truths;
        self.predictions += times * other.predictions;
        self.hits += times * other.hits;
    }

    /// Hits / truths; NaN without truths.
    pub fn recall(&self) -> f64 {
        self.hits / self.truths
    }

    /// Hits / predictions; NaN without predictions.
    pub fn precision(&self) -> f64 {
        self.hits / self.predictions
    }

    /// Harmonic mean of both: 2·hits / (truths + predictions); NaN without either.
    pub fn f1(&self) -> f64 {
        2.0 * self.hits / (self.truths + self.predictions)
    }
}

/// Figures of one class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassFigures {
    /// Its name.
    pub class: String,
    /// Boxes to be found, detections at the threshold, hits; regions ignored.
    #[serde(flatten)]
    pub counts: Counts,
    /// Average precision over overlaps .5 to .95; `None` without boxes to be found.
    pub ap: Option<f64>,
    /// At overlap 0.5.
    pub ap50: Option<f64>,
    /// At overlap 0.75.
    pub ap75: Option<f64>,
}

/// One model's results on every picture, ready to be weighted.
#[derive(Debug)]
pub struct Board {
    paper: Vec<PaperSums>,
    /// By class, then picture.
    counts: Vec<Vec<Counts>>,
    /// By class.
    ranked: Vec<[Ranked; AREAS]>,
    names: Vec<String>,
}

impl Board {
    /// Judges what was `found` in each picture against its `truths`, at the score threshold `lowest`.
    pub fn new(truths: &[Vec<Truth>], found: &[Vec<Found>], classes: &Classes, lowest: f64) -> Self {
        let judgeable = |found: &[Found]| -> Vec<Found> {
            let mut found: Vec<_> = found.iter().copied().filter(|found| found.class < classes.judged).collect();
            found.sort_by(|a, b| b.score.total_cmp(&a.score));
            found
        };
        let found: Vec<Vec<Found>> = found.iter().map(|found| judgeable(found)).collect();
        let pairs = || truths.iter().zip(&found);
        let paper = pairs().map(|(t, f)| PaperSums::of_picture(t, f, lowest, classes.dont_care)).collect();
        let (mut counts, mut ranked, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for class in (0..classes.judged).filter(|class| Some(*class) != classes.dont_care) {
            let mut of_class = Vec::with_capacity(truths.len());
            let mut matches: [Vec<Matches>; AREAS] = Default::default();
            for (truths, found) in pairs() {
                let truths: Vec<&Truth> = truths.iter().filter(|t| t.class.is_none_or(|c| c == class)).collect();
                let found: Vec<&Found> = found.iter().filter(|found| found.class == class).collect();
                let certain: Vec<&Found> = found.iter().copied().filter(|found| found.score >= lowest).collect();
                let [at_threshold, ..] = match_class(&truths, &certain);
                let number = |wanted: &dyn Fn(u16, u16) -> bool| {
                    at_threshold.found.iter().filter(|(_, v)| wanted(v.hit & 1, v.ignored & 1)).count() as f64
                };
                of_class.push(Counts {
                    truths: f64::from(at_threshold.truths),
                    predictions: number(&|_, ignored| ignored == 0),
                    hits: number(&|hit, ignored| hit == 1 && ignored == 0),
                });
                for (list, one) in matches.iter_mut().zip(match_class(&truths, &found)) {
                    list.push(one);
                }
            }
            counts.push(of_class);
            ranked.push(matches.each_ref().map(|list| Ranked::new(list.iter())));
            names.push(classes.names[class].clone());
        }
        Self { paper, counts, ranked, names }
    }

    /// The paper's sums, each picture counted once.
    pub fn paper(&self) -> PaperSums {
        let mut sums = PaperSums::default();
        self.paper.iter().for_each(|picture| sums.add(picture, 1.0));
        sums
    }

    /// Counts at the threshold over all classes, each picture counted once.
    pub fn counts(&self) -> Counts {
        self.weighted_counts(&vec![1.0; self.paper.len()])
    }

    fn weighted_counts(&self, weights: &[f64]) -> Counts {
        let mut sums = Counts::default();
        for class in &self.counts {
            class.iter().zip(weights).for_each(|(picture, &weight)| sums.add(picture, weight));
        }
        sums
    }

    /// All figures with each picture counted `weights` times.
    pub fn figures(&self, weights: &[f64]) -> Values {
        let mut paper = PaperSums::default();
        self.paper.iter().zip(weights).for_each(|(picture, &weight)| paper.add(picture, weight));
        let counts = self.weighted_counts(weights);
        let curves = |area: usize| -> Vec<[f64; OVERLAPS]> {
            self.ranked.iter().filter_map(|ranked| ranked[area].precision(weights)).collect()
        };
        let all = curves(0);
        let mean = |curves: &[[f64; OVERLAPS]], value: &dyn Fn(&[f64; OVERLAPS]) -> f64| {
            curves.iter().map(value).sum::<f64>() / curves.len() as f64
        };
        let over_all = |average: &[f64; OVERLAPS]| average.iter().sum::<f64>() / OVERLAPS as f64;
        let recall = |area: usize, most: u32| {
            let found: Vec<f64> = self.ranked.iter().filter_map(|ranked| ranked[area].recall(weights, most)).collect();
            found.iter().sum::<f64>() / found.len() as f64
        };
        let every = MAX_DETECTIONS as u32;
        [
            paper.accuracy(),
            paper.precision(),
            paper.mean_iou(),
            counts.recall(),
            counts.precision(),
            counts.f1(),
            mean(&all, &over_all),
            mean(&all, &|average| average[0]),
            mean(&all, &|average| average[5]),
            mean(&curves(1), &over_all),
            mean(&curves(2), &over_all),
            mean(&curves(3), &over_all),
            recall(0, 1),
            recall(0, 10),
            recall(0, every),
            recall(1, every),
            recall(2, every),
            recall(3, every),
        ]
    }

    /// Figures of each class, each picture counted once.
    pub fn classes(&self) -> Vec<ClassFigures> {
        let weights = vec![1.0; self.paper.len()];
        let figures = |((name, counts), ranked): ((&String, &Vec<Counts>), &[Ranked; AREAS])| {
            let mut sums = Counts::default();
            counts.iter().for_each(|picture| sums.add(picture, 1.0));
            let average = ranked[0].precision(&weights);
            ClassFigures {
                class: name.clone(),
                counts: sums,
                ap: average.map(|average| average.iter().sum::<f64>() / OVERLAPS as f64),
                ap50: average.map(|average| average[0]),
                ap75: average.map(|average| average[5]),
            }
        };
        self.names.iter().zip(&self.counts).zip(&self.ranked).map(figures).collect()
    }
}
