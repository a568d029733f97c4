//! `lookout reload`: make the running daemon reload its configuration.

use serde_json::Value;

use super::{ConfigArgs, client, console};
use crate::error::Result;

/// Arguments of `reload`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the response as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Sends the request and prints the changed sections; exit code 78 with the reason if the daemon refuses the
/// configuration.
pub fn execute(args: Args) -> Result<()> {
    let response = client::request(&args.config, "reload", Value::Null)?;
    if args.json {
        return console::print(response).map(drop);
    }
    let changed: Vec<&str> = response["changed"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let text =
        if changed.is_empty() { "nothing changed".to_owned() } else { format!("changed: {}", changed.join(", ")) };
    console::print(text).map(drop)
}
