//! `lookout quantize`: quantize a checkpoint; write artifact, calibration record and sidecar; print a summary.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::overwrite::{self, Output};
use super::{ConfigArgs, console};
use crate::calibrate::{
    CalibrationRecord, KeepFloat, Observer, QuantizeOptions, QuantizeOutcome, Recipe, Wide, quantize,
    quantize_from_record, quantize_record_alone,
};
use crate::detector::checkpoint::Checkpoint;
use crate::detector::thread_pool;
use crate::error::{Error, Kind, Result};
use crate::quant::artifact::{Sidecar, save};
use crate::tensor::digest::sha256;
use crate::tensor::regular_file;

mod summary;

/// Arguments of `quantize`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Checkpoint to quantize
    #[arg(value_name = "CKPT")]
    checkpoint: PathBuf,
    /// Folder of calibration pictures, like those of the camera; optional with --record, without bias correction
    #[arg(long, value_name = "DIR", required_unless_present = "record")]
    images: Option<PathBuf>,
    /// Artifact to write; the calibration record is written to ART.calib
    #[arg(long, value_name = "ART")]
    out: PathBuf,
    /// Largest number of calibration pictures
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,
    /// Seed of the selection of pictures
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Observe all pictures of the folder, and calibrate with those that together are most like all
    #[arg(long, conflicts_with = "seed")]
    choose: bool,
    /// lookout: everything in int8; paper: body static, pyramid and proposal network fp32, linear layers dynamic
    #[arg(long, value_name = "NAME", default_value = "lookout")]
    recipe: Recipe,
    /// Observer that chooses the ranges: min-max, moving-average, percentile, percentile:P, entropy, l2 or mse
    #[arg(long, value_name = "NAME", default_value_t = QuantizeOptions::default().observer)]
    observer: Observer,
    /// Layers to keep in fp32: names separated by commas, a number of worst layers, or all below an SQNR (20dB)
    #[arg(long, value_name = "WHICH")]
    keep_float: Option<KeepFloat>,
    /// Equalize the channels of every edge, which leaves fp32's results as they are; never with the recipe paper
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    equalize: bool,
    /// Edges and weights of two bytes: layers by name, separated by commas, a number of parts, or a share of the time of
    /// a frame (15%) for those with the largest measured effect; 0 for none
    #[arg(long, value_name = "WHICH", default_value = "15%")]
    wide: Wide,
    /// Use the ranges of this calibration record instead of calibrating
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Write nothing and exit with 65 if less than this share of fp32's detections is found again: 0.9 or 90%
    #[arg(long, value_name = "P", value_parser = parse_agreement)]
    min_agreement: Option<f64>,
    /// Replace files that are not artifacts and their records
    #[arg(long)]
    force: bool,
    /// Accept pictures that are unusable for calibration; the artifact records them
    #[arg(long)]
    allow_unfit: bool,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Quantizes and writes artifact, record and sidecar.
pub fn execute(args: Args) -> Result<()> {
    let begin = Instant::now();
    let detector = super::detector_options(&args.config)?;
    let options = QuantizeOptions {
        count: args.count as usize,
        seed: args.seed,
        choose: args.choose,
        recipe: args.recipe,
        observer: args.observer,
        keep_float: args.keep_float.clone().unwrap_or_default(),
        equalize: args.equalize,
        wide: args.wide.clone(),
        allow_unfit: args.allow_unfit,
        ..QuantizeOptions::default()
    };
    overwrite::check(&args.out, Output::Artifact, args.force)?;
    overwrite::check(&record_path(&args.out), Output::Record, args.force)?;
    overwrite::check(&Sidecar::path(&args.out), Output::Sidecar, args.force)?;
    let checkpoint = Checkpoint::open(&args.checkpoint)?;
    let record = args.record.as_deref().map(read_record).transpose()?;
    let pool = thread_pool(detector.threads)?;
    let bar = console::progress_bar(0, "{msg:>10} {bar:40} {pos}/{len} {elapsed}");
    let mut progress = |phase: &'static str, done: usize, all: usize| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
        bar.set_message(phase);
    };
    let isa = detector.isa;
    let outcome = pool.install(|| match (record, &args.images) {
        (Some(record), None) => quantize_record_alone(&checkpoint, record, &options, isa, &mut progress),
        (Some(record), Some(folder)) => quantize_from_record(&checkpoint, folder, record, &options, isa, &mut progress),
        (None, Some(folder)) => quantize(&checkpoint, folder, &options, isa, &mut progress),
        (None, None) => Err(Error::new(Kind::Usage, "name a folder of pictures with --images")),
    });
    bar.finish_and_clear();
    let outcome = outcome?;
    for warning in outcome.selection.warnings.iter().chain(&outcome.warning()) {
        console::print_warning(warning);
    }
    let refused = args.min_agreement.map_or(Ok(()), |least| check_agreement(&outcome, least));
    if refused.is_ok() {
        write(&args, &outcome, begin)?;
    }
    let summary = summary::QuantizeSummary::new(&checkpoint, &outcome, &options, begin.elapsed().as_secs_f64())?;
    if args.json {
        console::print(console::json(&summary)?)?;
    } else {
        console::print(summary)?;
    }
    refused
}

/// Refuses a result in which less than the share `least` of fp32's detections is found again.
fn check_agreement(outcome: &QuantizeOutcome, least: f64) -> Result<()> {
    let refuse = |text: String| Err(Error::new(Kind::Data, format!("{text}; nothing was written")));
    match outcome.found_again() {
        Some(share) if share >= least => Ok(()),
        Some(share) => refuse(format!(
            "{:.1} % of fp32's detections are found again, less than --min-agreement {:.1} %; the worst steps are {}",
            share * 100.0,
            least * 100.0,
            outcome.worst_names().join(", ")
        )),
        None => refuse("--min-agreement: fp32 detects nothing on these pictures, or none were given".to_owned()),
    }
}

/// Parses a share: `0.9`, `90%`, or `90`.
fn parse_agreement(text: &str) -> std::result::Result<f64, String> {
    let (number, is_percent) = text.strip_suffix('%').map_or((text, false), |number| (number, true));
    let value: Option<f64> = number.trim().parse().ok();
    let share = value.map(|value| if is_percent || value > 1.0 { value / 100.0 } else { value });
    share.filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| format!("{text:?} is no share; write 0.9 or 90%"))
}

fn read_record(path: &Path) -> Result<CalibrationRecord> {
    CalibrationRecord::parse(&regular_file::read(path)?).map_err(|error| error.at(path.display()))
}

/// Path of the calibration record of an artifact.
fn record_path(artifact: &Path) -> PathBuf {
    let mut name = artifact.as_os_str().to_owned();
    name.push(".calib");
    PathBuf::from(name)
}

fn write(args: &Args, outcome: &QuantizeOutcome, begin: Instant) -> Result<()> {
    save(&args.out, &outcome.bytes)?;
    outcome.record.save(&record_path(&args.out))?;
    let sidecar = Sidecar {
        created_at: jiff::Timestamp::now().to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        sha256: sha256(&outcome.bytes),
        checkpoint: args.checkpoint.display().to_string(),
        pictures: outcome.selection.pictures.iter().map(|picture| picture.path.display().to_string()).collect(),
        seconds: begin.elapsed().as_secs_f64(),
    };
    sidecar.save(&args.out)
}
