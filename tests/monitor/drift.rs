//! Detection of drift: which changes raise it and which do not.

use std::sync::Arc;
use std::time::Duration;

use lookout::camera::pattern::{Scene, Weather as Air};
use lookout::detector::checkpoint::Checkpoint;
use lookout::detector::demo;
use lookout::frame::Picture;
use lookout::message::EventName;
use lookout::monitor::{MonitorOptions, RecalibrationPolicy, SampleOutcome, UnusableReason};

use super::device::{Device, between};
use super::world::{self, Weather};

/// 30 seconds, as sampled by default.
const STEP: i64 = 30;

#[test]
fn nightfall_and_every_weather_are_flagged_within_ten_passes() {
    let day = between((8, 18));
    for with_reference in [true, false] {
        let file = tempfile::NamedTempFile::new().unwrap();
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(Arc::new(file.reopen().unwrap())).finish();
        let _log = tracing::subscriber::set_default(log);
        let mut device = Device::new(&day, with_reference, MonitorOptions::default());
        device.until(10);
        assert_eq!(device.watch(12, STEP, Weather::Clear), None, "a clear day is what it was calibrated on");
        let weathers = [Weather::Clear, Weather::Fog, Weather::Noise, Weather::Flat, Weather::Harsh];
        for (round, weather) in weathers.into_iter().enumerate() {
            if weather == Weather::Clear {
                // Full night.
                device.until(21);
            }
            let flagged = device.watch_for_drift(10, STEP, weather);
            assert!(flagged.is_some(), "{weather:?}, reference {with_reference}: {:?}", worst(&device));
            let raised = device.last(EventName::DriftRaised);
            let steps = raised["steps"].as_array().unwrap();
            println!(
                "{weather:?} reference {with_reference}: pass {flagged:?}, {} steps, {:?}",
                steps.len(),
                worst(&device)
            );
            assert_eq!(device.view.maps().len(), if with_reference { 5 } else { 0 });
            assert!(device.view.table().as_array().unwrap().len() > 20);
            // The steps that the event names are those that deviate.
            let averages = device.monitor.drift().averages();
            let plan = device.reference.plan();
            let off = |name: &str| averages[plan.find(name).unwrap()].unwrap();
            let together = raised["numbers"]["by"] == "together";
            assert!(!steps.is_empty() && steps.iter().all(|step| together || off(step.as_str().unwrap()) >= 4.0));
            assert_eq!(raised["numbers"]["worst"], *plan.steps[worst(&device).unwrap().0].name);
            device.until(10);
            device.watch(8, STEP, Weather::Clear);
            assert_eq!(device.events().len(), 2 * round + 2);
            assert_eq!(device.events().last(), Some(&EventName::DriftCleared));
        }
        // By default the log has the passes that changed the verdict, and no other.
        let log = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(log.matches("int8 compared").count(), device.events().len(), "{log}");
    }
}

fn worst(device: &Device) -> Option<(usize, f64)> {
    let averages = device.monitor.drift().averages().iter().enumerate();
    averages.filter_map(|(step, average)| Some((step, (*average)?))).max_by(|a, b| a.1.total_cmp(&b.1))
}

#[test]
fn a_week_like_the_day_it_was_calibrated_on_is_no_drift() {
    a_week(131, Device::new);
}

#[test]
#[ignore = "minutes: the week, sampled closely; see src/monitor/README.md"]
fn scenario_week() {
    a_week(11, Device::new);
}

#[test]
#[ignore = "minutes: the same with the artifact that quantize makes by default"]
fn scenario_week_by_default() {
    a_week(11, Device::by_default);
}

fn a_week(minutes: i64, device: impl Fn(&[Picture], bool, MonitorOptions) -> Device) {
    let full_day = between((0, 24));
    for with_reference in [true, false] {
        let options = MonitorOptions { recalibrate: RecalibrationPolicy::OnDrift, ..MonitorOptions::default() };
        let mut device = device(&full_day, with_reference, options);
        let mut most = f64::NEG_INFINITY;
        // No two days are sampled alike.
        for _ in 0..7 * 24 * 60 / minutes {
            let raised = device.watch(1, minutes * 60, Weather::Clear);
            assert!(raised.is_none(), "{} s: {:?}", device.second, device.last(EventName::DriftRaised));
            most = most.max(device.score);
        }
        println!("reference {with_reference}: at most {most:.2} spreads off in a week");
        assert!(device.events().is_empty());
        assert_eq!(device.models.serving().generation, 0);
    }
}

#[test]
fn the_built_in_model_is_calibrated_for_its_own_street() {
    let checkpoint = Checkpoint::from_bytes(demo::checkpoint().unwrap()).unwrap();
    for with_reference in [true, false] {
        let mut device = Device::on(&checkpoint, demo::artifact().unwrap(), with_reference, MonitorOptions::default());
        let mut scene = Scene::new(1, 640, 360);
        scene.set_weather(Air::DAY);
        for pass in 0..8 {
            device.second += STEP;
            let seen = device.show(scene.frame(15 * STEP as u64 * pass).0, None);
            assert!(
                matches!(seen, SampleOutcome::Compared(verdict) if !verdict.drifting),
                "{seen:?}: {:?}",
                worst(&device)
            );
        }
        println!("reference {with_reference}: {:.2}", device.score);
    }
}

#[test]
fn pictures_of_many_places_still_tell_a_weather_without_the_reference() {
    let places: Vec<_> = (0..24).map(|at| world::other_street(100 + at, 36_000 + 97 * at as i64)).collect();
    for weather in [Weather::Fog, Weather::Noise, Weather::Flat, Weather::Harsh] {
        let mut device = Device::new(&places, false, MonitorOptions::default());
        device.until(10);
        assert_eq!(device.watch(12, STEP, Weather::Clear), None, "one more place: {:?}", device.score);
        let flagged = device.watch_for_drift(10, STEP, weather);
        assert!(flagged.is_some(), "{weather:?}: {:.2}", device.score);
        let raised = device.last(EventName::DriftRaised);
        println!("{weather:?}: pass {flagged:?}, {} {}", raised["numbers"]["worst"], raised["numbers"]["by"]);
    }
}

#[test]
fn unusable_frames_are_no_drift() {
    let mut device = Device::new(&between((8, 18)), true, MonitorOptions::default());
    device.until(10);
    let street = |second| world::street(second, Weather::Clear);
    let half = |second| {
        let mut picture = street(second);
        let from = picture.data.len() / 2;
        picture.data[from..].fill(128);
        picture
    };
    for round in 0..12 {
        device.second += 30;
        let now = device.second;
        assert!(matches!(device.show(street(now), Some(street(now + 1))), SampleOutcome::Compared(_)));
        let bright = world::lit_street(now + 2, 0.0, Weather::Clear);
        let dark = world::lit_street(now + 3, 1.0, Weather::Clear);
        let unusable = [
            (device.show(world::covered(now), None), UnusableReason::Covered),
            (device.show(half(now + 4), None), UnusableReason::Incomplete),
            (device.show(bright.clone(), Some(dark.clone())), UnusableReason::Strobe),
            (device.show(dark, Some(bright)), UnusableReason::Strobe),
        ];
        for (seen, reason) in unusable {
            assert_eq!(seen, SampleOutcome::Unusable(reason), "round {round}");
        }
    }
    assert!(device.events().is_empty() && !device.monitor.drift().is_raised());
    assert_eq!(device.metrics.monitor.passes("compared"), 12);
    assert_eq!(device.metrics.monitor.passes("strobe"), 24);
    assert_eq!(device.monitor.reservoir().frames().len(), 12, "no unusable frame is stored");
    // A camera that is covered now and then is no fault; five minutes are.
    assert_eq!(*device.host.camera_fault.lock().unwrap(), None);
    for _ in 0..10 {
        device.second += 30;
        device.show(world::covered(device.second), None);
    }
    let reason = device.host.camera_fault.lock().unwrap().clone();
    assert!(reason.is_some_and(|reason| reason.ends_with("only unusable frames for 10 samples: covered")));
    device.second += 30;
    device.show(street(device.second), None);
    assert_eq!(*device.host.camera_fault.lock().unwrap(), None);
}

#[test]
fn frames_kept_on_disk_are_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let keep = lookout::monitor::FrameStorage {
        folder: folder.path().join("reservoir"),
        max_bytes: 1 << 20,
        max_age: Duration::from_secs(7 * 86_400),
    };
    let options = MonitorOptions { keep_frames: Some(keep.clone()), ..MonitorOptions::default() };
    let mut device = Device::new(&between((8, 18)), false, options.clone());
    device.watch(5, STEP, Weather::Clear);
    assert_eq!(std::fs::read_dir(&keep.folder).unwrap().count(), 5);
    let again = Device::new(&between((8, 18)), false, options);
    assert_eq!(again.monitor.reservoir().frames().len(), 5);
}
