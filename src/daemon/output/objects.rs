//! Objects: one tracker per camera, and the events of the tracked objects.
//!
//! In: each report before it is published. Out: its detections with track ids, its counts and occupancy; `object.new`
//! once a track is confirmed; `object.end` once its object has been unseen for too long, with the best detection and the
//! duration.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde::{Serialize, Serializer};

use super::publisher::Publisher;
use crate::message::{EventName, Moment, Report};
use crate::track::{Object, TrackEvent, Tracker, TrackerSettings};

/// Rules by which objects are tracked and counted.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ObjectSettings {
    /// True if objects are tracked. Otherwise detections count as objects from the tracker's `begin_score` on.
    pub tracked: bool,
    /// Thresholds of tracks, counts and occupancy.
    pub tracker: TrackerSettings,
}

/// The trackers of every camera, by slot index.
#[derive(Debug)]
pub struct Objects {
    settings: ObjectSettings,
    cameras: BTreeMap<usize, TrackedCamera>,
}

#[derive(Debug)]
struct TrackedCamera {
    camera: String,
    tracker: Tracker,
    latest: FrameTime,
    /// Columns and rows of the latest frame.
    size: (usize, usize),
    /// Time of the latest object, by label.
    last_ns: BTreeMap<String, u64>,
}

/// Number of a frame, and its capture time by both clocks.
#[derive(Debug, Clone, Copy)]
struct FrameTime {
    wall: Moment,
    monotonic_ns: u64,
    sequence: u64,
}

/// The begin or the end of an object.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ObjectEvent {
    /// `object.new`
    New(NewObject),
    /// `object.end`
    Ended(EndedObject),
}

/// Fields of both events.
#[derive(Debug, PartialEq, Serialize)]
pub struct ObjectIdentity {
    /// The same in both events of an object, and unique among all runs of the service.
    object: String,
    track: u64,
    label: String,
    class_id: u32,
    first_at: Moment,
    zones: Vec<String>,
}

/// Details of `object.new`.
#[derive(Debug, PartialEq, Serialize)]
pub struct NewObject {
    #[serde(flatten)]
    identity: ObjectIdentity,
    sequence: u64,
    score: Decimal,
    #[serde(rename = "box")]
    bbox: [Decimal; 4],
}

/// Details of `object.end`.
#[derive(Debug, PartialEq, Serialize)]
pub struct EndedObject {
    #[serde(flatten)]
    identity: ObjectIdentity,
    last_at: Moment,
    duration_s: f64,
    frames: u64,
    best_score: Decimal,
    best_box: [Decimal; 4],
}

/// An f32 with the digits that reports have: the fewest that identify it. As a JSON *value* an f32 would become an f64
/// with up to 17 digits.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Decimal(f32);

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.to_string().parse().unwrap_or(f64::from(self.0)))
    }
}

impl ObjectEvent {
    fn name(&self) -> EventName {
        match self {
            Self::New(_) => EventName::ObjectNew,
            Self::Ended(_) => EventName::ObjectEnd,
        }
    }
}

impl Objects {
    /// Tracks and counts objects by `settings`.
    pub fn new(settings: ObjectSettings) -> Self {
        Self { settings, cameras: BTreeMap::new() }
    }

    /// Fills in track ids, counts and occupancy of a report of the camera in slot `index`. Returns the events of the
    /// frame.
    pub fn update(&mut self, index: usize, report: &mut Report) -> Vec<ObjectEvent> {
        let ObjectSettings { tracked, tracker: settings } = self.settings;
        let (monotonic_ns, sequence) = (report.captured_monotonic_ns, report.sequence);
        let now = FrameTime { wall: report.captured_at, monotonic_ns, sequence };
        let size = (report.width, report.height);
        let new = || TrackedCamera {
            camera: report.camera.clone(),
            tracker: Tracker::new(settings),
            latest: now,
            size,
            last_ns: BTreeMap::new(),
        };
        let camera = self.cameras.entry(index).or_insert_with(new);
        let TrackedCamera { tracker, latest, last_ns, size: before, .. } = camera;
        *latest = now;
        if *before != size {
            // The camera has changed its resolution. Its view is the same, so objects are where they were.
            let factor = |now: usize, before: usize| now as f32 / before.max(1) as f32;
            tracker.rescale(factor(size.0, before.0), factor(size.1, before.1));
            *before = size;
        }
        let changes = if tracked { tracker.update(monotonic_ns, &mut report.detections) } else { Vec::new() };
        report.objects.clear();
        let mut count = |label: &str| *report.objects.entry(label.to_owned()).or_default() += 1;
        match tracked {
            true => tracker.in_sight().for_each(|object| count(&object.latest.label)),
            false => report
                .detections
                .iter()
                .filter(|found| found.score >= settings.begin_score)
                .for_each(|found| count(&found.label)),
        }
        last_ns.extend(report.objects.keys().map(|label| (label.clone(), monotonic_ns)));
        // The off-delay: a label is occupied for as long as a track may last without a detection.
        last_ns.retain(|_, last| u128::from(monotonic_ns.saturating_sub(*last)) <= settings.max_unseen.as_nanos());
        report.occupied = last_ns.keys().cloned().collect();
        changes.iter().map(|change| latest.event(&report.camera, change)).collect()
    }

    /// Ends every track. Returns the events of each camera.
    pub fn finish(&mut self) -> Vec<(String, Vec<ObjectEvent>)> {
        let end = |mut tracked: TrackedCamera| {
            let changes = tracked.tracker.finish();
            let events = changes.iter().map(|change| tracked.latest.event(&tracked.camera, change)).collect();
            (tracked.camera, events)
        };
        std::mem::take(&mut self.cameras).into_values().map(end).collect()
    }
}

impl FrameTime {
    /// The wall time that corresponds to an earlier monotonic time.
    fn wall_at(&self, ns: u64) -> Moment {
        let ago = i64::try_from(self.monotonic_ns.saturating_sub(ns)).unwrap_or(i64::MAX);
        Moment(self.wall.0.checked_sub(SignedDuration::from_nanos(ago)).unwrap_or(self.wall.0))
    }

    fn event(&self, camera: &str, change: &TrackEvent) -> ObjectEvent {
        match change {
            TrackEvent::Started(object) => ObjectEvent::New(NewObject {
                identity: self.identity(camera, object),
                sequence: self.sequence,
                score: Decimal(object.latest.score),
                bbox: object.latest.bbox.map(Decimal),
            }),
            TrackEvent::Ended(object) => {
                let duration_s = object.last_ns.saturating_sub(object.first_ns) as f64 * 1e-9;
                ObjectEvent::Ended(EndedObject {
                    identity: self.identity(camera, object),
                    last_at: self.wall_at(object.last_ns),
                    duration_s: (duration_s * 1e3).round() / 1e3,
                    frames: object.frames,
                    best_score: Decimal(object.best.score),
                    best_box: object.best.bbox.map(Decimal),
                })
            }
        }
    }

    fn identity(&self, camera: &str, object: &Object) -> ObjectIdentity {
        let first_at = self.wall_at(object.first_ns);
        ObjectIdentity {
            object: format!("{camera}-{}-{}", first_at.0.as_microsecond(), object.track),
            track: object.track,
            label: object.latest.label.clone(),
            class_id: object.latest.class_id,
            first_at,
            zones: object.zones.clone(),
        }
    }
}

/// Publishes the events of a camera's objects.
pub fn publish(publisher: &Publisher, camera: &str, events: Vec<ObjectEvent>) {
    for event in events {
        publisher.event(event.name(), Some(camera), &event);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::message::{Detection, Model, ModelPrecision, Schema, Timing};

    fn report(step: u64, seen: bool) -> Report {
        let detection = Detection {
            label: "Car".into(),
            class_id: 1,
            score: 0.6 + 0.01 * step as f32,
            bbox: [10.0, 10.0, 50.0, 40.0],
            track: None,
            zones: Vec::new(),
        };
        Report {
            schema: Schema::V1,
            device: "d".into(),
            camera: "front".into(),
            sequence: step + 1,
            captured_at: Moment(jiff::Timestamp::new(step as i64, 0).unwrap()),
            captured_monotonic_ns: step * 1_000_000_000,
            boot_id: "b".into(),
            clock_synchronized: true,
            width: 100,
            height: 100,
            model: Model { name: "m".into(), precision: ModelPrecision::Int8, generation: 0, sha256: String::new() },
            timing_ms: Timing::default(),
            detections: if seen { vec![detection] } else { Vec::new() },
            objects: BTreeMap::new(),
            occupied: Vec::new(),
            removed: Vec::new(),
        }
    }

    #[test]
    fn an_object_keeps_its_track_when_the_resolution_changes() {
        let mut objects = Objects::new(TRACKED());
        let mut tracks = Vec::new();
        let mut events = 0;
        for step in 0..6 {
            let mut report = report(step, true);
            if step >= 3 {
                (report.width, report.height) = (400, 200);
                report.detections[0].bbox = [40.0, 20.0, 200.0, 80.0];
            }
            events += objects.update(0, &mut report).len();
            tracks.extend(report.detections[0].track);
        }
        assert_eq!((tracks, events), (vec![1; 6], 1));
        let ended = serde_json::to_value(&objects.finish()[0].1[0]).unwrap();
        assert_eq!(ended["best_box"], serde_json::json!([40.0, 20.0, 200.0, 80.0]));
    }

    const TRACKED: fn() -> ObjectSettings = || ObjectSettings { tracked: true, ..ObjectSettings::default() };

    /// Counts and occupied labels of a frame every second with detections of these scores, one a place.
    fn counts(settings: ObjectSettings, frames: &[&[f32]]) -> Vec<(u32, bool)> {
        let mut objects = Objects::new(settings);
        let frame = |(step, scores): (usize, &&[f32])| {
            let mut report = report(step as u64, false);
            for (place, &score) in scores.iter().enumerate() {
                let mut found = self::report(0, true).detections.remove(0);
                (found.score, found.bbox) = (score, [100.0 * place as f32, 10.0, 100.0 * place as f32 + 40.0, 40.0]);
                report.detections.push(found);
            }
            objects.update(0, &mut report);
            (report.objects.get("Car").copied().unwrap_or(0), report.occupied == ["Car"])
        };
        frames.iter().enumerate().map(frame).collect()
    }

    #[test]
    fn confirmed_objects_count_and_occupancy_ends_after_the_delay() {
        let seen: &[f32] = &[0.9, 0.2, 0.8];
        let frames = [seen, seen, &[0.3, 0.2, 0.8], &[0.2], &[], &[], &[0.2, 0.4]];
        let tracked = counts(TRACKED(), &frames);
        // Nothing is confirmed in the first frame; a low score continues a track and starts none.
        let expected = [(0, false), (2, true), (2, true), (1, true), (0, true), (0, true), (0, false)];
        assert_eq!(tracked, expected);
        let plain = counts(ObjectSettings::default(), &frames);
        let expected = [(2, true), (2, true), (1, true), (0, true), (0, true), (0, false), (0, false)];
        assert_eq!(plain, expected);
    }

    /// The fields of an event, as they are published.
    fn fields(event: &ObjectEvent) -> Value {
        serde_json::to_value(event).unwrap()
    }

    #[test]
    fn an_object_has_an_event_when_it_comes_and_one_when_it_has_gone() {
        let mut objects = Objects::new(TRACKED());
        let events: Vec<_> = (0..9).flat_map(|step| objects.update(0, &mut report(step, step < 5))).collect();
        let [begun, ended] = &events[..] else { panic!("{events:?}") };
        assert_eq!((begun.name(), ended.name()), (EventName::ObjectNew, EventName::ObjectEnd));
        let (begun, ended) = (fields(begun), fields(ended));
        assert_eq!(begun["object"], ended["object"]);
        assert_eq!(begun["sequence"], 2);
        assert_eq!(ended["duration_s"], 4.0);
        assert_eq!(ended["frames"], 5);
        assert_eq!(ended["last_at"], "1970-01-01T00:00:04.000000Z");
        assert_eq!(ended["best_score"].to_string(), (0.6 + 0.01 * 4.0f32).to_string());
        let names = |event: &Value| event.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let begun_names = ["box", "class_id", "first_at", "label", "object", "score", "sequence", "track", "zones"];
        assert_eq!(names(&begun), begun_names);
        let ended_names = [
            "best_box",
            "best_score",
            "class_id",
            "duration_s",
            "first_at",
            "frames",
            "label",
            "last_at",
            "object",
            "track",
            "zones",
        ];
        assert_eq!(names(&ended), ended_names);
    }

    #[test]
    fn objects_end_with_the_run_and_nothing_is_tracked_without_settings() {
        let mut objects = Objects::new(TRACKED());
        for step in 0..3 {
            objects.update(0, &mut report(step, true));
        }
        let events = objects.finish();
        assert_eq!(events[0].1.len(), 1);
        assert_eq!(fields(&events[0].1[0])["last_at"], "1970-01-01T00:00:02.000000Z");

        let mut none = Objects::new(ObjectSettings::default());
        let mut first = report(0, true);
        assert!(none.update(0, &mut first).is_empty() && first.detections[0].track.is_none());
    }
}
