//! COCO's matching of detections and ground truth in one picture and class, as `pycocotools`' `evaluateImg` does it.
//!
//! In: boxes of both. Out: for each of the ten overlaps .5, .55 … .95 which detections hit and which do not count. The
//! order of everything is that of the original, ties included, so that figures agree to the last digit.

use super::classes::Truth;
use super::dataset::Role;
use super::found::Found;

/// Detections of one picture and class that are looked at.
pub const MAX_DETECTIONS: usize = 100;
/// Overlaps: 0.5, 0.55 … 0.95.
pub const OVERLAPS: usize = 10;
/// Areas: all, small, medium, large.
pub const AREAS: usize = 4;

/// Least and largest area of each, in pixels.
const AREA_RANGES: [[f64; 2]; AREAS] =
    [[0.0, 1e10], [0.0, 32.0 * 32.0], [32.0 * 32.0, 96.0 * 96.0], [96.0 * 96.0, 1e10]];

/// The overlap with the number `at`, as `numpy.linspace(.5, .95, 10)` has it.
pub fn overlap(at: usize) -> f64 {
    let step = (0.95 - 0.5) / 9.0;
    if at + 1 == OVERLAPS { 0.95 } else { 0.5 + at as f64 * step }
}

/// One detection against every overlap: a bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// It hit.
    pub hit: u16,
    /// It is neither right nor wrong.
    pub ignored: u16,
}

/// What matching gave for one picture, class and area.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Matches {
    /// Boxes to be found.
    pub truths: u32,
    /// Score and verdict of each detection, best first.
    pub found: Vec<(f64, Verdict)>,
}

/// Matches the `found` of one class with the `truths` of that class and the regions to ignore, for every area.
pub fn match_class(truths: &[&Truth], found: &[&Found]) -> [Matches; AREAS] {
    let mut order: Vec<usize> = (0..found.len()).collect();
    order.sort_by(|&a, &b| found[b].score.total_cmp(&found[a].score));
    order.truncate(MAX_DETECTIONS);
    let overlaps: Vec<Vec<f64>> = order
        .iter()
        .map(|&d| truths.iter().map(|truth| found[d].bounds.iou(&truth.bounds, truth.role == Role::Crowd)).collect())
        .collect();
    AREA_RANGES.map(|[least, most]| {
        let beyond = |area: f64| area < least || area > most;
        let mut ignored: Vec<bool> = truths.iter().map(|t| t.role != Role::Object || beyond(t.area)).collect();
        // Those that count come first.
        let mut columns: Vec<usize> = (0..truths.len()).collect();
        columns.sort_by_key(|&g| ignored[g]);
        ignored = columns.iter().map(|&g| ignored[g]).collect();
        let mut matches =
            Matches { truths: ignored.iter().filter(|ignored| !**ignored).count() as u32, found: Vec::new() };
        matches.found.extend(order.iter().map(|&d| (found[d].score, Verdict { hit: 0, ignored: 0 })));
        for at in 0..OVERLAPS {
            let least_overlap = overlap(at).min(1.0 - 1e-10);
            let mut taken = vec![false; truths.len()];
            for (row, &d) in order.iter().enumerate() {
                let mut most = least_overlap;
                let mut best: Option<usize> = None;
                for (column, &g) in columns.iter().enumerate() {
                    if taken[column] && truths[g].role != Role::Crowd {
                        continue;
                    }
                    if best.is_some_and(|best| !ignored[best]) && ignored[column] {
                        break;
                    }
                    if overlaps[row][g] < most {
                        continue;
                    }
                    most = overlaps[row][g];
                    best = Some(column);
                }
                let verdict = &mut matches.found[row].1;
                let mut is_matched = false;
                if let Some(best) = best {
                    taken[best] = true;
                    // `pycocotools` writes the annotation's id where a match is, and reads 0 as none.
                    is_matched = !truths[columns[best]].has_id_zero;
                    verdict.hit |= u16::from(is_matched && !ignored[best]) << at;
                    verdict.ignored |= u16::from(ignored[best]) << at;
                }
                if !is_matched && beyond(found[d].bounds.area()) {
                    verdict.ignored |= 1 << at;
                }
            }
        }
        matches
    })
}

#[cfg(test)]
mod tests {
    use super::super::bounds::Bounds;
    use super::*;

    fn truth(corners: [f64; 4], role: Role) -> Truth {
        let bounds = Bounds::from_corners(corners);
        Truth { class: Some(0), bounds, area: bounds.area(), role, has_id_zero: false, is_dont_care: false }
    }

    fn found(score: f64, corners: [f64; 4]) -> Found {
        Found { class: 0, score, bounds: Bounds::from_corners(corners) }
    }

    #[test]
    fn overlaps_are_numpys() {
        assert_eq!((overlap(0), overlap(9)), (0.5, 0.95));
        assert_eq!(overlap(5), 0.75);
    }

    #[test]
    fn a_crowd_swallows_many_and_an_area_leaves_out() {
        let truths = [truth([0.0, 0.0, 100.0, 100.0], Role::Crowd), truth([200.0, 0.0, 210.0, 10.0], Role::Object)];
        let detections = [
            found(0.9, [0.0, 0.0, 20.0, 20.0]),
            found(0.95, [200.0, 0.0, 210.0, 10.0]),
            found(0.8, [50.0, 50.0, 70.0, 70.0]),
            found(0.7, [300.0, 0.0, 310.0, 10.0]),
        ];
        let truths: Vec<_> = truths.iter().collect();
        let [all, small, medium, _] = match_class(&truths, &detections.iter().collect::<Vec<_>>());
        let every = (1 << OVERLAPS) - 1;
        let verdicts: Vec<_> = all.found.iter().map(|(_, verdict)| (verdict.hit, verdict.ignored)).collect();
        assert_eq!(verdicts, [(every, 0), (0, every), (0, every), (0, 0)]);
        assert_eq!((all.truths, small.truths, medium.truths), (1, 1, 0));
        assert_eq!(medium.found[3].1, Verdict { hit: 0, ignored: every });
    }
}
