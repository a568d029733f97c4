//! Checkpoints from the outside: what PyTorch wrote comes in whole, what is wrong is named, what we write is ours.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lookout::detector::checkpoint::{
    Checkpoint, EpsReason, FileForm, ImportOptions, ImportReport, TensorDtype, import,
};
use lookout::detector::network::{
    Architecture, Block, Body, BoxHead, Children, ExtraLevels, Neck, ProposalHead, Pyramid, ResNet, Stage,
};
use lookout::detector::settings::BatchNormEps;
use lookout::error::{Kind, Result};
use safetensors::tensor::{Dtype, TensorView};

/// A tensor's sum, and the sum of its values times their place from 1.
type Sums = BTreeMap<String, [f64; 2]>;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints").join(name)
}

fn options(source: PathBuf, folder: &Path) -> ImportOptions {
    let out = folder.join("out.lookout");
    ImportOptions::new(source, out)
}

/// Imports and opens; every tensor must have the sums PyTorch computed.
fn import_fixture(name: &str, expected: &str) -> (ImportReport, Checkpoint) {
    let folder = tempfile::tempdir().unwrap();
    let options = options(fixture(name), folder.path());
    let report = import(&options).unwrap_or_else(|error| panic!("{name}: {}", error.chain()));
    let checkpoint = Checkpoint::open(&options.out).unwrap();
    let text = std::fs::read_to_string(fixture("expected.json")).unwrap();
    let all: BTreeMap<String, Sums> = serde_json::from_str(&text).unwrap();
    let sums = &all[expected];
    assert_eq!(checkpoint.tensors().count(), sums.len(), "{name}");
    for (tensor, [sum, moment]) in sums {
        let view = checkpoint.get(tensor).unwrap();
        let found: f64 = view.values.iter().map(|&value| f64::from(value)).sum();
        let placed: f64 = view.values.iter().zip(1u32..).map(|(&value, i)| f64::from(value) * f64::from(i)).sum();
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * (1.0 + b.abs() + view.values.len() as f64);
        assert!(close(found, *sum) && close(placed, *moment), "{name}: {tensor}");
    }
    (report, checkpoint)
}

#[test]
fn every_form_that_pytorch_writes_gives_the_same_weights() {
    let (report, reference) = import_fixture("zip.pth", "r18");
    assert_eq!(report.form, FileForm::ZipPickle);
    assert_eq!(reference.header().architecture, resnet18(4, [4, 4, 6, 8], 4, 8));
    for name in [
        "legacy.pth",
        "zip-strided.pth",
        "legacy-strided.pth",
        "legacy-double.pth",
        "zip-wrapped.pth",
        "legacy-wrapped.pth",
        "zip-parameters.pth",
        "legacy-protocol1.pth",
        "legacy-protocol4.pth",
    ] {
        let (report, other) = import_fixture(name, "r18");
        let legacy = name.starts_with("legacy");
        assert_eq!(report.form, if legacy { FileForm::LegacyPickle } else { FileForm::ZipPickle });
        for (tensor, ..) in reference.tensors() {
            assert_eq!(reference.get(tensor).unwrap(), other.get(tensor).unwrap(), "{name}: {tensor}");
        }
    }
}

#[test]
fn wrappers_are_unwrapped_and_said() {
    let (report, _) = import_fixture("zip-wrapped.pth", "r18");
    assert_eq!(
        report.notes,
        ["the state dict was taken from key \"model\"", "the prefix \"module.\" was stripped from every name"]
    );
}

/// Files of `wrapped.py`: the same weights among what training scripts save, with the notes of their import.
const WRAPPED: [(&str, &[&str]); 8] = [
    (
        "zip-script.pth",
        &[
            "the state dict was taken from key \"model\"",
            "1 tensor beside the state dict was left out, such as \"optimizer.state.0.momentum_buffer\"",
        ],
    ),
    ("zip-objects.pth", &["the state dict was taken from key \"runs.1.0.net\"", "3 tensors"]),
    (
        "zip-objects-protocol5.pth",
        &[
            "the state dict was taken from key \"ema.shadow\"",
            "the prefix \"module.\" was stripped from every name",
            "3 tensors",
        ],
    ),
    ("legacy-objects-protocol1.pth", &["the state dict was taken from key \"weights.best\"", "4 tensors"]),
    ("legacy-objects-protocol3.pth", &["the state dict was taken from key \"weights.best\"", "4 tensors"]),
    (
        "zip-prefixes.pth",
        &[
            "the state dict was taken from key \"state_dict\"",
            "the prefix \"model._orig_mod.module.\" was stripped from every name",
            "1 tensor beside the state dict was left out, such as \"state_dict.criterion.weight\"",
        ],
    ),
    ("zip-subclasses.pth", &[]),
    (
        "zip-module.pth",
        &[
            "the state dict was taken from key \"net.module\"",
            "it is a pickled module: its weights were read, its code and its settings were not",
            // The cells of its anchor generator.
            "5 tensors beside the state dict were left out",
        ],
    ),
];

#[test]
fn weights_are_found_in_whatever_is_around_them() {
    let (_, reference) = import_fixture("zip.pth", "r18");
    for (name, notes) in WRAPPED {
        let (report, other) = import_fixture(name, "r18");
        for (tensor, ..) in reference.tensors() {
            assert_eq!(reference.get(tensor).unwrap(), other.get(tensor).unwrap(), "{name}: {tensor}");
        }
        assert_eq!(report.notes.len(), notes.len(), "{name}: {:?}", report.notes);
        for (found, start) in report.notes.iter().zip(notes) {
            assert!(found.starts_with(start), "{name}: {found}");
        }
        assert!(report.warnings.is_empty(), "{name}: {:?}", report.warnings);
    }
}

#[test]
fn of_several_state_dicts_the_user_takes_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(fixture("zip-two.pth"), folder.path());
    let error = import(&options).unwrap_err();
    assert_eq!(error.kind(), Kind::Data);
    assert!(
        error.message().ends_with(
            "it holds 2 state dicts; choose one with --key: model (130 tensors); model_ema (130 tensors, prefix \
             \"module.\", other values than model in 1)"
        ),
        "{}",
        error.message()
    );
    let (_, reference) = import_fixture("zip.pth", "r18");
    let name = "roi_heads.box_predictor.cls_score.bias";
    for (key, factor, path) in
        [("model", 1.0, "model"), ("model_ema", 1.01, "model_ema"), ("model_ema.module", 1.01, "model_ema")]
    {
        options.key = Some(key.to_owned());
        let report = import(&options).unwrap();
        assert_eq!(report.notes[0], format!("the state dict was taken from key \"{path}\""));
        assert!(report.notes.last().unwrap().contains("left out, such as \"model"), "{:?}", report.notes);
        let checkpoint = Checkpoint::open(&options.out).unwrap();
        for (found, plain) in
            checkpoint.get(name).unwrap().values.iter().zip(reference.get(name).unwrap().values.iter())
        {
            assert!((found - plain * factor).abs() < 1e-6);
        }
    }
    options.key = Some("optimizer".to_owned());
    let error = import(&options).unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
    assert!(
        error
            .message()
            .ends_with("--key \"optimizer\" names no state dict of the file; it has \"model\", \"model_ema\""),
        "{}",
        error.message()
    );
    // The same weights under several keys are no question.
    let (report, _) = import_fixture("zip-same.pth", "r18");
    assert_eq!(
        report.notes,
        [
            "\"best\" and \"last.net\" and \"again\" hold the same weights; \"best\" was taken",
            "the state dict was taken from key \"best\""
        ]
    );
}

#[test]
fn files_of_other_programs_are_called_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    for (name, words) in [
        ("detectron2.pkl", "a Detectron2 checkpoint, as tensor backbone.bottom_up.stem.conv1.weight shows"),
        ("mmdetection.pth", "an MMDetection checkpoint, as tensor neck.lateral_convs.0.conv.weight shows"),
        ("torchscript.pt", "a TorchScript archive; expected a state dict: torch.save(model.state_dict(), path)"),
    ] {
        let error = import(&options(fixture(name), folder.path())).unwrap_err();
        assert_eq!(error.kind(), Kind::Data);
        assert!(error.message().contains(words), "{}", error.message());
        assert!(name == "torchscript.pt" || error.message().contains("torchvision's reference script"));
    }
}

#[test]
fn half_precision_stays_and_bfloat16_widens() {
    let (report, checkpoint) = import_fixture("zip-half.pth", "r18-half");
    assert_eq!(report.half_precision, report.tensors);
    assert!(checkpoint.tensors().all(|(_, _, dtype)| dtype == TensorDtype::F16));
    let (report, _) = import_fixture("zip-bfloat16.pth", "r18-bfloat16");
    assert_eq!(report.half_precision, 0);
}

#[test]
fn bottlenecks_and_counted_batches() {
    let (report, checkpoint) = import_fixture("zip-resnet50.pth", "r50");
    // One norm fewer than usual: layer1 has as many channels as the stem, so its shortcut has no convolution.
    assert_eq!(report.ignored, 52);
    let Body::ResNet(body) = &checkpoint.header().architecture.body else { panic!("no ResNet") };
    assert_eq!(body.describe(), "ResNet-50");
    assert_eq!(body.stages[3], Stage { blocks: 3, middle: 2, groups: 1, output: 8 });
}

#[test]
fn coco_v1_keeps_its_epsilon_and_loses_its_old_names() {
    let (report, checkpoint) = import_fixture("legacy-coco.pth", "coco");
    assert_eq!(report.renamed, 18);
    assert_eq!((report.batch_norm_eps.value.body, report.batch_norm_eps.reason), (0.0, EpsReason::CocoV1));
    // The fixture's variances are all above 0.5.
    assert!(report.warnings.is_empty());
    assert_eq!(checkpoint.header().labels.len(), 90);
    // COCO's names, of which those of unused ids repeat.
    assert_eq!([0, 11, 89].map(|at: usize| checkpoint.header().labels[at].as_str()), ["person", "N/A", "toothbrush"]);
}

#[test]
fn the_same_source_gives_the_same_bytes_and_candle_the_same_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(fixture("legacy.pth"), folder.path());
    let first = import(&options).unwrap();
    let bytes = std::fs::read(&options.out).unwrap();
    options.out = folder.path().join("other");
    assert_eq!(import(&options).unwrap().sha256, first.sha256);
    assert_eq!(std::fs::read(&options.out).unwrap(), bytes);

    let checkpoint = Checkpoint::open(&options.out).unwrap();
    assert_eq!(checkpoint.sha256().unwrap(), first.sha256);
    let builder = checkpoint.var_builder();
    let name = "roi_heads.box_head.fc6.weight";
    let tensor = builder.pp("roi_heads.box_head.fc6").get((8, 196), "weight").unwrap();
    assert_eq!(tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap(), *checkpoint.get(name).unwrap().values);
    assert!(builder.get((196, 8), name).unwrap_err().to_string().contains("expected [196, 8]"));
}

/// A ResNet-18 with these widths and four classes.
fn resnet18(stem: usize, stages: [usize; 4], channels: usize, head: usize) -> Architecture {
    let stage = |output| Stage { blocks: 2, middle: output, groups: 1, output };
    let body = ResNet {
        module: "backbone.body".into(),
        children: Children::Named,
        block: Block::Basic,
        stem,
        stages: stages.map(stage).into(),
        returned: vec![1, 2, 3, 4],
    };
    Architecture {
        body: Body::ResNet(body),
        neck: Neck::Fpn(Pyramid { channels, batch_norm: false, extra: ExtraLevels::Pool }),
        proposal_head: ProposalHead { convs: 1, anchors_per_cell: 3 },
        roi_output: 7,
        box_head: BoxHead::Mlp { fc6: head, fc7: head },
        classes: 4,
    }
}

/// A state dict in memory, to be broken in a test and written as safetensors.
struct State {
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    metadata: BTreeMap<String, String>,
}

impl State {
    fn narrow() -> Self {
        let architecture = resnet18(4, [4, 4, 6, 8], 4, 8);
        let value = |i: usize| (i % 13) as f32 * 0.125 + 0.25;
        let tensor = |shape: Vec<usize>| {
            let values = (0..shape.iter().product()).map(value).collect();
            (shape, values)
        };
        let tensors = architecture.expected().into_iter().map(|(name, shape)| (name, tensor(shape))).collect();
        Self { tensors, metadata: BTreeMap::new() }
    }

    fn value(&mut self, name: &str, place: usize) -> &mut f32 {
        &mut self.tensors.get_mut(name).unwrap().1[place]
    }

    fn import(&self, change: impl Fn(&mut ImportOptions)) -> Result<(ImportReport, Checkpoint)> {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source.safetensors");
        let bytes: BTreeMap<&str, Vec<u8>> = self
            .tensors
            .iter()
            .map(|(name, (_, values))| (name.as_str(), values.iter().flat_map(|v| v.to_le_bytes()).collect()))
            .collect();
        let views = self.tensors.iter().map(|(name, (shape, _))| {
            (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), &bytes[name.as_str()]).unwrap())
        });
        let metadata = self.metadata.clone().into_iter().collect();
        std::fs::write(&source, safetensors::serialize(views, Some(metadata)).unwrap()).unwrap();
        let mut options = options(source, folder.path());
        change(&mut options);
        let report = import(&options);
        if report.is_err() {
            // Nothing half-written stays behind.
            assert!(
                std::fs::read_dir(folder.path()).unwrap().all(|e| !e
                    .unwrap()
                    .file_name()
                    .to_string_lossy()
                    .contains("out"))
            );
        }
        report.map(|report| (report, Checkpoint::open(&options.out).unwrap()))
    }

    fn error_text(&self) -> String {
        let error = self.import(|_| ()).unwrap_err();
        assert_eq!(error.kind(), Kind::Data);
        error.chain()
    }
}

#[test]
fn prefixes_of_a_safetensors_file_are_stripped_and_chosen_from() {
    let plain = State::narrow();
    let (_, reference) = plain.import(|_| ()).unwrap();
    let with_prefix = |prefix: &str, state: &State| -> Vec<_> {
        state.tensors.iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone())).collect()
    };
    let mut state = State::narrow();
    state.tensors = with_prefix("detector._orig_mod.", &plain).into_iter().collect();
    state.tensors.insert("loss.weight".into(), (vec![1], vec![0.0]));
    state.metadata.insert("epoch".into(), "7".into());
    let (report, checkpoint) = state.import(|_| ()).unwrap();
    assert_eq!(
        report.notes,
        [
            "the prefix \"detector._orig_mod.\" was stripped from every name",
            "1 tensor beside the state dict was left out, such as \"loss.weight\"",
            "metadata key epoch was not read",
        ]
    );
    assert!(checkpoint.tensors().all(|(name, ..)| checkpoint.get(name).unwrap() == reference.get(name).unwrap()));

    // A second network below a prefix of the first, with another value.
    let mut other = State::narrow();
    *other.value("rpn.head.cls_logits.bias", 0) = 7.0;
    for (first, second) in [("", "ema.module."), ("model.", "model.teacher."), ("module.", "ema.module.")] {
        let names = [first, second].map(|prefix| if prefix.is_empty() { "." } else { prefix.trim_end_matches('.') });
        let mut both = State::narrow();
        both.tensors = with_prefix(first, &plain).into_iter().chain(with_prefix(second, &other)).collect();
        let text = both.error_text();
        assert!(names.iter().all(|name| text.contains(&format!("{name} (130 tensors"))), "{text}");
        for (name, expected) in names.iter().zip([0.25, 7.0]) {
            let (report, checkpoint) = both.import(|options| options.key = Some((*name).to_owned())).unwrap();
            assert_eq!(checkpoint.get("rpn.head.cls_logits.bias").unwrap().values[0], expected);
            assert!(report.warnings.is_empty(), "{:?}", report.warnings);
            assert!(report.notes.last().unwrap().starts_with("130 tensors beside the state dict were left out"));
        }
    }

    // A tensor beside the parts of the network may be a loss's or may matter: it is warned of.
    let mut stray = State::narrow();
    stray.tensors.insert("class_weights".into(), (vec![4], vec![1.0; 4]));
    let (report, _) = stray.import(|_| ()).unwrap();
    assert!(report.warnings[0].contains("such as \"class_weights\""), "{:?}", report.warnings);
}

#[test]
fn a_missing_extra_or_misshapen_tensor_is_named_with_what_was_expected() {
    let mut state = State::narrow();
    let removed = state.tensors.remove("backbone.body.layer3.1.bn2.running_var").unwrap();
    let text = state.error_text();
    assert!(
        text.ends_with("tensor backbone.body.layer3.1.bn2.running_var is missing; expected one of shape [6]"),
        "{text}"
    );
    state.tensors.insert("backbone.body.layer3.1.bn2.running_var".into(), removed);
    state.tensors.insert("rpn.head.surprise.weight".into(), (vec![1], vec![0.0]));
    assert!(state.error_text().contains("tensor rpn.head.surprise.weight [1] has no place"));
    let mut state = State::narrow();
    state.tensors.insert("rpn.head.bbox_pred.bias".into(), (vec![13], vec![0.0; 13]));
    assert!(state.error_text().ends_with("tensor rpn.head.bbox_pred.bias has shape [13]; expected [12]"));
    // A new name beside its old one.
    let mut state = State::narrow();
    state.tensors.insert("rpn.head.conv.bias".into(), (vec![4], vec![0.0; 4]));
    assert!(state.error_text().contains("tensor rpn.head.conv.0.0.bias occurs twice"));
}

#[test]
fn a_number_that_is_none_is_named_with_its_place() {
    for (name, value, words) in [
        ("roi_heads.box_head.fc7.weight", f32::NAN, "holds NaN at element 5; expected a finite number"),
        ("backbone.fpn.layer_blocks.2.0.weight", f32::INFINITY, "holds inf at element 5"),
        ("backbone.body.layer4.1.bn1.running_var", -1.0, "holds -1 at element 5; expected a variance of zero or more"),
    ] {
        let mut state = State::narrow();
        *state.value(name, 5) = value;
        assert!(state.error_text().contains(&format!("tensor {name} {words}")), "{}", state.error_text());
    }
}

#[test]
fn other_networks_are_called_what_they_are() {
    for (name, what) in [
        ("roi_heads.mask_head.mask_fcn1.weight", "a Mask R-CNN"),
        ("roi_heads.keypoint_predictor.kps_score_lowres.weight", "a Keypoint R-CNN"),
    ] {
        let mut state = State::narrow();
        state.tensors.insert(name.into(), (vec![1], vec![0.0]));
        let text = state.error_text();
        assert!(text.contains(what) && text.contains(name), "{text}");
    }
    let mut classifier = State::narrow();
    classifier.tensors = classifier
        .tensors
        .into_iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix("backbone.body.")?.to_owned(), tensor)))
        .collect();
    assert!(classifier.error_text().contains("a ResNet body alone"));
    classifier.tensors.insert("fc.weight".into(), (vec![2, 8], vec![0.0; 16]));
    assert!(classifier.error_text().contains("a ResNet classifier, as tensor fc.weight [2, 8] shows"));
}

#[test]
fn metadata_counts_until_an_option_says_otherwise() {
    let mut state = State::narrow();
    for (key, value) in [
        ("classes", "__background__,Person,TwoWheeler,Vehicle"),
        ("min_size", "[320, 400]"),
        ("max_size", "1000"),
        ("batch_norm_eps", "1e-3"),
        ("torchvision", "0.23.0"),
    ] {
        state.metadata.insert(key.into(), value.into());
    }
    let (report, checkpoint) = state.import(|_| ()).unwrap();
    assert_eq!(checkpoint.header().labels, ["Person", "TwoWheeler", "Vehicle"]);
    assert_eq!(checkpoint.header().settings.transform.min_size, [320, 400]);
    assert_eq!(checkpoint.header().settings.transform.max_size, 1000);
    assert_eq!((report.batch_norm_eps.value.body, report.batch_norm_eps.reason), (1e-3, EpsReason::Metadata));

    let folder = tempfile::tempdir().unwrap();
    let labels = folder.path().join("labels.txt");
    std::fs::write(&labels, "\u{feff}person\r\ntwo wheeler\r\nvehicle\r\n\r\n").unwrap();
    let change = |options: &mut ImportOptions| {
        options.labels = Some(labels.clone());
        options.min_size = Some(640);
        options.batch_norm_eps = Some(0.0);
    };
    let (_, checkpoint) = state.import(change).unwrap();
    assert_eq!(checkpoint.header().labels, ["person", "two wheeler", "vehicle"]);
    assert_eq!(checkpoint.header().settings.transform.min_size, [640]);
    assert_eq!(checkpoint.header().batch_norm_eps, BatchNormEps::all(0.0));

    std::fs::write(&labels, "__background__\nperson\ntwo wheeler\nvehicle\n").unwrap();
    assert_eq!(state.import(change).unwrap().1.header().labels, ["person", "two wheeler", "vehicle"]);
    std::fs::write(&labels, "__background__\nperson\ntwo wheeler\n").unwrap();
    let error = state.import(change).unwrap_err();
    assert!(error.message().ends_with("2 labels, one a line; the checkpoint has 3 classes"), "{}", error.message());
    let wide: Vec<u8> = "person\r\nvélo\r\n行人\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(&labels, [b"\xff\xfe", &wide[..]].concat()).unwrap();
    assert_eq!(state.import(change).unwrap().1.header().labels, ["person", "vélo", "行人"]);
    std::fs::write(&labels, "background\nperson\ntwo wheeler\nvehicle\n").unwrap();
    assert_eq!(state.import(change).unwrap().1.header().labels, ["person", "two wheeler", "vehicle"]);
    for (text, wanted) in [
        (
            "background\nperson\nvehicle\n",
            "3 labels, the first is the background; the checkpoint has 3 classes beside it",
        ),
        (
            "person\nperson\u{200b}\nvehicle\n",
            "label \"person\\u{200b}\" has the invisible character U+200B; remove it",
        ),
    ] {
        std::fs::write(&labels, text).unwrap();
        let error = state.import(change).unwrap_err();
        assert!(error.message().ends_with(wanted), "{}", error.message());
    }
    for (key, value) in [("classes", "a,b,c,d"), ("min_size", "big"), ("batch_norm_eps", "nan")] {
        let mut state = State::narrow();
        state.metadata.insert(key.into(), value.into());
        assert!(state.error_text().contains(&format!("metadata key {key}")), "{}", state.error_text());
    }
}

#[test]
fn an_epsilon_that_matters_is_warned_of() {
    let mut state = State::narrow();
    *state.value("backbone.body.layer1.0.bn1.running_var", 2) = 1e-5;
    let (report, _) = state.import(|_| ()).unwrap();
    assert!(report.warnings[0].contains("by up to 41.42 % (backbone.body.layer1.0.bn1)"), "{}", report.warnings[0]);
    *state.value("backbone.body.layer1.0.bn1.running_var", 2) = 0.0;
    let error = state.import(|options| options.batch_norm_eps = Some(0.0)).unwrap_err();
    assert!(error.message().contains("layer1.0.bn1.running_var holds 0 at element 2"));
}

#[test]
fn options_out_of_range_are_a_matter_of_usage() {
    let state = State::narrow();
    for change in [
        (|options| options.min_size = Some(0)) as fn(&mut ImportOptions),
        |options| options.max_size = Some(1 << 20),
        |options| options.batch_norm_eps = Some(f64::NAN),
    ] {
        assert_eq!(state.import(change).unwrap_err().kind(), Kind::Usage);
    }
}

#[test]
fn only_our_own_format_opens_and_the_way_to_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let error = Checkpoint::open(&fixture("zip.pth")).unwrap_err();
    assert!(error.message().ends_with("run `lookout import`"), "{}", error.message());
    let options = options(fixture("zip.pth"), folder.path());
    import(&options).unwrap();
    let again = import(&ImportOptions { source: options.out.clone(), ..options.clone() }).unwrap_err();
    assert!(again.message().contains("already a file of lookout's own"));

    let bytes = std::fs::read(&options.out).unwrap();
    for length in (0..bytes.len()).step_by(97) {
        assert_eq!(Checkpoint::from_bytes(bytes[..length].to_vec()).unwrap_err().kind(), Kind::Data);
    }
    // One byte wrong in the header is an error or still a checkpoint whose tensors read, and never a panic.
    let header = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    for place in 0..8 + header {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x11;
        if let Ok(checkpoint) = Checkpoint::from_bytes(damaged) {
            assert!(checkpoint.tensors().all(|(name, ..)| checkpoint.get(name).is_ok()));
        }
    }
    let mut damaged = bytes;
    let end = damaged.len();
    damaged[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    let checkpoint = Checkpoint::from_bytes(damaged).unwrap();
    let bad = checkpoint.tensors().filter_map(|(name, ..)| checkpoint.get(name).err()).next().unwrap();
    assert!(bad.message().contains("is damaged: its CRC-32 is"), "{}", bad.message());
}

#[test]
fn a_file_overwritten_while_it_is_open_is_noticed_in_both_formats() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(fixture("zip.pth"), folder.path());
    import(&options).unwrap();
    let mut formats = vec![("checkpoint/2", std::fs::read(&options.out).unwrap())];
    if cfg!(feature = "demo") {
        formats.push(("checkpoint/1", lookout::detector::demo::checkpoint().unwrap().to_vec()));
    }
    for (format, bytes) in formats {
        assert!(bytes.windows(format.len()).any(|window| window == format.as_bytes()));
        let path = folder.path().join("model");
        let open = || {
            std::fs::write(&path, &bytes).unwrap();
            Checkpoint::open(&path).unwrap()
        };
        let in_memory = Checkpoint::from_bytes(bytes.clone()).unwrap();
        let checkpoint = open();
        checkpoint.verify().unwrap();
        assert_eq!(checkpoint.sha256().unwrap(), in_memory.sha256().unwrap());
        for (name, ..) in in_memory.tensors() {
            assert_eq!(checkpoint.get(name).unwrap(), in_memory.get(name).unwrap(), "{name}");
        }
        // Replaced by renaming: the file that was opened stays.
        std::fs::write(folder.path().join("next"), "another").unwrap();
        std::fs::rename(folder.path().join("next"), &path).unwrap();
        checkpoint.verify().unwrap();

        let checkpoint = open();
        std::fs::File::options().write(true).open(&path).unwrap().set_len(bytes.len() as u64 * 2 / 3).unwrap();
        for error in [checkpoint.verify().unwrap_err(), checkpoint.sha256().unwrap_err()] {
            assert_eq!(error.kind(), Kind::Unavailable, "{}", error.chain());
            assert!(error.message().contains("was overwritten while it was in use"), "{}", error.message());
        }

        // One byte of the first and of the last tensor, with the time of the last change set back.
        let start = 8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
        for place in [start, bytes.len() - 1] {
            let checkpoint = open();
            let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
            let mut flipped = bytes.clone();
            flipped[place] ^= 1;
            std::fs::write(&path, &flipped).unwrap();
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
            let error = checkpoint.verify().unwrap_err();
            assert_eq!(error.kind(), Kind::Data);
            assert!(
                error.message().starts_with("tensor ") && error.message().contains("CRC-32"),
                "{}",
                error.message()
            );
        }
    }
}

#[test]
fn the_trained_detector_imports_as_it_is() {
    let shared = std::env::var("LOOKOUT_SHARED").unwrap_or_else(|_| "../shared".into());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(shared).join("models/road-r50-fpn.safetensors");
    if !source.exists() {
        eprintln!("SKIPPED: {} is not there", source.display());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let options = options(source, folder.path());
    let report = import(&options).unwrap();
    assert_eq!(report.labels, ["Person", "TwoWheeler", "Vehicle"]);
    assert_eq!(report.architecture, Architecture::resnet50_fpn(4));
    assert_eq!((report.settings.transform.min_size.as_slice(), report.settings.transform.max_size), (&[400][..], 1333));
    assert_eq!(report.half_precision, 295);
    assert!(report.warnings.is_empty());
    Checkpoint::open(&options.out).unwrap().get("backbone.body.conv1.weight").unwrap();
}
