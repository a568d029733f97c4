//! The whole daemon without a network: made-up cameras, a made-up engine, a simulated clock. Cameras fail, stall, give
//! garbage and change their size; every frame is reported or counted as dropped, and stopping always works.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lookout::camera::{Capture, Delivery, Replay, Source};
use lookout::clock::{Clock, SimulatedClock};
use lookout::config::{self, Inputs};
use lookout::daemon::{
    Camera, Engine, EngineOutput, Filter, GateRules, ModelInfo, Parts, Reload, Rules, Swap, Watcher, run_once,
};
use lookout::detector::detection::Detection;
use lookout::error::{Error, Kind, Result};
use lookout::frame::{Frame, Image, Picture};
use lookout::message::{EventName, Message, MessageKind, Precision, Report, State};
use lookout::metrics::{self, Metrics, Why};
use lookout::publish::{Outlet, Sending, Sink};
use lookout::stop::{self, Stop};

/// What a made-up camera does next.
#[derive(Debug, Clone)]
enum Step {
    Picture(usize, usize),
    Corrupt,
    Fail,
    /// Somebody sets the wall clock.
    Wall(&'static str),
    /// Time passes before the next picture.
    Wait(Duration),
    /// Never comes back, not even when stopped: a driver that hangs.
    Hang,
}

/// Plays its steps, then ends.
struct Scripted {
    steps: Arc<Mutex<VecDeque<Step>>>,
    delivery: Delivery,
    clock: Arc<SimulatedClock>,
}

impl Source for Scripted {
    fn next(&mut self, stop: &Stop) -> Result<Capture> {
        let step = self.steps.lock().unwrap().pop_front();
        match step {
            Some(Step::Picture(width, height)) => {
                let image = Picture::filled(width, height, [7; 3]).into();
                Ok(Capture::Image { image, monotonic_ns: None })
            }
            Some(Step::Corrupt) => Ok(Capture::Corrupt(Error::new(Kind::Data, "half a picture"))),
            Some(Step::Fail) => Err(Error::new(Kind::Unavailable, "unplugged")),
            Some(Step::Wall(wall)) => {
                self.clock.set_wall(wall.parse().unwrap());
                self.next(stop)
            }
            Some(Step::Wait(time)) => {
                self.clock.advance(time);
                self.next(stop)
            }
            Some(Step::Hang) => loop {
                std::thread::park();
            },
            None => Ok(Capture::Ended),
        }
    }

    fn delivery(&self) -> Delivery {
        self.delivery
    }
}

/// Sees one object, as large as the picture.
#[derive(Default)]
struct FakeEngine {
    /// Answers before the usual one, the first first.
    outcomes: VecDeque<Box<dyn FnOnce() -> Result<EngineOutput> + Send>>,
    generation: u32,
}

impl Engine for FakeEngine {
    fn detect(&mut self, image: &Image) -> Result<EngineOutput> {
        if let Some(outcome) = self.outcomes.pop_front() {
            return outcome();
        }
        let bbox = [0.0, 0.0, image.width() as f32, image.height() as f32];
        let detections = vec![Detection { class_id: 2, score: 0.5, bbox }];
        Ok(EngineOutput { detections, convert_ms: 1.0, detect_ms: 2.0 })
    }

    fn info(&self) -> ModelInfo {
        ModelInfo {
            name: "fake".into(),
            precision: Precision::Fp32,
            generation: self.generation,
            sha256: format!("{:02}", self.generation),
            labels: vec!["Person".into(), "Vehicle".into()],
        }
    }
}

/// Keeps what it is told.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Message>>>);

impl Sink for Kept {
    fn send<'a>(&'a mut self, message: &'a Message) -> Sending<'a> {
        self.0.lock().unwrap().push(message.clone());
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Kept {
    fn reports(&self) -> Vec<Report> {
        let kept = self.0.lock().unwrap();
        kept.iter()
            .filter_map(|message| if let Message::Report(report) = message { Some(report.clone()) } else { None })
            .collect()
    }

    fn sequences(&self, camera: &str) -> Vec<u64> {
        self.reports().iter().filter(|report| report.camera == camera).map(|report| report.sequence).collect()
    }

    fn events(&self) -> Vec<EventName> {
        let kept = self.0.lock().unwrap();
        kept.iter()
            .filter_map(|message| if let Message::Event(event) = message { Some(event.event) } else { None })
            .collect()
    }
}

/// A daemon to be started.
struct Bench {
    parts: Parts,
    kept: Kept,
    metrics: Arc<Metrics>,
    clock: Arc<SimulatedClock>,
}

impl Bench {
    fn new(engine: FakeEngine) -> Self {
        let kept = Kept::default();
        let metrics = Arc::new(Metrics::new());
        let clock = Arc::new(SimulatedClock::default());
        let messages = vec![MessageKind::Report, MessageKind::Event, MessageKind::Status];
        let mut parts = Parts::around(engine, clock.clone());
        parts.metrics = metrics.clone();
        parts.outlets = vec![Outlet { name: "kept".into(), messages, sink: Box::new(kept.clone()) }];
        Self { parts, kept, metrics, clock }
    }

    fn camera(mut self, name: &str, delivery: Delivery, steps: &[Step]) -> Self {
        let steps = Arc::new(Mutex::new(VecDeque::from(steps.to_vec())));
        let clock = self.clock.clone();
        let open = move || {
            let (steps, clock) = (steps.clone(), clock.clone());
            Ok(Box::new(Scripted { steps, delivery, clock }) as Box<dyn Source>)
        };
        self.parts.cameras.push(Camera::new(name, open));
        self
    }

    fn run(self, stop: &Stop) -> (Result<()>, Kept, Arc<Metrics>) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let outcome = run_once(&runtime, self.parts, stop);
        runtime.shutdown_background();
        (outcome, self.kept, self.metrics)
    }
}

fn dropped(metrics: &Metrics, camera: &str, reason: &'static str) -> u64 {
    metrics.frames_dropped.get_or_create(&Why { camera: camera.into(), reason }).get()
}

fn captured(metrics: &Metrics, camera: &str) -> u64 {
    metrics.frames_captured.get_or_create(&metrics::Camera { camera: camera.into() }).get()
}

#[test]
fn every_picture_of_a_patient_camera_is_reported_in_order() {
    let steps = [Step::Picture(8, 6), Step::Picture(4, 2), Step::Corrupt, Step::Picture(8, 6)];
    let bench = Bench::new(FakeEngine::default()).camera("front", Delivery::Every, &steps);
    let (_trigger, stop) = stop::pair();
    let (outcome, kept, metrics) = bench.run(&stop);
    outcome.unwrap();
    assert_eq!(kept.sequences("front"), [1, 2, 4], "the gap is the picture that could not be decoded");
    assert_eq!((captured(&metrics, "front"), dropped(&metrics, "front", "corrupt")), (4, 1));
    assert_eq!(kept.events(), [EventName::CameraFound]);

    let report = &kept.reports()[1];
    assert_eq!((report.width, report.height), (4, 2));
    assert_eq!(report.detections[0].bbox, [0.0, 0.0, 4.0, 2.0]);
    assert_eq!((report.detections[0].label.as_str(), report.detections[0].class_id), ("Vehicle", 2));
    assert_eq!((report.device.as_str(), report.boot_id.as_str()), ("test", "boot"));
    let last = kept.0.lock().unwrap().iter().rev().find_map(|message| match message {
        Message::Status(status) => Some(status.state),
        _ => None,
    });
    assert_eq!(last, Some(State::Stopping));
}

#[test]
fn a_hurried_camera_loses_frames_and_counts_each() {
    let steps = vec![Step::Picture(8, 6); 500];
    let bench = Bench::new(FakeEngine::default()).camera("a", Delivery::Newest, &steps);
    let bench = bench.camera("b", Delivery::Newest, &steps);
    let (_trigger, stop) = stop::pair();
    let (outcome, kept, metrics) = bench.run(&stop);
    outcome.unwrap();
    for camera in ["a", "b"] {
        let sequences = kept.sequences(camera);
        assert!(sequences.is_sorted());
        let unsaid = metrics.publish.get_or_create(&metrics::Said { sink: "kept".into(), result: "dropped" }).get();
        if unsaid == 0 {
            assert_eq!(sequences.last(), Some(&500), "the newest frame is always looked at");
            assert_eq!(sequences.len() as u64 + dropped(&metrics, camera, "busy"), captured(&metrics, camera));
        }
    }
}

#[test]
fn a_lost_camera_is_opened_again_and_told_once() {
    let steps = [Step::Picture(8, 6), Step::Fail, Step::Fail, Step::Fail, Step::Picture(8, 6)];
    let bench = Bench::new(FakeEngine::default()).camera("front", Delivery::Every, &steps);
    let clock = bench.clock.clone();
    let (_trigger, stop) = stop::pair();
    let (outcome, kept, metrics) = bench.run(&stop);
    outcome.unwrap();
    assert_eq!(kept.sequences("front"), [1, 2], "numbers go on over a loss");
    assert_eq!(kept.events(), [EventName::CameraFound, EventName::CameraLost, EventName::CameraFound]);
    let waited = clock.monotonic_ns() / 1_000_000_000;
    assert!((5..=7).contains(&waited), "1, 2 and 4 seconds less some spread, were {waited}");
    let reconnects = |reason| metrics.camera_reconnects.get_or_create(&Why { camera: "front".into(), reason }).get();
    assert_eq!((reconnects("failed"), reconnects("absent")), (1, 2));
}

#[test]
fn ten_thousand_failed_openings_do_no_harm() {
    let mut bench = Bench::new(FakeEngine::default());
    let attempts = Arc::new(AtomicUsize::new(0));
    let (counted, clock) = (attempts.clone(), bench.clock.clone());
    let open = move || match counted.fetch_add(1, Ordering::SeqCst) {
        0..10_000 => Err(Error::new(Kind::NoInput, "not there")),
        _ => Ok(Box::new(Scripted { steps: Arc::default(), delivery: Delivery::Newest, clock: clock.clone() })
            as Box<dyn Source>),
    };
    bench.parts.cameras.push(Camera::new("front", open));
    let (_trigger, stop) = stop::pair();
    let (outcome, kept, _) = bench.run(&stop);
    outcome.unwrap();
    assert_eq!(attempts.load(Ordering::SeqCst), 10_001);
    assert_eq!(kept.events(), [EventName::CameraLost]);
}

#[test]
fn a_camera_that_hangs_neither_holds_up_another_nor_the_end() {
    let bench = Bench::new(FakeEngine::default())
        .camera("stuck", Delivery::Newest, &[Step::Picture(8, 6), Step::Hang])
        .camera("front", Delivery::Every, &vec![Step::Picture(8, 6); 50]);
    let kept = bench.kept.clone();
    let (trigger, stop) = stop::pair();
    let begin = Instant::now();
    let daemon = std::thread::spawn(move || bench.run(&stop).0);
    while kept.sequences("front").len() < 50 {
        assert!(begin.elapsed() < Duration::from_secs(60));
        std::thread::yield_now();
    }
    trigger.stop();
    daemon.join().unwrap().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(15), "nobody waited for the camera that hangs");
}

#[test]
fn a_picture_the_engine_refuses_costs_that_picture_only() {
    let mut engine = FakeEngine::default();
    engine.outcomes.push_back(Box::new(|| Err(Error::new(Kind::Data, "too narrow"))));
    let bench = Bench::new(engine).camera("front", Delivery::Every, &[Step::Picture(1, 900), Step::Picture(8, 6)]);
    let (_trigger, stop) = stop::pair();
    let (outcome, kept, metrics) = bench.run(&stop);
    outcome.unwrap();
    assert_eq!(kept.sequences("front"), [2]);
    assert_eq!(dropped(&metrics, "front", "unfit"), 1);
}

/// Offers another engine when it sees frame number 3, and keeps what it sees.
struct Offers {
    swap: Swap,
    seen: Arc<Mutex<Vec<(u64, usize)>>>,
    replaced: Arc<Mutex<Option<Receiver<Box<dyn Engine>>>>>,
}

impl Watcher for Offers {
    fn seen(&mut self, camera: usize, frame: &Arc<Frame>, report: &Report) {
        assert_eq!((frame.sequence, report.camera.as_str()), (report.sequence, "front"));
        self.seen.lock().unwrap().push((frame.sequence, camera));
        if frame.sequence == 3 {
            // Only the later of two offers is taken.
            drop(self.swap.offer(Box::new(FakeEngine { generation: 7, ..FakeEngine::default() })));
            let engine = FakeEngine { generation: 1, ..FakeEngine::default() };
            *self.replaced.lock().unwrap() = Some(self.swap.offer(Box::new(engine)));
            assert!(self.swap.is_waiting());
        }
    }
}

#[test]
fn another_engine_comes_in_between_two_frames_and_none_is_lost() {
    let mut bench = Bench::new(FakeEngine::default()).camera("front", Delivery::Every, &vec![Step::Picture(8, 6); 10]);
    let (seen, replaced) = (Arc::default(), Arc::default());
    let swap = bench.parts.swap.clone();
    let watcher = Offers { swap: swap.clone(), seen: Arc::clone(&seen), replaced: Arc::clone(&replaced) };
    bench.parts.watchers.push(Box::new(watcher));
    let (_trigger, stop) = stop::pair();
    let (outcome, kept, metrics) = bench.run(&stop);
    outcome.unwrap();
    assert_eq!(*seen.lock().unwrap(), (1..=10).map(|sequence| (sequence, 0)).collect::<Vec<_>>());
    let generations: Vec<u32> = kept.reports().iter().map(|report| report.model.generation).collect();
    assert_eq!(generations, [0, 0, 0, 1, 1, 1, 1, 1, 1, 1]);
    let old = replaced.lock().unwrap().take().unwrap().recv().unwrap();
    assert_eq!((old.info().generation, swap.is_waiting()), (0, false));
    let text = metrics.encode().unwrap();
    assert!(text.contains("sha256=\"01\"} 1") && !text.contains("sha256=\"00\""), "{text}");
    let last = kept.0.lock().unwrap().iter().rev().find_map(|message| match message {
        Message::Status(status) => status.model.clone(),
        _ => None,
    });
    assert_eq!(last.unwrap().generation, 1);
}

#[test]
fn an_engine_that_fails_or_panics_ends_it_with_an_error() {
    let failures: [fn() -> Result<EngineOutput>; 2] =
        [|| Err(Error::new(Kind::Internal, "a shape is wrong")), || panic!("made up for this test")];
    for failure in failures {
        let mut engine = FakeEngine::default();
        engine.outcomes.push_back(Box::new(failure));
        let bench = Bench::new(engine).camera("front", Delivery::Every, &[Step::Picture(8, 6)]);
        let (_trigger, stop) = stop::pair();
        assert_eq!(bench.run(&stop).0.unwrap_err().kind(), Kind::Internal);
    }
}

#[test]
fn a_folder_without_a_rate_is_seen_whole() {
    let folder = tempfile::tempdir().unwrap();
    for index in 0..20 {
        let picture = image::RgbImage::from_pixel(10 + index, 8, image::Rgb([0; 3]));
        picture.save(folder.path().join(format!("{index:03}.png"))).unwrap();
    }
    std::fs::write(folder.path().join("004.png"), "garbage").unwrap();
    let mut bench = Bench::new(FakeEngine::default());
    let (path, clock) = (folder.path().to_owned(), bench.clock.clone());
    let open = move || Ok(Box::new(Replay::open(&path, None, false, clock.clone())?) as Box<dyn Source>);
    bench.parts.cameras.push(Camera::new("folder", open));
    let (_trigger, stop) = stop::pair();
    let (outcome, kept, metrics) = bench.run(&stop);
    outcome.unwrap();
    let widths: Vec<usize> = kept.reports().iter().map(|report| report.width).collect();
    assert_eq!(widths, (10..30).filter(|&width| width != 14).collect::<Vec<_>>());
    assert_eq!(dropped(&metrics, "folder", "corrupt"), 1);
}

/// The rules of a camera configured with these further lines.
fn rules(lines: &str) -> Rules {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lookout.toml");
    let text = format!("[[camera]]\nname = \"front\"\nkind = \"replay\"\npath = \"x\"\n{lines}\n");
    std::fs::write(&file, text).unwrap();
    let settings = config::load(&Inputs { file: Some(file), ..Inputs::default() }).unwrap();
    Rules { gate: GateRules::new(&settings.cameras[0]), filter: Filter::new(&settings.cameras[0]) }
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
    assert_eq!(kept.events(), [EventName::CameraFound], "nobody was lost by it");
    assert_eq!(captured(&metrics, "front"), 4);
}

#[test]
fn the_rate_cap_makes_a_patient_camera_wait_and_drops_from_a_hurried_one() {
    let steps = vec![Step::Picture(8, 6); 11];
    let mut bench = Bench::new(FakeEngine::default()).camera("front", Delivery::Every, &steps);
    bench.parts.cameras[0].rules = rules("max_fps = 5.0");
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
    bench.parts.cameras[0].rules = rules("max_fps = 5.0");
    let (_trigger, stop) = stop::pair();
    let (outcome, _, metrics) = bench.run(&stop);
    outcome.unwrap();
    assert_eq!(dropped(&metrics, "front", "rate"), 30, "of 41 in two seconds, eleven pass");
}

#[test]
fn a_still_scene_is_looked_at_once_in_a_while() {
    let second = Duration::from_secs(1);
    let steps: Vec<Step> = (0..21).flat_map(|_| [Step::Picture(8, 6), Step::Wait(second)]).collect();
    let mut bench = Bench::new(FakeEngine::default()).camera("front", Delivery::Every, &steps);
    bench.parts.cameras[0].rules = rules("motion_gate = 0.02\nmotion_interval = \"5s\"");
    let (_trigger, stop) = stop::pair();
    let (outcome, kept, metrics) = bench.run(&stop);
    outcome.unwrap();
    assert_eq!(kept.sequences("front"), [1, 6, 11, 16, 21]);
    assert_eq!(dropped(&metrics, "front", "still"), 16);
}

#[test]
fn what_the_rules_remove_is_gone_for_everybody_and_told_where_asked_for() {
    let mask = "masks = [[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]]";
    for (lines, rule) in [
        (format!("{mask}\nexplain = true"), Some("masks[0]")),
        (mask.to_owned(), None),
        ("limits = { Vehicle = { min_score = 0.6 } }\nexplain = true".to_owned(), Some("limits.Vehicle.min_score")),
    ] {
        let mut bench = Bench::new(FakeEngine::default()).camera("front", Delivery::Every, &[Step::Picture(8, 6)]);
        bench.parts.cameras[0].rules = rules(&lines);
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
    bench.parts.cameras[0].rules = rules("zones = { gate = [[0.4, 0.9], [0.6, 0.9], [0.6, 1.0], [0.4, 1.0]] }");
    let (_trigger, stop) = stop::pair();
    let (_, kept, _) = bench.run(&stop);
    assert_eq!(kept.reports()[0].detections[0].zones, ["gate"]);
}

/// A folder with a configuration and two folders of pictures.
fn site() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, width) in [("a", 10), ("b", 20), ("c", 30)] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        let picture = image::RgbImage::from_pixel(width, 8, image::Rgb([0; 3]));
        picture.save(folder.path().join(name).join("0.png")).unwrap();
    }
    folder
}

#[test]
fn another_configuration_is_taken_up_where_it_changed_and_refused_where_it_is_wrong() {
    let site = site();
    let file = site.path().join("lookout.toml");
    let write = |cameras: &[(&str, &str)]| {
        let one = |(name, more): &(&str, &str)| {
            let path = site.path().join(name);
            format!(
                "[[camera]]\nname = \"{name}\"\nkind = \"replay\"\nrate = 0\nloop = true\npath = {path:?}\n{more}\n"
            )
        };
        let cameras: String = cameras.iter().map(one).collect();
        std::fs::write(&file, format!("[model]\ncheckpoint = \"m\"\n{cameras}")).unwrap();
    };
    write(&[("a", ""), ("b", "")]);
    let inputs = Inputs { file: Some(file.clone()), ..Inputs::default() };
    let settings = config::load(&inputs).unwrap();
    let mut bench = Bench::new(FakeEngine::default());
    for name in ["a", "b"] {
        let (path, clock) = (site.path().join(name), bench.clock.clone());
        let open = move || Ok(Box::new(Replay::open(&path, None, true, clock.clone())?) as Box<dyn Source>);
        bench.parts.cameras.push(Camera::new(name, open));
    }
    bench.parts.reload = Some(Reload { inputs, settings, refused: None, next: Arc::default() });
    let (control, kept) = (bench.parts.control.clone(), bench.kept.clone());
    let (trigger, stop) = stop::pair();
    let daemon = std::thread::spawn(move || bench.run(&stop).0);
    let begin = Instant::now();
    let until = |what: &dyn Fn() -> bool| {
        while !what() {
            assert!(begin.elapsed() < Duration::from_secs(60));
            std::thread::yield_now();
        }
    };
    let reload = || control.call("reload", serde_json::Value::Null);
    let seen = |width: usize| kept.reports().iter().filter(|report| report.width == width).count();
    until(&|| seen(10) > 2 && seen(20) > 2 && control.verbs().contains(&"reload"));
    assert_eq!(reload().unwrap()["changed"], serde_json::json!([]));

    // One goes, one comes, one stays and gets another rule.
    write(&[("a", "limits = { Vehicle = { min_score = 0.9 } }"), ("c", "")]);
    assert_eq!(reload().unwrap()["changed"], serde_json::json!(["camera"]));
    until(&|| seen(30) > 2);
    until(&|| kept.reports().last().is_some_and(|report| report.width == 10 && report.detections.is_empty()));
    let gone = seen(20);
    let status = control.call("status", serde_json::Value::Null).unwrap();
    let names: Vec<&str> = status["cameras"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!((names, status["state"].as_str()), (vec!["a", "c"], Some("ok")));

    // Wrong in itself, then right but for a folder that is not there: everything goes on as it was.
    std::fs::write(&file, "[[camera]]\nnaem = \"a\"\n").unwrap();
    let error = reload().unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.message().contains("lookout.toml:2") && error.message().contains("did you mean \"name\""), "{error}");
    write(&[("a", ""), ("d", "")]);
    assert_eq!(reload().unwrap_err().kind(), Kind::NoInput);
    let status = control.call("status", serde_json::Value::Null).unwrap();
    assert_eq!(status["state"], "degraded");
    assert!(status["reasons"][0].as_str().unwrap().contains("the new configuration is refused"), "{status}");
    assert!(kept.events().contains(&EventName::ConfigRefused));
    let before = seen(30);
    until(&|| seen(30) > before + 2);

    write(&[("a", ""), ("c", "")]);
    reload().unwrap();
    let status = control.call("status", serde_json::Value::Null).unwrap();
    assert_eq!(status["state"], "ok", "{status}");
    until(&|| kept.reports().last().is_some_and(|report| report.width == 10 && report.detections.len() == 1));
    assert!(seen(20) <= gone + 1, "nothing more of a camera that was taken away");
    trigger.stop();
    daemon.join().unwrap().unwrap();
    assert!(!control.verbs().contains(&"reload"), "between two lives nobody reloads");
}
