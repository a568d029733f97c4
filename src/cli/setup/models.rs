//! The models of a set-up: those that are there, timed on this board.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::daemon::{Engine, LocalEngine};
use crate::detector::{self, DetectorOptions, demo};
use crate::error::{Error, Kind, Result};
use crate::frame::Image;
use crate::preprocess::TransformParams;

/// Duration of all measurements together.
const BENCH: Duration = Duration::from_secs(10);
/// Rate, in frames a second, that the proposed model reaches.
const SUFFICIENT: f64 = 1.0;
/// The built-in model in int8.
pub const BUILT_IN: &str = "demo-int8";

/// A timed model.
#[derive(Debug, Clone, PartialEq)]
pub struct TimedModel {
    /// Its path or built-in name.
    pub path: PathBuf,
    /// True for an artifact.
    pub is_artifact: bool,
    /// Name and precision.
    pub name: String,
    /// Width and height of its canvas for the camera's pictures.
    pub canvas: [usize; 2],
    /// Frames a second.
    pub rate: f64,
    /// Multiply-adds of a frame.
    pub macs: u64,
}

impl TimedModel {
    /// The model in one line.
    pub fn line(&self) -> String {
        let [width, height] = self.canvas;
        let rate = if self.rate < 10.0 { format!("{:.2}", self.rate) } else { format!("{:.1}", self.rate) };
        format!("{}: {rate} frames a second at {width}×{height}, {}", self.path.display(), self.name)
    }

    /// The `[model]` section. Keys that other files may set, and that exclude this one, are unset.
    pub fn to_toml(&self) -> String {
        let path = super::toml_text(&self.path.display().to_string());
        let (artifact, checkpoint) = if self.is_artifact { (path.as_str(), "\"\"") } else { ("\"\"", path.as_str()) };
        format!("[model]\nartifact = {artifact}\ncheckpoint = {checkpoint}\ncalibration = \"\"\n")
    }
}

/// The models to time: the built-in one, those `given`, and the model files in `folders`, each once.
pub fn candidates(given: &[PathBuf], folders: &[PathBuf]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = demo::artifact().map(|_| PathBuf::from(BUILT_IN)).into_iter().collect();
    found.extend(given.iter().map(|path| absolute(path)));
    for folder in folders {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_model = |path: &PathBuf| {
            path.extension().is_some_and(|extension| extension == "lookout" || extension == "safetensors")
                && path.is_file()
        };
        let mut files: Vec<PathBuf> = entries.filter(is_model).collect();
        files.sort();
        found.extend(files);
    }
    let mut seen = std::collections::BTreeSet::new();
    found.retain(|path| seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())));
    found
}

/// A path that does not depend on the working directory. A built-in model's name stays.
pub fn absolute(path: &Path) -> PathBuf {
    match demo::named(path) {
        Ok(None) => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
        _ => path.to_owned(),
    }
}

/// Times `paths` on `image`, [`BENCH`] for all of them, each at least one frame after its first. Returns the models, and the
/// reasons of those that cannot be used.
pub fn time(paths: &[PathBuf], image: &Image, options: &DetectorOptions) -> (Vec<TimedModel>, Vec<String>) {
    let share = BENCH / u32::try_from(paths.len().max(1)).unwrap_or(1);
    let (mut timed, mut unusable) = (Vec::new(), Vec::new());
    for path in paths {
        match time_one(path, image, options, share) {
            Ok(model) => timed.push(model),
            Err(error) => unusable.push(format!("{}: {}", path.display(), error.chain())),
        }
    }
    (timed, unusable)
}

fn time_one(path: &Path, image: &Image, options: &DetectorOptions, share: Duration) -> Result<TimedModel> {
    let is_artifact = detector::describe(path)?.is_artifact;
    let mut engine = LocalEngine::load(path, options)?;
    let begin = Instant::now();
    // The first frame allocates the buffers.
    engine.detect(image)?;
    let (first, mut frames) = (Instant::now(), 0u32);
    while frames == 0 || begin.elapsed() < share {
        engine.detect(image)?;
        frames += 1;
    }
    let rate = f64::from(frames) / first.elapsed().as_secs_f64();
    let (info, plan) = (engine.info(), engine.detector().plan());
    let fit = TransformParams::from(&plan.settings.transform).fit(image.width(), image.height())?;
    let shapes = plan.shapes(fit.canvas_height, fit.canvas_width, plan.settings.rpn.post_nms_top_n);
    Ok(TimedModel {
        path: path.to_owned(),
        is_artifact,
        name: format!("{} in {}", info.name, info.precision.name()),
        canvas: [fit.canvas_width, fit.canvas_height],
        rate,
        macs: plan.macs(&shapes).iter().sum(),
    })
}

/// The index of the proposed model. The largest one that reaches [`SUFFICIENT`] frames a second, or else the fastest;
/// of one network in two precisions the faster. The built-in model knows a synthetic street alone and is the last
/// resort.
///
/// # Errors
/// [`Kind::NoInput`] if there is no model.
pub fn proposal(models: &[TimedModel]) -> Result<usize> {
    let is_own = |model: &TimedModel| model.path != Path::new(BUILT_IN);
    let has_own = models.iter().any(is_own);
    let eligible = || (0..models.len()).filter(|&index| !has_own || is_own(&models[index]));
    let faster = |a: &usize, b: &usize| models[*a].rate.total_cmp(&models[*b].rate);
    let sufficient = eligible().filter(|&index| models[index].rate >= SUFFICIENT);
    let largest = sufficient.max_by(|a, b| models[*a].macs.cmp(&models[*b].macs).then_with(|| faster(a, b)));
    largest.or_else(|| eligible().max_by(faster)).ok_or_else(|| {
        Error::new(Kind::NoInput, "there is no model: name one with --model; lookout import and quantize make it")
    })
}

/// The picture size of `image`, for people.
pub fn size_of(image: &Image) -> String {
    format!("{}×{}", image.width(), image.height())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(path: &str, rate: f64, macs: u64) -> TimedModel {
        TimedModel { path: path.into(), is_artifact: true, name: String::new(), canvas: [320, 192], rate, macs }
    }

    #[test]
    fn the_largest_model_that_is_fast_enough_is_proposed() {
        let all = [
            model(BUILT_IN, 40.0, 1),
            model("mobilenet", 9.0, 3),
            model("mobilenet-fp32", 5.0, 3),
            model("resnet", 0.3, 100),
        ];
        assert_eq!(proposal(&all).unwrap(), 1);
        assert_eq!(proposal(&all[..1]).unwrap(), 0);
        assert_eq!(proposal(&[all[0].clone(), all[3].clone()]).unwrap(), 1);
        assert_eq!(proposal(&[]).unwrap_err().kind(), Kind::NoInput);
        assert_eq!(all[3].line(), "resnet: 0.30 frames a second at 320×192, ");
    }

    #[test]
    fn a_section_unsets_what_excludes_it() {
        let fp32 = TimedModel { is_artifact: false, ..model("/x.safetensors", 1.0, 1) };
        let table: toml::Table = fp32.to_toml().parse().unwrap();
        assert_eq!(table["model"]["artifact"].as_str(), Some(""));
        assert_eq!(table["model"]["checkpoint"].as_str(), Some("/x.safetensors"));
    }

    #[test]
    fn model_files_are_found_once() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.lookout", "a.safetensors", "notes.txt"] {
            std::fs::write(folder.path().join(name), b"").unwrap();
        }
        let found = candidates(&[folder.path().join("b.lookout")], &[folder.path().to_owned(), "/nonexistent".into()]);
        let names: Vec<_> = found.iter().filter_map(|path| path.file_name()?.to_str()).collect();
        assert_eq!(names[names.len() - 2..], ["b.lookout", "a.safetensors"]);
    }
}
