//! `lookout cameras`: list the video devices of this machine with their names, formats and controls.
//!
//! A device that cannot be used is listed with the reason. With `--picture` the command takes one picture, to aim the
//! camera by.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::console;
use crate::camera::v4l2::controls::{self, Control, Values};
use crate::camera::v4l2::device::{self, Device};
use crate::camera::v4l2::formats::{self, FormatRequest, OfferedFormat, StreamFormat};
use crate::camera::v4l2::{V4l2, V4l2Config};
use crate::camera::{Capture, Source};
use crate::error::{Error, Kind, Result};
use crate::stop;

/// Arguments of `cameras`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// List only this device: a path, a card, or card@bus
    device: Option<String>,
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
    /// Take one picture with the device and write it to this file (.png or .jpg)
    #[arg(long, value_name = "FILE", requires = "device")]
    picture: Option<PathBuf>,
    /// With --picture: pixel format, as its four characters
    #[arg(long, value_name = "FORMAT", requires = "picture")]
    format: Option<String>,
    /// With --picture: width in pixels
    #[arg(long, value_name = "N", requires = "picture")]
    width: Option<u32>,
    /// With --picture: height in pixels
    #[arg(long, value_name = "N", requires = "picture")]
    height: Option<u32>,
}

/// Pictures skipped before the one that is written, so that the camera can adjust its exposure.
const SKIPPED_PICTURES: u32 = 4;

/// Time limit for taking a picture.
const PICTURE_TIMEOUT: Duration = Duration::from_secs(10);

/// One device of the list.
#[derive(Debug, Serialize)]
struct ListedDevice {
    path: PathBuf,
    /// Names for the configuration, the most stable first.
    names: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    card: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bus: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    driver: Option<String>,
    formats: Vec<ListedFormat>,
    controls: Vec<ListedControl>,
    /// Reason why it cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<DeviceProblem>,
}

#[derive(Debug, Serialize)]
struct DeviceProblem {
    kind: &'static str,
    message: String,
}

#[derive(Debug, Serialize)]
struct ListedFormat {
    format: String,
    description: String,
    /// True if lookout can decode it.
    readable: bool,
    /// The frame size or the range of sizes; absent if the driver does not report it.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_fps: Option<f64>,
}

#[derive(Debug, Serialize)]
struct ListedControl {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    min: i64,
    max: i64,
    step: u64,
    default: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    choices: Vec<(i64, String)>,
    read_only: bool,
    inactive: bool,
}

/// Prints the list. Fails with the first reason if no device can be used.
pub fn execute(args: Args) -> Result<()> {
    if let (Some(device), Some(file)) = (&args.device, &args.picture) {
        let request = FormatRequest { width: args.width, height: args.height, format: args.format.clone(), fps: None };
        return take_picture(V4l2Config { device: device.clone(), request, ..V4l2Config::default() }, file);
    }
    let mut first = None;
    let mut devices = Vec::new();
    let mut usable = false;
    let mut add = |path: PathBuf, opened: Result<Device>| {
        let (device, problem) = describe(path, opened);
        usable |= problem.is_none();
        // A camera's metadata node is unavailable too; any other reason explains more.
        let is_better =
            |before: &Option<Error>| before.as_ref().is_none_or(|before| before.kind() == Kind::Unavailable);
        if let Some(problem) = problem.filter(|_| is_better(&first)) {
            first = Some(problem);
        }
        devices.push(device);
    };
    match &args.device {
        Some(name) => {
            let opened = Device::find(name);
            let path = opened.as_ref().map_or_else(|_| PathBuf::from(name), |device| device.path.clone());
            add(path, opened);
        }
        None => device::nodes().into_iter().for_each(|path| {
            let opened = Device::open(&path);
            add(path, opened);
        }),
    }
    if args.json {
        console::print(console::pretty_json(&devices)?)?;
    } else {
        console::print_lines(devices.iter().map(text))?;
    }
    match first {
        _ if usable => Ok(()),
        Some(problem) => Err(problem),
        None => {
            let text = "there is no /dev/videoN: plug a camera in, load the driver of a CSI camera, \
                        or pass the device through to the container";
            Err(Error::new(Kind::NoInput, text))
        }
    }
}

/// A device that can be used.
pub(super) struct UsableDevice {
    /// The most lasting of its names for the configuration.
    pub name: String,
    /// Its card and formats, for people.
    pub description: String,
}

/// The devices of this machine: those that can be used, and for each other its path with the reason.
pub(super) fn usable() -> (Vec<UsableDevice>, Vec<String>) {
    let (mut usable, mut others) = (Vec::new(), Vec::new());
    for path in device::nodes() {
        let (listed, problem) = describe(path.clone(), Device::open(&path));
        match problem {
            // A camera's node of metadata is no camera.
            Some(problem) => others.push(format!("{}: {}", path.display(), problem.chain())),
            None => {
                let formats: Vec<String> = listed.formats.iter().filter(|format| format.readable).map(short).collect();
                let card = listed.card.unwrap_or_default();
                let name = listed.names.into_iter().next().unwrap_or_else(|| path.display().to_string());
                usable.push(UsableDevice { name, description: format!("{card}: {}", formats.join(", ")) });
            }
        }
    }
    (usable, others)
}

/// A format in few words.
fn short(format: &ListedFormat) -> String {
    let size = format.size.as_deref().map(|size| format!(" {size}")).unwrap_or_default();
    format!("{}{size}", format.format)
}

/// Takes one picture and writes it to `file`.
fn take_picture(config: V4l2Config, file: &Path) -> Result<()> {
    let mut camera = V4l2::open(&config)?;
    let (_trigger, stop) = stop::pair();
    let (begin, mut received) = (Instant::now(), 0);
    let mut reason = Error::new(Kind::Unavailable, "no picture received");
    while begin.elapsed() < PICTURE_TIMEOUT {
        match camera.next(&stop)? {
            Capture::Image { image, .. } if received == SKIPPED_PICTURES => {
                let StreamFormat { fourcc, width, height, .. } = camera.format();
                let format = formats::fourcc_text(*fourcc);
                image.to_picture().save(file)?;
                console::print(format_args!("{}: {width}×{height}, {format}", file.display()))?;
                return Ok(());
            }
            Capture::Image { .. } => received += 1,
            Capture::Corrupt(error) => {
                reason = Error::new(Kind::Unavailable, "no usable picture received").because(error)
            }
            _ => {}
        }
    }
    Err(reason.at(format!("{}, within {} s", config.device, PICTURE_TIMEOUT.as_secs())))
}

/// Describes a device, with the reason if it cannot be used.
fn describe(path: PathBuf, opened: Result<Device>) -> (ListedDevice, Option<Error>) {
    let mut names: Vec<String> =
        device::stable_names(&path).into_iter().map(|name| name.display().to_string()).collect();
    let (opened, mut problem) = match opened {
        Ok(device) => (Some(device), None),
        Err(error) => (None, Some(error)),
    };
    let mut listed = ListedDevice {
        path,
        names: Vec::new(),
        card: None,
        bus: None,
        driver: None,
        formats: Vec::new(),
        controls: Vec::new(),
        problem: None,
    };
    if let Some(device) = opened {
        names.push(format!("{}@{}", device.card, device.bus));
        listed.formats = formats::offered_formats(&device).iter().map(format).collect();
        listed.controls = controls::list(&device).into_iter().map(listed_control).collect();
        problem = device.busy().or_else(|| {
            let none = !listed.formats.iter().any(|format| format.readable);
            none.then(|| {
                let text = format!("{}: it offers no format that lookout can decode", device.path.display());
                Error::new(Kind::Unavailable, text)
            })
        });
        listed.card = Some(device.card);
        listed.bus = Some(device.bus);
        listed.driver = Some(device.driver);
    }
    listed.names = names;
    listed.problem = problem.as_ref().map(|error| DeviceProblem { kind: error.kind().name(), message: error.chain() });
    (listed, problem)
}

fn format(offered: &OfferedFormat) -> ListedFormat {
    ListedFormat {
        format: formats::fourcc_text(offered.fourcc),
        description: offered.name.clone(),
        readable: formats::encoding(offered.fourcc).is_some(),
        size: offered.size.map(|size| size.to_string()),
        max_fps: offered.fps.map(|fps| (fps * 100.0).round() / 100.0),
    }
}

fn listed_control(control: Control) -> ListedControl {
    let (min, max, step, default) = control.range;
    let (kind, choices) = match control.values {
        Values::Integer => ("number", Vec::new()),
        Values::Boolean => ("switch", Vec::new()),
        Values::Button => ("button", Vec::new()),
        Values::Menu(choices) => ("choice", choices),
    };
    ListedControl {
        name: control.name,
        kind,
        min,
        max,
        step,
        default,
        value: control.value,
        choices,
        read_only: control.is_read_only,
        inactive: control.is_inactive,
    }
}

/// A device as text, without a final newline.
fn text(device: &ListedDevice) -> String {
    let mut lines = vec![match (&device.card, &device.driver) {
        (Some(card), Some(driver)) => format!("{}: {card} ({driver})", device.path.display()),
        _ => device.path.display().to_string(),
    }];
    lines.extend(device.problem.iter().map(|problem| format!("  cannot be used: {}", problem.message)));
    lines.extend(device.names.iter().map(|name| format!("  device = \"{name}\"")));
    for format in &device.formats {
        let size = format.size.as_deref().unwrap_or("any size");
        let fps = format.max_fps.map(|fps| format!(", up to {fps} frames a second")).unwrap_or_default();
        let unreadable = if format.readable { "" } else { " (lookout cannot decode it)" };
        lines.push(format!("  {:4} {size}{fps}: {}{unreadable}", format.format, format.description));
    }
    for control in &device.controls {
        let range = match control.kind {
            "button" => "button".to_owned(),
            "choice" => {
                let choices: Vec<_> = control.choices.iter().map(|(number, item)| format!("{number} {item}")).collect();
                choices.join(", ")
            }
            _ => format!("{} to {}", control.min, control.max),
        };
        let value = control.value.map(|value| format!(" = {value}")).unwrap_or_default();
        let note = match (control.read_only, control.inactive) {
            (true, _) => " (read-only)",
            (_, true) => " (inactive)",
            _ => "",
        };
        lines.push(format!("  controls.{}{value}: {range}{note}", control.name));
    }
    lines.join("\n")
}
