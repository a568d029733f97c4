//! Text files: labels, results, class maps, configuration.

use std::path::PathBuf;
use std::sync::OnceLock;

use lookout::config::{self, Inputs};
use lookout::detector::DetectorOptions;
use lookout::detector::checkpoint::{ImportOptions, import};
use lookout::evaluate::{
    ClassMap, Dataset, DatasetSource, DontCare, EvaluateOptions, ExifMode, NamedFile, RunOptions, Split, evaluate,
};
use lookout::frame::Picture;

use crate::{scratch, written};

/// Folders of each layout with one picture.
fn folders() -> &'static PathBuf {
    static FOLDERS: OnceLock<PathBuf> = OnceLock::new();
    FOLDERS.get_or_init(|| {
        let root = scratch().join("labels");
        for folder in ["kitti/image_2", "kitti/label_2", "voc/JPEGImages", "voc/Annotations", "coco"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        let picture = Picture::filled(64, 48, [90; 3]);
        for path in ["kitti/image_2/000000.png", "voc/JPEGImages/000000.jpg", "coco/000000.png"] {
            picture.save(root.join(path)).unwrap();
        }
        root
    })
}

/// Reads the dataset after `input` was written to its file at `path`.
fn dataset(layout: &str, path: &str, input: &[u8], source: &str) {
    let root = folders();
    std::fs::write(root.join(path), input).unwrap();
    let source: DatasetSource = format!("{layout}:{}", root.join(source).display()).parse().unwrap();
    if let Ok(dataset) = Dataset::read(&source, None) {
        let _ = dataset.problems.summary(3);
    }
}

/// KITTI's labels.
pub fn kitti(input: &[u8]) {
    dataset("kitti", "kitti/label_2/000000.txt", input, "kitti");
}

/// COCO's annotations.
pub fn coco(input: &[u8]) {
    dataset("coco", "coco/annotations.json", input, "coco/annotations.json");
}

/// VOC's labels.
pub fn voc(input: &[u8]) {
    dataset("voc", "voc/Annotations/000000.xml", input, "voc");
}

const ANNOTATIONS: &str = r#"{"images":[{"id":1,"file_name":"000000.png","width":64,"height":48},{"id":"b","file_name":"b.png","width":64,"height":48}],
"annotations":[{"id":1,"image_id":1,"category_id":1,"bbox":[1,2,30,20],"area":600,"iscrowd":0},{"id":2,"image_id":"b","category_id":2,"bbox":[4,4,9,9],"iscrowd":1}],
"categories":[{"id":1,"name":"Person"},{"id":2,"name":"Car"}]}"#;

/// A result file, evaluated on two pictures.
pub fn results(input: &[u8]) {
    let annotations = folders().join("coco/two.json");
    if !annotations.exists() {
        std::fs::write(&annotations, ANNOTATIONS).unwrap();
    }
    let options = EvaluateOptions {
        source: format!("coco:{}", annotations.display()).parse().unwrap(),
        images: None,
        split: Split::All,
        class_map: ClassMap::default(),
        dont_care: DontCare::Auto,
        models: Vec::new(),
        detections: vec![NamedFile { name: "r".into(), path: written("results.json", input) }],
        score: 0.5,
        resamples: 2,
        seed: 1,
        exif: ExifMode::Auto,
        run: RunOptions {
            detector: DetectorOptions::default(),
            cache: scratch().join("cache"),
            fresh: true,
            strict: false,
            cpu: String::new(),
        },
    };
    if let Ok(evaluation) = evaluate(&options, &mut |_, _| {}, &mut |_| {}) {
        serde_json::to_string(&evaluation.report).unwrap();
    }
}

/// A class map.
pub fn class_map(input: &[u8]) {
    let _ = ClassMap::read(&written("classes.toml", input));
}

fn load(inputs: &Inputs) {
    match config::load(inputs) {
        Ok(settings) => {
            let _ = lookout::daemon::check_settings(&settings);
            config::show(inputs).unwrap();
        }
        Err(refusal) => assert!(!refusal.0.is_empty() && !refusal.to_string().is_empty()),
    }
}

/// A configuration file.
pub fn config(input: &[u8]) {
    load(&Inputs { file: Some(written("lookout.toml", input)), ..Inputs::default() });
}

/// Lines of `--set`, and values of the environment.
pub fn setting(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let file = Some(written("empty.toml", b""));
    let set = text.lines().map(str::to_owned).collect();
    load(&Inputs { file: file.clone(), set, ..Inputs::default() });
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let environment = pairs.map(|(name, value)| (format!("LOOKOUT__{name}"), value.to_owned())).collect();
    load(&Inputs { file, environment, ..Inputs::default() });
}

/// The settings file of an import.
pub fn import_settings(input: &[u8]) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/networks/resnet-3.safetensors");
    let settings = Some(written("settings.toml", input));
    let _ = import(&ImportOptions { settings, ..ImportOptions::new(source, scratch().join("imported")) });
}

/// A text with an address. A password that was learned is in no redacted text.
pub fn address(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let _ = lookout::redact::redact(&text);
    if let Some(address) = lookout::redact::Address::parse(&text) {
        assert!(!format!("{address:?}").is_empty());
    }
}
