//! `lookout evaluate`: evaluate models and detection files on labelled pictures.
//!
//! The report goes to stdout as a table, JSON or CSV; the progress bar and label warnings go to stderr.

use std::path::{Path, PathBuf};

use super::{ConfigArgs, console, machine};
use crate::error::{Error, Kind, Result};
use crate::evaluate::{
    ClassMap, DatasetSource, DontCare, EvaluateOptions, Evaluation, ExifMode, NamedFile, NamedPredictions, RunOptions,
    Split, evaluate, write_coco_annotations, write_coco_results, write_kitti_results,
};
use crate::tensor::atomic_file;

/// Arguments of `evaluate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Model, a checkpoint or an artifact; several models are compared on the same pictures
    #[arg(long = "model", value_name = "FILE")]
    models: Vec<PathBuf>,
    /// File of detections in COCO's result format (image_id, category_id, bbox, score)
    #[arg(long = "detections", value_name = "FILE", required_unless_present = "models")]
    detections: Vec<PathBuf>,
    /// Labelled pictures: kitti:DIR, coco:ANNOTATIONS.json or voc:DIR
    #[arg(long, value_name = "LAYOUT:PATH")]
    dataset: DatasetSource,
    /// Folder of COCO's pictures [default: searched near the annotation file]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Pictures to evaluate: all; paper (the paper's 1497 validation pictures); paper-batch (the first 32 of them);
    /// paper-training (the other 5984); or a file with one picture name a line
    #[arg(long, value_name = "SPLIT", default_value = "all")]
    split: Split,
    /// TOML file that maps labelled classes to the models' classes: "Van" = "Vehicle", "Misc" = "ignore"
    #[arg(long, value_name = "FILE")]
    class_map: Option<PathBuf>,
    /// Treatment of KITTI's DontCare in the paper's figures: class (as in the paper's code), ignore, or auto (class if
    /// a model has that class)
    #[arg(long, value_enum, default_value_t)]
    dont_care: DontCare,
    /// EXIF orientation of the pictures: auto (applied or not, so that the labels fit), apply or ignore
    #[arg(long, value_enum, default_value_t)]
    exif: ExifMode,
    /// Score threshold of accuracy, precision, mean IoU, recall and agreement
    #[arg(long, value_name = "S", default_value_t = 0.5, value_parser = super::parse_share)]
    score: f64,
    /// Number of bootstrap resamples for the confidence intervals; 0 for none
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    resamples: u32,
    /// Seed of the bootstrap
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u32,
    /// Stop at the first invalid label or picture
    #[arg(long)]
    strict: bool,
    /// Folder of cached results [default: lookout/evaluate in the user's cache folder]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Ignore cached results
    #[arg(long)]
    fresh: bool,
    /// Print the report as one JSON document
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print the report as CSV, one figure a line
    #[arg(long)]
    csv: bool,
    /// Also write report.txt, report.json and report.csv to this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write MODEL.json (detections in COCO's result format) and annotations.json (the ground truth) to this folder
    #[arg(long, value_name = "DIR")]
    coco_results: Option<PathBuf>,
    /// Write MODEL/PICTURE.txt (detections in KITTI's result format) to this folder
    #[arg(long, value_name = "DIR")]
    kitti_results: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Evaluates and prints the report.
///
/// # Errors
/// As [`evaluate()`] and [`Error::writing`].
pub fn execute(args: Args) -> Result<()> {
    let names = names(args.models.iter().chain(&args.detections));
    let named = |paths: &[PathBuf], skip: usize| -> Vec<NamedFile> {
        let named = names.iter().skip(skip).zip(paths);
        named.map(|(name, path)| NamedFile { name: name.clone(), path: path.clone() }).collect()
    };
    let options = EvaluateOptions {
        source: args.dataset.clone(),
        images: args.images.clone(),
        split: args.split.clone(),
        class_map: args.class_map.as_deref().map(ClassMap::read).transpose()?.unwrap_or_default(),
        dont_care: args.dont_care,
        models: named(&args.models, 0),
        detections: named(&args.detections, args.models.len()),
        score: args.score,
        resamples: args.resamples as usize,
        seed: args.seed,
        exif: args.exif,
        run: RunOptions {
            detector: super::detector_options(&args.config)?,
            cache: args.cache.clone().map_or_else(default_cache, Ok)?,
            fresh: args.fresh,
            strict: args.strict,
            cpu: machine::cpu_name(),
        },
    };
    let bar = console::progress_bar(0, console::REMAINING);
    let mut progress = console::progress_of(&bar);
    let mut note = |text: &str| bar.suspend(|| console::print_note(text));
    let evaluation = evaluate(&options, &mut progress, &mut note);
    bar.finish_and_clear();
    let evaluation = evaluation?;
    write_files(&args, &evaluation)?;
    let report = &evaluation.report;
    if args.json {
        console::print(console::json(report)?)?;
    } else if args.csv {
        console::print(report.to_csv().trim_end())?;
    } else {
        console::print(report.to_string().trim_end())?;
    }
    Ok(())
}

fn write_files(args: &Args, evaluation: &Evaluation) -> Result<()> {
    let Evaluation { report, dataset, classes, truths, predictions } = evaluation;
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder).map_err(|source| Error::writing(folder, source))?;
        let write =
            |name: &str, text: String| atomic_file::write(&folder.join(name), |out| out.write_all(text.as_bytes()));
        write("report.txt", report.to_string())?;
        write("report.json", console::json(report)?)?;
        write("report.csv", report.to_csv())?;
    }
    if let Some(folder) = &args.coco_results {
        for NamedPredictions { name, pictures } in predictions {
            write_coco_results(&folder.join(format!("{}.json", file_name(name))), dataset, classes, pictures)?;
        }
        write_coco_annotations(&folder.join("annotations.json"), dataset, classes, truths)?;
    }
    if let Some(folder) = &args.kitti_results {
        for NamedPredictions { name, pictures } in predictions {
            write_kitti_results(&folder.join(file_name(name)), dataset, classes, pictures)?;
        }
    }
    Ok(())
}

/// A model's name as a file name.
fn file_name(name: &str) -> String {
    name.chars().map(|c| if std::path::is_separator(c) { '_' } else { c }).collect()
}

/// A name for each file: its stem, or its path if two files share the stem.
fn names<'a>(paths: impl Iterator<Item = &'a PathBuf> + Clone) -> Vec<String> {
    let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let all: Vec<String> = paths.clone().map(|path| stem(path)).collect();
    let name = |(at, path): (usize, &PathBuf)| {
        let is_alone = all.iter().filter(|other| **other == all[at]).count() == 1;
        if is_alone { all[at].clone() } else { path.display().to_string() }
    };
    paths.enumerate().map(name).collect()
}

/// The user's cache folder for results.
fn default_cache() -> Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    let cache = cache.ok_or_else(|| Error::new(Kind::Usage, "no home folder: name a folder for results with --cache"));
    cache.map(|cache| cache.join("lookout/evaluate"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_unique() {
        let paths: Vec<PathBuf> = ["a/x.lookout", "b/x.lookout", "b/y.safetensors"].map(PathBuf::from).into();
        assert_eq!(names(paths.iter()), ["a/x.lookout", "b/x.lookout", "y"]);
        assert_eq!(file_name("a/x"), "a_x");
    }
}
