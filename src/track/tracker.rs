//! The tracker of one camera: what is followed now, and what becomes of it with each frame.

use super::motion::Motion;
use super::{Rules, assign, iou};
use crate::message::Detection;

/// Least overlap of a prediction with a confident detection.
const OVERLAP: f32 = 0.2;
/// Least overlap with a doubtful detection: it must be nearly where it was expected.
const OVERLAP_DOUBTFUL: f32 = 0.4;
/// How far boxes are grown on every side, in shares of their size, to match what moved further than its own length
/// between two frames (Yang et al., C-BIoU, 2023).
const GROWTH: f32 = 0.75;

/// An object, from its first detection to its last.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Unique for this tracker.
    pub track: u64,
    /// When it was first seen, nanoseconds of monotonic time.
    pub first_ns: u64,
    /// When it was last seen.
    pub last_ns: u64,
    /// In how many frames it was seen.
    pub frames: u64,
    /// Its latest detection.
    pub latest: Detection,
    /// The one of the highest score.
    pub best: Detection,
    /// Every zone it stood in, in the order of entering.
    pub zones: Vec<String>,
}

/// What a frame changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// An object is there.
    Begun(Object),
    /// An object that had begun is gone.
    Ended(Object),
}

#[derive(Debug)]
struct Track {
    object: Object,
    motion: Motion,
    told: bool,
    /// In how many frames it was seen with a score that may begin an object: doubtful ones confirm nothing.
    sure: u32,
    /// In the frame before this one.
    seen: bool,
}

/// Follows the objects of one camera.
#[derive(Debug)]
pub struct Tracker {
    rules: Rules,
    tracks: Vec<Track>,
    next: u64,
    now_ns: u64,
}

impl Tracker {
    /// Follows nothing yet.
    pub fn new(rules: Rules) -> Self {
        Self { rules, tracks: Vec::new(), next: 1, now_ns: 0 }
    }

    /// Takes the detections of the frame captured at `now_ns` and fills in their tracks; gives what began and ended.
    /// A detection that neither continues an object nor may begin one keeps no track.
    pub fn follow(&mut self, now_ns: u64, detections: &mut [Detection]) -> Vec<Change> {
        let dt = now_ns.saturating_sub(self.now_ns) as f32 * 1e-9;
        self.now_ns = self.now_ns.max(now_ns);
        for track in &mut self.tracks {
            track.motion.predict(dt, !track.seen);
        }
        detections.iter_mut().for_each(|detection| detection.track = None);
        let predicted: Vec<[f32; 4]> = self.tracks.iter().map(|track| track.motion.bbox()).collect();
        let mut free_tracks: Vec<usize> = (0..self.tracks.len()).collect();
        let fit = |index: &usize| detections[*index].bbox.iter().all(|side| side.is_finite());
        let (mut sure, mut doubtful): (Vec<usize>, Vec<usize>) =
            (0..detections.len()).filter(fit).partition(|&index| detections[index].score >= self.rules.begin_score);
        let mut matched = Vec::new();
        let overlap = |track: usize, detection: usize| iou(&predicted[track], &detections[detection].bbox);
        let near = |track: usize, detection: usize| iou(&grown(&predicted[track]), &grown(&detections[detection].bbox));
        let same = |track: usize, detection: usize| {
            self.tracks[track].object.latest.class_id == detections[detection].class_id
        };
        let seen = |track: usize| self.tracks[track].seen;
        let mut stage = |tracks: &mut Vec<usize>, found: &mut Vec<usize>, gain: &dyn Fn(usize, usize) -> f32| {
            for (row, column) in assign(tracks.len(), found.len(), &|row, column| gain(tracks[row], found[column])) {
                matched.push((tracks[row], found[column]));
            }
            tracks.retain(|track| matched.iter().all(|pair| pair.0 != *track));
            found.retain(|detection| matched.iter().all(|pair| pair.1 != *detection));
        };
        stage(&mut free_tracks, &mut sure, &|track, found| {
            if same(track, found) { above(overlap(track, found), OVERLAP) } else { 0.0 }
        });
        stage(&mut free_tracks, &mut doubtful, &|track, found| {
            if same(track, found) && seen(track) { above(overlap(track, found), OVERLAP_DOUBTFUL) } else { 0.0 }
        });
        stage(&mut free_tracks, &mut sure, &|track, found| {
            if same(track, found) { above(near(track, found), OVERLAP) } else { 0.0 }
        });

        for track in &mut self.tracks {
            track.seen = false;
        }
        for (track, found) in matched {
            let track = &mut self.tracks[track];
            track.motion.correct(&detections[found].bbox);
            detections[found].track = Some(track.object.track);
            track.see(now_ns, &detections[found]);
            track.sure = track.sure.saturating_add(u32::from(detections[found].score >= self.rules.begin_score));
        }
        for found in sure {
            let number = self.next;
            self.next += 1;
            detections[found].track = Some(number);
            self.tracks.push(Track::new(number, now_ns, &detections[found]));
        }
        let mut changes = Vec::new();
        let confirm = self.rules.confirm.max(1);
        for track in self.tracks.iter_mut().filter(|track| !track.told && track.sure >= confirm) {
            track.told = true;
            changes.push(Change::Begun(track.object.clone()));
        }
        changes.extend(self.forget(now_ns));
        changes
    }

    /// Ends everything: nothing more will come.
    pub fn finish(&mut self) -> Vec<Change> {
        self.tracks.drain(..).filter(|track| track.told).map(|track| Change::Ended(track.object)).collect()
    }

    fn forget(&mut self, now_ns: u64) -> Vec<Change> {
        let patience_ns = u64::try_from(self.rules.patience.as_nanos()).unwrap_or(u64::MAX);
        let gone = |track: &mut Track| {
            // What was never sure enough to be told of gets no second chance.
            !track.seen && (!track.told || now_ns.saturating_sub(track.object.last_ns) > patience_ns)
        };
        let ended = self.tracks.extract_if(.., gone);
        ended.filter(|track| track.told).map(|track| Change::Ended(track.object)).collect()
    }
}

impl Track {
    fn new(number: u64, now_ns: u64, detection: &Detection) -> Self {
        let object = Object {
            track: number,
            first_ns: now_ns,
            last_ns: now_ns,
            frames: 0,
            latest: detection.clone(),
            best: detection.clone(),
            zones: Vec::new(),
        };
        let mut track = Self { object, motion: Motion::new(&detection.bbox), told: false, sure: 1, seen: true };
        track.see(now_ns, detection);
        track
    }

    fn see(&mut self, now_ns: u64, detection: &Detection) {
        self.seen = true;
        let object = &mut self.object;
        object.last_ns = now_ns;
        object.frames += 1;
        object.latest = detection.clone();
        if detection.score > object.best.score || object.frames == 1 {
            object.best = detection.clone();
        }
        for zone in &detection.zones {
            if !object.zones.contains(zone) {
                object.zones.push(zone.clone());
            }
        }
    }
}

/// `value` where it reaches `least`, else 0.
fn above(value: f32, least: f32) -> f32 {
    if value >= least { value } else { 0.0 }
}

fn grown(bbox: &[f32; 4]) -> [f32; 4] {
    let (x, y) = ((bbox[2] - bbox[0]) * GROWTH, (bbox[3] - bbox[1]) * GROWTH);
    [bbox[0] - x, bbox[1] - y, bbox[2] + x, bbox[3] + y]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn seen(class_id: u32, score: f32, x: f32) -> Detection {
        Detection {
            label: format!("class_{class_id}"),
            class_id,
            score,
            bbox: [x, 10.0, x + 40.0, 40.0],
            track: None,
            zones: Vec::new(),
        }
    }

    const FRAME_NS: u64 = 100_000_000;

    /// Runs frames of detections through a tracker; the tracks, and what changed at which frame.
    #[allow(clippy::type_complexity)]
    fn run(rules: Rules, frames: Vec<Vec<Detection>>) -> (Vec<Vec<Option<u64>>>, Vec<(usize, Change)>) {
        let mut tracker = Tracker::new(rules);
        let (mut ids, mut changes) = (Vec::new(), Vec::new());
        for (index, mut frame) in frames.into_iter().enumerate() {
            let now_ns = (index as u64 + 1) * FRAME_NS;
            changes.extend(tracker.follow(now_ns, &mut frame).into_iter().map(|change| (index, change)));
            ids.push(frame.iter().map(|detection| detection.track).collect());
        }
        let last = ids.len();
        changes.extend(tracker.finish().into_iter().map(|change| (last, change)));
        (ids, changes)
    }

    #[test]
    fn an_object_is_one_and_not_a_frame() {
        let mut frames: Vec<_> =
            (0..10).map(|step| vec![seen(1, 0.6 + 0.03 * step as f32, 15.0 * step as f32)]).collect();
        frames[4][0].zones = vec!["gate".into()];
        let (ids, changes) = run(Rules::default(), frames);
        assert!(ids.iter().all(|ids| ids == &[Some(1)]));
        let [(1, Change::Begun(begun)), (10, Change::Ended(ended))] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!((begun.frames, begun.first_ns), (2, FRAME_NS));
        assert_eq!((ended.frames, ended.last_ns - ended.first_ns), (10, 9 * FRAME_NS));
        assert_eq!((ended.best.bbox[0], ended.zones.as_slice()), (135.0, &["gate".to_owned()][..]));
    }

    #[test]
    fn a_doubtful_detection_continues_an_object_and_begins_none() {
        let frames =
            vec![vec![seen(1, 0.9, 0.0)], vec![seen(1, 0.2, 5.0), seen(1, 0.2, 300.0)], vec![seen(1, 0.9, 10.0)]];
        let (ids, changes) = run(Rules::default(), frames);
        assert_eq!(ids, [vec![Some(1)], vec![Some(1), None], vec![Some(1)]]);
        // Nor does it confirm one: the second sure frame is the third.
        assert!(matches!(&changes[..], [(2, Change::Begun(_)), (3, Change::Ended(_))]), "{changes:?}");
    }

    #[test]
    fn what_is_hidden_for_a_while_keeps_its_id_where_it_would_have_gone() {
        let at = |step: usize| seen(1, 0.9, 20.0 * step as f32);
        let frames = (0..20).map(|step| if (8..12).contains(&step) { vec![] } else { vec![at(step)] }).collect();
        let (ids, changes) = run(Rules::default(), frames);
        assert!(ids.iter().flatten().all(|id| *id == Some(1)), "{ids:?}");
        assert_eq!(changes.len(), 2);
    }

    #[test]
    fn what_stays_away_has_ended_when_it_was_last_seen() {
        let rules = Rules { patience: Duration::from_millis(500), ..Rules::default() };
        let frames = (0..20).map(|step| if step < 3 { vec![seen(1, 0.9, 0.0)] } else { vec![] }).collect();
        let (_, changes) = run(rules, frames);
        let [(1, Change::Begun(_)), (8, Change::Ended(ended))] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!(ended.last_ns, 3 * FRAME_NS);
    }

    #[test]
    fn one_frame_alone_is_no_object_unless_the_rules_say_so() {
        let frames = || vec![vec![seen(1, 0.9, 0.0)], vec![], vec![]];
        assert!(run(Rules::default(), frames()).1.is_empty());
        assert_eq!(run(Rules { confirm: 1, ..Rules::default() }, frames()).1.len(), 2);
    }

    #[test]
    fn classes_are_not_mixed_and_crossing_objects_keep_their_ids() {
        let frames =
            (0..20).map(|step| vec![seen(1, 0.9, 10.0 * step as f32), seen(2, 0.9, 190.0 - 10.0 * step as f32)]);
        let (ids, changes) = run(Rules::default(), frames.collect());
        assert!(ids.iter().all(|ids| ids == &[Some(1), Some(2)]), "{ids:?}");
        assert_eq!(changes.len(), 4);
    }

    #[test]
    fn what_moves_further_than_its_length_between_frames_is_still_followed() {
        let frames = (0..6).map(|step| vec![seen(1, 0.9, 60.0 * step as f32)]).collect();
        let (ids, _) = run(Rules::default(), frames);
        assert!(ids.iter().all(|ids| ids == &[Some(1)]), "{ids:?}");
    }

    #[test]
    fn nonsense_is_passed_over() {
        let mut wrong = seen(1, 0.9, 0.0);
        wrong.bbox[0] = f32::NAN;
        let (ids, changes) = run(Rules::default(), vec![vec![wrong.clone()], vec![wrong]]);
        assert_eq!((ids, changes), (vec![vec![None], vec![None]], vec![]));
        let mut tracker = Tracker::new(Rules::default());
        tracker.follow(5_000_000_000, &mut [seen(1, 0.9, 0.0)]);
        tracker.follow(4_000_000_000, &mut [seen(1, 0.9, 0.0)]);
        tracker.follow(u64::MAX, &mut []);
    }
}
