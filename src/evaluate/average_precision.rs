//! COCO's average precision, as `pycocotools`' `accumulate` computes it, with pictures that may count several times.

use super::matching::{Matches, OVERLAPS, Verdict};

/// Recalls at which precision is read: 0, 0.01 … 1.
const RECALLS: usize = 101;

/// The detections of one class and area over all pictures, best first.
#[derive(Debug, Clone, Default)]
pub struct Ranked {
    /// Picture, place among the detections of its picture from 0, and verdict.
    found: Vec<(u32, u32, Verdict)>,
    /// Boxes to be found, by picture.
    truths: Vec<u32>,
}

impl Ranked {
    /// Ranks what matching gave, one a picture in the order of the pictures.
    pub fn new<'a>(pictures: impl Iterator<Item = &'a Matches>) -> Self {
        let mut scored: Vec<(f64, (u32, u32, Verdict))> = Vec::new();
        let mut truths = Vec::new();
        for (picture, matches) in pictures.enumerate() {
            truths.push(matches.truths);
            let found = matches.found.iter().enumerate();
            scored.extend(found.map(|(rank, &(score, verdict))| (score, (picture as u32, rank as u32, verdict))));
        }
        // Stable: equal scores stay in the order of the pictures.
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        Self { found: scored.into_iter().map(|(_, found)| found).collect(), truths }
    }

    /// Boxes to be found, each picture counted `weights` times; `None` if there are none.
    fn truths(&self, weights: &[f64]) -> Option<f64> {
        let truths: f64 = self.truths.iter().zip(weights).map(|(&count, weight)| f64::from(count) * weight).sum();
        (truths > 0.0).then_some(truths)
    }

    /// The mean over overlaps of the recall that the best `most` detections of each picture reach, each picture counted
    /// `weights` times; `None` if there is nothing to be found.
    pub fn recall(&self, weights: &[f64], most: u32) -> Option<f64> {
        let truths = self.truths(weights)?;
        let first = self.found.iter().filter(|(_, rank, _)| *rank < most);
        let hits = first.map(|(picture, _, verdict)| {
            let weight = weights.get(*picture as usize).copied().unwrap_or(0.0);
            weight * f64::from((verdict.hit & !verdict.ignored).count_ones())
        });
        Some(hits.sum::<f64>() / truths / OVERLAPS as f64)
    }

    /// The average precision at each overlap, each picture counted `weights` times; `None` if there is nothing to be
    /// found.
    pub fn precision(&self, weights: &[f64]) -> Option<[f64; OVERLAPS]> {
        let truths = self.truths(weights)?;
        let mut average = [0.0; OVERLAPS];
        let mut curve: Vec<(f64, f64)> = Vec::with_capacity(self.found.len());
        for (at, average) in average.iter_mut().enumerate() {
            let (mut right, mut wrong) = (0.0, 0.0);
            curve.clear();
            for (picture, _, verdict) in &self.found {
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
            *average = area_under(&mut curve);
        }
        Some(average)
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
        let average = Ranked::new(pictures.iter()).precision(&[1.0, 1.0]).unwrap();
        // Precision 1 up to recall 0.5 (51 of 101 points), then 2/3.
        assert!((average[0] - (51.0 + 50.0 * 2.0 / 3.0) / 101.0).abs() < 1e-9);
        assert_eq!(average[1], 0.0);
    }

    #[test]
    fn the_best_of_each_picture_reach_a_recall() {
        let every = (1 << OVERLAPS) - 1;
        let pictures = [matches(2, &[(0.9, every), (0.8, 0), (0.7, every)]), matches(2, &[(0.3, 0), (0.2, every)])];
        let ranked = Ranked::new(pictures.iter());
        let recall = |weights: [f64; 2], most| ranked.recall(&weights, most).unwrap();
        assert_eq!([1, 2, 3].map(|most| recall([1.0, 1.0], most)), [0.25, 0.5, 0.75]);
        assert_eq!(recall([0.0, 3.0], 2), 0.5);
        assert_eq!(ranked.recall(&[0.0, 0.0], 100), None);
    }

    #[test]
    fn weights_stand_for_repeated_pictures() {
        let (a, b) = (matches(2, &[(0.9, 1), (0.6, 0)]), matches(1, &[(0.7, 0), (0.5, 1)]));
        let weighted = Ranked::new([a.clone(), b.clone()].iter());
        let repeated = Ranked::new([a.clone(), a, b].iter());
        assert_eq!(weighted.recall(&[2.0, 1.0], 9), repeated.recall(&[1.0; 3], 9));
        // The repeated picture's detections share their scores, so only the points between them differ.
        let first = |average: Option<[f64; OVERLAPS]>| average.unwrap()[0];
        assert!((first(weighted.precision(&[2.0, 1.0])) - first(repeated.precision(&[1.0; 3]))).abs() < 0.02);
    }

    #[test]
    fn nothing_to_find_is_no_figure() {
        assert_eq!(Ranked::new([matches(0, &[(0.9, 0)])].iter()).precision(&[1.0]), None);
    }
}
