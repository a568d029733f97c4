//! Quantizing narrow networks: the same bytes from everywhere, records in place of pictures, and what is refused.

use std::path::{Path, PathBuf};

use lookout::calibrate::{
    KeepFloat, Observer, QuantizeOptions, QuantizeOutcome, quantize, quantize_cached, quantize_from_record,
    quantize_record_alone,
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
