//! `lookout evaluate`: models and detections judged on labelled pictures.
//!
//! The report goes to stdout as a table, JSON or CSV, the progress bar and what is wrong with the labels to stderr.

use std::path::{Path, PathBuf};

use super::{ConfigArgs, console, machine};
use crate::error::{Error, Kind, Result};
use crate::evaluate::{
    ClassMap, DontCare, Options, Outcome, RunOptions, Source, Split, evaluate, write_coco_annotations,
    write_coco_results, write_kitti_results,
};
use crate::tensor::atomic_file;

/// Arguments of `evaluate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Model to judge, a checkpoint or an artifact; several are judged on the same pictures and compared
    #[arg(long = "model", value_name = "FILE")]
    models: Vec<PathBuf>,
    /// Detections to judge like a model's: COCO's result format (image_id, category_id, bbox, score)
    #[arg(long = "detections", value_name = "FILE", required_unless_present = "models")]
    detections: Vec<PathBuf>,
    /// Labelled pictures: kitti:DIR, coco:ANNOTATIONS.json or voc:DIR
    #[arg(long, value_name = "LAYOUT:PATH")]
    dataset: Source,
    /// Folder of COCO's pictures [default: looked for around the annotation file]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// all; paper: the 1497 pictures of the paper's validation; paper-batch: its first 32; paper-training: the other
    /// 5984; or a file that names pictures, one a line
    #[arg(long, value_name = "SPLIT", default_value = "all")]
    split: Split,
    /// TOML file that says what labelled classes are to the models: "Van" = "Vehicle", "Misc" = "ignore"
    #[arg(long, value_name = "FILE")]
    class_map: Option<PathBuf>,
    /// KITTI's DontCare in the paper's figures: a class, as the paper's code has it, or ignored; auto: a class if a
    /// model has it as one
    #[arg(long, value_enum, default_value_t)]
    dont_care: DontCare,
    /// Lowest score of what counts in accuracy, precision, mean IoU, recall and agreement
    #[arg(long, value_name = "S", default_value_t = 0.5, value_parser = super::parse_share)]
    score: f64,
    /// Draws of the bootstrap behind the intervals; 0 for none
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    resamples: u32,
    /// Seed of the draws
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u32,
    /// Stop at the first wrong label or picture
    #[arg(long)]
    strict: bool,
    /// Folder of kept results [default: lookout/evaluate in the user's cache folder]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Run every model anew, whatever is kept
    #[arg(long)]
    fresh: bool,
    /// The report as one JSON document
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// The report as CSV, a figure a line
    #[arg(long)]
    csv: bool,
    /// Write the report into this folder as report.txt, report.json and report.csv, too
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write MODEL.json, detections in COCO's result format, and annotations.json, the ground truth they were judged by
    #[arg(long, value_name = "DIR")]
    coco_results: Option<PathBuf>,
    /// Write MODEL/PICTURE.txt, detections in KITTI's result format
    #[arg(long, value_name = "DIR")]
    kitti_results: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Judges and reports.
///
/// # Errors
/// What [`evaluate()`] gives, and what writing results gives.
pub fn execute(args: Args) -> Result<()> {
    let names = names(args.models.iter().chain(&args.detections));
    let named = |paths: &[PathBuf], skip: usize| -> Vec<(String, PathBuf)> {
        names.iter().skip(skip).cloned().zip(paths.iter().cloned()).collect()
    };
    let options = Options {
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
        run: RunOptions {
            detector: super::detector_options(&args.config)?,
            cache: args.cache.clone().map_or_else(default_cache, Ok)?,
            fresh: args.fresh,
            strict: args.strict,
            cpu: machine::cpu_name(),
        },
    };
    let bar = console::progress_bar(0, console::REMAINING);
    let mut progress = |done: usize, all: usize| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    };
    let mut note = |text: &str| bar.suspend(|| console::note(text));
    let outcome = evaluate(&options, &mut progress, &mut note);
    bar.finish_and_clear();
    let outcome = outcome?;
    write_files(&args, &outcome)?;
    let report = &outcome.report;
    if args.json {
        console::print(to_json(report)?)?;
    } else if args.csv {
        console::print(report.to_csv().trim_end())?;
    } else {
        console::print(report.to_string().trim_end())?;
    }
    Ok(())
}

fn write_files(args: &Args, outcome: &Outcome) -> Result<()> {
    let Outcome { report, dataset, classes, truths, found } = outcome;
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder).map_err(|source| Error::writing(folder, source))?;
        let write =
            |name: &str, text: String| atomic_file::write(&folder.join(name), |out| out.write_all(text.as_bytes()));
        write("report.txt", report.to_string())?;
        write("report.json", to_json(report)?)?;
        write("report.csv", report.to_csv())?;
    }
    if let Some(folder) = &args.coco_results {
        for (name, found) in found {
            write_coco_results(&folder.join(format!("{}.json", file_name(name))), dataset, classes, found)?;
        }
        write_coco_annotations(&folder.join("annotations.json"), dataset, classes, truths)?;
    }
    if let Some(folder) = &args.kitti_results {
        for (name, found) in found {
            write_kitti_results(&folder.join(file_name(name)), dataset, classes, found)?;
        }
    }
    Ok(())
}

fn to_json(report: &crate::evaluate::Report) -> Result<String> {
    serde_json::to_string(report)
        .map_err(|source| Error::new(Kind::Internal, "the report has no JSON form").because(source))
}

/// A model's name as that of a file.
fn file_name(name: &str) -> String {
    name.chars().map(|c| if std::path::is_separator(c) { '_' } else { c }).collect()
}

/// A name for each file: as short as tells them apart.
fn names<'a>(paths: impl Iterator<Item = &'a PathBuf> + Clone) -> Vec<String> {
    let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let all: Vec<String> = paths.clone().map(|path| stem(path)).collect();
    let name = |(at, path): (usize, &PathBuf)| {
        let is_alone = all.iter().filter(|other| **other == all[at]).count() == 1;
        if is_alone { all[at].clone() } else { path.display().to_string() }
    };
    paths.enumerate().map(name).collect()
}

/// The user's folder for what can be computed again.
fn default_cache() -> Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    let cache =
        cache.ok_or_else(|| Error::new(Kind::Usage, "there is no home folder: name one for results with --cache"));
    cache.map(|cache| cache.join("lookout/evaluate"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_apart() {
        let paths: Vec<PathBuf> = ["a/x.lookout", "b/x.lookout", "b/y.safetensors"].map(PathBuf::from).into();
        assert_eq!(names(paths.iter()), ["a/x.lookout", "b/x.lookout", "y"]);
        assert_eq!(file_name("a/x"), "a_x");
    }
}
