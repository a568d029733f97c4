//! Detection stage: computes the detections from class logits and box deltas of every proposal.
//!
//! As torchvision's `RoIHeads.postprocess_detections` (`torchvision/models/detection/roi_heads.py`): softmax, then
//! boxes decoded for every class and clipped to the picture. Low scores and small boxes are removed, the rest is
//! suppressed class by class, and the best are kept. Both executors share it; a warm call allocates nothing.

use super::boxes::{BoxCoder, clip, is_large_enough, softmax};
use super::detection::Detection;
use super::nms::BatchedNms;
use super::settings::RoiSettings;
use crate::tensor::Fit;

/// The stage with its settings and buffers.
#[derive(Debug)]
pub struct DetectionStage {
    coder: BoxCoder,
    score_threshold: f32,
    nms_threshold: f64,
    min_size: f32,
    max_detections: usize,
    probabilities: Vec<f32>,
    boxes: Vec<[f32; 4]>,
    scores: Vec<f32>,
    classes: Vec<u32>,
    kept: Vec<u32>,
    nms: BatchedNms,
}

impl DetectionStage {
    /// A stage with these settings.
    pub fn new(settings: &RoiSettings) -> Self {
        Self {
            coder: BoxCoder::new(settings.box_weights, settings.max_growth),
            score_threshold: settings.score_threshold as f32,
            nms_threshold: settings.nms_threshold,
            min_size: settings.min_size as f32,
            max_detections: settings.max_detections,
            probabilities: Vec::new(),
            boxes: Vec::new(),
            scores: Vec::new(),
            classes: Vec::new(),
            kept: Vec::new(),
            nms: BatchedNms::default(),
        }
    }

    /// Writes the detections into `detections`: boxes in canvas pixels, best first.
    ///
    /// `logits` are `[proposals][classes]`, `deltas` are `[proposals][classes][4]`; class 0 is the background. `proposals`
    /// are x0, y0, x1, y1 in canvas pixels.
    pub fn run(
        &mut self,
        logits: &[f32],
        deltas: &[f32],
        proposals: &[[f32; 4]],
        fit: &Fit,
        detections: &mut Vec<Detection>,
    ) {
        detections.clear();
        self.boxes.clear();
        self.scores.clear();
        self.classes.clear();
        let Some(classes) = logits.len().checked_div(proposals.len()) else { return };
        let (height, width) = (fit.height as f32, fit.width as f32);
        // Every class of every proposal is a candidate of its own, except the background.
        for (row, &proposal) in proposals.iter().enumerate() {
            self.probabilities.clear();
            self.probabilities.extend_from_slice(&logits[row * classes..(row + 1) * classes]);
            softmax(&mut self.probabilities);
            for class in 1..classes {
                let score = self.probabilities[class];
                if score > self.score_threshold {
                    let delta = std::array::from_fn(|i| deltas[(row * classes + class) * 4 + i]);
                    let corners = clip(self.coder.decode(proposal, delta), height, width);
                    if is_large_enough(corners, self.min_size) {
                        self.boxes.push(corners);
                        self.scores.push(score);
                        self.classes.push(class as u32);
                    }
                }
            }
        }
        // Suppression within each class; the kept boxes of all classes come out ordered by score.
        let Self { boxes, scores, classes, kept, .. } = self;
        self.nms.run(boxes, scores, classes, self.nms_threshold, kept);
        detections.extend(kept.iter().take(self.max_detections).map(|&index| Detection {
            class_id: classes[index as usize],
            score: scores[index as usize],
            bbox: boxes[index as usize],
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIT: Fit =
        Fit { frame_height: 90, frame_width: 100, height: 90, width: 100, canvas_height: 96, canvas_width: 128 };

    #[test]
    fn scores_are_softmax_and_boxes_are_cut() {
        let proposals = [[10.0, 10.0, 40.0, 40.0], [80.0, 70.0, 120.0, 95.0]];
        let logits = [0.0, 4.0, 0.0, 0.0, 0.0, 3.0];
        let mut detections = Vec::new();
        DetectionStage::new(&RoiSettings::default()).run(&logits, &[0.0; 24], &proposals, &FIT, &mut detections);
        assert_eq!(detections[0].class_id, 1);
        assert!((detections[0].score - 0.964_663).abs() < 1e-5);
        assert_eq!(detections[1].class_id, 2);
        assert_eq!(detections[1].bbox, [80.0, 70.0, 100.0, 90.0]);
    }

    #[test]
    fn no_proposals_no_detections() {
        let mut detections = Vec::new();
        DetectionStage::new(&RoiSettings::default()).run(&[], &[], &[], &FIT, &mut detections);
        assert!(detections.is_empty());
    }

    #[test]
    fn at_most_so_many_leave() {
        let settings = RoiSettings { max_detections: 3, ..RoiSettings::default() };
        let proposals: Vec<[f32; 4]> = (0..9).map(|i| [i as f32 * 10.0, 0.0, i as f32 * 10.0 + 9.0, 9.0]).collect();
        let logits: Vec<f32> = (0..9).flat_map(|i| [0.0, i as f32]).collect();
        let mut detections = Vec::new();
        DetectionStage::new(&settings).run(&logits, &[0.0; 72], &proposals, &FIT, &mut detections);
        assert_eq!(detections.iter().map(|d| d.bbox[0]).collect::<Vec<_>>(), [80.0, 70.0, 60.0]);
    }
}
