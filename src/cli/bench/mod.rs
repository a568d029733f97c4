//! `lookout bench`: time, work and share of this CPU's ceiling for every step of the network.
//!
//! Times are CPU time of the process unless they say wall, medians over the frames: on a shared machine CPU time
//! counts our work and not other people's. The ceiling is what the same multiply-add instructions reach in registers,
//! measured in the same run on one core.

mod profile;
mod random;
mod table;

use std::path::PathBuf;

use super::{ConfigArgs, console};
use crate::detector::{Detector, ModelSummary};
use crate::error::{Error, Kind, Result};
use crate::frame::Picture;
use crate::message::ModelPrecision;

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Model to time [default: a ResNet-50 FPN with random weights]
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Picture to run over [default: a made one of --size]
    #[arg(long, value_name = "FILE", conflicts_with = "size")]
    image: Option<PathBuf>,
    /// Size of the made picture
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "1242x375", value_parser = parse_size)]
    size: (usize, usize),
    /// Frames that count, after one that does not
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    frames: u32,
    /// One JSON document instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Runs the bench.
///
/// # Errors
/// What loading the model or the picture gives.
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
        None => random::picture(args.size.0, args.size.1)?,
    };
    let profile = profile::run(&mut detector, &picture, args.frames as usize, options.isa)?;
    if args.json {
        let text = serde_json::to_string_pretty(&profile)
            .map_err(|source| Error::new(Kind::Internal, "the profile has no JSON form").because(source))?;
        console::print(text).map(|_| ())
    } else {
        table::print(&profile)
    }
}

fn parse_size(text: &str) -> std::result::Result<(usize, usize), String> {
    let wrong = || format!("{text:?} is not WIDTHxHEIGHT, as 1242x375");
    let (width, height) = text.split_once('x').ok_or_else(wrong)?;
    let parse = |side: &str| side.parse::<usize>().ok().filter(|n| (16..=8192).contains(n)).ok_or_else(wrong);
    Ok((parse(width)?, parse(height)?))
}
