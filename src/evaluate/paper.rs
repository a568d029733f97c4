//! Metrics of the paper: accuracy, precision and mean IoU, computed as in the paper's code.
//!
//! Detections from the score threshold on are matched greedily by descending score. Each takes the free ground-truth
//! box of its class with the largest IoU and is a hit if the IoU is at least 0.5. Sums run over all pictures: accuracy
//! = hits / boxes (a recall), precision = hits / detections, mean IoU = mean IoU of the hits. A metric is 0 if its
//! denominator is 0.

use serde::{Deserialize, Serialize};

use super::bounds::Bounds;
use super::classes::GroundTruth;
use super::prediction::Prediction;

/// Least IoU of a hit.
const HIT_IOU: f64 = 0.5;

/// Sums over one picture or many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct PaperSums {
    /// Ground-truth boxes.
    pub truths: f64,
    /// Detections that count.
    pub predictions: f64,
    /// Detections that hit.
    pub hits: f64,
    /// Sum of the hits' IoU.
    pub iou: f64,
}

/// Result of matching one picture.
#[derive(Debug, Clone, PartialEq)]
pub struct PaperMatches {
    /// For each ground truth: true if a prediction hits it, `None` for a region to ignore.
    pub truths: Vec<Option<bool>>,
    /// For each prediction from the score threshold on.
    pub predictions: Vec<PaperMatch>,
}

/// Result of one prediction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PaperMatch {
    /// It hits ground truth with this IoU.
    Hit(f64),
    /// It hits none.
    Miss,
    /// It hits none, but lies in a region to ignore by half or more, and does not count.
    Ignored,
}

impl PaperMatches {
    /// Matches the `predictions` of one picture, by descending score. With `dont_care`, `DontCare` boxes are ground truth
    /// of that class; without it they are regions to ignore.
    pub fn of_picture(
        truths: &[GroundTruth],
        predictions: &[Prediction],
        min_score: f64,
        dont_care: Option<usize>,
    ) -> Self {
        let class_of = |truth: &GroundTruth| if truth.is_dont_care { dont_care } else { truth.class };
        let regions: Vec<&Bounds> = truths.iter().filter(|t| class_of(t).is_none()).map(|t| &t.bounds).collect();
        let mut matches = Self {
            truths: truths.iter().map(|truth| class_of(truth).map(|_| false)).collect(),
            predictions: Vec::new(),
        };
        for prediction in predictions.iter().filter(|prediction| prediction.score >= min_score) {
            // The free box of the class with the largest IoU; on equal IoU the first one.
            let mut best: Option<(usize, f64)> = None;
            for (at, truth) in truths.iter().enumerate() {
                if matches.truths[at] != Some(false) || class_of(truth) != Some(prediction.class) {
                    continue;
                }
                let iou = prediction.bounds.paper_iou(&truth.bounds);
                if best.is_none_or(|(_, largest)| iou > largest) {
                    best = Some((at, iou));
                }
            }
            matches.predictions.push(match best.filter(|(_, iou)| *iou >= HIT_IOU) {
                Some((at, iou)) => {
                    matches.truths[at] = Some(true);
                    PaperMatch::Hit(iou)
                }
                None if regions.iter().any(|region| prediction.bounds.iou(region, true) >= HIT_IOU) => {
                    PaperMatch::Ignored
                }
                None => PaperMatch::Miss,
            });
        }
        matches
    }

    /// The sums of this picture.
    pub fn sums(&self) -> PaperSums {
        let mut sums = PaperSums { truths: self.truths.iter().flatten().count() as f64, ..PaperSums::default() };
        for one in &self.predictions {
            match one {
                PaperMatch::Hit(iou) => {
                    sums.hits += 1.0;
                    sums.iou += iou;
                }
                PaperMatch::Miss => {}
                PaperMatch::Ignored => continue,
            }
            sums.predictions += 1.0;
        }
        sums
    }
}

impl PaperSums {
    /// Adds the sums of another picture with a weight.
    pub fn add(&mut self, other: &Self, weight: f64) {
        self.truths += weight * other.truths;
        self.predictions += weight * other.predictions;
        self.hits += weight * other.hits;
        self.iou += weight * other.iou;
    }

    /// Hits / ground-truth boxes.
    pub fn accuracy(&self) -> f64 {
        ratio(self.hits, self.truths)
    }

    /// Hits / detections.
    pub fn precision(&self) -> f64 {
        ratio(self.hits, self.predictions)
    }

    /// Mean IoU of the hits.
    pub fn mean_iou(&self) -> f64 {
        ratio(self.iou, self.hits)
    }
}

/// `part / whole`; 0 if `whole` is 0.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::super::dataset::BoxRole;
    use super::*;

    fn truth(class: Option<usize>, corners: [f64; 4]) -> GroundTruth {
        let bounds = Bounds::from_corners(corners);
        let role = if class.is_some() { BoxRole::Object } else { BoxRole::Crowd };
        GroundTruth { class, bounds, area: bounds.area(), role, has_id_zero: false, is_dont_care: class.is_none() }
    }

    fn prediction(class: usize, score: f64, corners: [f64; 4]) -> Prediction {
        Prediction { class, score, bounds: Bounds::from_corners(corners) }
    }

    fn sums(truths: &[GroundTruth], predictions: &[Prediction]) -> [f64; 4] {
        let sums = PaperMatches::of_picture(truths, predictions, 0.5, None).sums();
        [sums.truths, sums.predictions, sums.hits, sums.iou]
    }

    const A: [f64; 4] = [0.0, 0.0, 10.0, 10.0];

    #[test]
    fn a_score_of_one_half_counts_and_less_does_not() {
        let truths = [truth(Some(0), A)];
        assert_eq!(sums(&truths, &[prediction(0, 0.5, A)])[1..3], [1.0, 1.0]);
        assert_eq!(sums(&truths, &[prediction(0, 0.499, A)])[1..3], [0.0, 0.0]);
    }

    #[test]
    fn only_a_box_of_the_same_class_is_hit() {
        assert_eq!(sums(&[truth(Some(1), A)], &[prediction(0, 0.9, A)])[..3], [1.0, 1.0, 0.0]);
    }

    #[test]
    fn a_box_is_taken_once_and_the_next_best_may_be_taken_then() {
        // Both detections overlap both boxes by half or more; the second must make do with the box it overlaps less.
        let truths = [truth(Some(0), A), truth(Some(0), [0.0, 0.0, 10.0, 7.0])];
        let two = [prediction(0, 0.9, A), prediction(0, 0.8, A)];
        let [_, predictions, hits, iou] = sums(&truths, &two);
        assert_eq!((predictions, hits), (2.0, 2.0));
        assert!((iou - 1.7).abs() < 1e-6);
        assert_eq!(sums(&truths[..1], &two)[1..3], [2.0, 1.0]);
    }

    #[test]
    fn the_better_score_chooses_first_even_if_it_fits_less() {
        let truths = [truth(Some(0), A)];
        let [_, _, hits, iou] = sums(&truths, &[prediction(0, 0.9, [0.0, 0.0, 10.0, 6.0]), prediction(0, 0.8, A)]);
        assert_eq!(hits, 1.0);
        assert!((iou - 0.6).abs() < 1e-6);
    }

    #[test]
    fn an_overlap_below_one_half_is_a_miss() {
        assert_eq!(sums(&[truth(Some(0), A)], &[prediction(0, 0.9, [0.0, 0.0, 10.0, 5.0])])[2], 0.0);
        assert_eq!(sums(&[truth(Some(0), A)], &[prediction(0, 0.9, [0.0, 0.0, 10.0, 5.01])])[2], 1.0);
    }

    #[test]
    fn dont_care_as_a_class_and_ignored() {
        let truths = [truth(Some(0), A), truth(None, [20.0, 0.0, 40.0, 20.0])];
        let detections = [
            prediction(0, 0.9, A),
            // Of another class, three quarters within the region.
            prediction(0, 0.8, [15.0, 0.0, 35.0, 20.0]),
            // A quarter within.
            prediction(0, 0.7, [5.0, 0.0, 25.0, 20.0]),
            prediction(9, 0.6, [20.0, 0.0, 40.0, 20.0]),
        ];
        let as_class = PaperMatches::of_picture(&truths, &detections, 0.5, Some(9)).sums();
        assert_eq!((as_class.truths, as_class.predictions, as_class.hits), (2.0, 4.0, 2.0));
        let ignored = PaperMatches::of_picture(&truths, &detections, 0.5, None).sums();
        assert_eq!((ignored.truths, ignored.predictions, ignored.hits), (1.0, 2.0, 1.0));
    }

    #[test]
    fn nothing_is_zero() {
        let sums = PaperSums::default();
        assert_eq!((sums.accuracy(), sums.precision(), sums.mean_iou()), (0.0, 0.0, 0.0));
    }
}
