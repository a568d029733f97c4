//! Holdout: divides stored frames into those that choose ranges and those that validate them.
//!
//! In: stored frames, sorted by time. Out: a [`Holdout`] of two sets. Neighbouring frames show the same scene, so
//! frames are not assigned one by one. Each stratum is cut into four blocks of consecutive frames, and every second
//! block is held out. Both sets then contain every stratum of three frames or more. The same frames give the same sets.

use std::collections::BTreeMap;

use super::reservoir::{StoredFrame, assign_strata};

/// Most calibration frames.
const MAX_CALIBRATION_FRAMES: usize = 32;
/// Most validation frames.
const MAX_VALIDATION_FRAMES: usize = 16;
/// Fewest stored frames of a recalibration.
pub const MIN_FRAMES: usize = 12;
/// Blocks of a stratum: two in each set. Of one or two frames none is in an odd block, so ranges get them.
const BLOCKS: usize = 4;

/// Two disjoint sets of frames, as indices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holdout {
    /// Frames that choose ranges.
    pub calibration: Vec<usize>,
    /// Frames that validate them.
    pub validation: Vec<usize>,
}

/// Divides `frames`, which are sorted by time.
pub fn hold_out(frames: &[StoredFrame]) -> Holdout {
    let mut strata: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, stratum) in assign_strata(frames).into_iter().enumerate() {
        strata.entry(stratum).or_default().push(at);
    }
    let (mut calibration, mut validation) = (Vec::new(), Vec::new());
    for members in strata.into_values() {
        // Half of the frames validate, because it takes more frames to tell a gain from chance than to choose a range.
        let block_of = |position: usize| position * BLOCKS / members.len();
        let (held_out, kept): (Vec<_>, Vec<_>) = members.iter().enumerate().partition(|(at, _)| block_of(*at) % 2 == 1);
        let indices = |members: Vec<(usize, &usize)>| members.into_iter().map(|(_, &index)| index).collect();
        calibration.push(indices(kept));
        validation.push(indices(held_out));
    }
    Holdout {
        calibration: thin_out(calibration, MAX_CALIBRATION_FRAMES),
        validation: thin_out(validation, MAX_VALIDATION_FRAMES),
    }
}

/// At most about `max` of all frames, evenly spaced in every stratum, in order. Every stratum keeps one if it has any.
fn thin_out(strata: Vec<Vec<usize>>, max: usize) -> Vec<usize> {
    let all: usize = strata.iter().map(Vec::len).sum();
    let mut chosen: Vec<usize> = if all <= max {
        strata.into_iter().flatten().collect()
    } else {
        let evenly = |members: Vec<usize>| {
            let count = (members.len() * max / all).max(1).min(members.len());
            (0..count).map(|i| members[i * members.len() / count]).collect::<Vec<_>>()
        };
        strata.into_iter().flat_map(evenly).collect()
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
            let usable = UsableFrame { brightness: if night(at) { 8.0 } else { 120.0 }, sha256: [at as u8; 32] };
            StoredFrame::encode(0, at, usable, &Picture::filled(1, 1, [0; 3])).unwrap()
        };
        times.map(frame).collect()
    }

    #[test]
    fn both_sets_contain_every_stratum_in_whole_blocks() {
        let frames = frames(0..60, |at| at >= 30);
        let Holdout { calibration, validation } = hold_out(&frames);
        assert!(calibration.len() <= MAX_CALIBRATION_FRAMES && (4..=MAX_VALIDATION_FRAMES).contains(&validation.len()));
        for set in [&calibration, &validation] {
            let night = set.iter().filter(|&&at| at >= 30).count();
            assert!(night * 3 >= set.len() && night * 3 <= set.len() * 2, "{set:?}");
        }
        assert!(calibration.iter().all(|at| !validation.contains(at)));
        // Every run of validation frames is a block.
        let runs = validation.windows(2).filter(|pair| pair[1] - pair[0] > 3).count() + 1;
        assert!(runs <= 6, "{validation:?}");
        assert_eq!(hold_out(&frames), Holdout { calibration, validation });
    }

    #[test]
    fn few_frames_validate_nothing() {
        assert!(hold_out(&frames(0..2, |_| false)).validation.is_empty());
        // One frame of the night beside a full day, of which frames are left out.
        let one = hold_out(&frames(0..80, |at| at == 40));
        assert!(one.calibration.contains(&40) && one.validation.len() == MAX_VALIDATION_FRAMES, "{one:?}");
        assert_eq!(hold_out(&frames(0..12, |_| false)).validation.len(), 6);
    }
}
