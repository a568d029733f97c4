//! Objects as events: one tracker a camera on the detector thread, and what it says told to the world.
//!
//! In: each report before it is sent. Out: tracks filled in, `object.new` once an object is sure and `object.end` once
//! it has stayed away, with its best detection and how long it was there.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::publisher::Voice;
use crate::message::{Detection, EventName, Moment, Report};
use crate::track::{Object, TrackEvent, Tracker, TrackerSettings};

/// The trackers of every camera, by the number of its slot.
#[derive(Debug)]
pub struct Objects {
    rules: Option<TrackerSettings>,
    followed: BTreeMap<usize, Followed>,
}

#[derive(Debug)]
struct Followed {
    camera: String,
    tracker: Tracker,
    latest: Latest,
}

/// Of the latest frame: its time by both clocks, and its number.
#[derive(Debug, Clone, Copy)]
struct Latest {
    wall: Moment,
    monotonic_ns: u64,
    sequence: u64,
}

/// Something to be told of an object.
#[derive(Debug, PartialEq)]
pub struct Told {
    event: EventName,
    details: BTreeMap<String, Value>,
}

impl Objects {
    /// Follows objects by `rules`, or none without.
    pub fn new(rules: Option<TrackerSettings>) -> Self {
        Self { rules, followed: BTreeMap::new() }
    }

    /// Fills in the tracks of a report of camera `index`.
    pub fn follow(&mut self, index: usize, report: &mut Report) -> Vec<Told> {
        let Some(rules) = self.rules else { return Vec::new() };
        let (monotonic_ns, sequence) = (report.captured_monotonic_ns, report.sequence);
        let now = Latest { wall: report.captured_at, monotonic_ns, sequence };
        let new = || Followed { camera: report.camera.clone(), tracker: Tracker::new(rules), latest: now };
        let Followed { tracker, latest, .. } = self.followed.entry(index).or_insert_with(new);
        *latest = now;
        let changes = tracker.update(monotonic_ns, &mut report.detections);
        changes.iter().map(|change| latest.told(&report.camera, change)).collect()
    }

    /// Ends every object: camera by camera, what is to be told.
    pub fn finish(&mut self) -> Vec<(String, Vec<Told>)> {
        let end = |mut followed: Followed| {
            let changes = followed.tracker.finish();
            let told = changes.iter().map(|change| followed.latest.told(&followed.camera, change)).collect();
            (followed.camera, told)
        };
        std::mem::take(&mut self.followed).into_values().map(end).collect()
    }
}

impl Latest {
    /// The wall time of an earlier moment.
    fn wall_at(&self, ns: u64) -> Moment {
        let ago = i64::try_from(self.monotonic_ns.saturating_sub(ns)).unwrap_or(i64::MAX);
        Moment(self.wall.0.checked_sub(SignedDuration::from_nanos(ago)).unwrap_or(self.wall.0))
    }

    fn told(&self, camera: &str, change: &TrackEvent) -> Told {
        let (TrackEvent::Started(object) | TrackEvent::Ended(object)) = change;
        let first = self.wall_at(object.first_ns);
        let mut details = BTreeMap::from([
            // The same in both events, and in no other life of the program.
            ("object".to_owned(), json!(format!("{camera}-{}-{}", first.0.as_microsecond(), object.track))),
            ("track".to_owned(), json!(object.track)),
            ("label".to_owned(), json!(object.latest.label)),
            ("class_id".to_owned(), json!(object.latest.class_id)),
            ("first_at".to_owned(), json!(first)),
            ("zones".to_owned(), json!(object.zones)),
        ]);
        let event = match change {
            TrackEvent::Started(_) => {
                details.insert("sequence".to_owned(), json!(self.sequence));
                details.extend(shown(&object.latest, ""));
                EventName::ObjectNew
            }
            TrackEvent::Ended(_) => {
                details.extend(ended(self, object));
                EventName::ObjectEnd
            }
        };
        Told { event, details }
    }
}

fn ended(latest: &Latest, object: &Object) -> BTreeMap<String, Value> {
    let duration_s = object.last_ns.saturating_sub(object.first_ns) as f64 * 1e-9;
    let mut details = BTreeMap::from([
        ("last_at".to_owned(), json!(latest.wall_at(object.last_ns))),
        ("duration_s".to_owned(), json!((duration_s * 1e3).round() / 1e3)),
        ("frames".to_owned(), json!(object.frames)),
    ]);
    details.extend(shown(&object.best, "best_"));
    details
}

/// Score and box under their names in messages, behind `prefix`.
fn shown(detection: &Detection, prefix: &str) -> [(String, Value); 2] {
    let bbox = detection.bbox.map(short);
    [(format!("{prefix}score"), json!(short(detection.score))), (format!("{prefix}box"), json!(bbox))]
}

/// With the digits that reports have: the fewest that say which f32 it is.
fn short(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

/// Tells what happened on `camera`.
pub fn tell(voice: &Voice, camera: &str, told: Vec<Told>) {
    for Told { event, details } in told {
        voice.event(event, Some(camera), details);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Model, Precision, Schema, Timing};

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
            model: Model { name: "m".into(), precision: Precision::Int8, generation: 0, sha256: String::new() },
            timing_ms: Timing::default(),
            detections: if seen { vec![detection] } else { Vec::new() },
            removed: Vec::new(),
        }
    }

    #[test]
    fn an_object_is_told_when_it_comes_and_when_it_has_gone() {
        let mut objects = Objects::new(Some(TrackerSettings::default()));
        let told: Vec<_> = (0..9).flat_map(|step| objects.follow(0, &mut report(step, step < 5))).collect();
        let [begun, ended] = &told[..] else { panic!("{told:?}") };
        assert_eq!((begun.event, ended.event), (EventName::ObjectNew, EventName::ObjectEnd));
        assert_eq!(begun.details["object"], ended.details["object"]);
        assert_eq!(begun.details["sequence"], 2);
        assert_eq!(ended.details["duration_s"], 4.0);
        assert_eq!(ended.details["frames"], 5);
        assert_eq!(ended.details["last_at"], "1970-01-01T00:00:04.000000Z");
        assert_eq!(ended.details["best_score"].to_string(), (0.6 + 0.01 * 4.0f32).to_string());
    }

    #[test]
    fn what_is_there_at_the_end_ends_then_and_nothing_is_followed_without_rules() {
        let mut objects = Objects::new(Some(TrackerSettings::default()));
        for step in 0..3 {
            objects.follow(0, &mut report(step, true));
        }
        let told = objects.finish();
        assert_eq!(told[0].1.len(), 1);
        assert_eq!(told[0].1[0].details["last_at"], "1970-01-01T00:00:02.000000Z");

        let mut none = Objects::new(None);
        let mut first = report(0, true);
        assert!(none.follow(0, &mut first).is_empty() && first.detections[0].track.is_none());
    }
}
