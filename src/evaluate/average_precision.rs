//! COCO's average precision, as `pycocotools`' `accumulate` computes it, with pictures that may count several times.

use super::matching::{Matches, OVERLAPS, Verdict};

/// Recalls at which precision is read: 0, 0.01 … 1.
const RECALLS: usize = 101;

/// The detections of one class and area over all pictures, best first.
#[derive(Debug, Clone, Default)]
pub struct Ranked {
    /// Picture and verdict.
    found: Vec<(u32, Verdict)>,
    /// Boxes to be found, by picture.
    truths: Vec<u32>,
}

/// What the curve of one class and area says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Precision {
    /// Average precision at each overlap.
    pub average: [f64; OVERLAPS],
    /// Recall reached at each overlap.
    pub recall: [f64; OVERLAPS],
}

impl Ranked {
    /// Ranks what matching gave, one a picture in the order of the pictures.
    pub fn new<'a>(pictures: impl Iterator<Item = &'a Matches>) -> Self {
        let mut scored: Vec<(f64, u32, Verdict)> = Vec::new();
        let mut truths = Vec::new();
        for (picture, matches) in pictures.enumerate() {
            truths.push(matches.truths);
            scored.extend(matches.found.iter().map(|&(score, verdict)| (score, picture as u32, verdict)));
        }
        // Stable: equal scores stay in the order of the pictures.
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        Self { found: scored.into_iter().map(|(_, picture, verdict)| (picture, verdict)).collect(), truths }
    }

    /// The figures with each picture counted `weights` times; `None` if there is nothing to be found.
    pub fn precision(&self, weights: &[f64]) -> Option<Precision> {
        let truths: f64 = self.truths.iter().zip(weights).map(|(&count, weight)| f64::from(count) * weight).sum();
        if truths <= 0.0 {
            return None;
        }
        let mut result = Precision { average: [0.0; OVERLAPS], recall: [0.0; OVERLAPS] };
        let mut curve: Vec<(f64, f64)> = Vec::with_capacity(self.found.len());
        for at in 0..OVERLAPS {
            let (mut right, mut wrong) = (0.0, 0.0);
            curve.clear();
            for (picture, verdict) in &self.found {
                let weight = weights.get(*picture as usize).copied().unwrap_or(0.0);
                if weight == 0.0 || verdict.ignored >> at & 1 == 1 {
                    continue;
                }
                if verdict.hit >> at & 1 == 1 {
                    right += weight;
                } else {
                    wrong += weight;
                }
                curve.push((right / truths, right / (wrong + right + f64::EPSILON)));
            }
            result.recall[at] = curve.last().map_or(0.0, |(recall, _)| *recall);
            result.average[at] = area_under(&mut curve);
        }
        Some(result)
    }
}

/// Mean over 101 recalls of the best precision at that recall or beyond. `curve` is (recall, precision), recalls rising.
fn area_under(curve: &mut [(f64, f64)]) -> f64 {
    for at in (1..curve.len()).rev() {
        curve[at - 1].1 = curve[at - 1].1.max(curve[at].1);
    }
    let mut at = 0;
    let mut sum = 0.0;
    for step in 0..RECALLS {
        // As numpy.linspace(0, 1, 101) has it.
        let wanted = if step + 1 == RECALLS { 1.0 } else { step as f64 * (1.0 / (RECALLS - 1) as f64) };
        while at < curve.len() && curve[at].0 < wanted {
            at += 1;
        }
        let Some((_, precision)) = curve.get(at) else { break };
        sum += precision;
    }
    sum / RECALLS as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(truths: u32, found: &[(f64, u16)]) -> Matches {
        let found = found.iter().map(|&(score, hit)| (score, Verdict { hit, ignored: 0 })).collect();
        Matches { truths, found }
    }

    #[test]
    fn a_known_curve() {
        let pictures = [matches(1, &[(0.9, 1), (0.8, 0)]), matches(1, &[(0.7, 1)])];
        let precision = Ranked::new(pictures.iter()).precision(&[1.0, 1.0]).unwrap();
        // Precision 1 up to recall 0.5 (51 of 101 points), then 2/3.
        assert!((precision.average[0] - (51.0 + 50.0 * 2.0 / 3.0) / 101.0).abs() < 1e-9);
        assert_eq!((precision.recall[0], precision.average[1]), (1.0, 0.0));
    }

    #[test]
    fn weights_stand_for_repeated_pictures() {
        let (a, b) = (matches(2, &[(0.9, 1), (0.6, 0)]), matches(1, &[(0.7, 0), (0.5, 1)]));
        let weighted = Ranked::new([a.clone(), b.clone()].iter()).precision(&[2.0, 1.0]).unwrap();
        let repeated = Ranked::new([a.clone(), a, b].iter()).precision(&[1.0; 3]).unwrap();
        assert!((weighted.recall[0] - repeated.recall[0]).abs() < 1e-12);
        // The repeated picture's detections share their scores, so only the points between them differ.
        assert!((weighted.average[0] - repeated.average[0]).abs() < 0.02);
    }

    #[test]
    fn nothing_to_find_is_no_figure() {
        assert_eq!(Ranked::new([matches(0, &[(0.9, 0)])].iter()).precision(&[1.0]), None);
    }
}
