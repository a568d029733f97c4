//! Monitor in the running service: detections stay the same bit for bit, and the initial calibration needs no restart.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use lookout::detector::checkpoint::Checkpoint;
use lookout::message::{Message, ModelPrecision, Report};
use lookout::monitor::Generations;
use lookout::tensor::digest::sha256;

use super::death::entry;
use super::device::{artifact, between, checkpoint, narrow};
use super::recalibrate::rescaled;
use super::world::{self, Weather};

/// A folder of frames of a morning.
fn frames(folder: &Path, count: i64) {
    std::fs::create_dir_all(folder).unwrap();
    for at in 0..count {
        let picture = world::street(10 * 3600 + 30 * at, Weather::Clear);
        std::fs::write(folder.join(format!("{at:04}.png")), picture.to_png().unwrap()).unwrap();
    }
}

/// Runs the service on a configuration until `enough` returns true for its messages; returns all messages. The cameras
/// are slow enough to leave the monitor, whose thread is idle, some time of the CPU.
fn run(folder: &Path, configuration: &str, mut enough: impl FnMut(&[Message]) -> bool) -> Vec<Message> {
    let path = folder.join("lookout.toml");
    std::fs::write(&path, configuration).unwrap();
    let errors = folder.join("errors.txt");
    let mut child = Command::new(env!("CARGO_BIN_EXE_lookout"))
        .args(["run", "--config"])
        .arg(&path)
        .env("XDG_RUNTIME_DIR", folder)
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&errors).unwrap())
        .spawn()
        .unwrap();
    let mut messages: Vec<Message> = Vec::new();
    let mut requested = false;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        messages.push(serde_json::from_str(&line.unwrap()).unwrap());
        if !requested && (enough(&messages) || messages.len() > 20_000) {
            requested = true;
            let process = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert!(status.success() && requested, "{}", std::fs::read_to_string(&errors).unwrap());
    messages
}

fn reports(messages: &[Message]) -> Vec<&Report> {
    let mut reports = Vec::new();
    for message in messages {
        if let Message::Report(report) = message {
            reports.push(report);
        }
    }
    reports
}

/// The drift status of a message, if it has one.
fn drift(message: &Message) -> Option<&serde_json::Value> {
    if let Message::Status(status) = message { status.drift.as_ref() } else { None }
}

#[test]
fn detections_are_the_same_with_and_without() {
    const FRAMES: usize = 24;
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint(folder.path());
    let model = folder.path().join("small.lookout");
    std::fs::write(&model, artifact(&Checkpoint::open(&path).unwrap(), &between((8, 18)))).unwrap();
    frames(&folder.path().join("frames"), FRAMES as i64);
    let configuration = |monitored: bool, reference: bool| {
        let name = format!("{monitored}{reference}");
        let reference = if reference { path.display().to_string() } else { String::new() };
        format!(
            "[device]\nstate_dir = \"{0}/{name}\"\n[model]\nartifact = \"{1}\"\nreference = \"{reference}\"\n\
             [detector]\nscore = 0.05\n[[camera]]\nname = \"front\"\nkind = \"replay\"\n\
             path = \"{0}/frames\"\nrate = 0.0\nmax_fps = 30.0\nloop = true\n\
             [[publish]]\nkind = \"stdout\"\nmessages = [\"report\", \"status\"]\n\
             [monitor]\nenabled = {monitored}\nshare = 1.0\nsample_interval = \"1ms\"\nmax_interval = \"1s\"\n",
            folder.path().display(),
            model.display(),
        )
    };
    // Object ids depend on the frames' times; detections must not.
    let seen = |report: &&Report| -> Vec<(u32, u32, [u32; 4])> {
        let found = report.detections.iter();
        found.map(|d| (d.class_id, d.score.to_bits(), d.bbox.map(f32::to_bits))).collect()
    };
    let without = run(folder.path(), &configuration(false, false), |messages| reports(messages).len() >= FRAMES);
    let plain: Vec<_> = reports(&without).iter().map(seen).take(FRAMES).collect();
    assert!(plain.iter().filter(|detections| !detections.is_empty()).count() > FRAMES / 2);
    for reference in [false, true] {
        // Until a pass was reported, and one round more.
        let mut end = usize::MAX;
        let with = run(folder.path(), &configuration(true, reference), |messages| {
            let so_far = reports(messages).len();
            if end == usize::MAX && messages.last().and_then(drift).is_some() {
                end = so_far.max(1) + FRAMES;
            }
            so_far >= end
        });
        for (at, report) in reports(&with).iter().enumerate() {
            assert!(seen(report) == plain[at % FRAMES], "report {at}, reference {reference}");
        }
        let last = with.iter().filter_map(drift).next_back().unwrap();
        assert_eq!(last["reference"], reference);
    }
}

#[test]
fn the_first_calibration_comes_from_the_camera_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    // What the network finds does not matter here.
    let path = narrow(folder.path());
    frames(&folder.path().join("frames"), 40);
    let configuration = format!(
        "[device]\nstate_dir = \"{0}/state\"\n[model]\ncheckpoint = \"{1}\"\ncalibration = \"live\"\ncalibration_count = 12\n\
         [[camera]]\nname = \"front\"\nkind = \"replay\"\npath = \"{0}/frames\"\nrate = 5.0\nloop = true\n\
         [[publish]]\nkind = \"stdout\"\nmessages = [\"report\", \"status\"]\n\
         [monitor]\nshare = 1.0\nsample_interval = \"10ms\"\nmax_interval = \"1s\"\n",
        folder.path().display(),
        path.display(),
    );
    let precision = |report: &&Report| report.model.precision;
    let messages = run(folder.path(), &configuration, |messages| {
        let reports = reports(messages);
        reports.iter().filter(|report| precision(report) == ModelPrecision::Int8).count() >= 5
    });
    let precisions: Vec<ModelPrecision> = reports(&messages).iter().map(precision).collect();
    assert_eq!(precisions.first(), Some(&ModelPrecision::Fp32));
    assert!(precisions.is_sorted_by_key(|precision| *precision == ModelPrecision::Int8), "once, and for good");
    let degraded = messages.iter().any(|message| {
        matches!(message, Message::Status(status) if status.reasons.iter().any(|reason| reason.contains("12 frames")))
    });
    assert!(degraded, "it reports why it is not in int8 yet");
    // The next run starts in int8.
    let again = run(folder.path(), &configuration, |messages| reports(messages).len() >= 3);
    assert!(reports(&again).iter().all(|report| precision(report) == ModelPrecision::Int8));
}

#[test]
fn a_checkpoint_overwritten_during_the_first_calibration_is_reported_and_a_reload_takes_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = narrow(folder.path());
    let whole = std::fs::read(&path).unwrap();
    frames(&folder.path().join("frames"), 40);
    let configuration = format!(
        "[device]\nstate_dir = \"{0}/state\"\nruntime_dir = \"{0}\"\n\
         [model]\ncheckpoint = \"{1}\"\ncalibration = \"live\"\ncalibration_count = 12\n\
         [[camera]]\nname = \"front\"\nkind = \"replay\"\npath = \"{0}/frames\"\nrate = 5.0\nloop = true\n\
         [[publish]]\nkind = \"stdout\"\nmessages = [\"report\", \"status\"]\n\
         [monitor]\nshare = 1.0\nsample_interval = \"10ms\"\nmax_interval = \"1s\"\n",
        folder.path().display(),
        path.display(),
    );
    let reload = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lookout"));
        command.args(["reload", "--config"]).arg(folder.path().join("lookout.toml")).output().unwrap()
    };
    let mut is_cut = false;
    let mut repaired = None;
    let messages = run(folder.path(), &configuration, |messages| {
        if !is_cut && !reports(messages).is_empty() {
            // In place, as a copy over it begins.
            std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(whole.len() as u64 / 2).unwrap();
            is_cut = true;
        }
        let reason = |message: &Message| match message {
            Message::Status(status) => status.reasons.iter().any(|reason| reason.contains("while it was in use")),
            _ => false,
        };
        // The service goes on in full precision, and a reload refuses the half.
        if repaired.is_none()
            && let Some(at) = messages.iter().position(reason)
            && reports(&messages[at..]).len() >= 5
        {
            let refused = reload();
            let text = String::from_utf8_lossy(&refused.stderr);
            assert_eq!(refused.status.code(), Some(65), "{text}");
            assert!(text.contains("narrow.checkpoint: the safetensors file is cut short or damaged"), "{text}");
            std::fs::write(&path, &whole).unwrap();
            let applied = reload();
            assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
            repaired = Some(messages.len());
        }
        // The next run collects frames for the new file.
        let collects = |message: &Message| match message {
            Message::Status(status) => status.reasons.iter().any(|reason| reason.contains("12 frames")),
            _ => false,
        };
        repaired.is_some_and(|at| messages[at..].iter().any(collects) && reports(&messages[at..]).len() >= 3)
    });
    assert!(reports(&messages).iter().all(|report| report.model.precision == ModelPrecision::Fp32));
}

#[test]
fn model_files_overwritten_in_place_during_reloads_never_end_the_service() {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint(folder.path());
    let reference = std::fs::read(&path).unwrap();
    let first = artifact(&Checkpoint::open(&path).unwrap(), &between((8, 18)));
    let model = folder.path().join("small.lookout");
    std::fs::write(&model, &first).unwrap();
    frames(&folder.path().join("frames"), 12);
    let configuration = format!(
        "[device]\nstate_dir = \"{0}/state\"\nruntime_dir = \"{0}\"\n\
         [model]\nartifact = \"{1}\"\nreference = \"{2}\"\n\
         [[camera]]\nname = \"front\"\nkind = \"replay\"\npath = \"{0}/frames\"\n\
         rate = 0.0\nmax_fps = 30.0\nloop = true\n\
         [[publish]]\nkind = \"stdout\"\nmessages = [\"report\", \"status\"]\n\
         [monitor]\nenabled = true\nshare = 1.0\nsample_interval = \"10ms\"\nmax_interval = \"1s\"\n",
        folder.path().display(),
        model.display(),
        path.display(),
    );
    let reload = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lookout"));
        command.args(["reload", "--config"]).arg(folder.path().join("lookout.toml")).output().unwrap()
    };
    const RELOADS: usize = 12;
    let mut reloads = 0;
    let mut at_last = 0;
    let messages = run(folder.path(), &configuration, |messages| {
        if reports(messages).len() < at_last + 3 {
            return false;
        }
        if reloads == RELOADS {
            return true;
        }
        reloads += 1;
        at_last = reports(messages).len();
        // Both files grow and shrink while the reload reads them.
        let is_done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_done.load(std::sync::atomic::Ordering::SeqCst) {
                    for (path, bytes) in [(&model, &first), (&path, &reference)] {
                        std::fs::write(path, &bytes[..bytes.len() / 3]).unwrap();
                        std::fs::write(path, bytes).unwrap();
                    }
                }
            });
            // Accepted or refused, but answered.
            let answer = reload();
            is_done.store(true, std::sync::atomic::Ordering::SeqCst);
            let text = String::from_utf8_lossy(&answer.stderr);
            assert!([0, 65, 69, 74, 78].contains(&answer.status.code().unwrap()), "{text}");
        });
        false
    });
    let sha256 = sha256(&first);
    assert!(
        reports(&messages).iter().all(|report| report.model.sha256 == sha256),
        "only the whole file is ever served"
    );
}

#[test]
fn a_swap_loses_no_frame() {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint(folder.path());
    let first = artifact(&Checkpoint::open(&path).unwrap(), &between((8, 18)));
    let model = folder.path().join("small.lookout");
    std::fs::write(&model, &first).unwrap();
    frames(&folder.path().join("frames"), 12);
    // An earlier run accepted another generation, which passed its probation.
    let state = folder.path().join("state");
    let mut generations = Generations::open(&state, &sha256(&first), 5).unwrap();
    generations.set_initial(&first, "2026-01-01T00:00:00Z").unwrap();
    let second = rescaled(&first, 1, 1.05);
    generations.accept(&second, entry(1, &second), "boot").unwrap();
    generations.confirm().unwrap();
    let configuration = format!(
        "[device]\nstate_dir = \"{0}\"\nruntime_dir = \"{1}\"\n[model]\nartifact = \"{2}\"\n\
         [[camera]]\nname = \"front\"\nkind = \"replay\"\npath = \"{1}/frames\"\n\
         rate = 0.0\nmax_fps = 30.0\nloop = true\n\
         [[publish]]\nkind = \"stdout\"\nmessages = [\"report\"]\n\
         [monitor]\nenabled = true\nshare = 1.0\nsample_interval = \"10ms\"\nmax_interval = \"1s\"\n",
        state.display(),
        folder.path().display(),
        model.display(),
    );
    // The owner pins another generation every five reports.
    const CHANGES: usize = 6;
    let mut changes = 0;
    let messages = run(folder.path(), &configuration, |messages| {
        let reports = reports(messages);
        let wanted = changes as u32 % 2;
        let there = reports.iter().rev().take_while(|report| report.model.generation != wanted).count();
        if there >= 5 && changes < CHANGES {
            changes += 1;
            let pinned = Command::new(env!("CARGO_BIN_EXE_lookout"))
                .args(["generations", "--config"])
                .arg(folder.path().join("lookout.toml"))
                .args(["pin", &wanted.to_string()])
                .output()
                .unwrap();
            assert!(pinned.status.success(), "{}", String::from_utf8_lossy(&pinned.stderr));
        }
        // The last request was for generation 1.
        changes == CHANGES && reports.last().is_some_and(|report| report.model.generation == 1)
    });
    let reports = reports(&messages);
    assert_eq!(reports[0].model.generation, 1);
    for pair in reports.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence + 1, "generation {}", pair[1].model.generation);
    }
    let swaps = reports.windows(2).filter(|pair| pair[0].model.generation != pair[1].model.generation).count();
    assert_eq!(swaps, CHANGES);
}
