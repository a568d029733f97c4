//! Cameras that an order has switched off: their frames are captured and not looked at, until another order.
//!
//! In: the verb `camera`, by the control socket or a broker (Home Assistant's switch). Out: what the table of health
//! says of a camera, and `overrides.toml` in the state folder, from which a restart takes it up again: what somebody
//! switched off must not come back by itself.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::Settings;
use crate::control::Control;
use crate::daemon::paths::state_folder;
use crate::daemon::supervision::health::Health;
use crate::error::{Error, Kind, Result};
use crate::tensor::atomic_file;

/// What orders have changed of the configuration.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Overrides {
    /// Cameras that are switched off.
    #[serde(default)]
    cameras_off: BTreeSet<String>,
}

/// An order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    camera: String,
    enabled: bool,
}

impl Health {
    /// Switches a camera off or on again.
    fn switch(&self, off: BTreeSet<String>) {
        self.lock().off = off;
        self.wake();
    }

    /// Whether nobody shall look at frames of camera `name`.
    pub fn is_off(&self, name: &str) -> bool {
        self.lock().off.contains(name)
    }
}

/// Takes up what an earlier life was ordered, and obeys `camera` from now on.
pub fn register(settings: &Settings, health: &Arc<Health>, control: &Control) {
    let path = state_folder(&settings.device).ok().map(|folder| folder.join("overrides.toml"));
    let names: Vec<String> = settings.cameras.iter().map(|camera| camera.name.clone()).collect();
    let overrides = path.as_deref().map(read).unwrap_or_default();
    for camera in names.iter().filter(|name| overrides.cameras_off.contains(*name)) {
        tracing::warn!(camera, "it was switched off by an order and stays so; `enabled = true` switches it on");
    }
    health.switch(overrides.cameras_off);
    let health = health.clone();
    control.register("camera", move |args| obey(args, &names, path.as_deref(), &health));
}

fn read(path: &Path) -> Overrides {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Overrides::default(),
        Err(error) => {
            tracing::warn!(error = Error::reading(path, error).chain(), "earlier orders are forgotten");
            return Overrides::default();
        }
    };
    toml::from_str(&text).unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), error = error.to_string(), "earlier orders are forgotten");
        Overrides::default()
    })
}

fn obey(args: Value, names: &[String], path: Option<&Path>, health: &Health) -> Result<Value> {
    let order: Order = serde_json::from_value(args).map_err(|error| {
        Error::new(Kind::Usage, "camera takes camera, a name, and enabled, true or false").because(error)
    })?;
    if !names.contains(&order.camera) {
        let text = format!("\"{}\" is no camera; there is {}", order.camera, names.join(", "));
        return Err(Error::new(Kind::Usage, text));
    }
    let mut off = health.lock().off.clone();
    if order.enabled {
        off.remove(&order.camera)
    } else {
        off.insert(order.camera.clone())
    };
    let overrides = Overrides { cameras_off: off };
    let kept = path.is_some_and(|path| match keep(path, &overrides) {
        Ok(()) => true,
        Err(error) => {
            // The order stands all the same: a full disk must not keep a camera on.
            tracing::warn!(error = error.chain(), "the order will not outlive this run");
            false
        }
    });
    health.switch(overrides.cameras_off);
    tracing::info!(camera = order.camera, enabled = order.enabled, "a camera was switched by an order");
    Ok(json!({ "camera": order.camera, "enabled": order.enabled, "kept": kept }))
}

fn keep(path: &Path, overrides: &Overrides) -> Result<()> {
    let text = toml::to_string(overrides)
        .map_err(|error| Error::new(Kind::Internal, "cannot write overrides as TOML").because(error))?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| Error::writing(folder, error))?;
    }
    atomic_file::write(path, |file| file.write_all(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::SimulatedClock;
    use crate::message::CameraState;

    #[test]
    fn an_order_outlives_the_process_and_another_takes_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/overrides.toml");
        let clock = SimulatedClock::default();
        let health = Health::new("d", &clock);
        for name in ["front", "rear"] {
            health.add(name, Duration::from_secs(10), 0);
            health.frame(name, 0);
        }
        let names = ["front".to_owned(), "rear".to_owned()];
        let order = |camera: &str, enabled: bool| {
            obey(json!({ "camera": camera, "enabled": enabled }), &names, Some(&path), &health)
        };
        assert_eq!(order("front", false).unwrap(), json!({ "camera": "front", "enabled": false, "kept": true }));
        let status = health.status(&clock);
        assert_eq!(status.cameras["front"].state, CameraState::Disabled);
        assert_eq!(status.cameras["rear"].state, CameraState::Streaming);
        assert!(status.reasons.is_empty() && health.is_off("front") && !health.is_off("rear"));
        assert_eq!(read(&path).cameras_off, ["front".to_owned()].into());
        order("front", true).unwrap();
        assert!(!health.is_off("front") && read(&path).cameras_off.is_empty());

        assert_eq!(order("back", true).unwrap_err().kind(), Kind::Usage);
        for wrong in [json!({ "camera": "front" }), json!({ "camera": "front", "enabled": "OFF" }), Value::Null] {
            assert_eq!(obey(wrong, &names, None, &health).unwrap_err().kind(), Kind::Usage);
        }
        std::fs::write(&path, "cameras_off = 7").unwrap();
        assert!(read(&path).cameras_off.is_empty(), "nonsense is no order");
        let blocked = Path::new("/dev/null/overrides.toml");
        let order = obey(json!({ "camera": "rear", "enabled": false }), &names, Some(blocked), &health).unwrap();
        assert_eq!((&order["kept"], health.is_off("rear")), (&json!(false), true));
    }
}
