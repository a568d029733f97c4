//! `lookout detect`: objects in pictures and folders, as a table or as one JSON line a picture.

use std::path::PathBuf;

use super::ConfigArgs;
use crate::error::{Error, Kind, Result};

/// Arguments of `detect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pictures (JPEG, PNG) and folders of them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Model: a checkpoint written by `lookout import`
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// One JSON line a picture instead of a table
    #[arg(long)]
    json: bool,
    /// Write a copy of every picture with its detections drawn on it into this folder
    #[arg(long, value_name = "DIR")]
    annotate: Option<PathBuf>,
    /// Lowest score to report, 0 to 1, instead of the model's own
    #[arg(long)]
    score: Option<f32>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Runs the detector over the pictures.
pub fn execute(args: Args) -> Result<()> {
    let _ = (args.paths, args.model, args.json, args.annotate, args.score, args.config);
    Err(Error::new(Kind::Unavailable, "detect is not in this build yet"))
}
