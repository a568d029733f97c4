//! `lookout generations`: list the generations of the model, compare two, pin one, or roll back.

use serde_json::{Value, json};

use super::{ConfigArgs, client, console};
use crate::error::{Error, Kind, Result};

/// Arguments of `generations`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Option<GenerationsCommand>,
    /// Print the response as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, clap::Subcommand)]
enum GenerationsCommand {
    /// List every generation: time, reason, gain and state
    List,
    /// Compare the activation ranges of two generations edge by edge
    Compare {
        /// Number of the first generation
        one: u32,
        /// Number of the second generation
        other: u32,
    },
    /// Serve one generation until it is unpinned
    Pin {
        /// Number of the generation
        #[arg(required_unless_present = "none", conflicts_with = "none")]
        generation: Option<u32>,
        /// Unpin
        #[arg(long)]
        none: bool,
    },
    /// Roll back to the generation before the serving one
    Rollback,
}

/// Sends the request and prints the response.
pub fn execute(args: Args) -> Result<()> {
    let request = match &args.action {
        None | Some(GenerationsCommand::List) => json!({ "do": "list" }),
        Some(GenerationsCommand::Compare { one, other }) => json!({ "do": "compare", "one": one, "other": other }),
        Some(GenerationsCommand::Pin { generation, .. }) => json!({ "do": "pin", "generation": generation }),
        Some(GenerationsCommand::Rollback) => json!({ "do": "rollback" }),
    };
    let response = client::request(&args.config, "generations", request)?;
    if args.json {
        return console::print(response).map(drop);
    }
    let lines = match response.as_array() {
        Some(generations) => list(generations),
        None if response.is_object() => comparison(&response),
        None => return Err(Error::new(Kind::Data, "the daemon's response is not a list of generations")),
    };
    console::print_lines(lines)
}

/// One line for each generation.
fn list(generations: &[Value]) -> Vec<String> {
    let line = |generation: &Value| {
        let is = |name: &str| generation[name] == true;
        let mut notes = Vec::new();
        notes.extend(is("serving").then(|| "serving".to_owned()));
        notes.extend(is("on_trial").then(|| "on probation".to_owned()));
        notes.extend(is("pinned").then(|| "pinned".to_owned()));
        notes.extend(generation["rolled_back"].as_str().map(|reason| format!("rolled back: {reason}")));
        notes.extend((!is("on_disk")).then(|| "removed".to_owned()));
        let gain = generation["numbers"]["gain_db"].as_f64().map(|gain| format!(", {gain:+.2} dB")).unwrap_or_default();
        let text = |name: &str| generation[name].as_str().unwrap_or("?").to_owned();
        // As text, because a JSON value ignores the width.
        let number = generation["generation"].to_string();
        format!("{number:>4}  {}  {}{gain}  {}", text("at"), text("why"), notes.join(", "))
    };
    generations.iter().map(|generation| line(generation).trim_end().to_owned()).collect()
}

/// The edges whose ranges differ between two generations, the largest change first.
fn comparison(response: &Value) -> Vec<String> {
    let [one, other] = [&response["generations"][0], &response["generations"][1]];
    let mut lines =
        vec![format!("{} of {} edges differ between {one} and {other}", response["changed"], response["edges"])];
    for edge in response["largest_first"].as_array().into_iter().flatten() {
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
    fn lists_name_the_serving_and_the_rolled_back_generation() {
        let generations = [
            json!({ "generation": 0, "at": "a", "why": "first", "serving": true, "on_disk": true, "numbers": null }),
            json!({ "generation": 1, "at": "b", "why": "drift", "rolled_back": "worse", "on_disk": false,
                    "numbers": { "gain_db": 0.5 } }),
        ];
        assert_eq!(
            list(&generations),
            ["   0  a  first  serving", "   1  b  drift, +0.50 dB  rolled back: worse, removed"]
        );
        let response = json!({ "generations": [0, 1], "edges": 3, "changed": 1,
            "largest_first": [{ "edge": "conv1", "ratio": 1.5, "range": [[0.0, 2.0], [0.0, 3.0]] }] });
        assert_eq!(comparison(&response)[1], "   1.500 ×  conv1  [0.0,2.0] → [0.0,3.0]");
    }
}
