//! `lookout cameras`: the video devices of this machine, what to call them in the configuration, what they offer, and
//! why one cannot be used; and a picture of one, to aim it by.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::console;
use crate::camera::v4l2::controls::{self, Control, Values};
use crate::camera::v4l2::device::{self, Device};
use crate::camera::v4l2::formats::{self, Offer, Wanted};
use crate::camera::v4l2::{Setup, V4l2};
use crate::camera::{Capture, Source};
use crate::error::{Error, Kind, Result};
use crate::stop;

/// Arguments of `cameras`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this device: a path, a card, or card@bus
    device: Option<String>,
    /// The list as JSON
    #[arg(long)]
    json: bool,
    /// Take one picture with the device and write it here (.png or .jpg)
    #[arg(long, value_name = "FILE", requires = "device")]
    picture: Option<PathBuf>,
    /// With --picture: pixel format wanted, as its four characters
    #[arg(long, value_name = "FORMAT", requires = "picture")]
    format: Option<String>,
    /// With --picture: columns wanted
    #[arg(long, value_name = "N", requires = "picture")]
    width: Option<u32>,
    /// With --picture: rows wanted
    #[arg(long, value_name = "N", requires = "picture")]
    height: Option<u32>,
}

/// Pictures let go before the one that is kept: cameras need some to find their exposure.
const SETTLING: u32 = 4;

/// Longest that taking a picture may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// One device.
#[derive(Debug, Serialize)]
struct Entry {
    path: PathBuf,
    /// What to call it in the configuration, the best first.
    names: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    card: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bus: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    driver: Option<String>,
    formats: Vec<Format>,
    controls: Vec<Setting>,
    /// Why it cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

#[derive(Debug, Serialize)]
struct Problem {
    kind: &'static str,
    message: String,
}

#[derive(Debug, Serialize)]
struct Format {
    format: String,
    description: String,
    /// Whether lookout reads it.
    readable: bool,
    /// Smallest and largest, or the one; absent where the driver does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_fps: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Setting {
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

/// Prints the list. Fails where no device can be used, with the first reason.
pub fn execute(args: Args) -> Result<()> {
    if let (Some(device), Some(file)) = (&args.device, &args.picture) {
        let wanted = Wanted { width: args.width, height: args.height, format: args.format.clone(), fps: None };
        return take(Setup { device: device.clone(), wanted, ..Setup::default() }, file);
    }
    let mut first = None;
    let mut entries = Vec::new();
    let mut usable = false;
    let mut add = |path: PathBuf, opened: Result<Device>| {
        let (entry, problem) = look(path, opened);
        usable |= problem.is_none();
        // A camera's node for metadata is no reason while there may be a better one.
        let is_better =
            |before: &Option<Error>| before.as_ref().is_none_or(|before| before.kind() == Kind::Unavailable);
        if let Some(problem) = problem.filter(|_| is_better(&first)) {
            first = Some(problem);
        }
        entries.push(entry);
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
        let json = serde_json::to_string_pretty(&entries)
            .map_err(|source| Error::new(Kind::Internal, "the list has no JSON form").because(source))?;
        console::print(json)?;
    } else {
        for entry in &entries {
            if !console::print(text(entry))? {
                break;
            }
        }
    }
    match first {
        _ if usable => Ok(()),
        Some(problem) => Err(problem),
        None => {
            let text = "there is no /dev/videoN: plug a camera in; for one on a ribbon cable load its driver, \
                        and in a container pass the device through";
            Err(Error::new(Kind::NoInput, text))
        }
    }
}

/// Takes one picture and writes it.
fn take(setup: Setup, file: &Path) -> Result<()> {
    let mut camera = V4l2::open(&setup)?;
    let (_trigger, stop) = stop::pair();
    let (begin, mut good) = (Instant::now(), 0);
    let mut why = Error::new(Kind::Unavailable, "no picture came");
    while begin.elapsed() < PATIENCE {
        match camera.next(&stop)? {
            Capture::Image { image, .. } if good == SETTLING => {
                let given = camera.given();
                let format = formats::shown(given.fourcc);
                image.to_picture().save(file)?;
                console::print(format_args!("{}: {}×{}, {format}", file.display(), given.width, given.height))?;
                return Ok(());
            }
            Capture::Image { .. } => good += 1,
            Capture::Corrupt(error) => why = Error::new(Kind::Unavailable, "no usable picture came").because(error),
            _ => {}
        }
    }
    Err(why.at(format!("{}, within {} s", setup.device, PATIENCE.as_secs())))
}

/// What there is to say about a device, and why it cannot be used.
fn look(path: PathBuf, opened: Result<Device>) -> (Entry, Option<Error>) {
    let mut names: Vec<String> =
        device::stable_names(&path).into_iter().map(|name| name.display().to_string()).collect();
    let (opened, mut problem) = match opened {
        Ok(device) => (Some(device), None),
        Err(error) => (None, Some(error)),
    };
    let mut entry = Entry {
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
        entry.formats = formats::offers(&device).iter().map(format).collect();
        entry.controls = controls::list(&device).into_iter().map(setting).collect();
        problem = device.busy().or_else(|| {
            let none = !entry.formats.iter().any(|format| format.readable);
            none.then(|| {
                let text = format!("{}: gives no format that lookout reads", device.path.display());
                Error::new(Kind::Unavailable, text)
            })
        });
        entry.card = Some(device.card);
        entry.bus = Some(device.bus);
        entry.driver = Some(device.driver);
    }
    entry.names = names;
    entry.problem = problem.as_ref().map(|error| Problem { kind: error.kind().name(), message: error.chain() });
    (entry, problem)
}

fn format(offer: &Offer) -> Format {
    Format {
        format: formats::shown(offer.fourcc),
        description: offer.name.clone(),
        readable: formats::encoding(offer.fourcc).is_some(),
        size: offer.size.map(|size| size.to_string()),
        max_fps: offer.fps.map(|fps| (fps * 100.0).round() / 100.0),
    }
}

fn setting(control: Control) -> Setting {
    let (min, max, step, default) = control.range;
    let (kind, choices) = match control.values {
        Values::Number => ("number", Vec::new()),
        Values::Switch => ("switch", Vec::new()),
        Values::Button => ("button", Vec::new()),
        Values::Choice(choices) => ("choice", choices),
    };
    Setting {
        name: control.name,
        kind,
        min,
        max,
        step,
        default,
        value: control.value,
        choices,
        read_only: control.is_fixed,
        inactive: control.is_inactive,
    }
}

/// A device as text, without a newline at its end.
fn text(entry: &Entry) -> String {
    let mut lines = vec![match (&entry.card, &entry.driver) {
        (Some(card), Some(driver)) => format!("{}: {card} ({driver})", entry.path.display()),
        _ => entry.path.display().to_string(),
    }];
    lines.extend(entry.problem.iter().map(|problem| format!("  cannot be used: {}", problem.message)));
    lines.extend(entry.names.iter().map(|name| format!("  device = \"{name}\"")));
    for format in &entry.formats {
        let size = format.size.as_deref().unwrap_or("any size");
        let fps = format.max_fps.map(|fps| format!(", up to {fps} frames a second")).unwrap_or_default();
        let unread = if format.readable { "" } else { " (not read by lookout)" };
        lines.push(format!("  {:4} {size}{fps}: {}{unread}", format.format, format.description));
    }
    for control in &entry.controls {
        let range = match control.kind {
            "button" => "button".to_owned(),
            "choice" => {
                let choices: Vec<_> = control.choices.iter().map(|(number, word)| format!("{number} {word}")).collect();
                choices.join(", ")
            }
            _ => format!("{} to {}", control.min, control.max),
        };
        let value = control.value.map(|value| format!(" = {value}")).unwrap_or_default();
        let note = match (control.read_only, control.inactive) {
            (true, _) => " (only to be read)",
            (_, true) => " (without effect now)",
            _ => "",
        };
        lines.push(format!("  controls.{}{value}: {range}{note}", control.name));
    }
    lines.join("\n")
}
