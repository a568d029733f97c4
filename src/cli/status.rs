//! `lookout status`: print the status of the running daemon.

use serde_json::Value;

use super::{ConfigArgs, client, console};
use crate::error::Result;

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the status as JSON, as the daemon publishes it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Requests the status and prints it.
pub fn execute(args: Args) -> Result<()> {
    let status = client::request(&args.config, "status", Value::Null)?;
    if args.json {
        return console::print(status).map(drop);
    }
    console::print_lines(lines(&status))
}

/// The status as text: state, reasons, model, and one line for each camera.
fn lines(status: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let mut lines = vec![format!("{} on {}", text(&status["state"]), text(&status["device"]))];
    let reasons = status["reasons"].as_array().into_iter().flatten();
    lines.extend(reasons.map(|reason| format!("  {}", text(reason))));
    if let Some(model) = status.get("model").filter(|model| model.is_object()) {
        let (name, precision) = (text(&model["name"]), text(&model["precision"]));
        lines.push(format!("model {name}, {precision}, generation {}", model["generation"]));
    }
    for (name, camera) in status["cameras"].as_object().into_iter().flatten() {
        let dropped = camera["dropped"].as_object().into_iter().flatten();
        let dropped: Vec<String> = dropped.map(|(reason, count)| format!("{count} {reason}")).collect();
        let dropped = if dropped.is_empty() { String::new() } else { format!(", dropped {}", dropped.join(", ")) };
        let latency = camera["latency_ms"].as_f64().map(|latency| format!(", {latency:.0} ms"));
        lines.push(format!(
            "camera {name}: {}, {} frames a second, {} analysed{}{dropped}",
            text(&camera["state"]),
            camera["fps"],
            camera["analysed_fps"].as_f64().unwrap_or_default(),
            latency.unwrap_or_default(),
        ));
        if let Some(error) = camera.get("last_error").filter(|error| error.is_object()) {
            lines.push(format!("  last error at {}: {}", text(&error["at"]), text(&error["error"])));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_text_has_reasons_model_and_every_camera() {
        let status = json!({
            "device": "d", "state": "degraded", "reasons": ["camera a is lost"],
            "model": { "name": "m", "precision": "int8", "generation": 2 },
            "cameras": {
                "a": {
                    "state": "backoff", "fps": 0.0, "analysed_fps": 0.0, "dropped": { "busy": 3, "corrupt": 1 },
                    "last_error": { "error": "unplugged", "at": "2026-12-01T10:00:00Z" },
                },
                "b": { "state": "streaming", "fps": 15.0, "analysed_fps": 4.5, "latency_ms": 120.4, "dropped": {} },
            },
        });
        let expected = [
            "degraded on d",
            "  camera a is lost",
            "model m, int8, generation 2",
            "camera a: backoff, 0.0 frames a second, 0 analysed, dropped 3 busy, 1 corrupt",
            "  last error at 2026-12-01T10:00:00Z: unplugged",
            "camera b: streaming, 15.0 frames a second, 4.5 analysed, 120 ms",
        ];
        assert_eq!(lines(&status), expected);
        assert_eq!(lines(&Value::Null), ["? on ?"], "an empty response is no panic");
    }
}
