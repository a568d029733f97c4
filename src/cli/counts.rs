//! `lookout counts`: print the counts of lines of the running daemon, or reset them.

use serde_json::{Value, json};

use super::{ConfigArgs, client, console};
use crate::error::Result;

/// Arguments of `counts`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the daemon's answer as JSON
    #[arg(long)]
    json: bool,
    /// Only lines of this camera
    #[arg(long, value_name = "NAME")]
    camera: Option<String>,
    /// Only lines with this name
    #[arg(long, value_name = "NAME")]
    line: Option<String>,
    /// Set the counts to 0; those before are printed
    #[arg(long)]
    reset: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Requests the counts and prints them.
pub fn execute(args: Args) -> Result<()> {
    let request = json!({ "camera": args.camera, "line": args.line, "reset": args.reset });
    let answer = client::request(&args.config, "counts", request)?;
    if args.json {
        console::print(&answer)?;
        return Ok(());
    }
    for count in answer["counts"].as_array().into_iter().flatten() {
        if !console::print(line(count))? {
            return Ok(());
        }
    }
    Ok(())
}

/// A count as a line of text.
fn line(count: &Value) -> String {
    let text = |name: &str| count[name].as_str().unwrap_or_default();
    format!("{}  {}  {}  {}  {}", text("camera"), text("line"), text("direction"), text("label"), count["count"])
}
