//! Average precision and recall over pictures, as in COCO, with a weight for each picture.
//!
//! In: matches by picture. Out: average precision at each IoU threshold and average recall. Source:
//! `COCOeval.accumulate` of `pycocotools/cocoeval.py`. Weights let the bootstrap repeat pictures without copying them.

use super::matching::{MatchedDetection, PictureMatches, THRESHOLDS};

/// Number of recall thresholds: 0, 0.01 … 1 (`recThrs`).
const RECALL_THRESHOLDS: usize = 101;

/// The detections of one class and range of areas over all pictures, by descending score.
#[derive(Debug, Clone, Default)]
pub struct RankedDetections {
    detections: Vec<RankedDetection>,
    /// Ground-truth boxes that count, by picture.
    truths: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct RankedDetection {
    picture: u32,
    /// Rank among the detections of its picture, from 0.
    rank: u32,
    matched: MatchedDetection,
}

impl RankedDetections {
    /// Ranks the detections of all pictures; `pictures` are in order.
    pub fn new<'a>(pictures: impl Iterator<Item = &'a PictureMatches>) -> Self {
        let mut ranked = Self::default();
        for (picture, matches) in pictures.enumerate() {
            ranked.truths.push(matches.truths);
            let detection = |(rank, &matched): (usize, &MatchedDetection)| RankedDetection {
                picture: picture as u32,
                rank: rank as u32,
                matched,
            };
            ranked.detections.extend(matches.detections.iter().enumerate().map(detection));
        }
        // Stable, as numpy's mergesort: equal scores stay in the order of the pictures.
        ranked.detections.sort_by(|a, b| b.matched.score.total_cmp(&a.matched.score));
        ranked
    }

    /// Weighted number of ground-truth boxes; `None` if there are none.
    fn truths(&self, weights: &[f64]) -> Option<f64> {
        let truths: f64 = self.truths.iter().zip(weights).map(|(&count, weight)| f64::from(count) * weight).sum();
        (truths > 0.0).then_some(truths)
    }

    /// Mean over the IoU thresholds of the recall of the best `max_detections` detections of each picture (COCO's AR).
    /// `weights` has one weight for each picture. `None` without ground truth.
    pub fn recall(&self, weights: &[f64], max_detections: u32) -> Option<f64> {
        let truths = self.truths(weights)?;
        let best = self.detections.iter().filter(|detection| detection.rank < max_detections);
        let hits = best.map(|detection| {
            let weight = weights.get(detection.picture as usize).copied().unwrap_or(0.0);
            let flags = detection.matched.flags;
            weight * f64::from((flags.hit & !flags.ignored).count_ones())
        });
        Some(hits.sum::<f64>() / truths / THRESHOLDS as f64)
    }

    /// Average precision at each IoU threshold. `weights` has one weight for each picture. `None` without ground truth.
    pub fn precision(&self, weights: &[f64]) -> Option<[f64; THRESHOLDS]> {
        let truths = self.truths(weights)?;
        let mut average = [0.0; THRESHOLDS];
        let mut curve: Vec<CurvePoint> = Vec::with_capacity(self.detections.len());
        for (index, average) in average.iter_mut().enumerate() {
            // Walk down the ranking: each detection that counts adds a point of cumulative recall and precision.
            let (mut right, mut wrong) = (0.0, 0.0);
            curve.clear();
            for detection in &self.detections {
                let weight = weights.get(detection.picture as usize).copied().unwrap_or(0.0);
                let flags = detection.matched.flags;
                if weight == 0.0 || flags.ignored >> index & 1 == 1 {
                    continue;
                }
                if flags.hit >> index & 1 == 1 {
                    right += weight;
                } else {
                    wrong += weight;
                }
                // `numpy.spacing(1)` in the denominator, as in the original.
                let precision = right / (wrong + right + f64::EPSILON);
                curve.push(CurvePoint { recall: right / truths, precision });
            }
            *average = interpolated_precision(&mut curve);
        }
        Some(average)
    }
}

/// A point of a precision-recall curve.
#[derive(Debug, Clone, Copy)]
struct CurvePoint {
    recall: f64,
    precision: f64,
}

/// Mean over the recall thresholds of the largest precision at that recall or above. `curve` has rising recalls.
fn interpolated_precision(curve: &mut [CurvePoint]) -> f64 {
    // Make precision non-increasing, from the last point backwards.
    for at in (1..curve.len()).rev() {
        curve[at - 1].precision = curve[at - 1].precision.max(curve[at].precision);
    }
    // Read it at each threshold: the first point that reaches the recall, 0 beyond the last one.
    let mut at = 0;
    let mut sum = 0.0;
    for step in 0..RECALL_THRESHOLDS {
        // Equal to `numpy.linspace(0, 1, 101)`.
        let last = RECALL_THRESHOLDS - 1;
        let threshold = if step == last { 1.0 } else { step as f64 * (1.0 / last as f64) };
        while at < curve.len() && curve[at].recall < threshold {
            at += 1;
        }
        let Some(point) = curve.get(at) else { break };
        sum += point.precision;
    }
    sum / RECALL_THRESHOLDS as f64
}

#[cfg(test)]
mod tests {
    use super::super::matching::MatchFlags;
    use super::*;

    fn matches(truths: u32, detections: &[(f64, u16)]) -> PictureMatches {
        let flags = |hit| MatchFlags { hit, ignored: 0 };
        let detections = detections.iter().map(|&(score, hit)| MatchedDetection { score, flags: flags(hit) }).collect();
        PictureMatches { truths, detections }
    }

    #[test]
    fn a_known_curve() {
        let pictures = [matches(1, &[(0.9, 1), (0.8, 0)]), matches(1, &[(0.7, 1)])];
        let average = RankedDetections::new(pictures.iter()).precision(&[1.0, 1.0]).unwrap();
        // Precision 1 up to recall 0.5 (51 of 101 points), then 2/3.
        assert!((average[0] - (51.0 + 50.0 * 2.0 / 3.0) / 101.0).abs() < 1e-9);
        assert_eq!(average[1], 0.0);
    }

    #[test]
    fn recall_is_of_the_best_detections_of_each_picture() {
        let every = (1 << THRESHOLDS) - 1;
        let pictures = [matches(2, &[(0.9, every), (0.8, 0), (0.7, every)]), matches(2, &[(0.3, 0), (0.2, every)])];
        let ranked = RankedDetections::new(pictures.iter());
        let recall = |weights: [f64; 2], most| ranked.recall(&weights, most).unwrap();
        assert_eq!([1, 2, 3].map(|most| recall([1.0, 1.0], most)), [0.25, 0.5, 0.75]);
        assert_eq!(recall([0.0, 3.0], 2), 0.5);
        assert_eq!(ranked.recall(&[0.0, 0.0], 100), None);
    }

    #[test]
    fn a_weight_repeats_a_picture() {
        let (a, b) = (matches(2, &[(0.9, 1), (0.6, 0)]), matches(1, &[(0.7, 0), (0.5, 1)]));
        let weighted = RankedDetections::new([a.clone(), b.clone()].iter());
        let repeated = RankedDetections::new([a.clone(), a, b].iter());
        assert_eq!(weighted.recall(&[2.0, 1.0], 9), repeated.recall(&[1.0; 3], 9));
        // The repeated picture's detections share their scores, so only the points between them differ.
        let first = |average: Option<[f64; THRESHOLDS]>| average.unwrap()[0];
        assert!((first(weighted.precision(&[2.0, 1.0])) - first(repeated.precision(&[1.0; 3]))).abs() < 0.02);
    }

    #[test]
    fn without_ground_truth_there_is_no_precision() {
        assert_eq!(RankedDetections::new([matches(0, &[(0.9, 0)])].iter()).precision(&[1.0]), None);
    }
}
