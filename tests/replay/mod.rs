//! The service without a network: scripted cameras, a fake engine, a simulated clock. Cameras fail, stall, give garbage
//! and change their size. Every frame is reported or counted as dropped, and stopping always works.

mod cameras;
mod reload;
mod rules;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lookout::camera::{Capture, Delivery, Replay, Source};
use lookout::clock::{Clock, SimulatedClock};
use lookout::config::{self, Inputs, SupervisionSettings};
use lookout::control::Control;
use lookout::daemon::{
    Camera, CameraRules, Components, Engine, EngineOutput, EngineSwap, Filter, FrameObserver, GateRules, Health,
    Identity, LineCounts, ModelInfo, ObjectSettings, ReloadRequests, run_once,
};
use lookout::detector::detection::Detection;
use lookout::error::{Error, Kind, Result};
use lookout::fault::FaultReporter;
use lookout::frame::{Frame, Image, Picture};
use lookout::message::{CameraState, EventName, Message, MessageKind, ModelPrecision, Report, State};
use lookout::metrics::{self, Metrics, ReasonLabels};
use lookout::publish::{Outlet, Sink, SinkFuture};
use lookout::stop::{self, Stop};

/// One step of a scripted camera.
#[derive(Debug, Clone, Copy)]
enum Step {
    Picture(usize, usize),
    Corrupt,
    Fail,
    /// Sets the wall clock.
    Wall(&'static str),
    /// Advances the time before the next picture.
    Wait(Duration),
    /// Gives neither a picture nor an error for this long.
    Nothing(Duration),
    /// Gives a picture, after skipping so many.
    Burst(u64),
    /// Records the state of the first camera in the health table.
    RecordState,
    /// Never returns, not even when stopped: a driver that hangs.
    Hang,
}

/// Performs its steps, then ends.
struct Scripted {
    steps: Arc<Mutex<VecDeque<Step>>>,
    delivery: Delivery,
    clock: Arc<SimulatedClock>,
    health: Arc<Health>,
    states: Arc<Mutex<Vec<CameraState>>>,
    skipped: u64,
}

impl Source for Scripted {
    fn next(&mut self, _: &Stop) -> Result<Capture> {
        loop {
            let step = self.steps.lock().unwrap().pop_front();
            return match step {
                Some(Step::Picture(width, height)) => {
                    let image = Picture::filled(width, height, [7; 3]).into();
                    Ok(Capture::Image { image, monotonic_ns: None })
                }
                Some(Step::Corrupt) => Ok(Capture::Corrupt(Error::new(Kind::Data, "half a picture"))),
                Some(Step::Fail) => Err(Error::new(Kind::Unavailable, "unplugged")),
                Some(Step::Wall(wall)) => {
                    self.clock.set_wall(wall.parse().unwrap());
                    continue;
                }
                Some(Step::Wait(time)) => {
                    self.clock.advance(time);
                    continue;
                }
                Some(Step::Nothing(time)) => {
                    self.clock.advance(time);
                    Ok(Capture::Nothing)
                }
                Some(Step::Burst(frames)) => {
                    self.skipped += frames;
                    Ok(Capture::Image { image: Picture::filled(8, 6, [7; 3]).into(), monotonic_ns: None })
                }
                Some(Step::RecordState) => {
                    let status = self.health.status(self.clock.as_ref());
                    self.states.lock().unwrap().extend(status.cameras.values().next().map(|camera| camera.state));
                    continue;
                }
                Some(Step::Hang) => loop {
                    std::thread::park();
                },
                None => Ok(Capture::Ended),
            };
        }
    }

    fn delivery(&self) -> Delivery {
        self.delivery
    }

    fn skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }
}

/// Finds one object, as large as the picture.
#[derive(Default)]
struct FakeEngine {
    /// Outcomes of the first calls; further calls succeed.
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
            precision: ModelPrecision::Fp32,
            generation: self.generation,
            sha256: format!("{:02}", self.generation),
            labels: vec!["Person".into(), "Vehicle".into()],
        }
    }
}

/// A sink that keeps every message.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Message>>>);

impl Sink for Kept {
    fn send<'a>(&'a mut self, message: &'a Message) -> SinkFuture<'a> {
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

/// A service that a test prepares and runs.
struct Bench {
    components: Components,
    kept: Kept,
    metrics: Arc<Metrics>,
    clock: Arc<SimulatedClock>,
    states: Arc<Mutex<Vec<CameraState>>>,
}

impl Bench {
    fn new(engine: FakeEngine) -> Self {
        let kept = Kept::default();
        let metrics = Arc::new(Metrics::new());
        let clock = Arc::new(SimulatedClock::default());
        let messages = vec![MessageKind::Report, MessageKind::Event, MessageKind::Status];
        let components = Components {
            identity: Identity { device: "test".to_owned(), boot_id: "boot".to_owned() },
            health: Arc::new(Health::new("test", clock.as_ref())),
            cameras: Vec::new(),
            engine: Box::new(engine),
            monitoring: None,
            swap: EngineSwap::default(),
            observers: Vec::new(),
            outlets: vec![Outlet {
                name: "kept".into(),
                messages,
                sink: Box::new(kept.clone()),
                is_output: true,
                fault: FaultReporter::ignored(),
            }],
            clock: clock.clone(),
            control: Control::default(),
            metrics: metrics.clone(),
            pattern: Default::default(),
            track: ObjectSettings::default(),
            counts: LineCounts::default(),
            supervision: SupervisionSettings {
                stall_timeout: Duration::from_secs(10),
                grace_period: Duration::from_secs(20),
                throttle_celsius: None,
                pause_celsius: None,
            },
            reload: None,
        };
        Self { components, kept, metrics, clock, states: Arc::default() }
    }

    fn camera(mut self, name: &str, delivery: Delivery, steps: &[Step]) -> Self {
        let steps = Arc::new(Mutex::new(VecDeque::from(steps.to_vec())));
        let (clock, health, states) = (self.clock.clone(), self.components.health.clone(), self.states.clone());
        let open = move || {
            let (steps, clock, health, states) = (steps.clone(), clock.clone(), health.clone(), states.clone());
            Ok(Box::new(Scripted { steps, delivery, clock, health, states, skipped: 0 }) as Box<dyn Source>)
        };
        self.components.cameras.push(Camera::new(name, open));
        self
    }

    fn run(self, stop: &Stop) -> (Result<()>, Kept, Arc<Metrics>) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let outcome = run_once(&runtime, self.components, stop);
        runtime.shutdown_background();
        (outcome, self.kept, self.metrics)
    }
}

fn dropped(metrics: &Metrics, camera: &str, reason: &'static str) -> u64 {
    metrics.frames_dropped.get_or_create(&ReasonLabels { camera: camera.into(), reason }).get()
}

fn captured(metrics: &Metrics, camera: &str) -> u64 {
    metrics.frames_captured.get_or_create(&metrics::CameraLabel { camera: camera.into() }).get()
}

#[test]
fn every_picture_of_a_lossless_camera_is_reported_in_order() {
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
fn a_live_camera_loses_frames_and_counts_each() {
    let steps = vec![Step::Picture(8, 6); 500];
    let bench = Bench::new(FakeEngine::default()).camera("a", Delivery::Newest, &steps);
    let bench = bench.camera("b", Delivery::Newest, &steps);
    let (_trigger, stop) = stop::pair();
    let (outcome, kept, metrics) = bench.run(&stop);
    outcome.unwrap();
    for camera in ["a", "b"] {
        let sequences = kept.sequences(camera);
        assert!(sequences.is_sorted());
        let lost_messages =
            metrics.publish.get_or_create(&metrics::MessageLabels { sink: "kept".into(), result: "dropped" }).get();
        if lost_messages == 0 {
            assert_eq!(sequences.last(), Some(&500), "the newest frame is always processed");
            assert_eq!(sequences.len() as u64 + dropped(&metrics, camera, "busy"), captured(&metrics, camera));
        }
    }
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

/// Offers another engine at frame number 3, and keeps the frames it observed.
struct SwapAtFrame3 {
    swap: EngineSwap,
    seen: Arc<Mutex<Vec<(u64, usize)>>>,
    #[allow(clippy::type_complexity)]
    replaced: Arc<Mutex<Option<Receiver<Box<dyn Engine>>>>>,
}

impl FrameObserver for SwapAtFrame3 {
    fn observe(&mut self, camera: usize, frame: &Arc<Frame>, report: &Report) {
        assert_eq!((frame.sequence, report.camera.as_str()), (report.sequence, "front"));
        self.seen.lock().unwrap().push((frame.sequence, camera));
        if frame.sequence == 3 {
            // The later of two offers replaces the earlier one.
            drop(self.swap.offer(Box::new(FakeEngine { generation: 7, ..FakeEngine::default() })));
            let engine = FakeEngine { generation: 1, ..FakeEngine::default() };
            *self.replaced.lock().unwrap() = Some(self.swap.offer(Box::new(engine)));
            assert!(format!("{:?}", self.swap).contains("waiting: Some"));
        }
    }
}

#[test]
fn an_engine_is_swapped_between_two_frames_and_no_frame_is_lost() {
    let mut bench = Bench::new(FakeEngine::default()).camera("front", Delivery::Every, &vec![Step::Picture(8, 6); 10]);
    let (seen, replaced) = (Arc::default(), Arc::default());
    let swap = bench.components.swap.clone();
    let observer = SwapAtFrame3 { swap: swap.clone(), seen: Arc::clone(&seen), replaced: Arc::clone(&replaced) };
    bench.components.observers.push(Box::new(observer));
    let (_trigger, stop) = stop::pair();
    let (outcome, kept, metrics) = bench.run(&stop);
    outcome.unwrap();
    assert_eq!(*seen.lock().unwrap(), (1..=10).map(|sequence| (sequence, 0)).collect::<Vec<_>>());
    let generations: Vec<u32> = kept.reports().iter().map(|report| report.model.generation).collect();
    assert_eq!(generations, [0, 0, 0, 1, 1, 1, 1, 1, 1, 1]);
    let old = replaced.lock().unwrap().take().unwrap().recv().unwrap();
    assert_eq!(old.info().generation, 0);
    assert_eq!(format!("{swap:?}"), "EngineSwap { waiting: None }");
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
    bench.components.cameras.push(Camera::new("folder", open));
    let (_trigger, stop) = stop::pair();
    let (outcome, kept, metrics) = bench.run(&stop);
    outcome.unwrap();
    let widths: Vec<usize> = kept.reports().iter().map(|report| report.width).collect();
    assert_eq!(widths, (10..30).filter(|&width| width != 14).collect::<Vec<_>>());
    assert_eq!(dropped(&metrics, "folder", "corrupt"), 1);
}
