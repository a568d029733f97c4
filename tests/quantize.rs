//! Quantizing narrow networks: the same bytes from everywhere, records in place of pictures, and what is refused.

use std::path::{Path, PathBuf};

use lookout::calibrate::{
    CalibrationRecord, KeepFloat, Observer, QuantizeOptions, QuantizeOutcome, Recipe, Wide, WidePart, quantize,
    quantize_cached, quantize_from_record, quantize_record_alone,
};
use lookout::detector::checkpoint::{Checkpoint, ImportOptions, import};
use lookout::detector::thread_pool;
use lookout::error::Kind;
use lookout::frame::Picture;
use lookout::kernel::isa::Isa;
use tempfile::TempDir;

use crate::golden;
use crate::scenes::scene;

/// A narrow checkpoint and a folder of pictures.
struct Case {
    folder: TempDir,
    checkpoint: Checkpoint,
    options: QuantizeOptions,
}

impl Case {
    fn new(name: &str) -> Self {
        Self::of(&golden::folder().join(format!("{name}.safetensors")))
    }

    /// The case of the state dict at `source`.
    fn of(source: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model");
        import(&ImportOptions {
            source: source.to_owned(),
            out: model.clone(),
            labels: None,
            min_size: Some(96),
            max_size: Some(128),
            ..ImportOptions::new("", "")
        })
        .unwrap();
        let case = Self { checkpoint: Checkpoint::open(&model).unwrap(), folder, options: QuantizeOptions::default() };
        case.pictures("pictures");
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes four scenes.
    fn pictures(&self, name: &str) -> PathBuf {
        let folder = self.path(name);
        std::fs::create_dir_all(&folder).unwrap();
        for index in 0..4usize {
            scene(index).save(folder.join(format!("{index}.png"))).unwrap();
        }
        folder
    }

    fn run(&self, folder: &Path, options: &QuantizeOptions, threads: usize) -> lookout::error::Result<QuantizeOutcome> {
        let pool = thread_pool(threads).unwrap();
        pool.install(|| quantize(&self.checkpoint, folder, options, Isa::best(), &mut |_, _, _| {}))
    }
}

#[test]
fn threads_folder_and_time_leave_no_trace() {
    let case = Case::new("r18");
    let one = case.run(&case.path("pictures"), &case.options, 1).unwrap();
    let two = case.run(&case.pictures("elsewhere"), &case.options, 2).unwrap();
    assert!(one.bytes == two.bytes);
    assert_eq!(one.record, two.record);

    let (state, folder) = (case.path("state"), case.path("pictures"));
    let start = || {
        let report = &mut |_: &'static str, _: usize, _: usize| {};
        quantize_cached(&case.checkpoint, &folder, &case.options, Isa::best(), &state, report).unwrap()
    };
    let first = start();
    assert!(!first.found && first.bytes == one.bytes);
    let second = start();
    assert!(second.found && second.bytes == one.bytes);
    std::fs::write(&first.path, &one.bytes[..1000]).unwrap();
    let mended = start();
    assert!(!mended.found && std::fs::read(&mended.path).unwrap() == one.bytes);
}

/// A copy of the state dict of the golden network r18 in which `edit` has changed the values of tensors, by name.
fn edited(folder: &Path, name: &str, edit: impl Fn(&str, &mut [f32])) -> PathBuf {
    let bytes = std::fs::read(golden::folder().join("r18.safetensors")).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let changed: Vec<(String, Vec<usize>, safetensors::Dtype, Vec<u8>)> = (tensors.tensors().into_iter())
        .map(|(name, tensor)| {
            let mut data = tensor.data().to_vec();
            if tensor.dtype() == safetensors::Dtype::F32 {
                let mut values: Vec<f32> =
                    data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
                edit(&name, &mut values);
                data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            }
            (name, tensor.shape().to_vec(), tensor.dtype(), data)
        })
        .collect();
    let view = |(name, shape, dtype, data): &(String, Vec<usize>, safetensors::Dtype, Vec<u8>)| {
        (
            name.clone(),
            safetensors::tensor::TensorView::new(*dtype, shape.clone(), data)
                .map(|view| (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
                .unwrap(),
        )
    };
    let owned: Vec<_> = changed.iter().map(view).collect();
    let views: Vec<_> = (owned.iter())
        .map(|(name, (dtype, shape, data))| {
            (name.clone(), safetensors::tensor::TensorView::new(*dtype, shape.clone(), data).unwrap())
        })
        .collect();
    let path = folder.join(name);
    std::fs::write(&path, safetensors::serialize(views, header.metadata().clone()).unwrap()).unwrap();
    path
}

#[test]
fn channels_without_weights_are_quantized_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let plain = Case::new("r18");
    let plain = plain.run(&plain.path("pictures"), &plain.options, 2).unwrap().found_again().unwrap();
    let is = |name: &str, end: &str| name.ends_with(end);
    type Edit = Box<dyn Fn(&str, &mut [f32])>;
    let cases: [(&str, Edit); 10] = [
        (
            "a pruned filter of the stem",
            Box::new(move |name, values| {
                if is(name, "body.conv1.weight") {
                    values[..147].fill(0.0)
                }
            }),
        ),
        (
            "pruned filters in every layer",
            Box::new(move |name, values| {
                if is(name, ".weight") && name.contains("conv") {
                    let filter = values.len() / 16;
                    values[..filter.max(1)].fill(0.0);
                }
            }),
        ),
        (
            "a zero-initialised block",
            Box::new(move |name, values| {
                if is(name, "layer1.0.bn2.weight") || is(name, "layer1.0.bn2.bias") {
                    values.fill(0.0)
                }
            }),
        ),
        (
            "a channel with a bias alone",
            Box::new(move |name, values| {
                if is(name, "layer1.0.bn2.weight") {
                    values[0] = 0.0
                }
                if is(name, "layer1.0.bn2.bias") {
                    values[0] = 1.0
                }
            }),
        ),
        (
            "a channel with hardly any gain",
            Box::new(move |name, values| {
                if is(name, "layer2.0.bn1.weight") {
                    values[..4].fill(1e-12)
                }
                if is(name, "layer2.0.bn1.bias") {
                    values[..4].copy_from_slice(&[3.0, -3.0, 1e-6, 0.0])
                }
            }),
        ),
        (
            "a dead output of the heads",
            Box::new(move |name, values| {
                if is(name, "fc6.weight") || is(name, "rpn.head.conv.0.0.weight") {
                    let row = values.len() / 64;
                    values[..row].fill(0.0)
                }
            }),
        ),
        (
            "a layer without weights",
            Box::new(move |name, values| {
                if is(name, "layer1.0.conv1.weight") {
                    values.fill(0.0)
                }
            }),
        ),
        (
            "a layer with one living filter",
            Box::new(move |name, values| {
                if is(name, "layer2.0.conv1.weight") {
                    let filter = values.len() / 16;
                    values[filter..].fill(0.0)
                }
            }),
        ),
        (
            "a level without signal, whose reader has weights for all levels",
            Box::new(move |name, values| {
                if is(name, "fpn.layer_blocks.1.0.weight") || is(name, "fpn.layer_blocks.1.0.bias") {
                    values.fill(0.0)
                }
            }),
        ),
        (
            "a level with hardly any signal",
            Box::new(move |name, values| {
                if is(name, "fpn.layer_blocks.1.0.weight") || is(name, "fpn.layer_blocks.1.0.bias") {
                    values.iter_mut().for_each(|value| *value *= 1e-9)
                }
            }),
        ),
    ];
    for (what, edit) in cases {
        let case = Case::of(&edited(folder.path(), "edited.safetensors", edit));
        let outcome = case.run(&case.path("pictures"), &case.options, 2);
        let outcome = outcome.unwrap_or_else(|error| panic!("{what}: {}", error.chain()));
        let found = outcome.found_again();
        assert!(found.is_none_or(|found| found >= plain - 0.2), "{what}: {found:?} of {plain}");
    }
}

#[test]
fn numbers_too_large_to_quantize_are_an_error_that_names_the_layer() {
    let folder = tempfile::tempdir().unwrap();
    let case = Case::of(&edited(folder.path(), "huge.safetensors", |name, values| {
        if name.ends_with("layer1.0.bn1.weight") {
            values[3] *= 1e20
        }
    }));
    let error = case.run(&case.path("pictures"), &case.options, 2).unwrap_err();
    assert_eq!(error.kind(), Kind::Data);
    let expected = "backbone.body.layer1.0.conv1: channel 3 has weights up to ";
    assert!(error.message().contains(expected) && error.message().contains("--keep-float"), "{}", error.message());
}

/// The state dict of r18 with an outlier in each block: a channel a hundred thousand times as large as the others, which
/// the next layer takes back. Fp32 does not notice, and without equalization one byte has no room for the others.
fn with_outliers(folder: &Path) -> PathBuf {
    edited(folder, "outliers.safetensors", |name, values| {
        if name.ends_with("bn1.weight") && name.contains("layer")
            || name.ends_with("bn1.bias") && name.contains("layer")
        {
            values[0] *= 1e5;
        }
        if name.ends_with("conv2.weight") && name.contains("layer") {
            // Output by output: the input channels, each with nine taps.
            let inputs = (values.len() / 9).isqrt();
            values.chunks_mut(9).step_by(inputs).for_each(|taps| taps.iter_mut().for_each(|tap| *tap *= 1e-5));
        }
    })
}

/// Runs `lookout quantize` on a case. Returns exit code and error output.
fn quantize_command(case: &Case, out: &str, extra: &[&str]) -> (Option<i32>, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_lookout"))
        .arg("quantize")
        .arg(case.path("model"))
        .arg("--images")
        .arg(case.path("pictures"))
        .arg("--out")
        .arg(case.path(out))
        .args(["--wide", "0", "--equalize", "false"])
        .args(extra)
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_bad_result_is_told_with_its_worst_steps_and_refused_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let case = Case::of(&with_outliers(folder.path()));
    let (code, output) = quantize_command(&case, "a", &[]);
    assert_eq!(code, Some(0), "{output}");
    let found_again = "% of fp32's detections are found again";
    let line = output.lines().find(|line| line.contains(found_again)).unwrap_or_else(|| panic!("{output}"));
    let worst = line.split_once("the worst steps are ").unwrap().1.split_once(';').unwrap().0;
    let worst: Vec<&str> = worst.split(", ").collect();
    assert!(worst.len() == 3 && worst.iter().all(|step| step.contains('.')), "{line}");
    let share: f64 = line.split_once("only ").unwrap().1.split_once(" %").unwrap().0.parse().unwrap();
    assert!(share < 50.0, "{line}");

    // Refused, it leaves what is there.
    let (code, output) = quantize_command(&case, "b", &["--min-agreement", "50%"]);
    assert_eq!(code, Some(65), "{output}");
    let expected = "% of fp32's detections are found again, less than --min-agreement 50.0 %; the worst steps are ";
    assert!(output.contains(expected) && output.contains("; nothing was written"), "{output}");
    assert!(["b", "b.calib", "b.json"].iter().all(|name| !case.path(name).exists()));
    let before = std::fs::read(case.path("a")).unwrap();
    let (code, _) = quantize_command(&case, "a", &["--force", "--min-agreement", "0.9", "--seed", "9"]);
    assert_eq!((code, std::fs::read(case.path("a")).unwrap()), (Some(65), before));

    // At or above the share it is written, without a warning.
    let plain = Case::new("r18");
    let share = plain.run(&plain.path("pictures"), &plain.options, 2).unwrap().found_again().unwrap();
    assert!(share >= 0.5, "{share}");
    let (code, output) = quantize_command(&plain, "a", &["--min-agreement", "0.5"]);
    assert!(code == Some(0) && plain.path("a").exists() && !output.contains(found_again), "{output}");
    for wrong in ["150", "-1", "much"] {
        assert_eq!(quantize_command(&plain, "b", &[&format!("--min-agreement={wrong}")]).0, Some(64), "{wrong}");
    }
}

#[test]
fn layers_kept_by_name_are_not_quantized_first() {
    let case = Case::new("r18");
    let keep = QuantizeOptions { keep_float: "backbone.body.conv1".parse().unwrap(), ..QuantizeOptions::default() };
    let outcome = case.run(&case.path("pictures"), &keep, 2).unwrap();
    let names: Vec<&str> =
        outcome.sensitivity.iter().map(|&(layer, _)| outcome.quantized.plan.layers[layer].name.as_str()).collect();
    assert!(!names.is_empty() && !names.contains(&"backbone.body.conv1"), "{names:?}");
}

#[test]
fn a_record_serves_in_place_of_the_pictures() {
    let case = Case::new("r18");
    let folder = case.path("pictures");
    let seen = case.run(&folder, &case.options, 2).unwrap();
    let isa = Isa::best();
    let report = &mut |_: &'static str, _: usize, _: usize| {};
    let again =
        quantize_from_record(&case.checkpoint, &folder, seen.record.clone(), &case.options, isa, report).unwrap();
    assert!(again.bytes == seen.bytes);
    for observer in Observer::NAMES {
        let options = QuantizeOptions { observer: observer.parse().unwrap(), count: 3, ..QuantizeOptions::default() };
        let alone = quantize_record_alone(&case.checkpoint, seen.record.clone(), &options, isa, report).unwrap();
        assert_eq!(alone.selection.pictures.len(), 3, "{observer}");
    }
    let ranked = QuantizeOptions { keep_float: KeepFloat::Worst(2), ..QuantizeOptions::default() };
    let refused = quantize_record_alone(&case.checkpoint, seen.record.clone(), &ranked, isa, report).unwrap_err();
    assert_eq!(refused.kind(), Kind::Usage);

    // The same pictures from a folder above, and under other names.
    let above = case.path("above");
    std::fs::create_dir_all(above.join("image_2")).unwrap();
    for (at, entry) in std::fs::read_dir(&folder).unwrap().enumerate() {
        std::fs::copy(entry.unwrap().path(), above.join(format!("image_2/renamed-{at}.png"))).unwrap();
    }
    std::fs::write(above.join("damaged.png"), "no picture").unwrap();
    let elsewhere =
        quantize_from_record(&case.checkpoint, &above, seen.record.clone(), &case.options, isa, report).unwrap();
    assert!(elsewhere.bytes == seen.bytes);
    std::fs::copy(folder.join("0.png"), folder.join("1.png")).unwrap();
    let other = quantize_from_record(&case.checkpoint, &folder, seen.record, &case.options, isa, report).unwrap_err();
    assert!(other.message().contains("the record calls them 1.png"), "{}", other.message());
}

#[test]
fn channels_are_equalized_unless_the_owner_or_the_recipe_says_no() {
    let case = Case::new("r18");
    let folder = case.path("pictures");
    let report = &mut |_: &'static str, _: usize, _: usize| {};
    let narrow = QuantizeOptions { wide: Wide::Count(0), ..QuantizeOptions::default() };
    let plain = QuantizeOptions { equalize: false, ..narrow.clone() };
    let paper = QuantizeOptions { recipe: Recipe::Paper, ..narrow.clone() };
    let [with, without] = [&narrow, &plain].map(|options| case.run(&folder, options, 2).unwrap());
    let factors = with.quantized.equalization.stored();
    assert!(factors.iter().any(|factor| *factor > 1.1) && factors.iter().any(|factor| *factor < 0.9));
    assert_eq!(with.record.equalization(), factors);
    assert!(without.quantized.equalization.is_none() && without.record.equalization().is_empty());
    assert!(case.run(&folder, &paper, 2).unwrap().quantized.equalization.is_none());

    // A record fits the network that was observed.
    let mut from = |record: &CalibrationRecord, options: &QuantizeOptions| {
        quantize_from_record(&case.checkpoint, &folder, record.clone(), options, Isa::best(), report)
    };
    for options in [&plain, &paper] {
        assert_eq!(from(&with.record, options).unwrap_err().kind(), Kind::Usage);
        from(&without.record, options).unwrap();
    }
    let outcome = from(&without.record, &narrow).unwrap();
    assert!(outcome.selection.warnings.iter().any(|warning| warning.contains("not equalized")));
    assert!(outcome.bytes == without.bytes);
}

#[test]
fn chosen_pictures_are_the_same_from_the_folder_and_from_its_record() {
    let case = Case::new("r18");
    let folder = case.path("pictures");
    let options = QuantizeOptions { choose: true, count: 2, wide: Wide::Count(0), ..QuantizeOptions::default() };
    let chosen = case.run(&folder, &options, 2).unwrap();
    assert_eq!(chosen.selection.pictures.len(), 2);
    assert_eq!(chosen.record.pictures().len(), 4, "the record has all pictures");
    let report = &mut |_: &'static str, _: usize, _: usize| {};
    let again = quantize_from_record(&case.checkpoint, &folder, chosen.record, &options, Isa::best(), report).unwrap();
    assert!(again.bytes == chosen.bytes);
}

#[test]
fn wide_parts_are_chosen_by_their_effect_within_the_budget() {
    let case = Case::new("r18");
    let folder = case.path("pictures");
    let quantized = |wide: Wide| case.run(&folder, &QuantizeOptions { wide, ..case.options.clone() }, 2).unwrap();
    let error = |outcome: &QuantizeOutcome| {
        let levels = outcome.quantized.plan.levels.iter().map(|level| outcome.errors[level.step].sqnr_db().unwrap());
        levels.sum::<f64>() / outcome.quantized.plan.levels.len() as f64
    };
    let narrow = quantized(Wide::Count(0));
    assert!(narrow.wide.0.is_empty());
    let [some, more] = [0.15, 0.3].map(|share| quantized(Wide::Budget(share)));
    assert!(some.wide.0.len() < more.wide.0.len());
    assert!(more.wide.0.starts_with(&some.wide.0[..1]), "the most effective part comes first");
    assert!(error(&some) > error(&narrow) + 1.5, "{:.1} and {:.1} dB", error(&narrow), error(&some));
    assert!(error(&more) > error(&some), "{:.1} and {:.1} dB", error(&some), error(&more));
    assert!(some.quantized.is_exact());
    assert_eq!(quantized(Wide::Count(3)).wide.0, more.wide.0[..3]);

    // Named layers have wide weights, and what they read is wide.
    let named = |name: &str| QuantizeOptions { wide: name.parse().unwrap(), ..case.options.clone() };
    let stem = case.run(&folder, &named("backbone.body.conv1"), 1).unwrap();
    assert_eq!(stem.wide.0, [WidePart::Weights(0), WidePart::Edge(0)]);
    assert!(stem.quantized.wide_canvas);
    let wrong = case.run(&folder, &named("backbone.bod"), 1).unwrap_err();
    assert_eq!(wrong.kind(), Kind::Usage);

    // Without pictures the effect is not known, which is said.
    let report = &mut |_: &'static str, _: usize, _: usize| {};
    let mut alone =
        |options| quantize_record_alone(&case.checkpoint, some.record.clone(), options, Isa::best(), report);
    let outcome = alone(&case.options).unwrap();
    assert!(outcome.wide.0.is_empty());
    assert!(outcome.selection.warnings.iter().any(|warning| warning.contains("--wide")));
}

#[test]
fn what_cannot_calibrate_is_refused_by_name() {
    let case = Case::new("r18");
    let empty = case.path("empty");
    std::fs::create_dir(&empty).unwrap();
    assert_eq!(case.run(&empty, &case.options, 1).unwrap_err().kind(), Kind::NoInput);

    let flat = case.path("flat");
    std::fs::create_dir(&flat).unwrap();
    Picture::filled(128, 96, [90; 3]).save(flat.join("wall.png")).unwrap();
    assert!(case.run(&flat, &case.options, 1).unwrap_err().message().contains("wall.png"));
    let forced = QuantizeOptions { allow_unfit: true, ..QuantizeOptions::default() };
    assert_eq!(case.run(&flat, &forced, 1).unwrap().selection.unusable_reasons.len(), 1);

    // Damaged pictures are left out and named, all at once; without any other the set is refused.
    for name in ["torn.png", "empty.jpg"] {
        std::fs::write(flat.join(name), if name == "torn.png" { "no picture" } else { "" }).unwrap();
    }
    let named = |text: &str| text.contains("torn.png") && text.contains("empty.jpg");
    assert!(named(&case.run(&flat, &forced, 1).unwrap().selection.warnings.join("\n")));
    assert!(named(&case.run(&flat, &case.options, 1).unwrap_err().chain()));
    std::fs::remove_file(flat.join("wall.png")).unwrap();
    let none = case.run(&flat, &forced, 1).unwrap_err();
    assert!(named(&none.chain()) && none.kind() == Kind::Data, "{}", none.chain());

    let mixed = case.pictures("mixed");
    let whole = std::fs::read(mixed.join("0.png")).unwrap();
    std::fs::write(mixed.join("cut-off.png"), &whole[..whole.len() / 2]).unwrap();
    let seen = case.run(&mixed, &case.options, 1).unwrap();
    assert!(seen.selection.warnings[0].starts_with("left out: ") && seen.selection.warnings[0].contains("cut-off.png"));
    assert!(seen.bytes == case.run(&case.path("pictures"), &case.options, 1).unwrap().bytes);
    let start = |folder: &Path| {
        let report = &mut |_: &'static str, _: usize, _: usize| {};
        quantize_cached(&case.checkpoint, folder, &case.options, Isa::best(), &case.path("state"), report).unwrap()
    };
    assert!(start(&mixed).warnings[0].contains("cut-off.png"));
}
