//! Enumeration, persistent names and problems of V4L2 devices.
//!
//! In: `/dev`, or a configured name: a path, `card` or `card@bus`. Out: open capture nodes with their driver information,
//! or an error with the problem and its remedy.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use v4l::capability::Flags;
use v4l::v4l_sys as sys;

use super::ioctl::{CAPABILITIES, Node, REQUEST_BUFFERS, text, zeroed};
use crate::error::{Error, Kind, Result};

/// A video capture node.
#[derive(Debug)]
pub struct Device {
    /// The open node.
    pub node: Node,
    /// Path.
    pub path: PathBuf,
    /// Driver, such as `uvcvideo`.
    pub driver: String,
    /// Card name.
    pub card: String,
    /// Bus information.
    pub bus: String,
    /// Buffer type: single- or multi-planar capture.
    pub kind: u32,
}

impl Device {
    /// Opens the node at `path`.
    ///
    /// # Errors
    /// [`Kind::NoInput`] if it does not exist, [`Kind::Permission`] if access is denied, [`Kind::Unavailable`] if it is busy,
    /// gone, or not a capture device; each with its remedy.
    pub fn open(path: &Path) -> Result<Self> {
        let node = Node::open(path).map_err(|error| device_error(path, error))?;
        let mut capability = zeroed::<sys::v4l2_capability>();
        if let Err(error) = node.ioctl(CAPABILITIES, &mut capability) {
            return Err(match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::NOTTY | Errno::INVAL) => {
                    let text = format!("{}: not a video device; `lookout cameras` lists them", path.display());
                    Error::new(Kind::Unavailable, text)
                }
                _ => device_error(path, error),
            });
        }
        let all = Flags::from_bits_truncate(capability.capabilities);
        let device_capabilities =
            if all.contains(Flags::DEVICE_CAPS) { Flags::from_bits_truncate(capability.device_caps) } else { all };
        let kind = if device_capabilities.contains(Flags::VIDEO_CAPTURE) {
            sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE
        } else if device_capabilities.contains(Flags::VIDEO_CAPTURE_MPLANE) {
            sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE
        } else {
            let what = if device_capabilities.contains(Flags::META_CAPTURE) {
                "camera's metadata"
            } else {
                "device's output or radio"
            };
            let text = format!(
                "{}: not a capture device: this is a {what} node of {}; `lookout cameras` lists those that give pictures",
                path.display(),
                text(&capability.card)
            );
            return Err(Error::new(Kind::Unavailable, text));
        };
        if !device_capabilities.contains(Flags::STREAMING) {
            let text = format!("{}: the driver cannot stream into mapped buffers", path.display());
            return Err(Error::new(Kind::Unavailable, text));
        }
        Ok(Self {
            node,
            path: path.to_owned(),
            driver: text(&capability.driver),
            card: text(&capability.card),
            bus: text(&capability.bus_info),
            kind,
        })
    }

    /// The device with the configured `name`: a path; or a card, with `@` and its bus if several cards have the same name.
    ///
    /// # Errors
    /// As [`Device::open`]; [`Kind::NoInput`] if no card has the name, [`Kind::Config`] if several have.
    pub fn find(name: &str) -> Result<Self> {
        if name.starts_with('/') {
            return Self::open(Path::new(name));
        }
        let mut found: Vec<Self> = Vec::new();
        let mut others = Vec::new();
        let mut inaccessible = Vec::new();
        for path in nodes() {
            match Self::open(&path) {
                Ok(device) if has_name(&device.card, &device.bus, name) => found.push(device),
                Ok(device) => others.push(format!("\"{}@{}\"", device.card, device.bus)),
                Err(error) if error.kind() == Kind::Permission => inaccessible.push(error),
                Err(_) => {}
            }
        }
        if found.len() > 1 {
            // Some cameras have several nodes; the first one captures.
            let mut buses: Vec<&str> = found.iter().map(|device| device.bus.as_str()).collect();
            buses.dedup();
            if buses.len() > 1 {
                let buses: Vec<_> = buses.iter().map(|bus| format!("\"{}@{bus}\"", found[0].card)).collect();
                let text = format!("several cameras are called \"{name}\": say which, {}", buses.join(" or "));
                return Err(Error::new(Kind::Config, text));
            }
        }
        match (found.into_iter().next(), inaccessible.into_iter().next()) {
            (Some(device), _) => Ok(device),
            (None, Some(error)) => Err(error),
            (None, None) => {
                let there = if others.is_empty() { "there is none".to_owned() } else { others.join(", ") };
                Err(Error::new(Kind::NoInput, format!("no camera is called \"{name}\"; there: {there}")))
            }
        }
    }
}

impl Device {
    /// The reason why another program's use prevents streaming, if it does. Requests no buffers, which changes nothing.
    pub fn busy(&self) -> Option<Error> {
        let memory = sys::v4l2_memory_V4L2_MEMORY_MMAP;
        let mut request = sys::v4l2_requestbuffers { count: 0, type_: self.kind, memory, ..zeroed() };
        let error = self.node.ioctl(REQUEST_BUFFERS, &mut request).err()?;
        (error.raw_os_error() == Some(Errno::BUSY.raw_os_error())).then(|| device_error(&self.path, error))
    }
}

/// True if `name` matches a card and bus.
fn has_name(card: &str, bus: &str, name: &str) -> bool {
    name == card || name.strip_suffix(bus).and_then(|rest| rest.strip_suffix('@')).is_some_and(|rest| rest == card)
}

/// True if `name` is a `/dev/videoN`, which the kernel assigns anew at every boot.
pub fn is_device_number(name: &str) -> bool {
    let number = name.strip_prefix("/dev/video");
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Every `/dev/videoN`, by number.
pub fn nodes() -> Vec<PathBuf> {
    let mut numbered: Vec<(u32, PathBuf)> = fs::read_dir("/dev")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some((name.strip_prefix("video")?.parse().ok()?, entry.path()))
        })
        .collect();
    numbered.sort();
    numbered.into_iter().map(|(_, path)| path).collect()
}

/// Persistent names of `node`: links under `/dev/v4l`.
pub fn stable_names(node: &Path) -> Vec<PathBuf> {
    let Ok(node) = fs::canonicalize(node) else { return Vec::new() };
    let mut names: Vec<PathBuf> = ["/dev/v4l/by-id", "/dev/v4l/by-path"]
        .into_iter()
        .flat_map(|folder| {
            let mut links: Vec<_> =
                fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
            links.sort();
            links
        })
        .filter(|link| fs::canonicalize(link).is_ok_and(|target| target == node))
        .collect();
    names.dedup();
    names
}

/// Error for a system error code, with its remedy.
pub fn device_error(path: &Path, error: io::Error) -> Error {
    let place = path.display();
    let (kind, text) = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::NOTDIR) => {
            (Kind::NoInput, format!("{place}: not there; is the camera plugged in? `lookout cameras` lists what is"))
        }
        Some(Errno::NODEV | Errno::NXIO) => (Kind::Unavailable, format!("{place}: the camera is gone")),
        Some(Errno::ACCESS | Errno::PERM) => (
            Kind::Permission,
            format!(
                "{place}: permission denied; add the user to group video (usermod -aG video USER) or run as the service"
            ),
        ),
        Some(Errno::BUSY) => {
            (Kind::Unavailable, format!("{place}: busy: another program uses this camera{}", processes_using(path)))
        }
        _ => (Kind::Unavailable, format!("{place}: the camera does not work")),
    };
    Error::new(kind, text).because(error)
}

/// Processes that have the node open, as far as visible.
fn processes_using(path: &Path) -> String {
    let Ok(node) = fs::canonicalize(path) else { return String::new() };
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if id == std::process::id() {
            continue;
        }
        let descriptors = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        if descriptors.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| target == node) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            found.push(format!("{} (process {id})", name.trim()));
        }
    }
    if found.is_empty() { String::new() } else { format!(": {}", found.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_called_by_name_and_bus() {
        assert!(has_name("HD Cam", "usb-1.2", "HD Cam"));
        assert!(has_name("HD Cam", "usb-1.2", "HD Cam@usb-1.2"));
        assert!(has_name("a@b", "usb-1.2", "a@b@usb-1.2"));
        assert!(!has_name("HD Cam", "usb-1.2", "HD Cam@usb-1.3"));
        assert!(!has_name("HD Cam", "usb-1.2", "HD"));
        assert!(!has_name("HD Cam", "usb-1.2", "HD Cam@"));
    }

    #[test]
    fn only_numbers_change() {
        assert!(is_device_number("/dev/video0") && is_device_number("/dev/video12"));
        assert!(
            !is_device_number("/dev/v4l/by-id/usb-x") && !is_device_number("/dev/video") && !is_device_number("HD Cam")
        );
    }

    #[test]
    fn what_cannot_be_opened_says_why_and_what_to_do() {
        let error = Device::find("/dev/v4l/by-id/usb-nothing").unwrap_err();
        assert_eq!(error.kind(), Kind::NoInput);
        assert!(error.message().contains("plugged in"), "{error}");
        let error = Device::find("/dev/null").unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.message().contains("not a video device"), "{error}");
        let error = Device::find("No Such Camera").unwrap_err();
        assert!(error.message().contains("No Such Camera"), "{error}");
        let explained = |errno: Errno| device_error(Path::new("/dev/video0"), errno.into());
        assert_eq!(explained(Errno::ACCESS).kind(), Kind::Permission);
        assert!(explained(Errno::ACCESS).message().contains("group video"));
        assert!(explained(Errno::BUSY).message().contains("another program"));
        assert!(explained(Errno::NODEV).message().contains("gone"));
    }
}
