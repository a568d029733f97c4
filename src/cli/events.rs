//! `lookout events`: what the running daemon's history holds.

use serde_json::{Value, json};

use super::{ConfigArgs, client, console};
use crate::error::Result;

/// Arguments of `events`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The events as JSON lines, as they were published
    #[arg(long)]
    json: bool,
    /// How many at most, the newest first
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    limit: u64,
    /// Only those of this camera
    #[arg(long, value_name = "NAME")]
    camera: Option<String>,
    /// Only those of this name, or whose name begins with it and a dot: object, object.new, drift
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Asks the daemon page by page and prints what it answers.
pub fn execute(args: Args) -> Result<()> {
    let mut left = args.limit;
    let mut before = Value::Null;
    while left > 0 {
        let query = json!({
            "limit": left.min(1000), "before": before, "camera": args.camera, "event": args.event,
        });
        let page = client::ask(&args.config, "events", query)?;
        for kept in page["events"].as_array().into_iter().flatten() {
            let message = &kept["message"];
            let printed = if args.json { console::print(message)? } else { console::print(line(message))? };
            if !printed {
                return Ok(());
            }
            left = left.saturating_sub(1);
        }
        before = page["next"].clone();
        if before.is_null() {
            break;
        }
    }
    Ok(())
}

/// An event for people: when, what, where, and the numbers behind it.
fn line(message: &Value) -> String {
    let word = |name: &str| message[name].as_str().unwrap_or_default();
    let mut line = format!("{}  {:<22} {:<10}", word("at"), word("event"), word("camera"));
    const TOLD: &[&str] = &["schema", "type", "device", "id", "at", "event", "camera", "object", "class_id"];
    for (name, value) in message.as_object().into_iter().flatten().filter(|(name, _)| !TOLD.contains(&name.as_str())) {
        match value {
            Value::String(text) => line.push_str(&format!(" {name}={text}")),
            Value::Array(items) if items.is_empty() => {}
            value => line.push_str(&format!(" {name}={value}")),
        }
    }
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_when_what_and_where() {
        let message = json!({
            "schema": "lookout/1", "type": "event", "device": "d", "id": "1", "at": "2026-11-23T10:00:00.000000Z",
            "event": "object.end", "camera": "front", "label": "Car", "duration_s": 3.5, "zones": [],
        });
        assert_eq!(
            line(&message),
            "2026-11-23T10:00:00.000000Z  object.end             front      duration_s=3.5 label=Car"
        );
    }
}
