//! Rules of a camera: rate cap, motion gate, filter. Steps of the wall clock.

use lookout::rules::RuleSettings;

use super::*;

/// The rules of a camera with these lines in its configuration.
fn rules(lines: &str) -> CameraRules {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lookout.toml");
    let text = format!("[[camera]]\nname = \"front\"\nkind = \"replay\"\npath = \"x\"\n{lines}\n");
    std::fs::write(&file, text).unwrap();
    let settings = config::load(&Inputs { file: Some(file), ..Inputs::default() }).unwrap();
    let camera = &settings.cameras[0];
    let rules = RuleSettings::from(camera);
    CameraRules { gate: GateRules::new(camera), filter: Filter::new(camera), rules, ..CameraRules::default() }
}

#[test]
fn a_step_of_the_wall_clock_changes_nothing_but_the_printed_time() {
    let second = Duration::from_secs(1);
    let mut steps = vec![Step::Wall("1970-01-01T00:00:05Z"), Step::Picture(8, 6)];
    for wall in ["2026-11-25T10:00:00Z", "1999-01-01T00:00:00Z", "2026-11-25T10:00:09Z"] {
        steps.extend([Step::Wait(second), Step::Wall(wall), Step::Picture(8, 6)]);
    }
    let bench = Bench::new(FakeEngine::default()).camera("front", Delivery::Every, &steps);
    let (_trigger, stop) = stop::pair();
    let (outcome, kept, metrics) = bench.run(&stop);
    outcome.unwrap();
    let reports = kept.reports();
    let times: Vec<u64> = reports.iter().map(|report| report.captured_monotonic_ns / 1_000_000_000).collect();
    assert_eq!(times, [0, 1, 2, 3], "durations are untouched");
    let printed: Vec<String> = reports.iter().map(|report| report.captured_at.0.to_string()).collect();
    assert_eq!(
        printed,
        ["1970-01-01T00:00:05Z", "2026-11-25T10:00:00Z", "1999-01-01T00:00:00Z", "2026-11-25T10:00:09Z"]
    );
    // The source runs ahead of the detector by a picture: a second.
    assert!(reports.iter().all(|report| report.timing_ms.age <= 1000.0 && report.timing_ms.total <= 1000.0));
    assert_eq!(kept.events(), [EventName::CameraFound], "no camera counts as lost");
    assert_eq!(captured(&metrics, "front"), 4);
}

#[test]
fn the_rate_cap_makes_a_lossless_camera_wait_and_drops_frames_of_a_live_one() {
    let steps = vec![Step::Picture(8, 6); 11];
    let mut bench = Bench::new(FakeEngine::default()).camera("front", Delivery::Every, &steps);
    bench.components.cameras[0].rules = rules("max_fps = 5.0");
    let clock = bench.clock.clone();
    let (_trigger, stop) = stop::pair();
    let (outcome, kept, metrics) = bench.run(&stop);
    outcome.unwrap();
    assert_eq!(kept.sequences("front").len(), 11, "none is lost");
    let waited_ms = clock.monotonic_ns() / 1_000_000;
    assert!((1800..=2000).contains(&waited_ms), "ten times 200 ms, were {waited_ms}");
    assert_eq!(dropped(&metrics, "front", "rate"), 0);

    let tick = Duration::from_millis(50);
    let steps: Vec<Step> = (0..41).flat_map(|_| [Step::Wait(tick), Step::Picture(8, 6)]).collect();
    let mut bench = Bench::new(FakeEngine::default()).camera("front", Delivery::Newest, &steps);
    bench.components.cameras[0].rules = rules("max_fps = 5.0");
    let (_trigger, stop) = stop::pair();
    let (outcome, _, metrics) = bench.run(&stop);
    outcome.unwrap();
    assert_eq!(dropped(&metrics, "front", "rate"), 30, "of 41 in two seconds, eleven pass");
}

#[test]
fn a_still_scene_is_processed_once_per_interval() {
    let second = Duration::from_secs(1);
    let steps: Vec<Step> = (0..21).flat_map(|_| [Step::Picture(8, 6), Step::Wait(second)]).collect();
    let mut bench = Bench::new(FakeEngine::default()).camera("front", Delivery::Every, &steps);
    bench.components.cameras[0].rules = rules("motion_gate = 0.02\nmotion_interval = \"5s\"");
    let (_trigger, stop) = stop::pair();
    let (outcome, kept, metrics) = bench.run(&stop);
    outcome.unwrap();
    assert_eq!(kept.sequences("front"), [1, 6, 11, 16, 21]);
    assert_eq!(dropped(&metrics, "front", "still"), 16);
}

#[test]
fn removed_detections_reach_no_output_and_are_explained_on_request() {
    let mask = "masks = [[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]]";
    for (lines, rule) in [
        (format!("{mask}\nexplain = true"), Some("masks[0]")),
        (mask.to_owned(), None),
        ("limits = { Vehicle = { min_score = 0.6 } }\nexplain = true".to_owned(), Some("limits.Vehicle.min_score")),
    ] {
        let mut bench = Bench::new(FakeEngine::default()).camera("front", Delivery::Every, &[Step::Picture(8, 6)]);
        bench.components.cameras[0].rules = rules(&lines);
        let (_trigger, stop) = stop::pair();
        let (outcome, kept, metrics) = bench.run(&stop);
        outcome.unwrap();
        let report = &kept.reports()[0];
        assert!(report.detections.is_empty());
        assert_eq!(report.removed.first().map(|removed| removed.rule.as_str()), rule);
        let removed = metrics.encode().unwrap();
        assert!(removed.contains("lookout_detections_removed_total{camera=\"front\""), "{removed}");
    }
    let mut bench = Bench::new(FakeEngine::default()).camera("front", Delivery::Every, &[Step::Picture(8, 6)]);
    bench.components.cameras[0].rules = rules("zones = { gate = [[0.4, 0.9], [0.6, 0.9], [0.6, 1.0], [0.4, 1.0]] }");
    let (_trigger, stop) = stop::pair();
    let (_, kept, _) = bench.run(&stop);
    assert_eq!(kept.reports()[0].detections[0].zones, ["gate"]);
}

#[test]
fn an_object_enters_a_zone_between_its_begin_and_its_end_and_leaves_it_with_the_run() {
    let second = Duration::from_secs(1);
    let steps: Vec<Step> = (0..4).flat_map(|_| [Step::Picture(8, 6), Step::Wait(second)]).collect();
    let mut bench = Bench::new(FakeEngine::default()).camera("front", Delivery::Every, &steps);
    bench.components.cameras[0].rules = rules("zones = { gate = [[0.4, 0.9], [0.6, 0.9], [0.6, 1.0], [0.4, 1.0]] }");
    bench.components.track = ObjectSettings { tracked: true, ..ObjectSettings::default() };
    let (_trigger, stop) = stop::pair();
    let (outcome, kept, metrics) = bench.run(&stop);
    outcome.unwrap();
    let events: Vec<EventName> = kept.events().into_iter().filter(|event| event.is_of_objects()).collect();
    assert_eq!(events, [EventName::ObjectNew, EventName::ZoneEntered, EventName::ZoneLeft, EventName::ObjectEnd]);
    let zones: Vec<u32> = kept
        .reports()
        .iter()
        .map(|report| report.zones.get("gate").map_or(0, |zone| zone.objects["Vehicle"]))
        .collect();
    assert_eq!(zones, [0, 1, 1, 1]);
    let text = metrics.encode().unwrap();
    assert!(text.contains("lookout_zone_entries_total{camera=\"front\",zone=\"gate\",label=\"Vehicle\"} 1"), "{text}");
}
