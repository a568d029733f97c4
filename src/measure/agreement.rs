//! Agreement of the detections of two models.

use serde::Serialize;

use crate::detector::boxes::iou;
use crate::detector::detection::Detection;
use crate::quant::artifact;

/// Least IoU of a match with a box of the same class.
const MATCH_IOU: f32 = 0.5;
/// IoU below which a match counts as shifted.
const SHIFTED_IOU: f32 = 0.9;

/// The reference's detections compared with another model's, as sums over pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Agreement {
    /// Matched: same class, IoU ≥ 0.5.
    pub matched: u64,
    /// Matched with an IoU below 0.9.
    pub shifted: u64,
    /// Not matched.
    pub vanished: u64,
    /// Detections of the other model, at or above the threshold, without a match.
    pub appeared: u64,
}

impl Agreement {
    /// The counts over this number of `pictures`, in the form of an artifact.
    pub fn to_artifact(&self, pictures: usize) -> artifact::StoredAgreement {
        let Self { matched, shifted, vanished, appeared } = *self;
        artifact::StoredAgreement { pictures, reference: self.reference(), matched, shifted, vanished, appeared }
    }

    /// Adds one picture: matches the reference's detections of score ≥ `threshold` with the other's of score ≥
    /// `other_threshold`, both best first. Each takes the unmatched detection of its class with the largest IoU.
    ///
    /// With equal thresholds, an object whose score falls from just above to just below counts as vanished; with a
    /// lower `other_threshold` it does not. `appeared` is counted at `threshold`.
    pub fn add(&mut self, reference: &[Detection], other: &[Detection], threshold: f32, other_threshold: f32) {
        let mut is_matched = vec![false; other.len()];
        for expected in reference.iter().filter(|detection| detection.score >= threshold) {
            let candidates = other.iter().enumerate().filter(|&(index, candidate)| {
                !is_matched[index] && candidate.class_id == expected.class_id && candidate.score >= other_threshold
            });
            let best = candidates
                .map(|(index, candidate)| (index, iou(expected.bbox, candidate.bbox)))
                .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
            match best {
                Some((index, overlap)) if overlap >= MATCH_IOU => {
                    is_matched[index] = true;
                    self.matched += 1;
                    self.shifted += u64::from(overlap < SHIFTED_IOU);
                }
                _ => self.vanished += 1,
            }
        }
        let new = other
            .iter()
            .zip(&is_matched)
            .filter(|(detection, is_matched)| !**is_matched && detection.score >= threshold);
        self.appeared += new.count() as u64;
    }

    /// Adds the counts of other pictures.
    pub fn merge(&mut self, other: &Self) {
        self.matched += other.matched;
        self.shifted += other.shifted;
        self.vanished += other.vanished;
        self.appeared += other.appeared;
    }

    /// Share of the reference's detections that were matched, 0 to 1; `None` if it has none.
    pub fn matched_share(&self) -> Option<f64> {
        let all = self.reference();
        (all > 0).then(|| self.matched as f64 / all as f64)
    }

    /// Number of detections of the reference.
    pub fn reference(&self) -> u64 {
        self.matched + self.vanished
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f32, class_id: u32, score: f32) -> Detection {
        Detection { class_id, score, bbox: [x, 0.0, x + 10.0, 10.0] }
    }

    #[test]
    fn each_detection_is_counted_once() {
        let reference = [at(0.0, 1, 0.9), at(100.0, 1, 0.8), at(200.0, 2, 0.7), at(300.0, 1, 0.4)];
        let other = [at(0.0, 1, 0.9), at(102.0, 1, 0.8), at(200.0, 1, 0.7), at(301.0, 1, 0.9)];
        let mut agreement = Agreement::default();
        agreement.add(&reference, &other, 0.5, 0.5);
        assert_eq!(agreement, Agreement { matched: 2, shifted: 1, vanished: 1, appeared: 2 });
        assert_eq!(agreement.matched_share(), Some(2.0 / 3.0));
    }

    #[test]
    fn a_lower_threshold_for_the_other_tolerates_a_lower_score() {
        let (reference, other) = ([at(0.0, 1, 0.51)], [at(0.0, 1, 0.49)]);
        let (mut strict, mut tolerant) = (Agreement::default(), Agreement::default());
        strict.add(&reference, &other, 0.5, 0.5);
        tolerant.add(&reference, &other, 0.5, 0.3);
        assert_eq!((strict.vanished, tolerant.matched), (1, 1));
    }
}
