//! What the configuration can say and this build cannot do: told, never passed over in silence. Whoever builds one of
//! these removes its line.

use config::Value;

use super::Complaint;
use super::resolve::locate;
use super::settings::{ModelSource, Settings};

/// Everything that is configured and not in this build.
pub fn missing(settings: &Settings, merged: &Value) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut complain = |wanted: bool, key: &str, what: &str| {
        if wanted {
            let text = format!("{what} is not in this build yet");
            complaints.push(Complaint::at(locate(merged, key), key, text));
        }
    };
    let model = &settings.model;
    let live = matches!(model.source, ModelSource::Live { .. });
    complain(live, "model.calibration", "calibrating from the cameras");
    complain(model.reference.is_some(), "model.reference", "the monitor, which alone reads it,");
    complain(settings.monitor.enabled, "monitor.enabled", "the monitor");
    complaints
}
