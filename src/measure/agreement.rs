//! Whether two models see the same objects.

use serde::Serialize;

use crate::detector::boxes::iou;
use crate::detector::detection::Detection;
use crate::quant::artifact;

/// Overlap from which a box of the same class counts as the same object.
const SAME: f32 = 0.5;
/// Overlap from which it counts as being in the same place.
const STEADY: f32 = 0.9;

/// How the reference's detections fared in the other model, added up over pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Agreement {
    /// Found again: same class, overlap ≥ 0.5.
    pub matched: u64,
    /// Of the matched: those whose overlap is below 0.9.
    pub shifted: u64,
    /// Not found.
    pub vanished: u64,
    /// The other model's detections at or above the threshold that match none of the reference's.
    pub appeared: u64,
}

impl Agreement {
    /// As an artifact notes it, counted on so many `pictures`.
    pub fn noted(&self, pictures: usize) -> artifact::StoredAgreement {
        let Self { matched, shifted, vanished, appeared } = *self;
        artifact::StoredAgreement { pictures, reference: self.reference(), matched, shifted, vanished, appeared }
    }

    /// Compares the reference's detections of score ≥ `threshold` with the other's of score ≥ `other_threshold`, both
    /// best first: each reference takes the free detection of its class that overlaps it most.
    ///
    /// With one threshold for both, an object whose score falls from just above it to just below counts as vanished;
    /// with a lower one for the other model it does not. What appeared is counted at `threshold`.
    pub fn add(&mut self, reference: &[Detection], other: &[Detection], threshold: f32, other_threshold: f32) {
        let mut taken = vec![false; other.len()];
        for wanted in reference.iter().filter(|detection| detection.score >= threshold) {
            let candidates = other.iter().enumerate().filter(|&(index, candidate)| {
                !taken[index] && candidate.class_id == wanted.class_id && candidate.score >= other_threshold
            });
            let best = candidates
                .map(|(index, candidate)| (index, iou(wanted.bbox, candidate.bbox)))
                .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
            match best {
                Some((index, overlap)) if overlap >= SAME => {
                    taken[index] = true;
                    self.matched += 1;
                    self.shifted += u64::from(overlap < STEADY);
                }
                _ => self.vanished += 1,
            }
        }
        let new = other.iter().zip(&taken).filter(|(detection, taken)| !**taken && detection.score >= threshold);
        self.appeared += new.count() as u64;
    }

    /// Adds the counts of other pictures.
    pub fn merge(&mut self, other: &Self) {
        self.matched += other.matched;
        self.shifted += other.shifted;
        self.vanished += other.vanished;
        self.appeared += other.appeared;
    }

    /// Share of the reference's detections that were found again; `None` where it had none.
    pub fn matched_share(&self) -> Option<f64> {
        let all = self.reference();
        (all > 0).then(|| self.matched as f64 / all as f64)
    }

    /// Detections of the reference.
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
    fn each_fate_is_counted_once() {
        let reference = [at(0.0, 1, 0.9), at(100.0, 1, 0.8), at(200.0, 2, 0.7), at(300.0, 1, 0.4)];
        let other = [at(0.0, 1, 0.9), at(102.0, 1, 0.8), at(200.0, 1, 0.7), at(301.0, 1, 0.9)];
        let mut agreement = Agreement::default();
        agreement.add(&reference, &other, 0.5, 0.5);
        assert_eq!(agreement, Agreement { matched: 2, shifted: 1, vanished: 1, appeared: 2 });
        assert_eq!(agreement.matched_share(), Some(2.0 / 3.0));
    }

    #[test]
    fn a_lower_threshold_for_the_other_forgives_a_slip_of_the_score() {
        let (reference, other) = ([at(0.0, 1, 0.51)], [at(0.0, 1, 0.49)]);
        let (mut strict, mut tolerant) = (Agreement::default(), Agreement::default());
        strict.add(&reference, &other, 0.5, 0.5);
        tolerant.add(&reference, &other, 0.5, 0.3);
        assert_eq!((strict.vanished, tolerant.matched), (1, 1));
    }
}
