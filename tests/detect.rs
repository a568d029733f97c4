//! The command itself: import a checkpoint, detect in pictures, compare with torchvision; and what it does with paths
//! that cannot be used.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lookout::frame::Picture;
use serde_json::Value;
use tempfile::TempDir;

use crate::golden::{self, Golden};

fn lookout(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lookout"));
    arguments.iter().for_each(|argument| {
        command.arg(argument);
    });
    command.env_remove("LOOKOUT__DETECTOR__KERNEL").output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The JSON lines on stdout.
fn lines(output: &Output) -> Vec<Value> {
    String::from_utf8(output.stdout.clone()).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A golden picture as PNG, and the checkpoint it was made with, imported with its sizes.
struct Case {
    folder: TempDir,
    golden: Golden,
    model: PathBuf,
    picture: PathBuf,
}

impl Case {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let golden = Golden::committed(&format!("{name}.safetensors"));
        let (shape, data) = golden.bytes("image_u8");
        let picture = folder.path().join("picture.png");
        Picture::new(shape[1], shape[0], data).unwrap().save(&picture).unwrap();
        let model = folder.path().join("model");
        let source = golden::folder().join(golden.metadata("weights"));
        let (min, max) = (golden.metadata("min_size"), golden.metadata("max_size"));
        let output = lookout(&[&"import", &source, &"--out", &model, &"--min-size", &min, &"--max-size", &max]);
        assert!(output.status.success(), "{}", stderr(&output));
        Self { folder, golden, model, picture }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn number(value: &Value) -> f32 {
    value.as_f64().unwrap() as f32
}

#[test]
fn detections_are_torchvisions() {
    let names = ["Person", "TwoWheeler", "Vehicle", "Animal", "Sign", "Light"];
    for name in ["r18-upright", "r18-wide", "r18-tiny", "r18-nothing", "r34-odd", "r50-upscaled"] {
        let case = Case::new(name);
        let score = case.golden.metadata("score");
        let output = lookout(&[&"detect", &"--model", &case.model, &case.picture, &"--json", &"--score", &score]);
        assert!(output.status.success(), "{name}: {}", stderr(&output));
        let found = &lines(&output)[0];
        assert_eq!(found["image"], case.picture.to_str().unwrap());
        let (shape, _) = case.golden.bytes("image_u8");
        assert_eq!((&found["height"], &found["width"]), (&shape[0].into(), &shape[1].into()));

        let detections = found["detections"].as_array().unwrap();
        assert!(detections.is_sorted_by(|a, b| number(&a["score"]) >= number(&b["score"])), "{name}: best first");
        let (_, boxes) = case.golden.floats("boxes");
        let (_, scores) = case.golden.floats("scores");
        let labels = case.golden.integers("labels");
        assert_eq!(detections.len(), labels.len(), "{name}");
        let is_found = |index: &usize| {
            let bbox = &boxes[index * 4..][..4];
            detections.iter().any(|detection| {
                let corners = detection["box"].as_array().unwrap();
                detection["label"] == names[labels[*index] - 1]
                    && (number(&detection["score"]) - scores[*index]).abs() <= 1e-4
                    && corners.iter().zip(bbox).all(|(corner, expected)| (number(corner) - expected).abs() <= 0.05)
            })
        };
        let matched = (0..labels.len()).filter(is_found).count();
        assert!(matched * 100 >= labels.len() * 98, "{name}: {matched} of {}", labels.len());
    }
}

#[test]
fn a_path_that_cannot_be_used_does_not_stop_the_others() {
    let case = Case::new("r18-tiny");
    std::fs::write(case.path("text.jpg"), "no picture").unwrap();
    std::fs::create_dir(case.path("empty")).unwrap();
    let missing = case.path("missing.png");
    let paths: [PathBuf; 4] = [missing.clone(), case.path("text.jpg"), case.path("empty"), case.picture.clone()];
    let output = lookout(&[&"detect", &"--model", &case.model, &"--json", &paths[0], &paths[1], &paths[2], &paths[3]]);
    assert_eq!(output.status.code(), Some(66), "the first failure decides");
    assert_eq!(lines(&output).len(), 1);
    for name in ["missing.png", "text.jpg", "empty"] {
        assert_eq!(stderr(&output).lines().filter(|line| line.contains(name)).count(), 1, "{}", stderr(&output));
    }

    // Alone, each is one line, and the model is not even loaded for what is not there.
    for (path, code) in [(&missing, 66), (&paths[1], 65), (&paths[2], 66)] {
        let output = lookout(&[&"detect", &"--model", &case.model, path]);
        assert_eq!(output.status.code(), Some(code), "{}", path.display());
        assert!(output.stdout.is_empty());
        assert_eq!(stderr(&output).lines().filter(|line| line.starts_with("lookout: ")).count(), 1);
    }
    let output = lookout(&[&"detect", &"--model", &case.path("no-model"), &case.picture]);
    assert_eq!(output.status.code(), Some(66), "{}", stderr(&output));
    let output = lookout(&[&"detect", &"--model", &case.model, &case.picture, &"--score", &"1.5"]);
    assert_eq!(output.status.code(), Some(64), "{}", stderr(&output));
}

#[test]
fn copies_are_drawn_on_and_originals_kept() {
    let case = Case::new("r18-upright");
    let before = std::fs::read(&case.picture).unwrap();
    let run = |folder: &Path| {
        lookout(&[&"detect", &"--model", &case.model, &case.picture, &"--annotate", &folder, &"--score", &"0.05"])
    };
    let output = run(&case.path("drawn"));
    assert!(output.status.success(), "{}", stderr(&output));
    let copy = Picture::open(case.path("drawn/picture.png")).unwrap();
    let original = Picture::open(&case.picture).unwrap();
    assert_eq!((copy.width, copy.height), (original.width, original.height));
    assert_ne!(copy, original);

    let output = run(case.folder.path());
    assert_eq!(output.status.code(), Some(73), "{}", stderr(&output));
    assert_eq!(std::fs::read(&case.picture).unwrap(), before);
}

#[test]
fn the_configuration_chooses_kernel_and_threads() {
    let case = Case::new("r18-tiny");
    let (kernel, threads) = ("detector.kernel=scalar", "detector.threads=1");
    let output =
        lookout(&[&"detect", &"--model", &case.model, &case.picture, &"--json", &"--set", &kernel, &"--set", &threads]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("kernel scalar, 1 thread\n"), "{}", stderr(&output));
    let output = lookout(&[&"detect", &"--model", &case.model, &case.picture, &"--set", &"detector.kernel=z80"]);
    assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
}
