//! `lookout reload`: the running daemon reads its configuration again.

use serde_json::Value;

use super::{ConfigArgs, client, console};
use crate::error::Result;

/// Arguments of `reload`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Orders it and prints what changed; exit 78, with the reason, if the daemon refuses the new configuration.
pub fn execute(args: Args) -> Result<()> {
    let answer = client::ask(&args.config, "reload", Value::Null)?;
    if args.json {
        return console::print(answer).map(drop);
    }
    let changed: Vec<&str> = answer["changed"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let text =
        if changed.is_empty() { "nothing changed".to_owned() } else { format!("changed: {}", changed.join(", ")) };
    console::print(text).map(drop)
}
