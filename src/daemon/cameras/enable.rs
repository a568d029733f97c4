//! Disabling cameras by request: the frames of a disabled camera are captured and dropped.
//!
//! In: the verb `camera`, from the control socket or from a broker (the switch in Home Assistant). Out: the set of
//! disabled cameras in the health table, and `overrides.toml` in the state folder. A restart reads that file: a camera
//! that was disabled stays disabled.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::Settings;
use crate::control::{Control, answer};
use crate::daemon::paths::state_folder;
use crate::daemon::supervision::health::Health;
use crate::error::{Error, Kind, Result};
use crate::tensor::atomic_file;

/// Content of `overrides.toml`: changes by request that outlast a restart.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Overrides {
    /// Disabled cameras.
    #[serde(default)]
    cameras_off: BTreeSet<String>,
}

/// Arguments of the verb.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnableRequest {
    camera: String,
    enabled: bool,
}

/// Answer of the verb.
#[derive(Serialize)]
struct EnableAnswer {
    camera: String,
    enabled: bool,
    /// True if the change outlasts a restart.
    kept: bool,
}

/// Disables the cameras that `overrides.toml` names, and registers the verb `camera`.
pub fn register(settings: &Settings, health: &Arc<Health>, control: &Control) {
    let path = state_folder(&settings.device).ok().map(|folder| folder.join("overrides.toml"));
    let names: Vec<String> = settings.cameras.iter().map(|camera| camera.name.clone()).collect();
    let overrides = path.as_deref().map(read).unwrap_or_default();
    for camera in names.iter().filter(|name| overrides.cameras_off.contains(*name)) {
        tracing::warn!(camera, "camera is disabled by an earlier request; `enabled = true` enables it");
    }
    health.set_disabled(overrides.cameras_off);
    let health = health.clone();
    control.register("camera", move |args| set_enabled(args, &names, path.as_deref(), &health));
}

fn read(path: &Path) -> Overrides {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Overrides::default(),
        Err(error) => {
            tracing::warn!(error = Error::reading(path, error).chain(), "overrides cannot be read and are ignored");
            return Overrides::default();
        }
    };
    toml::from_str(&text).unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), error = error.to_string(), "overrides are not TOML and are ignored");
        Overrides::default()
    })
}

/// Handles the verb.
fn set_enabled(args: Value, names: &[String], path: Option<&Path>, health: &Health) -> Result<Value> {
    let request: EnableRequest = serde_json::from_value(args).map_err(|error| {
        Error::new(Kind::Usage, "camera takes camera, a name, and enabled, true or false").because(error)
    })?;
    let EnableRequest { camera, enabled } = request;
    if !names.contains(&camera) {
        let text = format!("\"{camera}\" is no camera; there is {}", names.join(", "));
        return Err(Error::new(Kind::Usage, text));
    }
    let mut disabled = health.disabled();
    if enabled {
        disabled.remove(&camera)
    } else {
        disabled.insert(camera.clone())
    };
    let overrides = Overrides { cameras_off: disabled };
    // Repeated requests do not wear out the memory card.
    let kept = path.is_some_and(|path| {
        read(path) == overrides
            || match write(path, &overrides) {
                Ok(()) => true,
                Err(error) => {
                    // The request takes effect all the same: a full disk must not keep a camera enabled.
                    tracing::warn!(
                        error = error.chain(),
                        "overrides cannot be written; the change ends with this process"
                    );
                    false
                }
            }
    });
    health.set_disabled(overrides.cameras_off);
    tracing::info!(camera, enabled, "camera enabled or disabled by request");
    answer(&EnableAnswer { camera, enabled, kept })
}

fn write(path: &Path, overrides: &Overrides) -> Result<()> {
    let text = toml::to_string(overrides)
        .map_err(|error| Error::new(Kind::Internal, "cannot write overrides as TOML").because(error))?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| Error::writing(folder, error))?;
    }
    atomic_file::write(path, |file| file.write_all(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::clock::SimulatedClock;
    use crate::message::{CameraState, State};

    #[test]
    fn a_request_outlasts_the_process_and_another_reverts_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/overrides.toml");
        let clock = SimulatedClock::default();
        let health = Health::new("d", &clock);
        for name in ["front", "rear"] {
            health.add_camera(name, Duration::from_secs(10), 0);
            health.frame_captured(name, 0);
        }
        let names = ["front".to_owned(), "rear".to_owned()];
        let request = |camera: &str, enabled: bool| {
            set_enabled(json!({ "camera": camera, "enabled": enabled }), &names, Some(&path), &health)
        };
        assert_eq!(request("front", false).unwrap(), json!({ "camera": "front", "enabled": false, "kept": true }));
        let status = health.status(&clock);
        assert_eq!(status.cameras["front"].state, CameraState::Disabled);
        assert_eq!(status.cameras["rear"].state, CameraState::Streaming);
        assert_eq!(
            (status.state, status.reasons),
            (State::Degraded, vec!["camera front is disabled by request".into()])
        );
        assert!(health.is_disabled("front") && !health.is_disabled("rear"));
        assert_eq!(read(&path).cameras_off, ["front".to_owned()].into());
        // The same request again writes nothing.
        let before = std::fs::metadata(&path).unwrap().ino();
        assert_eq!(request("front", false).unwrap()["kept"], true);
        assert_eq!(std::fs::metadata(&path).unwrap().ino(), before);
        request("front", true).unwrap();
        assert!(!health.is_disabled("front") && read(&path).cameras_off.is_empty());

        assert_eq!(request("back", true).unwrap_err().kind(), Kind::Usage);
        for wrong in [json!({ "camera": "front" }), json!({ "camera": "front", "enabled": "OFF" }), Value::Null] {
            assert_eq!(set_enabled(wrong, &names, None, &health).unwrap_err().kind(), Kind::Usage);
        }
        std::fs::write(&path, "cameras_off = 7").unwrap();
        assert!(read(&path).cameras_off.is_empty(), "a file that cannot be parsed disables nothing");
        let blocked = Path::new("/dev/null/overrides.toml");
        let answer =
            set_enabled(json!({ "camera": "rear", "enabled": false }), &names, Some(blocked), &health).unwrap();
        assert_eq!((&answer["kept"], health.is_disabled("rear")), (&json!(false), true));
    }
}
