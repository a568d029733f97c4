//! The monitor in the whole service: detections stay the same bit for bit, and a first calibration needs no restart.

use std::path::Path;
use std::process::Command;

use lookout::detector::checkpoint::Checkpoint;
use lookout::message::{Message, Precision, Report};

use super::device::{artifact, between, checkpoint};
use super::world::{self, Weather};

/// A folder of frames of a morning.
fn frames(folder: &Path, count: i64) {
    std::fs::create_dir_all(folder).unwrap();
    for at in 0..count {
        let picture = world::street(10 * 3600 + 30 * at, Weather::Clear);
        std::fs::write(folder.join(format!("{at:04}.png")), picture.to_png().unwrap()).unwrap();
    }
}

/// Runs the service on a configuration until its camera ends; what it said.
fn run(folder: &Path, configuration: &str) -> Vec<Message> {
    let path = folder.join("lookout.toml");
    std::fs::write(&path, configuration).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_lookout"))
        .args(["run", "--config"])
        .arg(&path)
        .env("XDG_RUNTIME_DIR", folder)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    let messages: Vec<Message> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!messages.is_empty(), "{errors}");
    messages
}

fn reports(messages: &[Message]) -> Vec<&Report> {
    let report = |message| if let &Message::Report(ref report) = message { Some(report) } else { None };
    messages.iter().filter_map(report).collect()
}

#[test]
fn detections_are_the_same_with_and_without() {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint(folder.path());
    let model = folder.path().join("narrow.lookout");
    std::fs::write(&model, artifact(&Checkpoint::open(&path).unwrap(), &between((8, 18))[..8])).unwrap();
    frames(&folder.path().join("frames"), 60);
    let said = |monitored: bool, reference: bool| {
        let name = format!("{monitored}{reference}");
        let reference = if reference { path.display().to_string() } else { String::new() };
        let configuration = format!(
            "[device]\nstate_dir = \"{0}/{name}\"\n[model]\nartifact = \"{1}\"\nreference = \"{reference}\"\n\
             [detector]\nscore = 0.01\n[[camera]]\nname = \"front\"\nkind = \"replay\"\npath = \"{0}/frames\"\nrate = 0.0\n\
             [[publish]]\nkind = \"stdout\"\nmessages = [\"report\", \"status\"]\n\
             [monitor]\nenabled = {monitored}\nshare = 1.0\nsample_interval = \"1ms\"\nmax_interval = \"1s\"\n",
            folder.path().display(),
            model.display(),
        );
        run(folder.path(), &configuration)
    };
    let without = said(false, false);
    // Ids of objects hang on when the frames came; what was seen must not.
    let seen = |report: &&Report| -> Vec<(u32, u32, [u32; 4])> {
        let found = report.detections.iter();
        found.map(|d| (d.class_id, d.score.to_bits(), d.bbox.map(f32::to_bits))).collect()
    };
    let plain: Vec<_> = reports(&without).iter().map(seen).collect();
    assert!(plain.len() == 60 && plain.iter().any(|detections| !detections.is_empty()));
    for reference in [false, true] {
        let with = said(true, reference);
        let watched: Vec<_> = reports(&with).iter().map(seen).collect();
        assert!(watched == plain, "reference {reference}");
        let compared = with.iter().any(|message| {
            matches!(message, Message::Status(status)
                if status.drift.as_ref().is_some_and(|drift| drift["reference"] == reference))
        });
        assert!(compared, "it was watched: {:?}", with.last());
    }
}

#[test]
fn the_first_calibration_comes_from_the_camera_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint(folder.path());
    frames(&folder.path().join("frames"), 400);
    let configuration = format!(
        "[device]\nstate_dir = \"{0}/state\"\n[model]\ncheckpoint = \"{1}\"\ncalibration = \"live\"\ncalibration_count = 12\n\
         [[camera]]\nname = \"front\"\nkind = \"replay\"\npath = \"{0}/frames\"\nrate = 25.0\n\
         [[publish]]\nkind = \"stdout\"\nmessages = [\"report\", \"status\"]\n\
         [monitor]\nshare = 1.0\nsample_interval = \"10ms\"\nmax_interval = \"1s\"\n",
        folder.path().display(),
        path.display(),
    );
    let messages = run(folder.path(), &configuration);
    let precisions: Vec<Precision> = reports(&messages).iter().map(|report| report.model.precision).collect();
    assert_eq!(precisions.first(), Some(&Precision::Fp32));
    assert_eq!(precisions.last(), Some(&Precision::Int8), "{} reports", precisions.len());
    assert!(precisions.is_sorted_by_key(|precision| *precision == Precision::Int8), "once, and for good");
    let degraded = messages.iter().any(|message| {
        matches!(message, Message::Status(status) if status.reasons.iter().any(|reason| reason.contains("12 frames")))
    });
    assert!(degraded, "it says why it is not in int8 yet");
    // The next life begins in int8.
    let again = run(folder.path(), &configuration.replace("rate = 25.0", "rate = 0.0"));
    assert!(reports(&again).iter().all(|report| report.model.precision == Precision::Int8));
}
