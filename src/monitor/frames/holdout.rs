//! Which frames calibrate and which judge.
//!
//! In: the reservoir. Out: two sets that have no moment in common. Neighbouring frames show the same scene, so frames
//! are not dealt out one by one: each stratum (of brightness, in drift or not) is cut into stretches of time, and every
//! second stretch is held out, so that both sets see every light there was. The same frames give the same sets.

use super::reservoir::{StoredFrame, assign_strata};

/// Most frames that calibrate.
const CALIBRATE: usize = 32;
/// Most frames that judge.
const JUDGE: usize = 16;
/// Fewest frames of a stratum that can give some up to judge.
const FEWEST: usize = 3;
/// Fewest frames that judge at all.
pub const MIN_VALIDATION_FRAMES: usize = 4;
/// Fewest frames of a reservoir to recalibrate with.
pub const MIN_FRAMES: usize = 12;

/// Indices of frames.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holdout {
    /// To choose ranges with.
    pub calibrate: Vec<usize>,
    /// To judge them with.
    pub judge: Vec<usize>,
}

/// Deals out `frames`, which are sorted by time.
pub fn hold_out(frames: &[StoredFrame]) -> Holdout {
    let mut groups: std::collections::BTreeMap<usize, Vec<usize>> = std::collections::BTreeMap::new();
    for (at, stratum) in assign_strata(frames).into_iter().enumerate() {
        groups.entry(stratum).or_default().push(at);
    }
    let (mut calibrate, mut judge) = (Vec::new(), Vec::new());
    for members in groups.into_values() {
        if members.len() < FEWEST {
            calibrate.push(members);
            continue;
        }
        // Four stretches of few frames, more of many: no stretch longer than eight frames. Half of them judge: what is
        // gained is told from chance by many frames, what suits them by few.
        let stretches = 4 * members.len().div_ceil(32);
        let (mut kept, mut held) = (Vec::new(), Vec::new());
        for (place, &at) in members.iter().enumerate() {
            let stretch = place * stretches / members.len();
            if stretch % 2 == 1 { held.push(at) } else { kept.push(at) }
        }
        calibrate.push(kept);
        judge.push(held);
    }
    Holdout { calibrate: thin(calibrate, CALIBRATE), judge: thin(judge, JUDGE) }
}

/// At most `most` of all, evenly from every group, in order.
fn thin(groups: Vec<Vec<usize>>, most: usize) -> Vec<usize> {
    let all: usize = groups.iter().map(Vec::len).sum();
    let mut chosen: Vec<usize> = if all <= most {
        groups.into_iter().flatten().collect()
    } else {
        let each = |size: usize| (size * most / all).max(1);
        let evenly = |group: Vec<usize>| {
            let count = each(group.len());
            (0..count).map(|i| group[i * group.len() / count]).collect::<Vec<_>>()
        };
        groups.into_iter().flat_map(evenly).collect()
    };
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use super::super::usability::UsableFrame;
    use super::*;
    use crate::frame::Picture;

    fn frames(times: impl Iterator<Item = i64>, night: fn(i64) -> bool) -> Vec<StoredFrame> {
        let frame = |at: i64| {
            let fit = UsableFrame { brightness: if night(at) { 8.0 } else { 120.0 }, sha256: [at as u8; 32] };
            StoredFrame::encode(0, at, fit, &Picture::filled(1, 1, [0; 3])).unwrap()
        };
        times.map(frame).collect()
    }

    #[test]
    fn both_sets_see_every_light_and_no_stretch_is_cut() {
        let frames = frames(0..60, |at| at >= 30);
        let Holdout { calibrate, judge } = hold_out(&frames);
        assert!(calibrate.len() <= CALIBRATE && (MIN_VALIDATION_FRAMES..=JUDGE).contains(&judge.len()));
        for set in [&calibrate, &judge] {
            let night = set.iter().filter(|&&at| at >= 30).count();
            assert!(night * 3 >= set.len() && night * 3 <= set.len() * 2, "{set:?}");
        }
        assert!(calibrate.iter().all(|at| !judge.contains(at)));
        // Every run of judges is a stretch of its own.
        let runs = judge.windows(2).filter(|pair| pair[1] - pair[0] > 3).count() + 1;
        assert!(runs <= 6, "{judge:?}");
        assert_eq!(hold_out(&frames), Holdout { calibrate, judge });
    }

    #[test]
    fn few_frames_judge_nothing() {
        assert!(hold_out(&frames(0..2, |_| false)).judge.is_empty());
        assert_eq!(hold_out(&frames(0..12, |_| false)).judge.len(), 6);
    }
}
