//! `lookout events`: print the history of the running daemon, the newest event first.

use serde_json::{Value, json};

use super::{ConfigArgs, client, console};
use crate::error::Result;

/// Arguments of `events`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the events as JSON lines, as they were published
    #[arg(long)]
    json: bool,
    /// Largest number of events
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    limit: u64,
    /// Only events of this camera
    #[arg(long, value_name = "NAME")]
    camera: Option<String>,
    /// Only events with this name or below it: object, object.new, drift
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Requests the history page by page and prints it.
pub fn execute(args: Args) -> Result<()> {
    let mut left = args.limit;
    let mut before = Value::Null;
    while left > 0 {
        let query = json!({
            "limit": left.min(1000), "before": before, "camera": args.camera, "event": args.event,
        });
        let page = client::request(&args.config, "events", query)?;
        for entry in page["events"].as_array().into_iter().flatten() {
            let message = &entry["message"];
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

/// An event as a line of text: time, name, camera and details.
fn line(message: &Value) -> String {
    let text = |name: &str| message[name].as_str().unwrap_or_default();
    let mut line = format!("{}  {:<22} {:<10}", text("at"), text("event"), text("camera"));
    const OMITTED: &[&str] = &["schema", "type", "device", "id", "at", "event", "camera", "object", "class_id"];
    for (name, value) in message.as_object().into_iter().flatten().filter(|(name, _)| !OMITTED.contains(&name.as_str()))
    {
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
    fn a_line_has_time_name_camera_and_details() {
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
