//! Cost of the monitor: latency, CPU time and memory. Run on an idle machine only.
//!
//! ```sh
//! cargo test --release --test suite monitor::cost:: -- --ignored --nocapture --test-threads 1
//! ```

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use lookout::calibrate::{QuantizeOptions, quantize};
use lookout::camera::pattern::Scene;
use lookout::detector::checkpoint::Checkpoint;
use lookout::detector::demo;
use lookout::detector::fp32::Fp32Model;
use lookout::detector::{Detector, DetectorOptions, thread_pool};
use lookout::frame::{Image, Picture};
use lookout::kernel::isa::Isa;
use lookout::monitor::{CpuBudget, MonitorOptions, PassRunner};
use lookout::precedence::Precedence;
use lookout::preprocess::{Transform, TransformParams};
use lookout::stop;

use super::device::road;
use crate::golden;

/// Pairs of blocks, and frames of a block.
const BLOCKS: (usize, usize) = (8, 500);

/// The full-precision network that `checkpoint` holds, on the plan of `detector`'s.
fn reference(detector: &Detector, checkpoint: &Checkpoint) -> Arc<Fp32Model> {
    Arc::new(detector.int8_model().unwrap().reference(checkpoint, Isa::best()).unwrap())
}

/// Median over `pairs` of the p99 of a block with passes over that of the block without beside it. Blocks of `frames`
/// frames alternate; a frame comes in every two mean times of one, so half of the time detects.
fn ratio(mut detector: Detector, reference: Arc<Fp32Model>, pictures: &[Picture], pairs: usize, frames: usize) -> f64 {
    let served = Arc::clone(detector.int8_model().unwrap());
    let mut transform = Transform::new(TransformParams::from(detector.transform())).unwrap();
    let mut input = detector.new_input();
    let images: Vec<Image> = pictures.iter().cloned().map(Image::Rgb).collect();
    let precedence = Arc::new(Precedence::default());
    let mut detect = |at: usize| {
        let begin = Instant::now();
        // As the detector's thread does.
        let _taken = precedence.take();
        transform.fill(&images[at % images.len()], &mut input).unwrap();
        detector.detect(&input).unwrap();
        begin.elapsed()
    };
    let warm: Vec<Duration> = (0..frames / 4).map(&mut detect).collect();
    let settled = &warm[warm.len() / 2..];
    let period = settled.iter().sum::<Duration>() / settled.len() as u32 * 2;
    println!("a frame in every {period:?}: half of the time detects");

    // The monitor's own threads, passes as fast as its share lets it: more of them than any interval would give.
    let (trigger, stop) = stop::pair();
    let on = Arc::new(AtomicBool::new(false));
    let (to, passes) = sync_channel(1 << 16);
    let share = MonitorOptions::default().cpu_share;
    let monitor = std::thread::spawn({
        let (on, stop, picture) = (Arc::clone(&on), stop.clone(), pictures[0].clone());
        let precedence = Arc::clone(&precedence);
        move || {
            let pace = CpuBudget::new(share, stop.clone(), Arc::new(|| false), precedence).unwrap();
            let mut looker = PassRunner::new(Arc::clone(served.plan()), Some(reference)).unwrap();
            while !stop.is_stopped() {
                if !on.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                }
                let begin = Instant::now();
                let spent = pace.run(Duration::from_secs(300), &mut |task| {
                    looker.run(&served, &picture, true, &mut || task.pause_if_due())?;
                    Ok(task.cpu_time())
                });
                if let Ok(spent) = spent {
                    let _ = to.send((spent, begin.elapsed()));
                    // The share counts from the beginning of a pass: the rest of its time is rest.
                    std::thread::sleep(spent.div_f64(share).saturating_sub(begin.elapsed()));
                }
            }
        }
    });
    let mut block = |with: bool| {
        on.store(with, Ordering::Relaxed);
        let begin = Instant::now();
        let mut times: Vec<Duration> = (0..frames)
            .map(|at| {
                std::thread::sleep((begin + period * at as u32).saturating_duration_since(Instant::now()));
                detect(at)
            })
            .collect();
        times.sort_unstable();
        times[frames * 99 / 100].as_secs_f64()
    };
    let mut ratios: Vec<f64> = (0..pairs)
        .map(|pair| {
            // Whichever is first has the cooler machine: they take turns.
            let first = block(pair % 2 == 0);
            let second = block(pair % 2 == 1);
            println!("pair {pair}: p99 {:.2} ms, then {:.2} ms", first * 1e3, second * 1e3);
            if pair % 2 == 0 { first / second } else { second / first }
        })
        .collect();
    trigger.stop();
    monitor.join().unwrap();
    ratios.sort_by(f64::total_cmp);
    let median = (ratios[(pairs - 1) / 2] + ratios[pairs / 2]) / 2.0;
    let passes: Vec<(Duration, Duration)> = passes.try_iter().collect();
    let mean = |of: fn(&(Duration, Duration)) -> Duration| {
        passes.iter().map(|pass| of(pass).as_secs_f64()).sum::<f64>() * 1e3 / passes.len().max(1) as f64
    };
    println!(
        "{} passes of {:.0} ms CPU in {:.0} ms; p99 with over p99 without, paired: median {median:.3} of {ratios:.3?}",
        passes.len(),
        mean(|pass| pass.0),
        mean(|pass| pass.1)
    );
    median
}

#[test]
#[ignore = "measures: see the module's head"]
fn latency_with_and_without_passes() {
    let mut scene = Scene::new(3, 640, 360);
    let pictures: Vec<Picture> = (0..20).map(|at| scene.frame(at * 15).0).collect();
    let options = DetectorOptions { threads: 2, ..DetectorOptions::default() };
    let detector = Detector::from_artifact(demo::artifact().unwrap(), "demo".into(), &options).unwrap();
    let reference = reference(&detector, &Checkpoint::from_bytes(demo::checkpoint().unwrap()).unwrap());
    let median = ratio(detector, reference, &pictures, BLOCKS.0, BLOCKS.1);
    assert!(median <= 1.05, "{median:.3}");
}

#[test]
#[ignore = "measures: seconds of every core; see the module's head"]
fn a_saturated_machine_still_gives_it_its_share() {
    let options = DetectorOptions::default();
    let detector = Detector::from_artifact(demo::artifact().unwrap(), "demo".into(), &options).unwrap();
    let reference = reference(&detector, &Checkpoint::from_bytes(demo::checkpoint().unwrap()).unwrap());
    let served = Arc::clone(detector.int8_model().unwrap());
    let (trigger, stop) = stop::pair();
    let cores = std::thread::available_parallelism().unwrap().get();
    let busy: Vec<_> = (0..cores)
        .map(|_| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                while !stop.is_stopped() {
                    std::hint::black_box((0..100_000u64).sum::<u64>());
                }
            })
        })
        .collect();
    let share = MonitorOptions::default().cpu_share;
    let pace = CpuBudget::new(share, stop.clone(), Arc::new(|| false), Arc::default()).unwrap();
    let mut looker = PassRunner::new(Arc::clone(served.plan()), Some(reference)).unwrap();
    let picture = Scene::new(3, 640, 360).frame(0).0;
    for pass in 1..=3 {
        let begin = Instant::now();
        let spent = pace.run(Duration::from_secs(60), &mut |task| {
            // As much work as a ResNet-50 on a street takes.
            while task.cpu_time() < Duration::from_secs(1) {
                looker.run(&served, &picture, false, &mut || task.pause_if_due())?;
            }
            Ok(task.cpu_time())
        });
        let wall = begin.elapsed().as_secs_f64();
        let spent = spent.unwrap().as_secs_f64();
        println!("pass {pass}: {spent:.2} s CPU over {wall:.1} s, {:.0} % of a core", 100.0 * spent / wall);
        assert!(wall < 60.0, "within max_interval");
    }
    trigger.stop();
    busy.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
#[ignore = "measures: half a minute of every core; see the module's head"]
fn a_saturated_detector_is_watched_all_the_same() {
    const INTERVAL: Duration = Duration::from_secs(10);
    let folder = tempfile::tempdir().unwrap();
    let reference = folder.path().join("demo.safetensors");
    std::fs::write(&reference, demo::checkpoint().unwrap()).unwrap();
    let model = folder.path().join("demo.lookout");
    std::fs::write(&model, demo::artifact().unwrap()).unwrap();
    let camera = "[[camera]]\nname = \"front\"\nkind = \"pattern\"\nfps = 1000.0\n";
    let mut service = Service::new(folder.path(), &model, Some(&reference), camera, "1s", INTERVAL);
    let begin = Instant::now();
    let mut passes: Vec<(Duration, f64)> = Vec::new();
    while passes.len() < 6 {
        let milliseconds = service.next_pass();
        passes.push((begin.elapsed(), milliseconds));
    }
    let (peak, _) = service.end();
    println!("passes at {:.1?} s, each of ms {:.0?}; peak {peak:.0} MiB", seconds(&passes), milliseconds(&passes));
    for pair in passes.windows(2) {
        assert!(pair[1].0 - pair[0].0 < INTERVAL + INTERVAL / 2, "{passes:?}");
    }
}

fn seconds(passes: &[(Duration, f64)]) -> Vec<f64> {
    passes.iter().map(|pass| pass.0.as_secs_f64()).collect()
}

fn milliseconds(passes: &[(Duration, f64)]) -> Vec<f64> {
    passes.iter().map(|pass| pass.1).collect()
}

/// The service as its owner runs it.
struct Service {
    child: Child,
    log: std::io::Lines<BufReader<std::process::ChildStderr>>,
}

impl Service {
    /// With a monitor if there is a `reference`.
    fn new(folder: &Path, model: &Path, reference: Option<&Path>, camera: &str, sample: &str, most: Duration) -> Self {
        let path = folder.join("lookout.toml");
        let configuration = format!(
            "[device]\nlog_level = \"info,lookout::monitor=debug\"\nstate_dir = \"{}\"\n[model]\nartifact = \"{}\"\nreference = \"{}\"\n{camera}\
             [[publish]]\nkind = \"file\"\npath = \"{}\"\n\
             [monitor]\nenabled = {}\nsample_interval = \"{sample}\"\nmax_interval = \"{}s\"\n",
            folder.join(format!("state-{}", reference.is_some())).display(),
            model.display(),
            reference.map(|path| path.display().to_string()).unwrap_or_default(),
            folder.join("reports.jsonl").display(),
            reference.is_some(),
            most.as_secs(),
        );
        std::fs::write(&path, configuration).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_lookout"))
            .args(["run", "--config"])
            .arg(&path)
            .env("XDG_RUNTIME_DIR", folder)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, log }
    }

    /// Waits for the log of the next pass; the milliseconds that it took.
    fn next_pass(&mut self) -> f64 {
        let line = self.log.by_ref().map(Result::unwrap).find(|line| line.contains("int8 compared")).unwrap();
        let (_, rest) = line.split_once("milliseconds=").unwrap();
        rest.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Peak and present memory, in MiB.
    fn memory(&self) -> (f64, f64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches("kB").trim().parse::<f64>().unwrap() / 1024.0
        };
        (of("VmHWM:"), of("VmRSS:"))
    }

    /// Ends it; peak and present memory before, in MiB.
    fn end(mut self) -> (f64, f64) {
        let memory = self.memory();
        let process = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
        // Its log must be taken, or it waits for us.
        self.log.by_ref().for_each(drop);
        assert!(self.child.wait().unwrap().success());
        memory
    }
}

/// The ResNet-50 of `../shared`, imported and quantized into `folder`, and the drive; `None` without them.
fn resnet50(folder: &Path) -> Option<(PathBuf, PathBuf, PathBuf)> {
    let path = road(folder, None)?;
    let drive = golden::shared("data/kitti-drive-0052")?;
    let model = folder.join("road.lookout");
    let checkpoint = Checkpoint::open(&path).unwrap();
    let options =
        QuantizeOptions { count: 2, correction_pictures: 0, evidence_pictures: 1, ..QuantizeOptions::default() };
    let pool = thread_pool(1).unwrap();
    let made = pool.install(|| quantize(&checkpoint, &drive, &options, Isa::best(), &mut |_, _, _| {})).unwrap();
    std::fs::write(&model, made.bytes).unwrap();
    Some((path, model, drive))
}

#[test]
#[ignore = "measures: needs ../shared and minutes; see the module's head"]
fn memory_of_a_resnet50_on_a_street() {
    let folder = tempfile::tempdir().unwrap();
    let Some((reference, model, drive)) = resnet50(folder.path()) else { return };
    let camera = format!(
        "[[camera]]\nname = \"front\"\nkind = \"replay\"\npath = \"{}\"\nrate = 2.0\nloop = true\n",
        drive.display()
    );
    let most = Duration::from_secs(30);
    let without = Service::new(folder.path(), &model, None, &camera, "1s", most);
    std::thread::sleep(Duration::from_secs(30));
    let (without, _) = without.end();
    let mut with = Service::new(folder.path(), &model, Some(&reference), &camera, "1s", most);
    let mut peaks = Vec::new();
    let passes: Vec<f64> = (0..4)
        .map(|_| {
            let milliseconds = with.next_pass();
            peaks.push(with.memory());
            milliseconds
        })
        .collect();
    let (with, present) = with.end();
    // It fills over hours: all of it on top.
    let reservoir = (MonitorOptions::default().reservoir_bytes >> 20) as f64;
    println!(
        "peak {without:.0} MiB without the monitor, {with:.0} MiB with it and the checkpoint ({present:.0} MiB at the end): \
         {:.0} MiB more, {:.0} MiB with a full reservoir; passes of ms {passes:.0?}, peak and rest after each {peaks:.0?}",
        with - without,
        with - without + reservoir,
    );
    assert!(with - without + reservoir <= 350.0);
}

#[test]
#[ignore = "measures: needs ../shared and a quarter of an hour; see the module's head"]
fn latency_of_a_resnet50_with_and_without_passes() {
    let folder = tempfile::tempdir().unwrap();
    let Some((path, model, drive)) = resnet50(folder.path()) else { return };
    let mut pictures = lookout::frame::PictureFolder::with_subfolders(&drive).unwrap().pictures;
    pictures.sort();
    let pictures: Vec<Picture> = pictures.iter().take(5).map(|path| Picture::open(path).unwrap()).collect();
    let detector = Detector::load(&model, &DetectorOptions::default()).unwrap();
    let reference = reference(&detector, &Checkpoint::open(&path).unwrap());
    let median = ratio(detector, reference, &pictures, 4, 40);
    println!("ResNet-50: median {median:.3}");
}
