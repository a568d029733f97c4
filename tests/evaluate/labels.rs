//! Labels in the forms that label tools write: EXIF orientations, resized pictures, ids as floats or text, paths of
//! Windows, fractions, files beside the pictures.

use std::path::{Path, PathBuf};
use std::process::Command;

use image::ImageEncoder;
use serde_json::{Value, json};

const PICTURES: usize = 3;

/// A labelled box: class and corners.
type Label = (String, [f64; 4]);

/// Pictures of the synthetic street with their boxes.
struct Street {
    folder: tempfile::TempDir,
    pictures: Vec<(PathBuf, Vec<Label>)>,
}

/// An evaluation's AP50, NaN where there is nothing to find, and its standard error.
struct Outcome {
    ap50: f64,
    stderr: String,
}

impl Street {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let street = folder.path().join("street");
        let mut export = Command::new(env!("CARGO_BIN_EXE_lookout"));
        export.args(["pattern", "--count", &PICTURES.to_string(), "--width", "480", "--height", "270", "--seed", "7"]);
        assert!(export.arg("--export").arg(&street).output().unwrap().status.success());
        let mut pictures = Vec::new();
        for index in 0.. {
            let found = ["jpg", "png"].map(|end| street.join(format!("image_2/{index:06}.{end}")));
            let Some(picture) = found.into_iter().find(|path| path.is_file()) else { break };
            let text = std::fs::read_to_string(street.join(format!("label_2/{index:06}.txt"))).unwrap();
            let label = |line: &str| {
                let columns: Vec<&str> = line.split_whitespace().collect();
                let number = |at: usize| columns[at].parse().unwrap();
                (columns[0].to_owned(), [number(4), number(5), number(6), number(7)])
            };
            let labels = text.lines().map(label).filter(|(class, _)| class != "DontCare").collect();
            pictures.push((picture, labels));
        }
        assert_eq!(pictures.len(), PICTURES);
        Self { folder, pictures }
    }

    /// Evaluates the built-in model on the dataset `name`.
    fn evaluate(&self, dataset: &str, more: &[&str]) -> Outcome {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lookout"));
        command
            .args(["evaluate", "--model", "demo-fp32", "--resamples", "0", "--json", "--dataset", dataset])
            .args(more);
        command.current_dir(self.folder.path()).env("XDG_CACHE_HOME", self.folder.path().join("cache"));
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stderr}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let ap50 = report["models"][0]["figures"]["coco.ap50"]["value"].as_f64();
        Outcome { ap50: ap50.unwrap_or(f64::NAN), stderr }
    }

    /// Writes a COCO set: the annotation file that `edit` changes, and the pictures that `save` writes.
    fn coco(&self, name: &str, edit: impl Fn(&mut Value), save: impl Fn(&Path, &Path) -> PathBuf) -> String {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(folder.join("images")).unwrap();
        let mut names: Vec<&String> =
            self.pictures.iter().flat_map(|(_, labels)| labels).map(|(class, _)| class).collect();
        names.sort();
        names.dedup();
        let (mut images, mut notes) = (Vec::new(), Vec::new());
        for (at, (picture, labels)) in self.pictures.iter().enumerate() {
            let saved = save(picture, &folder.join("images"));
            let (width, height) = image::image_dimensions(picture).unwrap();
            let file = saved.file_name().unwrap().to_str().unwrap();
            images.push(json!({ "id": at + 1, "file_name": file, "width": width, "height": height }));
            for (class, [x0, y0, x1, y1]) in labels {
                let category = names.iter().position(|name| *name == class).unwrap() + 1;
                let (width, height) = (x1 - x0, y1 - y0);
                notes.push(json!({
                    "id": notes.len() + 1, "image_id": at + 1, "category_id": category,
                    "bbox": [x0, y0, width, height], "area": width * height, "iscrowd": 0,
                }));
            }
        }
        let categories: Vec<Value> =
            names.iter().enumerate().map(|(at, name)| json!({ "id": at + 1, "name": name })).collect();
        let mut document = json!({ "images": images, "annotations": notes, "categories": categories });
        edit(&mut document);
        std::fs::write(folder.join("instances.json"), document.to_string()).unwrap();
        format!("coco:{name}/instances.json")
    }
}

fn copied(from: &Path, folder: &Path) -> PathBuf {
    let to = folder.join(from.file_name().unwrap());
    std::fs::copy(from, &to).unwrap();
    to
}

/// Saves a picture with the pixels as they are and an EXIF orientation.
fn turned(orientation: u8) -> impl Fn(&Path, &Path) -> PathBuf {
    move |from, folder| {
        let picture = image::open(from).unwrap().into_rgb8();
        let to = folder.join(from.with_extension("jpg").file_name().unwrap());
        let mut file = std::fs::File::create(&to).unwrap();
        let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, 95);
        let tiff =
            [&b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0"[..], &[orientation, 0, 0, 0, 0, 0, 0, 0]].concat();
        encoder.set_exif_metadata(tiff).unwrap();
        encoder.write_image(&picture, picture.width(), picture.height(), image::ExtendedColorType::Rgb8).unwrap();
        to
    }
}

/// Every value under these keys, changed.
fn change(value: &mut Value, keys: &[&str], edit: &dyn Fn(&Value) -> Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                if keys.contains(&key.as_str()) { *value = edit(value) } else { change(value, keys, edit) }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|value| change(value, keys, edit)),
        _ => {}
    }
}

#[test]
fn labels_mean_the_same_however_a_tool_writes_them() {
    const IDS: &[&str] = &["id", "image_id", "category_id"];
    let street = Street::new();
    let same = |_: &mut Value| {};
    let plain = street.evaluate(&street.coco("plain", same, copied), &[]);
    assert!(plain.ap50 > 0.4 && !plain.stderr.contains("warning"), "{} {}", plain.ap50, plain.stderr);
    let with = |keys: &'static [&'static str], edit: fn(&Value) -> Value| {
        move |document: &mut Value| change(document, keys, &edit)
    };
    for (name, edit) in [
        ("floats", Box::new(with(IDS, |id| json!(id.as_f64().unwrap()))) as Box<dyn Fn(&mut Value)>),
        ("text", Box::new(with(IDS, |id| json!(format!("n{id}"))))),
        ("windows", Box::new(with(&["file_name"], |name| json!(format!("images\\{}", name.as_str().unwrap()))))),
        ("elsewhere", Box::new(with(&["file_name"], |name| json!(format!("/mnt/set/{}", name.as_str().unwrap()))))),
    ] {
        let outcome = street.evaluate(&street.coco(name, edit, copied), &[]);
        assert_eq!(outcome.ap50, plain.ap50, "{name}: {}", outcome.stderr);
    }
    // Only the JPEG makes a difference.
    for orientation in [6, 8, 5, 3] {
        let set = street.coco(&format!("turned-{orientation}"), same, turned(orientation));
        let outcome = street.evaluate(&set, if orientation == 3 { &["--exif", "ignore"] } else { &[] });
        assert!((outcome.ap50 - plain.ap50).abs() < 0.05, "{orientation}: {} {}", outcome.ap50, outcome.stderr);
        assert!(outcome.stderr.contains("not applied"), "{}", outcome.stderr);
    }
}

#[test]
fn labels_that_cannot_fit_are_told_once_with_what_they_probably_are() {
    let street = Street::new();
    let doubled = |from: &Path, folder: &Path| {
        let picture = image::open(from).unwrap().into_rgb8();
        let to = folder.join(from.file_name().unwrap());
        let (width, height) = (2 * picture.width(), 2 * picture.height());
        image::imageops::resize(&picture, width, height, image::imageops::FilterType::Triangle).save(&to).unwrap();
        to
    };
    let resized = street.evaluate(&street.coco("resized", |_| {}, doubled), &[]);
    assert_eq!(resized.stderr.matches("480×270 declared, 960×540 found").count(), 1, "{}", resized.stderr);
    assert!(resized.stderr.contains("instances.json:1: the declared size of 3 of 3 pictures"), "{}", resized.stderr);
    let fractions = |document: &mut Value| {
        change(document, &["bbox"], &|sides| {
            let side = |at: usize, of: f64| sides[at].as_f64().unwrap() / of;
            json!([side(0, 480.0), side(1, 270.0), side(2, 480.0), side(3, 270.0)])
        });
    };
    let fractions = street.evaluate(&street.coco("fractions", fractions, copied), &[]);
    assert_eq!(fractions.stderr.matches("probably fractions of width and height").count(), 1, "{}", fractions.stderr);
    assert!(fractions.ap50 == 0.0 && fractions.stderr.contains("no labelled box was found"), "{}", fractions.stderr);
    // Labels of other pictures: nothing is wrong but that nothing is found.
    let elsewhere = |document: &mut Value| change(document, &["bbox"], &|_| json!([460.0, 2.0, 12.0, 9.0]));
    let elsewhere = street.evaluate(&street.coco("elsewhere", elsewhere, copied), &[]);
    assert!(elsewhere.stderr.contains("no labelled box was found (same class, IoU ≥ 0.5)"), "{}", elsewhere.stderr);
}

#[test]
fn a_set_that_measures_nothing_or_something_twice_gives_a_warning() {
    let street = Street::new();
    let crowds = |document: &mut Value| change(document, &["iscrowd"], &|_| json!(1));
    let crowds = street.evaluate(&street.coco("crowds", crowds, copied), &[]);
    assert!(crowds.ap50.is_nan() && crowds.stderr.contains("labelled boxes is to be found: "), "{}", crowds.stderr);
    let empty = |document: &mut Value| document["annotations"] = json!([]);
    let empty = street.evaluate(&street.coco("empty", empty, copied), &[]);
    assert!(empty.stderr.contains("none of the 3 pictures has a labelled box"), "{}", empty.stderr);
    let twice = |document: &mut Value| {
        let mut again = document["images"].clone();
        change(&mut again, &["id"], &|id| json!(id.as_u64().unwrap() + 100));
        document["images"].as_array_mut().unwrap().extend(again.as_array().unwrap().clone());
    };
    let twice = street.evaluate(&street.coco("twice", twice, copied), &[]);
    assert!(twice.stderr.contains("3 of 6 entries have the picture of another entry"), "{}", twice.stderr);
    let wide = street.coco("wide", |_| {}, copied);
    let file = street.folder.path().join("wide/instances.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    std::fs::write(&file, [b"\xfe\xff", &bytes[..]].concat()).unwrap();
    let wide = street.evaluate(&wide, &[]);
    assert!(wide.ap50 > 0.4 && !wide.stderr.contains("warning"), "{} {}", wide.ap50, wide.stderr);
}

#[test]
fn voc_files_beside_the_pictures_are_found_and_an_early_end_prints_the_problems() {
    let street = Street::new();
    let folder = street.folder.path().join("beside");
    std::fs::create_dir(&folder).unwrap();
    for (picture, labels) in &street.pictures {
        copied(picture, &folder);
        let object = |(class, corners): &Label| {
            let [x0, y0, x1, y1] = corners.map(|edge| edge.round());
            format!(
                "<object><name>{class}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>",
                x0 + 1.0,
                y0 + 1.0
            )
        };
        let objects: String = labels.iter().map(object).collect();
        let name = picture.file_name().unwrap().to_str().unwrap();
        let text = format!(
            "<annotation><filename>{name}</filename><path>C:\\x\\{name}</path><size><width>480</width><height>270</height></size>{objects}</annotation>"
        );
        std::fs::write(folder.join(picture.with_extension("xml").file_name().unwrap()), text).unwrap();
    }
    let outcome = street.evaluate("voc:beside", &[]);
    assert!(outcome.ap50 > 0.4 && !outcome.stderr.contains("warning"), "{} {}", outcome.ap50, outcome.stderr);

    let set = street.coco("gone", |document| change(document, &["file_name"], &|_| json!("gone.png")), copied);
    let mut command = Command::new(env!("CARGO_BIN_EXE_lookout"));
    command.args(["evaluate", "--model", "demo-fp32", "--dataset", &set]).current_dir(street.folder.path());
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(66), "{stderr}");
    assert!(stderr.contains("instances.json: its picture") && stderr.contains("gone.png is missing"), "{stderr}");
}
