//! Non-maximum suppression with torchvision's arithmetic.
//!
//! In: boxes, scores and a group (pyramid level or class) for each. Out: the indices kept, best score first; equal
//! scores keep the order of their indices. Boxes of different groups never suppress one another.

use super::boxes::area;

/// Coordinates up to which torchvision separates groups by moving their boxes apart instead of treating each group on
/// its own. The move rounds coordinates in f32, so a borderline overlap can fall differently: parity needs both ways.
const COORDINATE_TRICK_LIMIT: usize = 4000;

/// Candidates of a suppression, and buffers that live on between calls.
#[derive(Debug, Default)]
pub struct Suppressor {
    order: Vec<u32>,
    shifted: Vec<[f32; 4]>,
    member: Vec<u32>,
    sorted: Sorted,
    keep: Vec<bool>,
}

/// Boxes in order of score, as columns: the inner loop runs over them without gathers.
#[derive(Debug, Default)]
struct Sorted {
    x0: Vec<f32>,
    y0: Vec<f32>,
    x1: Vec<f32>,
    y1: Vec<f32>,
    area: Vec<f32>,
    suppressed: Vec<u8>,
}

impl Suppressor {
    /// Writes into `kept` the indices that survive, best first. A box goes when its overlap (intersection over union)
    /// with a better one of its group is above `threshold`.
    ///
    /// `boxes`, `scores` and `groups` are of one length; groups are small numbers.
    pub fn run(&mut self, boxes: &[[f32; 4]], scores: &[f32], groups: &[u32], threshold: f64, kept: &mut Vec<u32>) {
        debug_assert!(boxes.len() == scores.len() && boxes.len() == groups.len());
        let threshold = round_down(threshold);
        kept.clear();
        self.order.clear();
        self.order.extend(0..boxes.len() as u32);
        self.order.sort_unstable_by(|&a, &b| {
            scores[b as usize].total_cmp(&scores[a as usize]).then(a.cmp(&b)) // ties go to the lower index
        });
        self.keep.clear();
        self.keep.resize(boxes.len(), false);
        if boxes.len() * 4 <= COORDINATE_TRICK_LIMIT {
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

/// The largest f32 not above `threshold`: torchvision compares an f32 overlap with a f64 threshold.
fn round_down(threshold: f64) -> f32 {
    let nearest = threshold as f32;
    if f64::from(nearest) > threshold { nearest.next_down() } else { nearest }
}

impl Sorted {
    /// Marks in `keep` the boxes of `order` (best first) that no better one suppresses.
    fn suppress(&mut self, boxes: &[[f32; 4]], order: &[u32], threshold: f32, keep: &mut [bool]) {
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
        for best in 0..order.len() {
            if self.suppressed[best] != 0 {
                continue;
            }
            keep[order[best] as usize] = true;
            self.suppress_by(best, threshold);
        }
    }

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
            // A union of 0 gives NaN, and NaN suppresses nothing, as in torchvision.
            let overlap = intersection / (barea + areas[i] - intersection);
            suppressed[i] |= u8::from(overlap > threshold);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn overlap(a: [f32; 4], b: [f32; 4]) -> f32 {
        let width = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
        let height = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
        width * height / (area(a) + area(b) - width * height)
    }

    /// The definition, one candidate at a time.
    fn naive(boxes: &[[f32; 4]], scores: &[f32], groups: &[u32], threshold: f32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..boxes.len() as u32).collect();
        order.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]));
        let mut kept: Vec<u32> = Vec::new();
        for index in order {
            let clear = kept.iter().all(|&other| {
                groups[other as usize] != groups[index as usize]
                    || overlap(boxes[other as usize], boxes[index as usize]) <= threshold
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
            Suppressor::default().run(&boxes, &scores, &groups, 0.5, &mut kept);
            prop_assert_eq!(kept, naive(&boxes, &scores, &groups, 0.5));
        }
    }

    #[test]
    fn nothing_in_nothing_out() {
        let mut kept = vec![7];
        Suppressor::default().run(&[], &[], &[], 0.5, &mut kept);
        assert!(kept.is_empty());
    }
}
