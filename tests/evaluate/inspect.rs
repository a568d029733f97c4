//! `lookout inspect` as a user calls it, and the lock-step behind it against each network on its own.

use std::path::Path;
use std::sync::Arc;

use lookout::detector::checkpoint::Checkpoint;
use lookout::detector::fp32::Fp32Model;
use lookout::detector::int8::{Int8Executor, Int8Model, Quantized};
use lookout::detector::plan::StepId;
use lookout::detector::tap::{Activation, Values};
use lookout::detector::thread_pool;
use lookout::frame::Picture;
use lookout::kernel::activation::Activation as ActivationFunction;
use lookout::kernel::isa::Isa;
use lookout::measure::{Lockstep, PairObserver, PairRequest, StepError};
use lookout::preprocess::{Transform, TransformParams};
use lookout::quant::artifact::Artifact;
use lookout::tensor::Canvas;
use serde_json::Value;

use super::command::{Bench, text};

const ARGUMENTS: [&str; 8] =
    ["inspect", "--reference", "model.safetensors", "--model", "model.lookout", "--images", "data/image_2", "--out"];

fn inspect<'a>(bench: &Bench, rest: &[&'a str]) -> std::process::Output {
    let arguments: Vec<&'a str> = ARGUMENTS.iter().copied().chain(rest.iter().copied()).collect();
    bench.lookout(&arguments)
}

/// Every file that the page at `path` refers to.
fn references(path: &Path) -> Vec<String> {
    let page = std::fs::read_to_string(path).unwrap();
    assert!(!page.contains("<script") && !page.contains("http"), "{} needs nothing from outside", path.display());
    let quoted = page.split(['"']).collect::<Vec<_>>();
    let follows = |pair: &[&str]| (pair[0].ends_with("href=") || pair[0].ends_with("src=")).then(|| pair[1].to_owned());
    quoted.windows(2).filter_map(follows).collect()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn the_folder_holds_all_that_its_pages_show() {
    let bench = Bench::new();
    bench.quantize();
    let output = inspect(&bench, &["out", "--video", "film.y4m", "--maps", "2", "--own-error", "2", "--score", "0.1"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).trim_end().ends_with("out/index.html"), "{}", text(&output.stdout));

    let out = bench.path("out");
    let pages = ["index.html", "maps/0001-000000/index.html", "maps/0002-000001/index.html"];
    for page in pages {
        let page = out.join(page);
        let found = references(&page);
        assert!(found.len() > 20, "{}: {}", page.display(), found.len());
        for file in found {
            let path = page.parent().unwrap().join(&file);
            assert!(path.is_file(), "{} shows {file}, which is not there", page.display());
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("svg") => {
                    let plot = std::fs::read_to_string(&path).unwrap();
                    assert!(roxmltree::Document::parse(&plot).is_ok() && !plot.contains("NaN"), "{file}");
                }
                Some("png" | "jpg") => assert!(Picture::open(&path).unwrap().width > 100, "{file}"),
                _ => {}
            }
        }
    }

    let report = json(&out.join("report.json"));
    assert_eq!((report["is_related"].clone(), report["pictures"].as_array().unwrap().len()), (true.into(), 4));
    assert_eq!(report["alone"], 2);
    let fates = &report["strict"];
    let of_reference: u64 =
        report["pictures"].as_array().unwrap().iter().map(|p| p["detections"][0].as_u64().unwrap()).sum();
    assert_eq!(fates["matched"].as_u64().unwrap() + fates["vanished"].as_u64().unwrap(), of_reference);

    let steps = json(&out.join("steps.json"));
    let steps = steps.as_array().unwrap();
    let csv = std::fs::read_to_string(out.join("steps.csv")).unwrap();
    assert_eq!(csv.lines().count(), steps.len() + 1);
    for step in steps {
        let db = step["sqnr_db"].as_f64().unwrap();
        assert!((5.0..80.0).contains(&db), "{step}");
        let is_layer = !["pool", "extra_blocks"].iter().any(|word| step["step"].as_str().unwrap().contains(word));
        assert_eq!(step["injected_db"].is_number(), is_layer, "{step}");
        let is_head = ["cls_", "bbox_pred"].iter().any(|word| step["step"].as_str().unwrap().contains(word));
        assert_eq!(step["clipped_share"].is_number(), is_layer && !is_head, "{step}");
        assert!(step["cosine"].as_f64().unwrap() > 0.8 && step["mean_absolute"].as_f64().unwrap() > 0.0, "{step}");
    }
    // Three sentences say what was found, in the report, on the page and on the terminal.
    let findings = report["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 3);
    let page = std::fs::read_to_string(out.join("index.html")).unwrap();
    for finding in findings.iter().map(|finding| finding.as_str().unwrap()) {
        assert!(finding.ends_with('.') && text(&output.stdout).contains(finding), "{finding}");
        assert!(page.contains(&finding.replace('\'', "&#39;")) || page.contains(finding), "{finding}");
    }
    let matched = fates["matched"].as_u64().unwrap();
    assert!(findings[0].as_str().unwrap().contains(&format!(" detects {matched} (")), "{findings:?}");
    assert!(findings[1].as_str().unwrap().contains(report["worst"][0]["step"].as_str().unwrap()), "{findings:?}");

    // Every step has a relative error, also those after ReLU, whose values are mostly 0.
    assert!(steps.iter().all(|step| step["relative_element"]["median"].as_f64().unwrap() > 0.0));
    // Lines pass over steps without a value, and every point of a plot has one line.
    for (plot, lines) in [("sqnr", 2), ("relative", 2), ("clipped", 1), ("cosine", 1), ("mean-absolute", 1)] {
        let svg = std::fs::read_to_string(out.join(format!("plots/{plot}.svg"))).unwrap();
        assert_eq!(svg.matches("<polyline").count(), lines, "{plot}");
    }
    let relative = std::fs::read_to_string(out.join("plots/relative.svg")).unwrap();
    assert_eq!(relative.matches("<circle").count(), 2 * steps.len());

    // The worst step of the report is that of the table.
    let least = steps.iter().map(|step| step["sqnr_db"].as_f64().unwrap()).fold(f64::INFINITY, f64::min);
    assert_eq!(report["worst"][0]["sqnr_db"].as_f64().unwrap(), least);

    let kept = json(&out.join("sensitivity.json"));
    let kept = kept.as_array().unwrap();
    assert_eq!(kept[0]["layer"], "none");
    let gains: Vec<f64> = kept.iter().filter_map(|row| row["gain_db"].as_f64()).collect();
    assert!(gains.len() > 20 && gains.windows(2).all(|pair| pair[0] <= pair[1]), "{gains:?}");
    assert!((kept.last().unwrap()["fp32_mac_share"].as_f64().unwrap() - 1.0).abs() < 1e-9);

    let film = std::fs::read(bench.path("film.y4m")).unwrap();
    assert_eq!(film.windows(6).filter(|bytes| bytes == b"FRAME\n").count(), 4);
}

/// A tensor of a file as f32, with its shape.
fn tensor(file: &safetensors::SafeTensors<'_>, name: &str) -> (Vec<usize>, Vec<f32>) {
    let view = file.tensor(name).unwrap();
    let values = match view.dtype() {
        safetensors::Dtype::U8 => view.data().iter().map(|&byte| f32::from(byte)).collect(),
        safetensors::Dtype::U16 => {
            view.data().chunks_exact(2).map(|pair| f32::from(u16::from_le_bytes([pair[0], pair[1]]))).collect()
        }
        safetensors::Dtype::F32 => {
            view.data().chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
        }
        other => panic!("{name} is {other:?}"),
    };
    (view.shape().to_vec(), values)
}

#[test]
fn tensors_of_any_step_have_the_error_of_the_table() {
    let bench = Bench::new();
    bench.quantize();
    let steps =
        "backbone.body.conv1,backbone.body.layer1,roi_heads.box_roi_pool,roi_heads.box_head,backbone.body.maxpool";
    let only = ["--maps", "0", "--own-error", "0", "--side-by-side", "0", "--steps", "first:1"];
    let tensors = ["out", "--tensors", "values", "--tensor-steps", steps, "--tensor-pictures", "9"];
    let output = inspect(&bench, &[tensors.as_slice(), &only].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = json(&bench.path("out/steps.json"));
    let mut checked = 0;
    for row in table.as_array().unwrap() {
        let step = row["step"].as_str().unwrap();
        let wanted = steps
            .split(',')
            .any(|name| step.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')));
        let (mut signal, mut noise) = (0.0f64, 0.0f64);
        for picture in 0..4 {
            let path = bench.path(&format!("values/{:04}-{picture:06}/{step}.safetensors", picture + 1));
            assert_eq!(path.exists(), wanted, "{}", path.display());
            if !wanted {
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
            let metadata = metadata.metadata().clone().unwrap();
            assert_eq!(metadata["step"], step);
            let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            let ((shape, f), (of_int8, q)) = (tensor(&file, "fp32"), tensor(&file, "int8"));
            let (scale, zero_point) = (tensor(&file, "scale").1[0], tensor(&file, "zero_point").1[0]);
            assert_eq!(shape, of_int8);
            // Padding of a map does not count; regions have none.
            let size = |key: &str, or: usize| metadata.get(key).map_or(or, |text| text.parse().unwrap());
            let (height, width) = match shape[..] {
                [_, _, height, width] => (height, width),
                _ => (1, 1),
            };
            let (rows, columns) = (size("valid_height", height), size("valid_width", width));
            for (at, (&f, &q)) in f.iter().zip(&q).enumerate() {
                if at / width % height < rows && at % width < columns {
                    let real = (q - zero_point) * scale;
                    signal += f64::from(f) * f64::from(f);
                    noise += f64::from(real - f) * f64::from(real - f);
                }
            }
        }
        if wanted {
            let (found, db) = (10.0 * (signal / noise).log10(), row["sqnr_db"].as_f64().unwrap());
            assert!((found - db).abs() < 1e-3, "{step}: {found} for {db}");
            checked += 1;
        }
    }
    assert!(checked > 6, "{checked}");
}

#[test]
fn labels_are_drawn_beside_the_detections_of_both_models() {
    let bench = Bench::new();
    bench.quantize();
    let models = ["inspect", "--reference", "model.safetensors", "--model", "model.lookout", "--out"];
    let only = ["--maps", "0", "--own-error", "0", "--steps", "first:1", "--score", "0.05"];
    let run = |rest: &[&str]| bench.lookout(&[models.as_slice(), rest, &only].concat());
    let with = run(&["out", "--dataset", "kitti:data", "--video", "film.mjpeg"]);
    assert!(with.status.success(), "{}", text(&with.stderr));
    let without = run(&["plain", "--images", "data/image_2"]);
    assert!(without.status.success(), "{}", text(&without.stderr));

    // The same figures as `evaluate` has.
    let arguments = ["--model", "model.safetensors", "--model", "model.lookout", "--dataset", "kitti:data", "--json"];
    let evaluated = bench.lookout(&[["evaluate", "--score", "0.05"].as_slice(), &arguments].concat());
    let evaluated: Value = serde_json::from_slice(&evaluated.stdout).unwrap();
    let report = json(&bench.path("out/report.json"));
    assert_eq!(report["labels"]["dataset"], "kitti:data");
    for model in 0..2 {
        let (counts, paper) = (&report["labels"]["counts"][model], &evaluated["models"][model]["paper"]);
        for (name, of_paper) in [("labels", "truths"), ("detections", "predictions"), ("found", "hits")] {
            assert_eq!(counts[name].as_f64(), paper[of_paper].as_f64(), "{name}: {counts} {paper}");
        }
    }
    assert_eq!(report["labels"]["counts"][0]["labels"], 4);
    // The same labels in COCO's layout; its crowds are regions, as KITTI's DontCare is.
    let written = bench.lookout(&[["evaluate", "--coco-results", "coco"].as_slice(), &arguments].concat());
    assert!(written.status.success(), "{}", text(&written.stderr));
    let coco =
        ["of-coco", "--dataset", "coco:coco/annotations.json", "--images", "data/image_2", "--side-by-side", "0"];
    let coco = run(&coco);
    assert!(coco.status.success(), "{}", text(&coco.stderr));
    assert_eq!(json(&bench.path("of-coco/report.json"))["labels"]["counts"], report["labels"]["counts"]);
    // Boxes of the labels are in the pictures and in the film.
    let picture = |folder: &str| Picture::open(bench.path(&format!("{folder}/side-by-side/0002-000001.jpg"))).unwrap();
    assert_ne!(picture("out").data, picture("plain").data);
    assert!(json(&bench.path("plain/report.json")).get("labels").is_none());
    let film = std::fs::read(bench.path("film.mjpeg")).unwrap();
    let first = Picture::open(bench.path("out/side-by-side/0001-000000.jpg")).unwrap();
    assert_eq!(Picture::decode(&film).unwrap().width, first.width & !1);
}

#[test]
fn hexagons_hold_every_point_once_and_only_of_the_steps_asked_for() {
    let bench = Bench::new();
    bench.quantize();
    let only = ["--maps", "0", "--own-error", "0", "--side-by-side", "0", "--points", "0"];
    for rest in [["--steps", "first:2", "--hexbins", "all"].as_slice(), &["--steps", "first:2", "--before-relu"]] {
        let output = inspect(&bench, &[["out"].as_slice(), &only, rest].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let points = |name: &str| json(&bench.path(&format!("out/hexbins/{name}.json")))["points"].as_u64().unwrap();
        let all = points("all-absolute-linear");
        assert_eq!((all, all), (points("all-relative-symlog"), points("all-absolute-symlog")));
        let csv = std::fs::read_to_string(bench.path("out/hexbins/all-absolute-linear.csv")).unwrap();
        let counts = csv.lines().skip(1).map(|line| line.split(',').nth(2).unwrap().parse::<u64>().unwrap());
        assert_eq!(counts.sum::<u64>(), all);
        if rest.contains(&"all") {
            // The stem at half the picture's size and the first layer behind the pooling, of four pictures.
            let parts =
                points("backbone.body.conv1-absolute-linear") + points("backbone.body.layer1.0.conv1-absolute-linear");
            assert_eq!(parts, all);
        }
        let least = std::fs::read_to_string(bench.path("out/report.json")).unwrap();
        assert_eq!(least.contains("\"before_relu\": true"), rest.contains(&"--before-relu"));
    }
    assert!(!bench.path("out/maps").exists() && !bench.path("out/side-by-side").exists());
}

#[test]
fn wrong_calls_say_what_would_be_right() {
    let bench = Bench::new();
    bench.quantize();
    let says = |arguments: &[&str], code: i32, words: &str| {
        let output = bench.lookout(arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(words), "{arguments:?}: {stderr}");
    };
    let with = |rest: &[&'static str]| -> Vec<&'static str> {
        ARGUMENTS.iter().copied().chain(rest.iter().copied()).collect()
    };
    says(&with(&["out", "--steps", "backbone.body.layer9"]), 64, "backbone.body.layer9");
    says(&with(&["out", "--steps", "first:2", "--hexbins", "rpn"]), 64, "rpn.head.conv.0.0@P2");
    says(&with(&["out", "--video", "film.mp4"]), 64, ".y4m");
    says(&with(&["model.lookout"]), 73, "model.lookout");
    let of = |reference, model, images| {
        ["inspect", "--reference", reference, "--model", model, "--images", images, "--out", "out"]
    };
    says(&of("model.lookout", "model.lookout", "data"), 65, "model.lookout");
    says(&of("model.safetensors", "model.safetensors", "data"), 65, "model.safetensors");
    says(&of("model.safetensors", "demo-int8", "data/image_2"), 65, "different networks");
    says(&with(&["out", "--dataset", "kitti:data"]), 64, "one folder of COCO's pictures");
    says(&with(&["out", "--tensors", "values", "--tensor-steps", "rpn.filter_proposals"]), 64, "no step with values");
    says(&with(&["out", "--tensors", "data"]), 73, "data");
    let labelled = ["inspect", "--reference", "model.safetensors", "--model", "model.lookout", "--out", "out"];
    says(&[labelled.as_slice(), &["--dataset", "kitti:nothing"]].concat(), 66, "nothing");
    says(&[labelled.as_slice(), &["--dataset", "yolo:data"]].concat(), 64, "kitti:DIR");
    says(&of("model.safetensors", "model.lookout", "nothing"), 66, "nothing");
    std::fs::create_dir(bench.path("mixed")).unwrap();
    std::fs::copy(bench.path("data/image_2/000001.png"), bench.path("mixed/b.png")).unwrap();
    std::fs::write(bench.path("mixed/a.png"), b"no picture").unwrap();
    // What can be used is inspected all the same.
    says(&of("model.safetensors", "model.lookout", "mixed"), 65, "1 of 2 pictures could not be used");
    assert!(bench.path("out/index.html").is_file());
}

/// Both networks of a bench, and a picture on their canvases.
struct Networks {
    reference: Fp32Model,
    other: Int8Executor,
    canvas: Canvas<f32>,
    pixels: Canvas<u8>,
}

impl Networks {
    fn new(bench: &Bench) -> Self {
        let checkpoint = Checkpoint::open(&bench.path("model.safetensors")).unwrap();
        let bytes = std::fs::read(bench.path("model.lookout")).unwrap();
        let quantized = Quantized::from_artifact(&Artifact::parse(&bytes).unwrap(), Ok).unwrap();
        let model = Arc::new(Int8Model::new(&quantized, Isa::best()).unwrap());
        let reference = model.reference(&checkpoint, Isa::best()).unwrap();
        let (mut canvas, mut pixels) = (Canvas::empty(3), model.empty_canvas());
        let mut transform = Transform::new(TransformParams::from(&reference.plan().settings.transform)).unwrap();
        let picture = Picture::open(bench.path("data/image_2/000002.png")).unwrap();
        transform.to_f32(&picture, &mut canvas).unwrap();
        transform.to_u8(&picture, &mut pixels).unwrap();
        Self { reference, other: Int8Executor::new(model).keeping_features(), canvas, pixels }
    }
}

/// Adds errors, and holds raw values against fused ones.
struct Checks {
    errors: Vec<StepError>,
    relu: Vec<bool>,
    raw: Option<(StepId, Vec<f32>, Vec<f32>)>,
    checked: usize,
}

fn floats(activation: &Activation<'_>) -> Vec<f32> {
    match activation.values {
        Values::F32(values) => values.to_vec(),
        Values::U8 { .. } | Values::U16 { .. } => panic!("expected f32"),
    }
}

impl PairObserver for Checks {
    fn request(&self, step: StepId) -> PairRequest {
        // Every other step, so that both ways through the lockstep are taken.
        if step.is_multiple_of(2) { PairRequest::Raw } else { PairRequest::Clipping }
    }

    fn observe(&mut self, step: StepId, reference: &Activation<'_>, other: &Activation<'_>) {
        self.errors[step].add(reference, other);
        let Some((_, f, q)) = self.raw.take().filter(|(of, ..)| *of == step) else { return };
        let relu = |value: f32| if self.relu[step] { value.max(0.0) } else { value };
        let fused = floats(reference);
        assert!(fused.iter().zip(&f).all(|(fused, &raw)| *fused == relu(raw)), "fp32 step {step}");
        match other.values {
            Values::F32(values) => {
                assert!(values.iter().zip(&q).all(|(value, &raw)| *value == relu(raw)), "step {step}")
            }
            Values::U8 { data, scale, zero_point } => {
                for (&byte, &raw) in data.iter().zip(&q) {
                    let wanted = (relu(raw) / scale + f32::from(zero_point)).clamp(0.0, 255.0);
                    assert!((f32::from(byte) - wanted).abs() < 0.51, "step {step}: {raw} is {byte}");
                }
            }
            values @ Values::U16 { scale, zero_point, .. } => {
                // In steps of the low byte.
                let zero = f32::from(zero_point) * 256.0 + 128.0;
                for (at, &raw) in q.iter().enumerate() {
                    let wanted = (relu(raw) / scale * 256.0 + zero).clamp(0.0, 65_535.0);
                    let found = values.real(at) / scale * 256.0 + zero;
                    assert!((found - wanted).abs() < 0.55, "step {step}: {raw} is {found}");
                }
            }
        }
        self.checked += 1;
    }

    fn observe_raw(&mut self, step: StepId, reference: &Activation<'_>, other: &Activation<'_>) {
        self.raw = Some((step, floats(reference), floats(other)));
    }
}

/// Each step's own error.
struct Own(Vec<StepError>);

impl PairObserver for Own {
    fn request(&self, _: StepId) -> PairRequest {
        PairRequest::Raw
    }

    fn observe_raw(&mut self, step: StepId, reference: &Activation<'_>, other: &Activation<'_>) {
        self.0[step].add(reference, other);
    }
}

#[test]
fn the_lockstep_observes_what_each_network_computes() {
    let bench = Bench::new();
    bench.quantize();
    let mut networks = Networks::new(&bench);
    let Networks { reference, other, canvas, pixels } = &mut networks;
    let plan = Arc::clone(reference.plan());
    let steps = plan.steps.len();
    let relu = plan.steps.iter().map(|step| step.activation() == ActivationFunction::Relu).collect();
    let mut checks = Checks { errors: vec![StepError::default(); steps], relu, raw: None, checked: 0 };
    let mut errors = vec![StepError::default(); steps];
    let pool = thread_pool(2).unwrap();
    let seen = pool.install(|| Lockstep { reference, canvas, int8: other, pixels }.on_own_inputs(&mut checks).unwrap());
    let known = pool.install(|| Lockstep { reference, canvas, int8: other, pixels }.add_errors(&mut errors).unwrap());
    assert_eq!(seen, known);
    assert!(checks.checked > 15, "{} steps", checks.checked);
    for (step, (found, wanted)) in checks.errors.iter().zip(&errors).enumerate() {
        assert_eq!(found, wanted, "{}", plan.steps[step].name);
    }

    let mut own = Own(vec![StepError::default(); steps]);
    pool.install(|| Lockstep { reference, canvas, int8: other, pixels }.on_reference_inputs(&mut own).unwrap());
    let mut better = 0;
    for (step, own) in own.0.iter().enumerate().filter(|(_, own)| own.count() > 0) {
        let (alone, all) = (own.sqnr_db().unwrap(), errors[step].sqnr_db().unwrap());
        assert!(alone > 15.0, "{}: {alone} dB on its own", plan.steps[step].name);
        better += usize::from(alone > all);
    }
    let layers = own.0.iter().filter(|own| own.count() > 0).count();
    assert!(better * 10 > layers * 8, "{better} of {layers} err less on the reference's inputs");
}
