//! The tracker of one camera: active tracks, association of each frame's detections, start and end of tracks.

use super::motion::Motion;
use super::rest::Rest;
use super::{TrackerSettings, assign};
use crate::detector::boxes::iou;
use crate::message::Detection;

/// Smallest IoU of a prediction with a high-score detection.
const MIN_IOU: f32 = 0.2;
/// Smallest IoU with a low-score detection. It is stricter, since such detections are often false.
const MIN_IOU_LOW_SCORE: f32 = 0.4;
/// Buffer on every side of a box, as a share of its size. Buffered boxes match objects that move by more than their own
/// length between two frames (Yang et al., C-BIoU, 2023).
const BUFFER: f32 = 0.75;

/// An object, from its first detection to its last.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Unique for this tracker.
    pub track: u64,
    /// Time of its first detection, nanoseconds of monotonic time.
    pub first_ns: u64,
    /// Time of its last detection.
    pub last_ns: u64,
    /// Frames with a detection of it.
    pub frames: u64,
    /// Its latest detection.
    pub latest: Detection,
    /// The detection with the highest score.
    pub best: Detection,
    /// True if it stands still.
    pub stationary: bool,
}

/// Start or end of an object.
#[derive(Debug, Clone, PartialEq)]
pub enum TrackEvent {
    /// The object is confirmed.
    Started(Object),
    /// A confirmed object is gone.
    Ended(Object),
}

#[derive(Debug)]
struct Track {
    object: Object,
    motion: Motion,
    rest: Rest,
    /// Its start was reported.
    confirmed: bool,
    /// Frames with a score of `begin_score` or more. Low-score detections do not confirm a track.
    high_score_frames: u32,
    /// The previous frame had a detection of it.
    seen: bool,
}

/// Tracks the objects of one camera.
#[derive(Debug)]
pub struct Tracker {
    settings: TrackerSettings,
    tracks: Vec<Track>,
    next: u64,
    now_ns: u64,
}

impl Tracker {
    /// A tracker without tracks.
    pub fn new(settings: TrackerSettings) -> Self {
        Self { settings, tracks: Vec::new(), next: 1, now_ns: 0 }
    }

    /// Assigns a track to each detection of the frame captured at `now_ns`. Returns the objects that started or ended.
    /// A low-score detection that continues no track gets none.
    pub fn update(&mut self, now_ns: u64, detections: &mut [Detection]) -> Vec<TrackEvent> {
        let dt = now_ns.saturating_sub(self.now_ns) as f32 * 1e-9;
        self.now_ns = self.now_ns.max(now_ns);
        for track in &mut self.tracks {
            track.motion.predict(dt, !track.seen);
        }
        detections.iter_mut().for_each(|detection| detection.track = None);
        let predicted: Vec<[f32; 4]> = self.tracks.iter().map(|track| track.motion.bbox()).collect();
        let mut free_tracks: Vec<usize> = (0..self.tracks.len()).collect();
        let finite = |index: &usize| detections[*index].bbox.iter().all(|side| side.is_finite());
        let (mut high, mut low): (Vec<usize>, Vec<usize>) = (0..detections.len())
            .filter(finite)
            .partition(|&index| detections[index].score >= self.settings.begin_score);
        let mut matched = Vec::new();
        // A passing object that covers a part of one that stands still disturbs its prediction, not its place.
        let overlap = |track: usize, detection: usize| {
            let bbox = detections[detection].bbox;
            let at_place = self.tracks[track].rest.place().map_or(0.0, |place| iou(place, bbox));
            iou(predicted[track], bbox).max(at_place)
        };
        let buffered_overlap =
            |track: usize, detection: usize| iou(buffered(&predicted[track]), buffered(&detections[detection].bbox));
        let same_class = |track: usize, detection: usize| {
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
        // High-score detections choose first: they are seldom wrong.
        stage(&mut free_tracks, &mut high, &|track, found| {
            if same_class(track, found) { at_least(overlap(track, found), MIN_IOU) } else { 0.0 }
        });
        // Low-score detections keep occluded objects, but only those of the previous frame: others would be revived by
        // noise.
        stage(&mut free_tracks, &mut low, &|track, found| {
            if same_class(track, found) && seen(track) {
                at_least(overlap(track, found), MIN_IOU_LOW_SCORE)
            } else {
                0.0
            }
        });
        // Fast objects do not overlap with their prediction; buffered boxes do.
        stage(&mut free_tracks, &mut high, &|track, found| {
            if same_class(track, found) { at_least(buffered_overlap(track, found), MIN_IOU) } else { 0.0 }
        });

        for track in &mut self.tracks {
            track.seen = false;
        }
        for (track, found) in matched {
            let track = &mut self.tracks[track];
            track.motion.correct(&detections[found].bbox);
            detections[found].track = Some(track.object.track);
            track.add(now_ns, &detections[found]);
            let high_score = detections[found].score >= self.settings.begin_score;
            track.high_score_frames = track.high_score_frames.saturating_add(u32::from(high_score));
        }
        for found in high {
            let number = self.next;
            self.next += 1;
            detections[found].track = Some(number);
            self.tracks.push(Track::new(number, now_ns, &detections[found]));
        }
        let mut events = Vec::new();
        let confirm = self.settings.confirm.max(1);
        for track in self.tracks.iter_mut().filter(|track| !track.confirmed && track.high_score_frames >= confirm) {
            track.confirmed = true;
            events.push(TrackEvent::Started(track.object.clone()));
        }
        events.extend(self.remove_unseen(now_ns));
        events
    }

    /// Continues the tracks in pictures with `x` times as many columns and `y` times as many rows as before.
    pub fn rescale(&mut self, x: f32, y: f32) {
        for Track { object, motion, rest, .. } in &mut self.tracks {
            motion.rescale(x, y);
            rest.rescale(x, y);
            for detection in [&mut object.latest, &mut object.best] {
                let [x0, y0, x1, y1] = detection.bbox;
                detection.bbox = [x0 * x, y0 * y, x1 * x, y1 * y];
            }
        }
    }

    /// The confirmed objects of the latest frame, as they were detected in it.
    pub fn in_sight(&self) -> impl Iterator<Item = &Object> {
        self.tracks.iter().filter(|track| track.confirmed && track.seen).map(|track| &track.object)
    }

    /// The objects that were detected in the latest frame, each with true if it is confirmed.
    pub fn seen(&self) -> impl Iterator<Item = (&Object, bool)> {
        self.tracks.iter().filter(|track| track.seen).map(|track| (&track.object, track.confirmed))
    }

    /// Ids of all tracks, with those that are not confirmed or not in sight.
    pub fn ids(&self) -> impl Iterator<Item = u64> + '_ {
        self.tracks.iter().map(|track| track.object.track)
    }

    /// Ends all tracks, after the last frame.
    pub fn finish(&mut self) -> Vec<TrackEvent> {
        self.tracks.drain(..).filter(|track| track.confirmed).map(|track| TrackEvent::Ended(track.object)).collect()
    }

    fn remove_unseen(&mut self, now_ns: u64) -> Vec<TrackEvent> {
        let settings = self.settings;
        let gone = |track: &mut Track| {
            let is_stationary = track.object.stationary;
            let max = if is_stationary { settings.max_unseen_stationary } else { settings.max_unseen };
            let unseen_ns = now_ns.saturating_sub(track.object.last_ns);
            // An unconfirmed track ends at its first missed frame.
            !track.seen && (!track.confirmed || u128::from(unseen_ns) > max.max(settings.max_unseen).as_nanos())
        };
        let ended = self.tracks.extract_if(.., gone);
        ended.filter(|track| track.confirmed).map(|track| TrackEvent::Ended(track.object)).collect()
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
            stationary: false,
        };
        let (motion, rest) = (Motion::new(&detection.bbox), Rest::new(detection.bbox, now_ns));
        let mut track = Self { object, motion, rest, confirmed: false, high_score_frames: 1, seen: true };
        track.add(now_ns, detection);
        track
    }

    /// Records a detection of the object.
    fn add(&mut self, now_ns: u64, detection: &Detection) {
        self.seen = true;
        let object = &mut self.object;
        object.last_ns = now_ns;
        object.frames += 1;
        object.latest = detection.clone();
        if detection.score > object.best.score || object.frames == 1 {
            object.best = detection.clone();
        }
        self.rest.update(detection.bbox, now_ns);
        object.stationary = self.rest.place().is_some();
    }
}

/// `value` if it is at least `min`, else 0.
fn at_least(value: f32, min: f32) -> f32 {
    if value >= min { value } else { 0.0 }
}

/// `bbox` with a buffer on every side.
fn buffered(bbox: &[f32; 4]) -> [f32; 4] {
    let (x, y) = ((bbox[2] - bbox[0]) * BUFFER, (bbox[3] - bbox[1]) * BUFFER);
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

    /// Runs frames of detections through a tracker. Returns the track ids, and each event with the index of its frame.
    #[allow(clippy::type_complexity)]
    fn run(
        settings: TrackerSettings,
        frames: Vec<Vec<Detection>>,
    ) -> (Vec<Vec<Option<u64>>>, Vec<(usize, TrackEvent)>) {
        let mut tracker = Tracker::new(settings);
        let (mut ids, mut changes) = (Vec::new(), Vec::new());
        for (index, mut frame) in frames.into_iter().enumerate() {
            let now_ns = (index as u64 + 1) * FRAME_NS;
            changes.extend(tracker.update(now_ns, &mut frame).into_iter().map(|change| (index, change)));
            ids.push(frame.iter().map(|detection| detection.track).collect());
        }
        let last = ids.len();
        changes.extend(tracker.finish().into_iter().map(|change| (last, change)));
        (ids, changes)
    }

    #[test]
    fn one_object_in_many_frames_has_one_track() {
        let frames: Vec<_> = (0..10).map(|step| vec![seen(1, 0.6 + 0.03 * step as f32, 15.0 * step as f32)]).collect();
        let (ids, changes) = run(TrackerSettings::default(), frames);
        assert!(ids.iter().all(|ids| ids == &[Some(1)]));
        let [(1, TrackEvent::Started(begun)), (10, TrackEvent::Ended(ended))] = &changes[..] else {
            panic!("{changes:?}")
        };
        assert_eq!((begun.frames, begun.first_ns), (2, FRAME_NS));
        assert_eq!((ended.frames, ended.last_ns - ended.first_ns), (10, 9 * FRAME_NS));
        assert_eq!((ended.best.bbox[0], ended.stationary), (135.0, false));
    }

    #[test]
    fn a_low_score_detection_continues_a_track_and_starts_none() {
        let frames =
            vec![vec![seen(1, 0.9, 0.0)], vec![seen(1, 0.2, 5.0), seen(1, 0.2, 300.0)], vec![seen(1, 0.9, 10.0)]];
        let (ids, changes) = run(TrackerSettings::default(), frames);
        assert_eq!(ids, [vec![Some(1)], vec![Some(1), None], vec![Some(1)]]);
        // It does not confirm a track either: the second frame with a high score is the third.
        assert!(matches!(&changes[..], [(2, TrackEvent::Started(_)), (3, TrackEvent::Ended(_))]), "{changes:?}");
    }

    #[test]
    fn an_occluded_object_keeps_its_id_at_the_predicted_place() {
        let at = |step: usize| seen(1, 0.9, 20.0 * step as f32);
        let frames = (0..20).map(|step| if (8..12).contains(&step) { vec![] } else { vec![at(step)] }).collect();
        let (ids, changes) = run(TrackerSettings::default(), frames);
        assert!(ids.iter().flatten().all(|id| *id == Some(1)), "{ids:?}");
        assert_eq!(changes.len(), 2);
    }

    #[test]
    fn an_object_that_stays_away_ended_at_its_last_detection() {
        let settings = TrackerSettings { max_unseen: Duration::from_millis(500), ..TrackerSettings::default() };
        let frames = (0..20).map(|step| if step < 3 { vec![seen(1, 0.9, 0.0)] } else { vec![] }).collect();
        let (_, changes) = run(settings, frames);
        let [(1, TrackEvent::Started(_)), (8, TrackEvent::Ended(ended))] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!(ended.last_ns, 3 * FRAME_NS);
    }

    #[test]
    fn a_parked_object_outlasts_what_passes_in_front_of_it() {
        let parked = |score: f32| seen(1, score, 200.0);
        let passing = |x: f32| Detection { bbox: [x, 0.0, x + 80.0, 50.0], ..seen(1, 0.9, x) };
        let frames: Vec<Vec<Detection>> = (0..3000)
            .map(|step: usize| match step {
                // Another object of its class comes, and stands in front of it for twenty seconds.
                980..1000 => vec![passing(9.0 * (step - 980) as f32), parked(0.8)],
                1000..1200 => vec![passing(180.0)],
                1200..1220 => vec![passing(9.0 * (step - 1200) as f32 + 180.0), parked(0.4)],
                500 => vec![parked(0.95)],
                _ => vec![parked(0.8)],
            })
            .collect();
        let (_, changes) = run(TrackerSettings::default(), frames);
        let started: Vec<u64> = changes
            .iter()
            .filter_map(|(_, change)| match change {
                TrackEvent::Started(object) => Some(object.track),
                TrackEvent::Ended(_) => None,
            })
            .collect();
        assert_eq!(started, [1, 2], "the parked one and the passing one");
        let ended = changes.iter().find_map(|(step, change)| match change {
            TrackEvent::Ended(object) if object.track == 1 => Some((*step, object)),
            _ => None,
        });
        let Some((3000, parked)) = ended else { panic!("{changes:?}") };
        assert!(parked.stationary && parked.best.score == 0.95, "{parked:?}");
        assert_eq!(parked.best.bbox[0], 200.0);
    }

    #[test]
    fn a_single_frame_starts_an_object_only_with_confirm_1() {
        let frames = || vec![vec![seen(1, 0.9, 0.0)], vec![], vec![]];
        assert!(run(TrackerSettings::default(), frames()).1.is_empty());
        assert_eq!(run(TrackerSettings { confirm: 1, ..TrackerSettings::default() }, frames()).1.len(), 2);
    }

    #[test]
    fn classes_are_not_mixed_and_crossing_objects_keep_their_ids() {
        let frames =
            (0..20).map(|step| vec![seen(1, 0.9, 10.0 * step as f32), seen(2, 0.9, 190.0 - 10.0 * step as f32)]);
        let (ids, changes) = run(TrackerSettings::default(), frames.collect());
        assert!(ids.iter().all(|ids| ids == &[Some(1), Some(2)]), "{ids:?}");
        assert_eq!(changes.len(), 4);
    }

    #[test]
    fn an_object_that_moves_by_more_than_its_length_keeps_its_track() {
        let frames = (0..6).map(|step| vec![seen(1, 0.9, 60.0 * step as f32)]).collect();
        let (ids, _) = run(TrackerSettings::default(), frames);
        assert!(ids.iter().all(|ids| ids == &[Some(1)]), "{ids:?}");
    }

    #[test]
    fn detections_that_are_not_finite_are_ignored() {
        let mut wrong = seen(1, 0.9, 0.0);
        wrong.bbox[0] = f32::NAN;
        let (ids, changes) = run(TrackerSettings::default(), vec![vec![wrong.clone()], vec![wrong]]);
        assert_eq!((ids, changes), (vec![vec![None], vec![None]], vec![]));
        let mut tracker = Tracker::new(TrackerSettings::default());
        tracker.update(5_000_000_000, &mut [seen(1, 0.9, 0.0)]);
        tracker.update(4_000_000_000, &mut [seen(1, 0.9, 0.0)]);
        tracker.update(u64::MAX, &mut []);
    }
}
