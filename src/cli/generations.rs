//! `lookout generations`: the models there have been, side by side, held fast or taken back.

use serde_json::{Value, json};

use super::{ConfigArgs, client, console};
use crate::error::{Error, Kind, Result};

/// Arguments of `generations`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// The answer as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// What to do.
#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Every generation: when and why it came, what it gained, what became of it
    List,
    /// By edge, how much wider the second generation's quantization ranges are than the first one's
    Compare {
        /// One generation
        one: u32,
        /// Another
        other: u32,
    },
    /// Serve one generation and leave it so, until freed
    Pin {
        /// The generation
        #[arg(required_unless_present = "none", conflicts_with = "none")]
        generation: Option<u32>,
        /// Free the choice again
        #[arg(long)]
        none: bool,
    },
    /// Take the serving generation back; the one before serves again
    Rollback,
}

/// Asks the daemon and prints its answer.
pub fn execute(args: Args) -> Result<()> {
    let request = match &args.action {
        None | Some(Action::List) => json!({ "do": "list" }),
        Some(Action::Compare { one, other }) => json!({ "do": "compare", "one": one, "other": other }),
        Some(Action::Pin { generation, .. }) => json!({ "do": "pin", "generation": generation }),
        Some(Action::Rollback) => json!({ "do": "rollback" }),
    };
    let answer = client::ask(&args.config, "generations", request)?;
    if args.json {
        return console::print(answer).map(drop);
    }
    let lines = match answer.as_array() {
        Some(entries) => list(entries),
        None if answer.is_object() => compared(&answer),
        None => return Err(Error::new(Kind::Data, "the daemon's answer is no list of generations")),
    };
    for line in lines {
        if !console::print(line)? {
            break;
        }
    }
    Ok(())
}

/// A line for each generation.
fn list(entries: &[Value]) -> Vec<String> {
    let line = |entry: &Value| {
        let is = |name: &str| entry[name] == true;
        let mut notes = Vec::new();
        notes.extend(is("serving").then(|| "serving".to_owned()));
        notes.extend(is("on_trial").then(|| "on trial".to_owned()));
        notes.extend(is("pinned").then(|| "pinned".to_owned()));
        notes.extend(entry["rolled_back"].as_str().map(|why| format!("taken back: {why}")));
        notes.extend((!is("on_disk")).then(|| "removed".to_owned()));
        let gain = entry["numbers"]["gain_db"].as_f64().map(|gain| format!(", {gain:+.2} dB")).unwrap_or_default();
        let text = |name: &str| entry[name].as_str().unwrap_or("?").to_owned();
        // As text: a JSON value knows no width.
        let generation = entry["generation"].to_string();
        format!("{generation:>4}  {}  {}{gain}  {}", text("at"), text("why"), notes.join(", "))
    };
    entries.iter().map(|entry| line(entry).trim_end().to_owned()).collect()
}

/// What changed from one generation to another, the largest changes first.
fn compared(answer: &Value) -> Vec<String> {
    let [one, other] = [&answer["generations"][0], &answer["generations"][1]];
    let mut lines =
        vec![format!("{} of {} edges differ between {one} and {other}", answer["changed"], answer["edges"])];
    for edge in answer["largest_first"].as_array().into_iter().flatten() {
        let ratio = edge["ratio"].as_f64().unwrap_or(f64::NAN);
        let name = edge["edge"].as_str().unwrap_or("?");
        lines.push(format!("{ratio:>8.3} ×  {name}  {} → {}", edge["range"][0], edge["range"][1]));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_what_serves_and_what_was_taken_back() {
        let entries = [
            json!({ "generation": 0, "at": "a", "why": "first", "serving": true, "on_disk": true, "numbers": null }),
            json!({ "generation": 1, "at": "b", "why": "drift", "rolled_back": "worse", "on_disk": false,
                    "numbers": { "gain_db": 0.5 } }),
        ];
        assert_eq!(list(&entries), ["   0  a  first  serving", "   1  b  drift, +0.50 dB  taken back: worse, removed"]);
        let answer = json!({ "generations": [0, 1], "edges": 3, "changed": 1,
            "largest_first": [{ "edge": "conv1", "ratio": 1.5, "range": [[0.0, 2.0], [0.0, 3.0]] }] });
        assert_eq!(compared(&answer)[1], "   1.500 ×  conv1  [0.0,2.0] → [0.0,3.0]");
    }
}
