//! Non-maximum suppression with torchvision's arithmetic (`torchvision/ops/boxes.py`, `batched_nms`).
//!
//! In: boxes (x0, y0, x1, y1 in pixels), scores and a group (pyramid level or class) for each. Out: the indices kept,
//! best score first; equal scores keep the order of their indices. Boxes of different groups never suppress each other.

use super::boxes::area;

/// Coordinates up to which torchvision shifts the boxes of each group apart and runs one suppression
/// (`_batched_nms_coordinate_trick`); above it runs one a group (`_batched_nms_vanilla`). The shift rounds coordinates in
/// f32, which can change a borderline overlap: parity needs both methods.
const COORDINATE_TRICK_LIMIT: usize = 4000;

/// The suppression, with buffers that are reused between calls.
#[derive(Debug, Default)]
pub struct BatchedNms {
    order: Vec<u32>,
    shifted: Vec<[f32; 4]>,
    member: Vec<u32>,
    sorted: SortedBoxes,
    keep: Vec<bool>,
}

/// Boxes in descending order of score, one array a coordinate, so that the inner loop vectorizes without gathers.
#[derive(Debug, Default)]
struct SortedBoxes {
    x0: Vec<f32>,
    y0: Vec<f32>,
    x1: Vec<f32>,
    y1: Vec<f32>,
    area: Vec<f32>,
    suppressed: Vec<u8>,
}

impl BatchedNms {
    /// Writes the indices of the kept boxes into `kept`, best first. A box is suppressed if its intersection over union
    /// with a better one of its group is above `threshold`.
    ///
    /// `boxes`, `scores` and `groups` have the same length. The time grows with the largest group number.
    pub fn run(&mut self, boxes: &[[f32; 4]], scores: &[f32], groups: &[u32], threshold: f64, kept: &mut Vec<u32>) {
        debug_assert!(boxes.len() == scores.len() && boxes.len() == groups.len());
        let threshold = round_down(threshold);
        kept.clear();
        // Order by descending score; ties go to the lower index, as in a stable sort.
        self.order.clear();
        self.order.extend(0..boxes.len() as u32);
        self.order.sort_unstable_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]).then(a.cmp(&b)));
        self.keep.clear();
        self.keep.resize(boxes.len(), false);
        if boxes.len() * 4 <= COORDINATE_TRICK_LIMIT {
            // Shift each group beyond the largest coordinate of all, so that boxes of different groups do not overlap.
            let largest = boxes.iter().flatten().copied().fold(f32::NEG_INFINITY, f32::max);
            self.shifted.clear();
            self.shifted.extend(boxes.iter().zip(groups).map(|(corners, &group)| {
                let offset = group as f32 * (largest + 1.0);
                corners.map(|corner| corner + offset)
            }));
            let shifted = std::mem::take(&mut self.shifted);
            self.sorted.suppress(&shifted, &self.order, threshold, &mut self.keep);
            self.shifted = shifted;
        } else {
            // Too many boxes for the shift: one suppression a group, over its members in order of score.
            let groups_end = groups.iter().copied().max().map_or(0, |group| group + 1);
            for group in 0..groups_end {
                self.member.clear();
                self.member.extend(self.order.iter().copied().filter(|&index| groups[index as usize] == group));
                self.sorted.suppress(boxes, &self.member, threshold, &mut self.keep);
            }
        }
        kept.extend(self.order.iter().copied().filter(|&index| self.keep[index as usize]));
    }
}

/// The largest f32 not above `threshold`: torchvision compares an f32 overlap with an f64 threshold.
fn round_down(threshold: f64) -> f32 {
    let nearest = threshold as f32;
    if f64::from(nearest) > threshold { nearest.next_down() } else { nearest }
}

impl SortedBoxes {
    /// Marks in `keep` the boxes of `order` (best first) that no better box suppresses.
    fn suppress(&mut self, boxes: &[[f32; 4]], order: &[u32], threshold: f32, keep: &mut [bool]) {
        // Gather the coordinates in order of score.
        for column in [&mut self.x0, &mut self.y0, &mut self.x1, &mut self.y1, &mut self.area] {
            column.clear();
        }
        for &index in order {
            let corners = boxes[index as usize];
            self.x0.push(corners[0]);
            self.y0.push(corners[1]);
            self.x1.push(corners[2]);
            self.y1.push(corners[3]);
            self.area.push(area(corners));
        }
        self.suppressed.clear();
        self.suppressed.resize(order.len(), 0);
        // Greedy: the best remaining box is kept and suppresses the boxes behind it.
        for best in 0..order.len() {
            if self.suppressed[best] != 0 {
                continue;
            }
            keep[order[best] as usize] = true;
            self.suppress_by(best, threshold);
        }
    }

    /// Suppresses the boxes behind `best` whose overlap with it is above `threshold`.
    fn suppress_by(&mut self, best: usize, threshold: f32) {
        let (bx0, by0, bx1, by1, barea) = (self.x0[best], self.y0[best], self.x1[best], self.y1[best], self.area[best]);
        let rest = best + 1..self.x0.len();
        let (x0, y0) = (&self.x0[rest.clone()], &self.y0[rest.clone()]);
        let (x1, y1) = (&self.x1[rest.clone()], &self.y1[rest.clone()]);
        let (areas, suppressed) = (&self.area[rest.clone()], &mut self.suppressed[rest]);
        for i in 0..suppressed.len() {
            let width = (bx1.min(x1[i]) - bx0.max(x0[i])).max(0.0);
            let height = (by1.min(y1[i]) - by0.max(y0[i])).max(0.0);
            let intersection = width * height;
            // A union of 0 gives NaN, which suppresses nothing, as in torchvision; `boxes::iou` would give 0.
            let overlap = intersection / (barea + areas[i] - intersection);
            suppressed[i] |= u8::from(overlap > threshold);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::boxes::iou;
    use proptest::prelude::*;

    /// The definition, one candidate at a time.
    fn naive(boxes: &[[f32; 4]], scores: &[f32], groups: &[u32], threshold: f32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..boxes.len() as u32).collect();
        order.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]));
        let mut kept: Vec<u32> = Vec::new();
        for index in order {
            let clear = kept.iter().all(|&other| {
                groups[other as usize] != groups[index as usize]
                    || iou(boxes[other as usize], boxes[index as usize]) <= threshold
            });
            if clear {
                kept.push(index);
            }
        }
        kept
    }

    proptest! {
        #[test]
        fn equals_the_definition(
            // Whole coordinates below 64 stay exact when groups are moved apart.
            raw in prop::collection::vec((0u8..40, 0u8..40, 1u8..24, 1u8..24, 0u8..50, 0u32..3), 0..1400),
        ) {
            let boxes: Vec<[f32; 4]> = raw.iter()
                .map(|&(x, y, w, h, ..)| [x, y, x + w, y + h].map(f32::from)).collect();
            let scores: Vec<f32> = raw.iter().map(|r| f32::from(r.4) / 50.0).collect();
            let groups: Vec<u32> = raw.iter().map(|r| r.5).collect();
            let mut kept = Vec::new();
            BatchedNms::default().run(&boxes, &scores, &groups, 0.5, &mut kept);
            prop_assert_eq!(kept, naive(&boxes, &scores, &groups, 0.5));
        }
    }

    #[test]
    fn nothing_in_nothing_out() {
        let mut kept = vec![7];
        BatchedNms::default().run(&[], &[], &[], 0.5, &mut kept);
        assert!(kept.is_empty());
    }
}
