//! Matching of detections with ground truth in one picture and class, as in COCO.
//!
//! In: the boxes of both. Out: for each of the ten IoU thresholds, which detections hit and which are ignored. Source:
//! `COCOeval.evaluateImg` of `pycocotools/cocoeval.py`. The order of all steps follows it, ties included, so that the
//! metrics are equal to the last digit.

use super::classes::GroundTruth;
use super::dataset::BoxRole;
use super::prediction::Prediction;

/// Detections of one picture and class that are evaluated (`maxDets`).
pub const MAX_DETECTIONS: usize = 100;
/// Number of IoU thresholds: 0.5, 0.55 … 0.95 (`iouThrs`).
pub const THRESHOLDS: usize = 10;
/// Index of IoU threshold 0.5.
pub const IOU_50: usize = 0;
/// Index of IoU threshold 0.75.
pub const IOU_75: usize = 5;

/// A value for each of COCO's ranges of the area (`areaRng`).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ByArea<T> {
    /// Every area.
    pub all: T,
    /// Below 32² pixels.
    pub small: T,
    /// From 32² to 96² pixels.
    pub medium: T,
    /// Above 96² pixels.
    pub large: T,
}

impl<T> ByArea<T> {
    /// Applies `f` to each value.
    pub fn map<U>(self, mut f: impl FnMut(T) -> U) -> ByArea<U> {
        ByArea { all: f(self.all), small: f(self.small), medium: f(self.medium), large: f(self.large) }
    }
}

/// Least and largest area of a range, in pixels; both are included.
#[derive(Debug, Clone, Copy)]
struct AreaRange {
    least: f64,
    largest: f64,
}

impl AreaRange {
    fn excludes(self, area: f64) -> bool {
        area < self.least || area > self.largest
    }
}

const SMALL: f64 = 32.0 * 32.0;
const MEDIUM: f64 = 96.0 * 96.0;
const UNLIMITED: f64 = 1e10;
const AREA_RANGES: ByArea<AreaRange> = ByArea {
    all: AreaRange { least: 0.0, largest: UNLIMITED },
    small: AreaRange { least: 0.0, largest: SMALL },
    medium: AreaRange { least: SMALL, largest: MEDIUM },
    large: AreaRange { least: MEDIUM, largest: UNLIMITED },
};

/// IoU threshold number `index`, equal to `numpy.linspace(.5, .95, 10)`.
pub fn iou_threshold(index: usize) -> f64 {
    let step = (0.95 - 0.5) / 9.0;
    if index + 1 == THRESHOLDS { 0.95 } else { 0.5 + index as f64 * step }
}

/// Result of one detection at every IoU threshold, one bit each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MatchFlags {
    /// Bit `i`: it matches ground truth at threshold `i`.
    pub hit: u16,
    /// Bit `i`: it counts neither as right nor as wrong at threshold `i`.
    pub ignored: u16,
}

/// One detection after matching.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MatchedDetection {
    /// Score.
    pub score: f64,
    /// Result by threshold.
    pub flags: MatchFlags,
}

/// Result of matching one picture and class in one range of areas.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PictureMatches {
    /// Ground-truth boxes that count.
    pub truths: u32,
    /// Detections by descending score.
    pub detections: Vec<MatchedDetection>,
}

/// Matches the `predictions` of one class with the `truths` of that class and the regions to ignore.
pub fn match_class(truths: &[&GroundTruth], predictions: &[&Prediction]) -> ByArea<PictureMatches> {
    // Stable sort by descending score, then the best `maxDets`, as `argsort(kind='mergesort')`.
    let mut order: Vec<usize> = (0..predictions.len()).collect();
    order.sort_by(|&a, &b| predictions[b].score.total_cmp(&predictions[a].score));
    order.truncate(MAX_DETECTIONS);
    let sorted: Vec<&Prediction> = order.into_iter().map(|index| predictions[index]).collect();
    // IoU of every pair; it does not depend on the area range.
    let iou_with = |truth: &GroundTruth, prediction: &Prediction| {
        prediction.bounds.iou(&truth.bounds, truth.role == BoxRole::Crowd)
    };
    let ious: Vec<Vec<f64>> =
        sorted.iter().map(|prediction| truths.iter().map(|truth| iou_with(truth, prediction)).collect()).collect();
    AREA_RANGES.map(|range| match_in_range(truths, &sorted, &ious, range))
}

/// Matching in one range of areas; `ious` has a row for each prediction and a column for each truth.
fn match_in_range(
    truths: &[&GroundTruth],
    predictions: &[&Prediction],
    ious: &[Vec<f64>],
    range: AreaRange,
) -> PictureMatches {
    // Ground truth that counts comes first, so that a detection prefers it to an ignored box.
    let is_ignored = |truth: &GroundTruth| truth.role != BoxRole::Object || range.excludes(truth.area);
    let mut columns: Vec<usize> = (0..truths.len()).collect();
    columns.sort_by_key(|&column| is_ignored(truths[column]));
    let ignored: Vec<bool> = columns.iter().map(|&column| is_ignored(truths[column])).collect();
    let unmatched =
        |prediction: &&Prediction| MatchedDetection { score: prediction.score, flags: MatchFlags::default() };
    let mut matches = PictureMatches {
        truths: ignored.iter().filter(|ignored| !**ignored).count() as u32,
        detections: predictions.iter().map(unmatched).collect(),
    };
    for index in 0..THRESHOLDS {
        let threshold = iou_threshold(index).min(1.0 - 1e-10);
        let mut taken = vec![false; truths.len()];
        for (row, prediction) in predictions.iter().enumerate() {
            // The best free box; on equal IoU the later one, as in the original.
            let mut best_iou = threshold;
            let mut best: Option<usize> = None;
            for (position, &column) in columns.iter().enumerate() {
                // A crowd region can match any number of detections.
                if taken[position] && truths[column].role != BoxRole::Crowd {
                    continue;
                }
                // Only ignored boxes follow: keep the match with a box that counts.
                if best.is_some_and(|best| !ignored[best]) && ignored[position] {
                    break;
                }
                if ious[row][column] < best_iou {
                    continue;
                }
                best_iou = ious[row][column];
                best = Some(position);
            }
            let flags = &mut matches.detections[row].flags;
            let mut is_matched = false;
            if let Some(best) = best {
                taken[best] = true;
                // The original stores the annotation's id as the match and reads id 0 as "no match".
                is_matched = !truths[columns[best]].has_id_zero;
                flags.hit |= u16::from(is_matched && !ignored[best]) << index;
                flags.ignored |= u16::from(ignored[best]) << index;
            }
            // An unmatched detection outside the range of areas is ignored.
            if !is_matched && range.excludes(prediction.bounds.area()) {
                flags.ignored |= 1 << index;
            }
        }
    }
    matches
}

#[cfg(test)]
mod tests {
    use super::super::bounds::Bounds;
    use super::*;

    fn truth(corners: [f64; 4], role: BoxRole) -> GroundTruth {
        let bounds = Bounds::from_corners(corners);
        GroundTruth { class: Some(0), bounds, area: bounds.area(), role, has_id_zero: false, is_dont_care: false }
    }

    fn prediction(score: f64, corners: [f64; 4]) -> Prediction {
        Prediction { class: 0, score, bounds: Bounds::from_corners(corners) }
    }

    #[test]
    fn thresholds_equal_numpys() {
        assert_eq!((iou_threshold(0), iou_threshold(9)), (0.5, 0.95));
        assert_eq!(iou_threshold(IOU_75), 0.75);
    }

    #[test]
    fn a_crowd_matches_many_and_boxes_outside_an_area_are_ignored() {
        let truths =
            [truth([0.0, 0.0, 100.0, 100.0], BoxRole::Crowd), truth([200.0, 0.0, 210.0, 10.0], BoxRole::Object)];
        let detections = [
            prediction(0.9, [0.0, 0.0, 20.0, 20.0]),
            prediction(0.95, [200.0, 0.0, 210.0, 10.0]),
            prediction(0.8, [50.0, 50.0, 70.0, 70.0]),
            prediction(0.7, [300.0, 0.0, 310.0, 10.0]),
        ];
        let truths: Vec<_> = truths.iter().collect();
        let ByArea { all, small, medium, .. } = match_class(&truths, &detections.iter().collect::<Vec<_>>());
        let every = (1 << THRESHOLDS) - 1;
        let flags: Vec<_> =
            all.detections.iter().map(|detection| (detection.flags.hit, detection.flags.ignored)).collect();
        assert_eq!(flags, [(every, 0), (0, every), (0, every), (0, 0)]);
        assert_eq!((all.truths, small.truths, medium.truths), (1, 1, 0));
        assert_eq!(medium.detections[3].flags, MatchFlags { hit: 0, ignored: every });
    }
}
