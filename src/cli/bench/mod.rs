//! `lookout bench`: time, work and share of the CPU's peak rate for every step of the network.
//!
//! Times are medians over the frames of the process's CPU time, or of wall time if marked so. On a shared machine CPU
//! time excludes other processes. The ceiling is the rate of the same multiply-add instructions on registers, measured
//! in the same run on one core.

mod profile;
mod random;
mod table;

use std::path::PathBuf;
use std::str::FromStr;

use super::{ConfigArgs, console};
use crate::detector::{Detector, ModelSummary};
use crate::error::Result;
use crate::frame::Picture;
use crate::message::ModelPrecision;

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Model to time [default: a ResNet-50 FPN with random weights]
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Picture [default: a generated one of --size]
    #[arg(long, value_name = "FILE", conflicts_with = "size")]
    image: Option<PathBuf>,
    /// Size of the generated picture
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "1242x375")]
    size: GeneratedSize,
    /// Number of timed frames, after one warm-up frame
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    frames: u32,
    /// Print one JSON document instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// A picture's width and height in pixels.
#[derive(Debug, Clone, Copy)]
struct GeneratedSize {
    width: usize,
    height: usize,
}

/// Runs the benchmark and prints the profile.
///
/// # Errors
/// As [`Detector::load`] and [`Picture::open`].
pub fn execute(args: Args) -> Result<()> {
    let options = super::detector_options(&args.config)?;
    let mut detector = match &args.model {
        Some(path) => Detector::load(path, &options)?,
        None => {
            let summary = ModelSummary {
                name: "random-resnet50-fpn".to_owned(),
                precision: ModelPrecision::Fp32,
                generation: 0,
                sha256: String::new(),
            };
            Detector::from_checkpoint(&random::checkpoint()?, &options, summary)?
        }
    };
    let picture = match &args.image {
        Some(path) => Picture::open(path)?,
        None => random::picture(args.size.width, args.size.height)?,
    };
    let profile = profile::run(&mut detector, &picture, args.frames as usize, options.isa)?;
    if args.json { console::print(console::pretty_json(&profile)?).map(drop) } else { table::print(&profile) }
}

impl FromStr for GeneratedSize {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let invalid = || format!("{text:?} is not WIDTHxHEIGHT, as 1242x375");
        let (width, height) = text.split_once('x').ok_or_else(invalid)?;
        let parse = |side: &str| side.parse::<usize>().ok().filter(|n| (16..=8192).contains(n)).ok_or_else(invalid);
        Ok(Self { width: parse(width)?, height: parse(height)? })
    }
}
