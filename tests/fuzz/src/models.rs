//! State dicts, checkpoints and artifacts. What loads is run on a small picture.

use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;

use lookout::calibrate::{CalibrationPicture, PictureSelection, QuantizeOptions, quantize_frames, usability};
use lookout::detector::checkpoint::{Checkpoint, ImportOptions, import as import_state_dict};
use lookout::detector::settings::TransformSettings;
use lookout::detector::{Detector, DetectorOptions, ModelSummary};
use lookout::frame::{Image, Picture};
use lookout::kernel::isa::Isa;
use lookout::message::ModelPrecision;
use lookout::preprocess::{Transform, TransformParams};
use lookout::quant::artifact::Artifact;

use crate::{changed, resealed, scratch, written};

/// Longest side of a canvas that is run here.
const MAX_SIDE: u32 = 192;

/// Imports the state dict in the file at `source`, and opens and runs what comes out.
fn import_file(source: &Path) {
    let out = scratch().join("imported");
    for key in [None, Some("model".to_owned())] {
        let options =
            ImportOptions { key, min_size: Some(32), max_size: Some(64), ..ImportOptions::new(source, &out) };
        if import_state_dict(&options).is_ok() {
            run_checkpoint(&Checkpoint::open(&out).unwrap());
        }
    }
}

/// A state dict in any form.
pub fn import(input: &[u8]) {
    import_file(&written("state-dict", input));
}

/// A state dict in safetensors.
pub fn safetensors(input: &[u8]) {
    import_file(&written("state-dict.safetensors", input));
}

/// A pickle in a zip archive whose storages hold zeros.
pub fn pickle(input: &[u8]) {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let zeros = [0; 4096];
    for (name, content) in
        [("archive/data.pkl", input), ("archive/version", b"3\n"), ("archive/data/0", &zeros), ("archive/data/1", &zeros)]
    {
        zip.start_file(name, stored).unwrap();
        zip.write_all(content).unwrap();
    }
    import_file(&written("archive.pth", &zip.finish().unwrap().into_inner()));
}

/// The checkpoint of a narrow ResNet with small pictures.
fn narrow() -> &'static [u8] {
    static NARROW: OnceLock<Vec<u8>> = OnceLock::new();
    NARROW.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/networks/resnet-3.safetensors");
        let out = scratch().join("narrow");
        let settings = Some(Path::new(source).with_extension("settings.toml"));
        let options =
            ImportOptions { settings, min_size: Some(64), max_size: Some(96), ..ImportOptions::new(source, &out) };
        import_state_dict(&options).unwrap();
        std::fs::read(out).unwrap()
    })
}

/// Its artifact, quantized on two pictures.
fn quantized() -> &'static [u8] {
    static QUANTIZED: OnceLock<Vec<u8>> = OnceLock::new();
    QUANTIZED.get_or_init(|| {
        let shade = |x: usize, y: usize, c: usize| (x * 37 + y * 91 + c * 53 + x * y) as u8;
        let picture = |seed: usize| {
            let values = (0..96 * 64 * 3).map(|at| shade(at / 3 % 96 + seed, at / 288, at % 3)).collect();
            Picture::new(96, 64, values).unwrap()
        };
        let pictures = [picture(0), picture(9)];
        let chosen = |(at, picture): (usize, &Picture)| CalibrationPicture {
            name: at.to_string(),
            path: at.to_string().into(),
            sha256: usability::pixel_sha256(picture),
        };
        let selection = PictureSelection {
            pictures: pictures.iter().enumerate().map(chosen).collect(),
            ..PictureSelection::default()
        };
        let open = |chosen: &CalibrationPicture| Ok(pictures[chosen.name.parse::<usize>().unwrap()].clone());
        let options = QuantizeOptions { allow_unfit: true, ..QuantizeOptions::default() };
        let checkpoint = Checkpoint::from_bytes(narrow()).unwrap();
        quantize_frames(&checkpoint, selection, &open, &options, Isa::best(), &mut |_, _, _| {}).unwrap().bytes
    })
}

fn options() -> DetectorOptions {
    DetectorOptions { threads: 1, proposals: Some(50), max_detections: Some(20), ..DetectorOptions::default() }
}

fn is_small(transform: &TransformSettings) -> bool {
    transform.max_size <= MAX_SIDE && transform.size_divisor <= 64 && transform.min_size.iter().all(|side| *side <= MAX_SIDE)
}

/// Detects on a picture. Every detection is finite and within the canvas.
fn run(mut detector: Detector) {
    let values = (0..48 * 32 * 3).map(|at| (at * 7 % 251) as u8).collect();
    let image = Image::Rgb(Picture::new(48, 32, values).unwrap());
    let mut transform = Transform::new(TransformParams::from(detector.transform())).unwrap();
    let mut input = detector.new_input();
    transform.fill(&image, &mut input).unwrap();
    let Ok(detections) = detector.detect(&input) else { return };
    for detection in detections {
        assert!((0.0..=1.0).contains(&detection.score), "{detection:?}");
    }
}

fn run_checkpoint(checkpoint: &Checkpoint) {
    if !is_small(&checkpoint.header().settings.transform) {
        return;
    }
    let summary =
        ModelSummary { name: String::new(), precision: ModelPrecision::Fp32, generation: 0, sha256: String::new() };
    if let Ok(detector) = Detector::from_checkpoint(checkpoint, &options(), summary) {
        run(detector);
    }
}

/// A checkpoint: the changes of `input` in that of a narrow network, with and without correct checksums.
pub fn checkpoint(input: &[u8]) {
    let file = changed(narrow(), input);
    for file in [Some(file.clone()), resealed_checkpoint(&file)].into_iter().flatten() {
        if let Ok(checkpoint) = Checkpoint::from_bytes(file) {
            run_checkpoint(&checkpoint);
        }
    }
}

/// The checkpoint with the checksums of its header set right.
fn resealed_checkpoint(file: &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = file.split_first_chunk::<8>()?;
    let (header, data) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let entries: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(header).ok()?;
    let mut sealed = file.to_vec();
    for (name, entry) in entries.iter().filter(|(name, _)| *name != "__metadata__") {
        let offset = |at: usize| usize::try_from(entry["data_offsets"][at].as_u64()?).ok();
        let crc = crc32fast::hash(data.get(offset(0)?..offset(1)?)?);
        // In the header the metadata are JSON within a JSON string.
        let key = format!("\\\"{name}\\\":\\\"");
        let at = header.windows(key.len()).position(|window| window == key.as_bytes())? + 8 + key.len();
        sealed.get_mut(at..at + 8)?.copy_from_slice(format!("{crc:08x}").as_bytes());
    }
    Some(sealed)
}

/// An artifact of a whole network: the changes of `input`, with and without correct checksums.
pub fn network(input: &[u8]) {
    let file = changed(quantized(), input);
    for file in [Some(file.clone()), resealed(&file)].into_iter().flatten() {
        let Ok(artifact) = Artifact::parse(&file) else { continue };
        // The plan of an artifact holds the settings of the network.
        let side = |name: &str| artifact.header().plan["settings"]["transform"][name].as_u64();
        if side("max_size").is_none_or(|side| side > u64::from(MAX_SIDE)) {
            continue;
        }
        drop(artifact);
        if let Ok(detector) = Detector::from_artifact(&file, String::new(), &options()) {
            if is_small(detector.transform()) {
                run(detector);
            }
        }
    }
}
