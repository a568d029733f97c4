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
        complain(camera.max_fps.is_some(), &format!("{key}.max_fps"), "a limit of frames a second");
        complain(camera.motion_gate > 0.0, &format!("{key}.motion_gate"), "the motion gate");
        complain(!camera.zones.is_empty(), &format!("{key}.zones"), "finding detections in zones");
        complain(!camera.masks.is_empty(), &format!("{key}.masks"), "masking parts of the picture");
    }
    complain(settings.monitor.enabled, "monitor.enabled", "the monitor");
    let supervision = &settings.supervision;
    let throttle = supervision.throttle_celsius.is_some();
    complain(throttle, "supervision.throttle_celsius", "doing less when hot");
    complain(supervision.pause_celsius.is_some(), "supervision.pause_celsius", "pausing when hot");
    complaints
}
