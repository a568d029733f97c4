//! Tests of objects and their events.

use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::config::{LineSettings, ZoneSettings};
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
        zones: BTreeMap::new(),
        removed: Vec::new(),
    }
}

#[test]
fn an_object_keeps_its_track_when_the_resolution_changes() {
    let mut objects = Objects::new(TRACKED(), LineCounts::default());
    let mut tracks = Vec::new();
    let mut events = 0;
    for step in 0..6 {
        let mut report = report(step, true);
        if step >= 3 {
            (report.width, report.height) = (400, 200);
            report.detections[0].bbox = [40.0, 20.0, 200.0, 80.0];
        }
        let new = |event: &&ObjectEvent| event.name() == EventName::ObjectNew;
        events += objects.update(&RuleSettings::default(), &mut report).iter().filter(new).count();
        tracks.extend(report.detections[0].track);
    }
    assert_eq!((tracks, events), (vec![1; 6], 1));
    let ended = serde_json::to_value(&objects.finish()[0].1[0]).unwrap();
    assert_eq!(ended["best_box"], serde_json::json!([40.0, 20.0, 200.0, 80.0]));
}

const TRACKED: fn() -> ObjectSettings = || ObjectSettings { tracked: true, ..ObjectSettings::default() };

/// Counts and occupied labels of a frame every second with detections of these scores, one a place.
fn counts(settings: ObjectSettings, frames: &[&[f32]]) -> Vec<(u32, bool)> {
    let mut objects = Objects::new(settings, LineCounts::default());
    let frame = |(step, scores): (usize, &&[f32])| {
        let mut report = report(step as u64, false);
        for (place, &score) in scores.iter().enumerate() {
            let mut found = self::report(0, true).detections.remove(0);
            (found.score, found.bbox) = (score, [100.0 * place as f32, 10.0, 100.0 * place as f32 + 40.0, 40.0]);
            report.detections.push(found);
        }
        objects.update(&RuleSettings::default(), &mut report);
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
    let mut objects = Objects::new(TRACKED(), LineCounts::default());
    let events: Vec<_> = (0..9)
        .flat_map(|step| objects.update(&RuleSettings::default(), &mut report(step, step < 5)))
        .filter(|event| event.name() != EventName::ObjectUpdate)
        .collect();
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
    let begun_names = [
        "box",
        "class_id",
        "first_at",
        "height",
        "label",
        "object",
        "score",
        "sequence",
        "stationary",
        "track",
        "width",
        "zones",
    ];
    assert_eq!(names(&begun), begun_names);
    let ended_names = [
        "best_box",
        "best_score",
        "class_id",
        "crossings",
        "duration_s",
        "first_at",
        "frames",
        "height",
        "label",
        "last_at",
        "object",
        "path",
        "stationary",
        "track",
        "visits",
        "width",
        "zones",
    ];
    assert_eq!(names(&ended), ended_names);
}

/// The left half of the picture as zone `yard`, and the line between the halves, upwards, as `gate`.
fn rules() -> RuleSettings {
    let polygon = vec![[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]];
    let zone = ZoneSettings { polygon, loitering: Some(Duration::from_secs(3)), crowd: None };
    let line = LineSettings { points: [[0.5, 1.0], [0.5, 0.0]], left: "out".into(), right: "in".into() };
    RuleSettings {
        zones: BTreeMap::from([("yard".into(), zone)]),
        lines: BTreeMap::from([("gate".into(), line)]),
        inertia: 1,
    }
}

#[test]
fn one_object_has_one_id_in_all_its_events_even_if_the_clock_is_set() {
    let counts = LineCounts::default();
    let mut objects = Objects::new(TRACKED(), counts.clone());
    let (mut events, mut zones) = (Vec::new(), Vec::new());
    for step in 0..16 {
        let mut report = report(step, step < 12);
        if step >= 4 {
            report.captured_at = Moment(jiff::Timestamp::new(step as i64 + 1_000_000, 0).unwrap());
        }
        for found in &mut report.detections {
            let x = if step < 6 { 10.0 } else { 10.0 + 12.0 * (step as f32 - 5.0) };
            (found.bbox, found.score) = ([x, 10.0, x + 20.0, 40.0], if step == 9 { 0.9 } else { 0.6 });
        }
        events.extend(objects.update(&rules(), &mut report));
        zones.push(report.zones.get("yard").cloned().unwrap_or_default());
    }
    let names: Vec<String> = events.iter().map(|event| serde_json::to_string(&event.name()).unwrap()).collect();
    let expected = [
        "object.new",
        "zone.entered",
        "zone.loitering",
        "object.update",
        "zone.left",
        "line.crossed",
        "object.update",
        "object.update",
        "object.end",
    ];
    assert_eq!(names, expected.map(|name| format!("\"{name}\"")), "{events:?}");
    let all: Vec<Value> = events.iter().map(fields).collect();
    assert!(all.iter().all(|event| event["object"] == all[0]["object"]), "{all:?}");
    assert!(all[0]["object"].as_str().unwrap().starts_with("front-0-b-"), "{}", all[0]["object"]);
    assert_eq!(all[0]["zones"], serde_json::json!(["yard"]));
    assert_eq!(all[3]["reasons"], serde_json::json!(["motion"]));
    assert_eq!(all[3]["stationary"], true);
    let left = &all[4];
    assert_eq!((&left["zone"], &left["direction"], &left["dwell_s"]), (&"yard".into(), &"right".into(), &8.0.into()));
    let crossed = &all[5];
    assert_eq!((&crossed["line"], &crossed["direction"], &crossed["count"]), (&"gate".into(), &"in".into(), &1.into()));
    assert_eq!(counts.of(Some("front"))[0].count, 1);
    assert_eq!(all[6]["reasons"], serde_json::json!(["motion"]));
    assert_eq!(all[7]["reasons"], serde_json::json!(["picture"]));
    assert_eq!((&all[7]["score"], &all[7]["sequence"]), (&0.9.into(), &10.into()));
    let end = &all[8];
    assert_eq!(end["visits"][0]["dwell_s"], 8.0);
    assert_eq!(end["crossings"][0]["direction"], "in");
    let path = end["path"].as_array().unwrap();
    assert_eq!(
        (&path[0], &path[path.len() - 1]),
        (&serde_json::json!([0.0, 20.0, 40.0]), &serde_json::json!([11.0, 92.0, 40.0]))
    );
    assert_eq!((end["width"].as_u64(), end["best_score"].as_f64()), (Some(100), Some(0.9)));
    // Occupied until two seconds after it left.
    let occupied: Vec<bool> = zones.iter().map(|zone| zone.occupied == ["Car"]).collect();
    assert_eq!(occupied, (0..16).map(|step| (1..10).contains(&step)).collect::<Vec<_>>());
    assert!(zones[5].objects["Car"] == 1 && zones[8].objects.is_empty());
}

#[test]
fn updates_of_an_object_come_at_most_once_a_second() {
    let mut objects = Objects::new(TRACKED(), LineCounts::default());
    let mut updates = Vec::new();
    for step in 0..50 {
        let mut report = report(step, true);
        report.captured_monotonic_ns = step * 100_000_000;
        report.detections[0].score = 0.5 + 0.01 * step as f32;
        let events = objects.update(&RuleSettings::default(), &mut report);
        updates.extend(events.iter().filter(|event| event.name() == EventName::ObjectUpdate).map(|_| step));
    }
    assert_eq!(updates, [11, 21, 31, 41]);
}

#[test]
fn objects_end_with_the_run_and_nothing_is_tracked_without_settings() {
    let mut objects = Objects::new(TRACKED(), LineCounts::default());
    for step in 0..3 {
        objects.update(&RuleSettings::default(), &mut report(step, true));
    }
    let events = objects.finish();
    assert_eq!(events[0].1.len(), 1);
    assert_eq!(fields(&events[0].1[0])["last_at"], "1970-01-01T00:00:02.000000Z");

    let mut none = Objects::new(ObjectSettings::default(), LineCounts::default());
    let mut first = report(0, true);
    assert!(none.update(&RuleSettings::default(), &mut first).is_empty() && first.detections[0].track.is_none());
}
