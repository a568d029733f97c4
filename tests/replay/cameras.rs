//! Cameras that fail, stall, give garbage and change their size.

use super::*;

const S: Duration = Duration::from_secs(1);

#[test]
fn a_lost_camera_is_opened_again_and_reported_once() {
    let steps = [Step::Picture(8, 6), Step::Fail, Step::Fail, Step::Fail, Step::Picture(8, 6)];
    let bench = Bench::new(FakeEngine::default()).camera("front", Delivery::Every, &steps);
    let clock = bench.clock.clone();
    let (_trigger, stop) = stop::pair();
    let (outcome, kept, metrics) = bench.run(&stop);
    outcome.unwrap();
    assert_eq!(kept.sequences("front"), [1, 2], "numbers continue after a loss");
    assert_eq!(kept.events(), [EventName::CameraFound, EventName::CameraLost, EventName::CameraFound]);
    let waited = clock.monotonic_ns() / 1_000_000_000;
    assert!((5..=7).contains(&waited), "1, 2 and 4 seconds less some spread, were {waited}");
    let reconnects =
        |reason| metrics.camera_reconnects.get_or_create(&ReasonLabels { camera: "front".into(), reason }).get();
    assert_eq!((reconnects("failed"), reconnects("absent")), (1, 2));
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
    assert!(begin.elapsed() < Duration::from_secs(15), "nothing waits for the camera that hangs");
}

#[test]
fn a_silent_camera_is_stalled_and_then_opened_again() {
    let steps = [
        vec![Step::RecordState, Step::Picture(8, 6), Step::RecordState],
        // The stall timeout is ten seconds.
        vec![Step::Nothing(6 * S), Step::RecordState, Step::Nothing(6 * S), Step::RecordState],
        // It recovers: no loss is published.
        vec![Step::Picture(8, 6), Step::RecordState],
        // It does not recover: after 1.5 times the stall timeout it is opened anew.
        vec![Step::Nothing(11 * S), Step::RecordState, Step::Nothing(5 * S)],
        vec![Step::RecordState, Step::Picture(8, 6), Step::RecordState],
    ];
    let bench = Bench::new(FakeEngine::default()).camera("front", Delivery::Newest, &steps.concat());
    let (clock, states) = (bench.clock.clone(), bench.states.clone());
    let (_trigger, stop) = stop::pair();
    let (outcome, kept, metrics) = bench.run(&stop);
    outcome.unwrap();
    use CameraState::{Backoff, Connecting, Stalled, Streaming};
    let expected = [Connecting, Streaming, Streaming, Stalled, Streaming, Stalled, Backoff, Streaming];
    assert_eq!(*states.lock().unwrap(), expected);
    assert_eq!(kept.events(), [EventName::CameraFound, EventName::CameraLost, EventName::CameraFound]);
    let why = |reason| ReasonLabels { camera: "front".into(), reason };
    assert_eq!(metrics.camera_reconnects.get_or_create(&why("failed")).get(), 1);
    let waited = clock.monotonic_ns() / 1_000_000_000;
    assert!((28..=29).contains(&waited), "12 + 16 seconds of silence and one of backing off, were {waited}");
}

#[test]
fn a_camera_that_gives_nothing_but_garbage_is_opened_again() {
    let garbage = [Step::Corrupt, Step::Wait(S)].repeat(40);
    let steps = [vec![Step::Picture(8, 6)], garbage, vec![Step::Picture(4, 4)]].concat();
    let bench = Bench::new(FakeEngine::default()).camera("front", Delivery::Newest, &steps);
    let (_trigger, stop) = stop::pair();
    let (outcome, kept, metrics) = bench.run(&stop);
    outcome.unwrap();
    assert_eq!((captured(&metrics, "front"), dropped(&metrics, "front", "corrupt")), (42, 40));
    let why = |reason| ReasonLabels { camera: "front".into(), reason };
    let reopened = ["failed", "absent"].map(|reason| metrics.camera_reconnects.get_or_create(&why(reason)).get());
    assert_eq!(reopened, [1, 1], "after 16 seconds of garbage, twice");
    assert_eq!(kept.events(), [EventName::CameraFound, EventName::CameraLost, EventName::CameraFound]);
}

#[test]
fn frames_that_the_source_skipped_are_numbered_and_counted() {
    let steps = [Step::Burst(0), Step::Burst(3), Step::Picture(8, 6)];
    let bench = Bench::new(FakeEngine::default()).camera("front", Delivery::Every, &steps);
    let (_trigger, stop) = stop::pair();
    let (outcome, kept, metrics) = bench.run(&stop);
    outcome.unwrap();
    assert_eq!(kept.sequences("front"), [1, 5, 6]);
    assert_eq!((captured(&metrics, "front"), dropped(&metrics, "front", "stale")), (6, 3));
}

#[test]
fn a_camera_that_gives_one_frame_and_fails_is_opened_ever_more_rarely() {
    let steps = [Step::Picture(8, 6), Step::Fail].repeat(10);
    let bench = Bench::new(FakeEngine::default()).camera("front", Delivery::Every, &steps);
    let clock = bench.clock.clone();
    let (_trigger, stop) = stop::pair();
    let (outcome, kept, _) = bench.run(&stop);
    outcome.unwrap();
    assert_eq!(kept.sequences("front").len(), 10);
    let waited = clock.monotonic_ns() / 1_000_000_000;
    assert!((133..=181).contains(&waited), "1 + 2 + 4 + 8 + 16 and five times 30 s, less a quarter; were {waited}");
}

#[test]
fn the_size_may_change_in_mid_stream() {
    let sizes = [(8, 6), (1, 1), (1920, 3), (2, 700), (8, 6)];
    let steps = sizes.map(|(width, height)| Step::Picture(width, height));
    let bench = Bench::new(FakeEngine::default()).camera("front", Delivery::Every, &steps);
    let (_trigger, stop) = stop::pair();
    let (outcome, kept, _) = bench.run(&stop);
    outcome.unwrap();
    let reports = kept.reports();
    assert_eq!(reports.iter().map(|report| (report.width, report.height)).collect::<Vec<_>>(), sizes);
    for report in &reports {
        assert_eq!(report.detections[0].bbox, [0.0, 0.0, report.width as f32, report.height as f32]);
    }
}

#[test]
fn whatever_cameras_do_every_frame_is_reported_or_counted() {
    // The generator of Numerical Recipes, with a fixed seed: the same faults in every run of the test.
    let mut state = 1u32;
    let mut random = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % below
    };
    for round in 0..40 {
        let mut bench = Bench::new(FakeEngine::default());
        let names = ["a", "b", "c"];
        for name in names {
            let steps: Vec<Step> = (0..random(60))
                .map(|_| match random(10) {
                    0 => Step::Corrupt,
                    1 => Step::Fail,
                    2 => Step::Nothing(random(20) * S),
                    3 => Step::Burst(u64::from(random(4))),
                    4 => Step::Wait(random(5) * S),
                    _ => Step::Picture(1 + random(40) as usize, 1 + random(40) as usize),
                })
                .collect();
            bench = bench.camera(name, Delivery::Every, &steps);
        }
        let (_trigger, stop) = stop::pair();
        let (outcome, kept, metrics) = bench.run(&stop);
        outcome.unwrap();
        for name in names {
            let sequences = kept.sequences(name);
            assert!(sequences.windows(2).all(|pair| pair[0] < pair[1]), "round {round}: {sequences:?}");
            let lost = dropped(&metrics, name, "corrupt") + dropped(&metrics, name, "stale");
            assert_eq!(sequences.len() as u64 + lost, captured(&metrics, name), "round {round}, camera {name}");
        }
    }
}

/// Resident bytes and open descriptors of this process.
fn held() -> (u64, usize) {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
    (pages * rustix::param::page_size() as u64, descriptors)
}

/// Runs the test called `name` in its own process, so that no other test's memory is counted. True if this is that
/// process.
fn is_alone(name: &str) -> bool {
    const ALONE: &str = "REPLAY_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", name]).env(ALONE, "1").output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}");
    false
}

/// Runs the service with a camera whose opening fails `times` times, and checks memory and descriptors.
fn fail_to_open(times: usize, mut open: impl FnMut() -> Result<Box<dyn Source>> + Send + 'static) {
    let mut bench = Bench::new(FakeEngine::default());
    let attempts = Arc::new(AtomicUsize::new(0));
    let (counted, clock) = (attempts.clone(), bench.clock.clone());
    let pictures = tempfile::tempdir().unwrap();
    let picture = image::RgbImage::from_pixel(8, 6, image::Rgb([0; 3]));
    picture.save(pictures.path().join("0.png")).unwrap();
    let before = Arc::new(Mutex::new((0, 0)));
    let held_before = before.clone();
    let open = move || match counted.fetch_add(1, Ordering::SeqCst) {
        attempt if attempt < times => {
            // The first hundredth of the attempts warms up.
            if attempt == times / 100 {
                *held_before.lock().unwrap() = held();
            }
            open()
        }
        _ => Ok(Box::new(Replay::open(pictures.path(), None, false, clock.clone())?) as Box<dyn Source>),
    };
    bench.components.cameras.push(Camera::new("front", open));
    let (_trigger, stop) = stop::pair();
    let (outcome, kept, _) = bench.run(&stop);
    outcome.unwrap();
    assert_eq!(attempts.load(Ordering::SeqCst), times + 1);
    assert_eq!(kept.events(), [EventName::CameraLost, EventName::CameraFound]);
    let ((bytes_before, open_before), (bytes, open)) = (*before.lock().unwrap(), held());
    assert!(open <= open_before + 4, "descriptors: {open_before}, then {open}");
    let grown = bytes.saturating_sub(bytes_before);
    assert!(grown < 4 << 20, "grown by {grown} bytes");
}

#[test]
fn ten_thousand_failed_openings_of_a_device_leak_nothing() {
    if !is_alone("replay::cameras::ten_thousand_failed_openings_of_a_device_leak_nothing") {
        return;
    }
    let config = lookout::camera::v4l2::V4l2Config { device: "/dev/null".into(), ..Default::default() };
    fail_to_open(10_000, move || Ok(Box::new(lookout::camera::v4l2::V4l2::open(&config)?)));
}

#[test]
fn a_thousand_children_that_fail_leak_nothing() {
    use lookout::camera::ffmpeg::{Ffmpeg, FfmpegConfig};
    if !is_alone("replay::cameras::a_thousand_children_that_fail_leak_nothing") {
        return;
    }
    let (_trigger, stop) = stop::pair();
    let config = FfmpegConfig { program: "/bin/false".into(), input: "rtsp://127.0.0.1:1/".into(), max_pixels: None };
    fail_to_open(1000, move || {
        let mut child = Ffmpeg::open(&config, S)?;
        while let Capture::Nothing = child.next(&stop)? {}
        Ok(Box::new(child))
    });
}
