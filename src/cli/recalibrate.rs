//! `lookout recalibrate`: request a recalibration from the running daemon.

use serde_json::Value;

use super::{ConfigArgs, client, console};
use crate::error::Result;

/// Arguments of `recalibrate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the response as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Sends the request and prints the response. The recalibration continues in the daemon; its result is an event.
pub fn execute(args: Args) -> Result<()> {
    let response = client::request(&args.config, "recalibrate", Value::Null)?;
    if args.json {
        return console::print(response).map(drop);
    }
    let text = format!(
        "recalibration started; generation {} keeps serving. The result is an event, calibration.accepted or \
         calibration.refused; `lookout generations` lists it",
        response["serving"]
    );
    console::print(text).map(drop)
}
