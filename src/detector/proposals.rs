//! Proposal stage: computes the proposals from objectness and box deltas of every pyramid level.
//!
//! As torchvision's `RegionProposalNetwork.filter_proposals` in evaluation (`torchvision/models/detection/rpn.py`). The
//! best anchors of each level are decoded and clipped to the picture. Small ones are removed, the rest is suppressed
//! level by level, and the best are kept. Both executors share it. Its buffers are reused, so a warm call allocates
//! nothing.

use super::anchors::{AnchorGrid, cell_anchors};
use super::boxes::{BoxCoder, clip, is_large_enough, sigmoid};
use super::nms::BatchedNms;
use super::settings::Settings;
use crate::tensor::Fit;

/// Output of the proposal head on one level, NHWC: `anchors` logits and `4 · anchors` deltas a cell.
#[derive(Debug, Clone, Copy)]
pub struct LevelHead<'a> {
    /// Rows of cells.
    pub rows: usize,
    /// Columns of cells.
    pub columns: usize,
    /// One logit for each anchor.
    pub objectness: &'a [f32],
    /// dx, dy, dw, dh for each anchor.
    pub deltas: &'a [f32],
}

/// The stage with its settings and buffers.
#[derive(Debug)]
pub struct ProposalStage {
    cells: Vec<Vec<[f32; 4]>>,
    coder: BoxCoder,
    pre_nms: usize,
    post_nms: usize,
    nms_threshold: f64,
    min_size: f32,
    score_threshold: f32,
    best: Vec<u32>,
    boxes: Vec<[f32; 4]>,
    scores: Vec<f32>,
    levels: Vec<u32>,
    kept: Vec<u32>,
    nms: BatchedNms,
}

impl ProposalStage {
    /// A stage with these settings.
    pub fn new(settings: &Settings) -> Self {
        let narrow = |values: &[f64]| values.iter().map(|&value| value as f32).collect::<Vec<_>>();
        let anchors = settings.anchors.sizes.iter().zip(&settings.anchors.aspect_ratios);
        let rpn = &settings.rpn;
        Self {
            cells: anchors.map(|(sizes, ratios)| cell_anchors(&narrow(sizes), &narrow(ratios))).collect(),
            coder: BoxCoder::new(rpn.box_weights, rpn.max_growth),
            pre_nms: rpn.pre_nms_top_n,
            post_nms: rpn.post_nms_top_n,
            nms_threshold: rpn.nms_threshold,
            min_size: rpn.min_size as f32,
            score_threshold: rpn.score_threshold as f32,
            best: Vec::new(),
            boxes: Vec::new(),
            scores: Vec::new(),
            levels: Vec::new(),
            kept: Vec::new(),
            nms: BatchedNms::default(),
        }
    }

    /// Writes the proposals into `proposals`: x0, y0, x1, y1 in canvas pixels, best first. `heads` are the levels, finest
    /// first.
    pub fn run<'a>(
        &mut self,
        heads: impl IntoIterator<Item = LevelHead<'a>>,
        fit: &Fit,
        proposals: &mut Vec<[f32; 4]>,
    ) {
        self.boxes.clear();
        self.scores.clear();
        self.levels.clear();
        for (level, head) in heads.into_iter().enumerate() {
            self.take_best(level, &head, fit);
        }
        // Suppression within each level; the kept boxes of all levels come out ordered by score.
        let Self { boxes, scores, levels, kept, .. } = self;
        self.nms.run(boxes, scores, levels, self.nms_threshold, kept);
        proposals.clear();
        proposals.extend(kept.iter().take(self.post_nms).map(|&index| boxes[index as usize]));
    }

    /// Decodes the best anchors of a level and adds them to the candidates.
    fn take_best(&mut self, level: usize, head: &LevelHead<'_>, fit: &Fit) {
        // The best anchors by logit: the sigmoid is monotonic, so only these need one.
        select_best(head.objectness, self.pre_nms, &mut self.best);
        let cells = std::mem::take(&mut self.cells[level]);
        let grid = AnchorGrid::new(cells, head.rows, head.columns, fit.canvas_height, fit.canvas_width);
        let (height, width) = (fit.height as f32, fit.width as f32);
        for &index in &self.best {
            let index = index as usize;
            let delta = std::array::from_fn(|i| head.deltas[index * 4 + i]);
            let corners = clip(self.coder.decode(grid.get(index), delta), height, width);
            let score = sigmoid(head.objectness[index]);
            if is_large_enough(corners, self.min_size) && score >= self.score_threshold {
                self.boxes.push(corners);
                self.scores.push(score);
                self.levels.push(level as u32);
            }
        }
        self.cells[level] = grid.into_cells();
    }
}

/// Writes the indices of the `count` largest values into `best`, largest first; equal values keep their order
/// (`RegionProposalNetwork._get_top_n_idx`).
fn select_best(values: &[f32], count: usize, best: &mut Vec<u32>) {
    let order = |&a: &u32, &b: &u32| values[b as usize].total_cmp(&values[a as usize]).then(a.cmp(&b));
    best.clear();
    best.extend(0..values.len() as u32);
    if count < best.len() {
        if count > 0 {
            best.select_nth_unstable_by(count - 1, order);
        }
        best.truncate(count);
    }
    best.sort_unstable_by(order);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_lower_index() {
        let mut best = Vec::new();
        select_best(&[1.0, 3.0, 3.0, 2.0, 3.0], 2, &mut best);
        assert_eq!(best, [1, 2]);
        select_best(&[1.0, 3.0], 9, &mut best);
        assert_eq!(best, [1, 0]);
        select_best(&[1.0], 0, &mut best);
        assert!(best.is_empty());
    }

    #[test]
    fn one_strong_anchor_is_the_first_proposal() {
        let settings = Settings::default();
        let fit =
            Fit { frame_height: 256, frame_width: 256, height: 256, width: 256, canvas_height: 256, canvas_width: 256 };
        let grids = [64usize, 32, 16, 8, 4];
        let mut logits: Vec<Vec<f32>> = grids.iter().map(|g| vec![-9.0; g * g * 3]).collect();
        let deltas: Vec<Vec<f32>> = grids.iter().map(|g| vec![0.0; g * g * 12]).collect();
        // Level P3, row 10, column 20, the square anchor: 64 px around (160, 80).
        logits[1][(10 * 32 + 20) * 3 + 1] = 5.0;
        let heads = grids.iter().enumerate().map(|(level, &grid)| LevelHead {
            rows: grid,
            columns: grid,
            objectness: &logits[level],
            deltas: &deltas[level],
        });
        let mut proposals = Vec::new();
        ProposalStage::new(&settings).run(heads, &fit, &mut proposals);
        assert_eq!(proposals[0], [128.0, 48.0, 192.0, 112.0]);
        assert!(proposals.len() <= 1000);
    }
}
