//! Labels in the configuration that the model does not have: they would filter and count nothing, without a word.

use super::settings::{Settings, SinkKind};
use crate::suggest::unknown_label;

/// Label of limits that apply to all other labels.
const ANY: &str = "*";

/// A value of the configuration that cannot be right, by its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongValue {
    /// The key, such as `camera[0].limits.Vehicel`.
    pub key: String,
    /// The error and what would be right.
    pub text: String,
}

impl Settings {
    /// Labels of limits and sinks that are not among `labels`, the model's.
    pub fn unknown_labels(&self, labels: &[String]) -> Vec<WrongValue> {
        let mut found = Vec::new();
        let mut check = |key: String, label: &str, may_be_any: bool| {
            let is_known = labels.iter().any(|known| known == label) || (may_be_any && label == ANY);
            if !is_known {
                found.push(WrongValue { key, text: unknown_label(label, labels) });
            }
        };
        for (index, camera) in self.cameras.iter().enumerate() {
            for label in camera.limits.keys() {
                check(format!("camera[{index}].limits.{label}"), label, true);
            }
        }
        for (index, sink) in self.sinks.iter().enumerate() {
            let SinkKind::Mqtt(mqtt) = &sink.kind else { continue };
            for (place, label) in mqtt.labels.iter().enumerate() {
                check(format!("publish[{index}].labels[{place}]"), label, false);
            }
        }
        found
    }

    /// True if the configuration names any label.
    pub fn names_labels(&self) -> bool {
        let has_labels = |kind: &SinkKind| matches!(kind, SinkKind::Mqtt(mqtt) if !mqtt.labels.is_empty());
        self.cameras.iter().any(|camera| !camera.limits.is_empty())
            || self.sinks.iter().any(|sink| has_labels(&sink.kind))
    }
}
