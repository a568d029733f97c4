//! Where the daemon keeps things: what must survive a restart, and the socket by which it is asked.
//!
//! In: `[device]` and the environment that systemd or a login session sets. Out: folders, not yet made.

use std::path::PathBuf;

use crate::config::DeviceSettings;
use crate::error::{Error, Kind, Result};

/// Where the service's own unit has its runtime folder.
const RUNTIME: &str = "/run/lookout";

/// The folder that an environment variable names, with `below` added; systemd separates several with colons, of which
/// the first is the service's own.
fn from_environment(name: &str, below: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(name).filter(|folder| !folder.is_empty())?;
    let first = folder.to_string_lossy().split(':').next().map(PathBuf::from)?;
    Some(if below.is_empty() { first } else { first.join(below) })
}

/// Where state is kept: as configured, else as systemd says, else where the user's programs keep theirs.
///
/// # Errors
///
/// [`Kind::Config`] if nobody says where.
pub fn state_folder(device: &DeviceSettings) -> Result<PathBuf> {
    let configured = device.state_dir.clone();
    configured
        .or_else(|| from_environment("STATE_DIRECTORY", ""))
        .or_else(|| from_environment("XDG_STATE_HOME", "lookout"))
        .or_else(|| from_environment("HOME", ".local/state/lookout"))
        .ok_or_else(|| Error::new(Kind::Config, "there is no folder to keep state in: set device.state_dir"))
}

/// A folder for the control socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeFolder {
    /// The folder.
    pub path: PathBuf,
    /// Somebody chose it for this daemon: it must work. Otherwise a daemon that cannot have it does without.
    pub chosen: bool,
}

/// Where the control socket stands: as configured, else as systemd says, else in the login session's folder, else
/// where the unit has it.
pub fn runtime_folder(device: &DeviceSettings) -> RuntimeFolder {
    let chosen = device.runtime_dir.clone().or_else(|| from_environment("RUNTIME_DIRECTORY", ""));
    match chosen {
        Some(path) => RuntimeFolder { path, chosen: true },
        None => {
            let path = from_environment("XDG_RUNTIME_DIR", "lookout").unwrap_or_else(|| RUNTIME.into());
            RuntimeFolder { path, chosen: false }
        }
    }
}

/// Where a client looks for the daemon, in this order: the folder that was chosen and no other; without a choice its
/// own session's, then the service's.
pub fn runtime_folders(chosen: Option<PathBuf>) -> Vec<PathBuf> {
    match chosen.or_else(|| from_environment("RUNTIME_DIRECTORY", "")) {
        Some(path) => vec![path],
        None => from_environment("XDG_RUNTIME_DIR", "lookout").into_iter().chain([RUNTIME.into()]).collect(),
    }
}
