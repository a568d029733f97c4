//! Output of the demo for a person at the terminal: the page's address, and the conditions in summary lines.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::Value;

use crate::control::Control;
use crate::publish::ConditionOf;

/// Function that returns the weather of a synthetic camera in a few words, given its name.
pub type WeatherOf = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Output for a person at the terminal; by default there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Console {
    /// Print the address of the web page on stderr.
    pub page_address: bool,
    /// Print a summary line a second on stdout instead of JSON lines.
    pub summary: bool,
}

/// Prints the address of the web page as one line on stderr. A closed stderr is ignored.
pub fn print_page_address(address: SocketAddr) {
    let _ = writeln!(std::io::stderr().lock(), "live page: http://{address}");
}

/// Conditions of a camera for its summary line: the weather of a synthetic one, and the monitor's state if `monitor`.
pub fn condition(weather: WeatherOf, control: Control, monitor: bool) -> ConditionOf {
    Box::new(move |camera| {
        let drift = monitor.then(|| {
            let status = control.call("status", Value::Null).unwrap_or_default();
            monitor_words(&status["drift"])
        });
        weather(camera).into_iter().chain(drift).collect()
    })
}

/// The monitor's part of a status in a few words.
fn monitor_words(drift: &Value) -> String {
    let Some(deviations) = drift["deviations"].as_f64() else { return "drift not measured yet".to_owned() };
    let mut words = format!("drift {deviations:.1}");
    if drift["verdict"] == "drifting" {
        words.push_str(" (raised)");
    }
    if drift["on_trial"] == true {
        words.push_str(", new model on probation");
    }
    if let Some(generation) = drift["generation"].as_u64().filter(|&generation| generation > 0) {
        words.push_str(&format!(", generation {generation}"));
    }
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_monitor_is_described_in_a_few_words() {
        assert_eq!(monitor_words(&Value::Null), "drift not measured yet");
        let steady = json!({ "deviations": 0.84, "verdict": "steady", "generation": 0, "on_trial": false });
        assert_eq!(monitor_words(&steady), "drift 0.8");
        let drifting = json!({ "deviations": 4.26, "verdict": "drifting", "generation": 2, "on_trial": true });
        assert_eq!(monitor_words(&drifting), "drift 4.3 (raised), new model on probation, generation 2");
    }

    #[test]
    fn conditions_without_weather_and_monitor_are_empty() {
        let none: WeatherOf = Arc::new(|_| None);
        assert!(condition(none.clone(), Control::default(), false)("front").is_empty());
        assert_eq!(condition(none, Control::default(), true)("front"), ["drift not measured yet"]);
    }
}
