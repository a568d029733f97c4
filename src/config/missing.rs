//! What the configuration can say and this build cannot do: told, never passed over in silence. Whoever builds one of
//! these removes its line.

use config::Value;

use super::Complaint;
use super::resolve::locate;
use super::settings::{CameraKind, ModelSource, Settings};

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
    for (index, camera) in settings.cameras.iter().enumerate() {
        let kind = match camera.kind {
            CameraKind::Replay { .. } | CameraKind::Pattern { .. } => None,
            CameraKind::V4l2 { .. } => Some("camera kind \"v4l2\""),
            CameraKind::Ffmpeg { .. } => Some("camera kind \"ffmpeg\""),
        };
        let key = format!("camera[{index}]");
        complain(kind.is_some(), &format!("{key}.kind"), kind.unwrap_or_default());
    }
    complain(settings.monitor.enabled, "monitor.enabled", "the monitor");
    complain(settings.history.enabled, "history.enabled", "the history");
    complain(settings.web.enabled, "web.enabled", "the web page");
    complaints
}
