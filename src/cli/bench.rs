//! `lookout bench`: time, work and share of this CPU's ceiling for every step of the network.

use std::path::PathBuf;

use super::ConfigArgs;
use crate::error::{Error, Kind, Result};

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Model to time [default: a ResNet-50 FPN with random weights]
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// One JSON document instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Runs the bench.
pub fn execute(args: Args) -> Result<()> {
    let _ = (args.model, args.json, args.config);
    Err(Error::new(Kind::Unavailable, "bench is not in this build yet"))
}
