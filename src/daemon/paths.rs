//! Folders of the service: persistent state, and the control socket.
//!
//! In: `[device]` and the environment variables of systemd or of a login session. Out: paths of folders that may not
//! exist yet.

use std::path::PathBuf;

use crate::config::DeviceSettings;
use crate::error::{Error, Kind, Result};

/// Runtime folder of the systemd unit.
const UNIT_RUNTIME_FOLDER: &str = "/run/lookout";

/// The folder in the environment variable `name`, joined with `below`. systemd separates several folders with colons;
/// the first is the unit's own.
fn from_environment(name: &str, below: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(name).filter(|folder| !folder.is_empty())?;
    let first = folder.to_string_lossy().split(':').next().map(PathBuf::from)?;
    Some(if below.is_empty() { first } else { first.join(below) })
}

/// The state folder: the configured one, else systemd's, else the user's.
///
/// # Errors
///
/// [`Kind::Config`] if none of them is known.
pub fn state_folder(device: &DeviceSettings) -> Result<PathBuf> {
    let configured = device.state_dir.clone();
    configured
        .or_else(|| from_environment("STATE_DIRECTORY", ""))
        .or_else(|| from_environment("XDG_STATE_HOME", "lookout"))
        .or_else(|| from_environment("HOME", ".local/state/lookout"))
        .ok_or_else(|| Error::new(Kind::Config, "there is no folder to keep state in: set device.state_dir"))
}

/// Folder of the control socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeFolder {
    /// The folder.
    pub path: PathBuf,
    /// True if the folder is configured for this service: then it must be usable. Otherwise the service runs without a
    /// socket if the folder is not usable.
    pub required: bool,
}

/// The folder of the control socket: the configured one, else systemd's, else the login session's, else the unit's.
pub fn runtime_folder(device: &DeviceSettings) -> RuntimeFolder {
    let configured = device.runtime_dir.clone().or_else(|| from_environment("RUNTIME_DIRECTORY", ""));
    match configured {
        Some(path) => RuntimeFolder { path, required: true },
        None => {
            let path = from_environment("XDG_RUNTIME_DIR", "lookout").unwrap_or_else(|| UNIT_RUNTIME_FOLDER.into());
            RuntimeFolder { path, required: false }
        }
    }
}

/// Folders in which a client searches for the control socket: the configured one if there is one, else the login
/// session's, then the unit's.
pub fn runtime_folders(configured: Option<PathBuf>) -> Vec<PathBuf> {
    match configured.or_else(|| from_environment("RUNTIME_DIRECTORY", "")) {
        Some(path) => vec![path],
        None => {
            from_environment("XDG_RUNTIME_DIR", "lookout").into_iter().chain([UNIT_RUNTIME_FOLDER.into()]).collect()
        }
    }
}
