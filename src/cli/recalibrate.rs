//! `lookout recalibrate`: asks the running daemon for another generation of its model.

use serde_json::Value;

use super::{ConfigArgs, client, console};
use crate::error::Result;

/// Arguments of `recalibrate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Asks and prints the answer: the work takes its time, and its outcome is an event.
pub fn execute(args: Args) -> Result<()> {
    let answer = client::ask(&args.config, "recalibrate", Value::Null)?;
    if args.json {
        return console::print(answer).map(drop);
    }
    let text = format!(
        "begun; generation {} serves meanwhile. The outcome is an event (calibration.accepted or calibration.refused, \
         with its reasons) and stands in `lookout generations`",
        answer["serving"]
    );
    console::print(text).map(drop)
}
