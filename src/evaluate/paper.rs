//! The paper's three figures, by the rules of its code.
//!
//! Detections of score 0.5 or more, best first; each takes, among the boxes of its class that no earlier one took, the
//! one it overlaps most; from an overlap of 0.5 on it is a hit. Added up over pictures: accuracy = hits / boxes (a
//! recall), precision = hits / detections, mean IoU = mean overlap of the hits. Each is 0 where its denominator is.

use serde::{Deserialize, Serialize};

use super::bounds::Bounds;
use super::classes::Truth;
use super::found::Found;

/// Overlap from which a detection is a hit.
const HIT: f64 = 0.5;

/// Sums of one picture or many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct PaperSums {
    /// Boxes of ground truth.
    pub truths: f64,
    /// Detections that count.
    pub predictions: f64,
    /// Detections that hit.
    pub hits: f64,
    /// Sum of the hits' overlaps.
    pub iou: f64,
}

impl PaperSums {
    /// The sums of one picture. `found` is best first. With `dont_care`, `DontCare` lines are boxes of that class; without,
    /// they are no boxes, and a detection that misses but lies in one by half or more is not counted.
    pub fn of_picture(truths: &[Truth], found: &[Found], lowest: f64, dont_care: Option<usize>) -> Self {
        let class_of = |truth: &Truth| if truth.is_dont_care { dont_care } else { truth.class };
        let boxes: Vec<(usize, &Bounds)> = truths.iter().filter_map(|t| Some((class_of(t)?, &t.bounds))).collect();
        let regions: Vec<&Bounds> = truths.iter().filter(|t| class_of(t).is_none()).map(|t| &t.bounds).collect();
        let mut taken = vec![false; boxes.len()];
        let mut sums = Self { truths: boxes.len() as f64, ..Self::default() };
        for detection in found.iter().filter(|found| found.score >= lowest) {
            let mut best: Option<(usize, f64)> = None;
            for (at, (class, bounds)) in boxes.iter().enumerate() {
                if taken[at] || *class != detection.class {
                    continue;
                }
                let overlap = detection.bounds.paper_iou(bounds);
                if best.is_none_or(|(_, most)| overlap > most) {
                    best = Some((at, overlap));
                }
            }
            match best.filter(|(_, overlap)| *overlap >= HIT) {
                Some((at, overlap)) => {
                    taken[at] = true;
                    sums.hits += 1.0;
                    sums.iou += overlap;
                }
                None if regions.iter().any(|region| detection.bounds.iou(region, true) >= HIT) => continue,
                None => {}
            }
            sums.predictions += 1.0;
        }
        sums
    }

    /// Adds another picture `times` times.
    pub fn add(&mut self, other: &Self, times: f64) {
        self.truths += times * other.truths;
        self.predictions += times * other.predictions;
        self.hits += times * other.hits;
        self.iou += times * other.iou;
    }

    /// Hits / ground truth.
    pub fn accuracy(&self) -> f64 {
        share(self.hits, self.truths)
    }

    /// Hits / detections.
    pub fn precision(&self) -> f64 {
        share(self.hits, self.predictions)
    }

    /// Mean overlap of the hits.
    pub fn mean_iou(&self) -> f64 {
        share(self.iou, self.hits)
    }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::super::dataset::Role;
    use super::*;

    fn truth(class: Option<usize>, corners: [f64; 4]) -> Truth {
        let bounds = Bounds::from_corners(corners);
        let role = if class.is_some() { Role::Object } else { Role::Crowd };
        Truth { class, bounds, area: bounds.area(), role, has_id_zero: false, is_dont_care: class.is_none() }
    }

    fn found(class: usize, score: f64, corners: [f64; 4]) -> Found {
        Found { class, score, bounds: Bounds::from_corners(corners) }
    }

    fn sums(truths: &[Truth], found: &[Found]) -> [f64; 4] {
        let sums = PaperSums::of_picture(truths, found, 0.5, None);
        [sums.truths, sums.predictions, sums.hits, sums.iou]
    }

    const A: [f64; 4] = [0.0, 0.0, 10.0, 10.0];

    #[test]
    fn a_score_of_one_half_counts_and_less_does_not() {
        let truths = [truth(Some(0), A)];
        assert_eq!(sums(&truths, &[found(0, 0.5, A)])[1..3], [1.0, 1.0]);
        assert_eq!(sums(&truths, &[found(0, 0.499, A)])[1..3], [0.0, 0.0]);
    }

    #[test]
    fn only_a_box_of_the_same_class_is_hit() {
        assert_eq!(sums(&[truth(Some(1), A)], &[found(0, 0.9, A)])[..3], [1.0, 1.0, 0.0]);
    }

    #[test]
    fn a_box_is_taken_once_and_the_next_best_may_be_taken_then() {
        // Both detections overlap both boxes by half or more; the second must make do with the box it overlaps less.
        let truths = [truth(Some(0), A), truth(Some(0), [0.0, 0.0, 10.0, 7.0])];
        let two = [found(0, 0.9, A), found(0, 0.8, A)];
        let [_, predictions, hits, iou] = sums(&truths, &two);
        assert_eq!((predictions, hits), (2.0, 2.0));
        assert!((iou - 1.7).abs() < 1e-6);
        assert_eq!(sums(&truths[..1], &two)[1..3], [2.0, 1.0]);
    }

    #[test]
    fn the_better_score_chooses_first_even_if_it_fits_less() {
        let truths = [truth(Some(0), A)];
        let [_, _, hits, iou] = sums(&truths, &[found(0, 0.9, [0.0, 0.0, 10.0, 6.0]), found(0, 0.8, A)]);
        assert_eq!(hits, 1.0);
        assert!((iou - 0.6).abs() < 1e-6);
    }

    #[test]
    fn an_overlap_below_one_half_is_a_miss() {
        assert_eq!(sums(&[truth(Some(0), A)], &[found(0, 0.9, [0.0, 0.0, 10.0, 5.0])])[2], 0.0);
        assert_eq!(sums(&[truth(Some(0), A)], &[found(0, 0.9, [0.0, 0.0, 10.0, 5.01])])[2], 1.0);
    }

    #[test]
    fn dont_care_as_a_class_and_ignored() {
        let truths = [truth(Some(0), A), truth(None, [20.0, 0.0, 40.0, 20.0])];
        let detections = [
            found(0, 0.9, A),
            // Of another class, three quarters within the region.
            found(0, 0.8, [15.0, 0.0, 35.0, 20.0]),
            // A quarter within.
            found(0, 0.7, [5.0, 0.0, 25.0, 20.0]),
            found(9, 0.6, [20.0, 0.0, 40.0, 20.0]),
        ];
        let as_class = PaperSums::of_picture(&truths, &detections, 0.5, Some(9));
        assert_eq!((as_class.truths, as_class.predictions, as_class.hits), (2.0, 4.0, 2.0));
        let ignored = PaperSums::of_picture(&truths, &detections, 0.5, None);
        assert_eq!((ignored.truths, ignored.predictions, ignored.hits), (1.0, 2.0, 1.0));
    }

    #[test]
    fn nothing_is_zero() {
        let sums = PaperSums::default();
        assert_eq!((sums.accuracy(), sums.precision(), sums.mean_iou()), (0.0, 0.0, 0.0));
    }
}
