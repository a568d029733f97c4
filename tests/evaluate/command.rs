//! The command as a user calls it, on narrow networks and made pictures.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lookout::detector::checkpoint::{ImportOptions, import};
use serde_json::Value;
use tempfile::TempDir;

use crate::golden;
use crate::scenes::scene;

/// A folder with a checkpoint, an artifact of it, and a KITTI dataset of four pictures.
pub struct Bench {
    pub folder: TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        let labels = bench.path("labels.txt");
        std::fs::write(&labels, "Person\nTwoWheeler\nVehicle\n").unwrap();
        let source = golden::folder().join("r18.safetensors");
        let classes = import_count(&source);
        std::fs::write(&labels, (1..=classes).map(|n| format!("kind{n}\n")).collect::<String>()).unwrap();
        import(&ImportOptions {
            source,
            out: bench.path("model.safetensors"),
            labels: Some(labels),
            min_size: Some(96),
            max_size: Some(128),
            ..ImportOptions::new("", "")
        })
        .unwrap();
        let (images, truths) = (bench.path("data/image_2"), bench.path("data/label_2"));
        std::fs::create_dir_all(&images).unwrap();
        std::fs::create_dir_all(&truths).unwrap();
        for index in 0..4usize {
            scene(index).save(images.join(format!("{index:06}.png"))).unwrap();
            let left = 20 * index;
            let rest = "-1 -1 -1 -1000 -1000 -1000 -10";
            let text = format!(
                "kind1 -1 -1 -10 {left}.00 40.00 {}.00 70.00 {rest}\nDontCare -1 -1 -10 0 0 30 30 {rest}\n",
                left + 24
            );
            std::fs::write(truths.join(format!("{index:06}.txt")), text).unwrap();
        }
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs lookout in this folder, with its own cache folder.
    pub fn lookout(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lookout"));
        command.args(arguments).current_dir(self.folder.path());
        command.env("XDG_CACHE_HOME", self.path("cache")).env("LOOKOUT__DETECTOR__THREADS", "1");
        command.output().unwrap()
    }

    pub fn quantize(&self) {
        let arguments = ["quantize", "model.safetensors", "--images", "data/image_2", "--out", "model.lookout"];
        let output = self.lookout(&arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
}

fn import_count(source: &Path) -> usize {
    let bytes = std::fs::read(source).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    tensors.tensor("roi_heads.box_predictor.cls_score.weight").unwrap().shape()[0] - 1
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(feature = "demo")]
#[test]
fn a_class_map_to_a_class_that_no_model_has_is_an_error_with_the_nearest_one() {
    let bench = Bench::new();
    std::fs::write(bench.path("classes.toml"), "kind1 = \"Vehicel\"\n").unwrap();
    let arguments = ["evaluate", "--class-map", "classes.toml", "--model", "demo-int8", "--dataset", "kitti:data"];
    let output = bench.lookout(&arguments);
    assert_eq!(output.status.code(), Some(65), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("did you mean \"Vehicle\"?"), "{}", text(&output.stderr));
}

#[cfg(feature = "demo")]
#[test]
fn the_built_in_models_are_judged_by_name() {
    let bench = Bench::new();
    std::fs::write(bench.path("classes.toml"), "kind1 = \"Vehicle\"\n").unwrap();
    let arguments = ["--model", "demo-int8", "--model", "demo-fp32", "--dataset", "kitti:data", "--json"];
    let output = bench.lookout(&[["evaluate", "--class-map", "classes.toml"].as_slice(), &arguments].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (model, bytes) in
        [lookout::detector::demo::artifact(), lookout::detector::demo::checkpoint()].iter().enumerate()
    {
        let found = report["models"][model]["model"]["bytes"].as_u64();
        assert_eq!(found, bytes.map(|bytes| bytes.len() as u64));
    }
}

#[test]
fn two_models_are_judged_on_the_same_pictures_and_nothing_runs_twice() {
    let bench = Bench::new();
    bench.quantize();
    let arguments = [
        "evaluate",
        "--model",
        "model.safetensors",
        "--model",
        "model.lookout",
        "--dataset",
        "kitti:data",
        "--score",
        "0.2",
        "--resamples",
        "50",
        "--json",
        "--out",
        "out",
        "--coco-results",
        "results",
        "--kitti-results",
        "kitti",
    ];
    let output = bench.lookout(&arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (report["pictures"].as_u64(), report["truths"].as_u64(), report["regions"].as_u64()),
        (Some(4), Some(4), Some(4))
    );
    let models = report["models"].as_array().unwrap();
    assert_eq!(models.len(), 2);
    let (fp32, int8) = (&models[0]["model"], &models[1]["model"]);
    assert_eq!((fp32["precision"].as_str(), int8["precision"].as_str()), (Some("fp32"), Some("int8")));
    let bytes = std::fs::metadata(bench.path("model.lookout")).unwrap().len();
    assert_eq!(int8["bytes"].as_u64(), Some(bytes));
    let whole = |facts: &Value| facts["coverage"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(whole(fp32)["gmac_int8"].as_f64(), Some(0.0));
    assert_eq!(whole(int8)["gmac_int8"], whole(int8)["gmac"]);
    assert_eq!(int8["timing"][0]["pictures"].as_u64(), Some(4));
    assert_eq!(int8["timing"][0]["threads"].as_u64(), Some(1));
    assert!(int8["timing"][0]["wall_ms_p50"].as_f64() > Some(0.0));
    let pair = &report["pairs"][0];
    assert_eq!(
        (pair["reference"].as_str(), pair["other"].as_str()),
        (Some("model.safetensors"), Some("model.lookout"))
    );
    for figure in ["paper.accuracy", "regions.f1", "coco.ap"] {
        assert!(pair["differences"].get(figure).is_some());
    }

    // Asked again, the results come from the cache: even the times are the same.
    let again = bench.lookout(&arguments);
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(report, again);
    // Judged from the files it wrote, the figures are the same.
    let from_files = bench.lookout(&[
        "evaluate",
        "--detections",
        "results/model.lookout.json",
        "--dataset",
        "coco:results/annotations.json",
        "--score",
        "0.2",
        "--resamples",
        "0",
        "--json",
    ]);
    assert!(from_files.status.success(), "{}", text(&from_files.stderr));
    let from_files: Value = serde_json::from_slice(&from_files.stdout).unwrap();
    for figure in ["coco.ap", "coco.ap50", "regions.recall", "regions.precision"] {
        let value = |report: &Value, at: usize| report["models"][at]["figures"][figure]["value"].clone();
        assert_eq!(value(&report, 1), value(&from_files, 0), "{figure}");
    }
    assert!(bench.path("out/report.csv").is_file() && bench.path("out/report.txt").is_file());
    let line = std::fs::read_to_string(bench.path("kitti/model.lookout/000000.txt")).unwrap();
    assert!(line.is_empty() || line.lines().next().unwrap().split(' ').count() == 16, "{line}");
}

#[test]
fn wrong_labels_are_told_with_their_place_and_strict_stops() {
    let bench = Bench::new();
    std::fs::write(
        bench.path("data/label_2/000001.txt"),
        "kind1 -1 -1 -10 1 2 3\nghost -1 -1 -10 1 2 300 90 -1 -1 -1 -1000 -1000 -1000 -10\n",
    )
    .unwrap();
    std::fs::remove_file(bench.path("data/image_2/000002.png")).unwrap();
    std::fs::write(bench.path("data/image_2/000003.png"), b"\x89PNG nothing").unwrap();
    let arguments = ["evaluate", "--model", "model.safetensors", "--dataset", "kitti:data", "--resamples", "0"];
    let output = bench.lookout(&arguments);
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    for wanted in [
        "data/label_2/000001.txt:1: 7 columns",
        "data/label_2/000001.txt:2: box 1 2 300 90 of ghost exceeds its picture of 128×96",
        "data/label_2/000001.txt:2: no model has class ghost",
        "data/label_2/000002.txt: its picture data/image_2/000002.png is missing",
        "data/image_2/000003.png: ",
    ] {
        assert!(stderr.contains(wanted), "{wanted}\nin\n{stderr}");
    }
    assert!(text(&output.stdout).contains("2 pictures"), "{}", text(&output.stdout));
    let strict = bench.lookout(&[&arguments[..], &["--strict"]].concat());
    assert_eq!(strict.status.code(), Some(65));
    assert!(text(&strict.stderr).contains("000001.txt:1"), "{}", text(&strict.stderr));
}

#[test]
fn what_cannot_be_evaluated_is_said_in_one_line() {
    let bench = Bench::new();
    let fails = |arguments: &[&str], code: i32, wanted: &str| {
        let output = bench.lookout(&[&["evaluate"], arguments].concat());
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(wanted), "{wanted} in {stderr}");
    };
    let model = ["--model", "model.safetensors"];
    fails(&[&model[..], &["--dataset", "yolo:data"]].concat(), 64, "kitti:DIR");
    fails(&[&model[..], &["--dataset", "kitti:nowhere"]].concat(), 66, "nowhere");
    fails(&[&model[..], &["--dataset", "voc:data"]].concat(), 66, "Annotations");
    fails(&[&model[..], &["--dataset", "coco:labels.txt"]].concat(), 65, "line 1");
    fails(&[&model[..], &["--dataset", "kitti:data", "--split", "paper"]].concat(), 65, "7481");
    fails(&["--dataset", "kitti:data"], 64, "--detections");
    std::fs::write(bench.path("map.toml"), "\"kind1\" = \"Vehicle\"\n").unwrap();
    fails(&[&model[..], &["--dataset", "kitti:data", "--class-map", "map.toml"]].concat(), 65, "--class-map");
    std::fs::write(bench.path("map.toml"), "kind1 = 3\n").unwrap();
    fails(&[&model[..], &["--dataset", "kitti:data", "--class-map", "map.toml"]].concat(), 65, "map.toml");
}

#[test]
fn voc_is_read_and_difficult_objects_do_not_count() {
    let bench = Bench::new();
    std::fs::create_dir_all(bench.path("voc/Annotations")).unwrap();
    std::fs::rename(bench.path("data/image_2"), bench.path("voc/JPEGImages")).unwrap();
    for index in 0..2 {
        let object = |difficult: u8| {
            format!(
                "<object><name>kind1</name><difficult>{difficult}</difficult><bndbox><xmin>21</xmin><ymin>41</ymin>\
                 <xmax>44</xmax><ymax>70</ymax></bndbox></object>"
            )
        };
        let text = format!("<annotation><filename>{index:06}.png</filename>{}{}</annotation>", object(0), object(1));
        std::fs::write(bench.path(&format!("voc/Annotations/{index:06}.xml")), text).unwrap();
    }
    let output = bench.lookout(&[
        "evaluate",
        "--model",
        "model.safetensors",
        "--dataset",
        "voc:voc",
        "--resamples",
        "0",
        "--json",
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((report["truths"].as_u64(), report["regions"].as_u64()), (Some(2), Some(2)));
}

/// The built-in model on scenes that it was not trained on. 1000 such pictures are judged in `tests/demo/README.md`.
#[cfg(feature = "demo")]
#[test]
fn the_built_in_model_finds_what_the_street_holds() {
    let folder = tempfile::tempdir().unwrap();
    let lookout = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lookout"));
        command.args(arguments).current_dir(folder.path()).env("XDG_CACHE_HOME", folder.path());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        output.stdout
    };
    let export = ["pattern", "--export", "street", "--count", "30", "--scenes", "30", "--step", "40"];
    lookout(&[&export[..], &["--seed", "9000000"]].concat());
    let judged =
        lookout(&["evaluate", "--model", "demo-int8", "--dataset", "kitti:street", "--resamples", "20", "--json"]);
    let report: Value = serde_json::from_slice(&judged).unwrap();
    let model = &report["models"][0];
    assert_eq!(model["model"]["precision"], "int8");
    let classes = model["classes"].as_array().unwrap();
    assert_eq!(classes.len(), 3);
    for class in classes {
        let count = |key: &str| class[key].as_f64().unwrap();
        assert!(count("truths") > 30.0, "{class}");
        let (recall, precision) = (count("hits") / count("truths"), count("hits") / count("predictions"));
        assert!(recall >= 0.85 && precision >= 0.85, "{}: recall {recall}, precision {precision}", class["class"]);
    }
    assert!(text(&lookout(&["verify", "demo-int8", "demo-int8"])).starts_with("identical"));
}
