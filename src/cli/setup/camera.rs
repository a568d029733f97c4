//! The camera of a set-up: found or named, and tried.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::dialogue::Dialogue;
use super::toml_text;
use crate::camera::Capture;
use crate::cli::{cameras, machine};
use crate::config::{CameraSettings, SupervisionSettings};
use crate::daemon;
use crate::error::{Error, Kind, Result};
use crate::frame::Image;
use crate::redact::address::Address;
use crate::stop;

/// Time limit for the first picture: some streams have a key frame every ten seconds.
const FIRST_PICTURE: Duration = Duration::from_secs(20);
/// Pictures before the rate is measured: the exposure settles, and a stream delivers its first pictures at once.
const SKIPPED: u32 = 5;
/// Duration of the measurement of the rate.
const MEASURED: Duration = Duration::from_secs(3);

/// A camera as the user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedCamera {
    /// A V4L2 device: a path, a card, or card@bus.
    Device(String),
    /// An address that ffmpeg reads.
    Address(String),
    /// The synthetic street.
    Pattern,
    /// A folder of pictures or a recording.
    Replay(PathBuf),
}

impl NamedCamera {
    /// Reads the user's text: an address, `pattern`, a folder or recording, or else a device.
    ///
    /// # Errors
    /// [`Kind::Usage`] for an address without a valid host, or with a `file:` scheme.
    pub fn parse(text: &str) -> Result<Self> {
        crate::redact::learn(text);
        let text = text.trim();
        if let Some(address) = Address::parse(text) {
            return match address.problem() {
                Some(problem) => Err(Error::new(Kind::Usage, format!("the address {}: {problem}", address.shown()))),
                None => Ok(Self::Address(text.to_owned())),
            };
        }
        if Address::parse_without_scheme(text).is_some() {
            return Err(Error::new(
                Kind::Usage,
                "the address has no scheme: write it as rtsp://HOST/… or http://HOST/…",
            ));
        }
        let path = Path::new(text);
        let is_recording = |path: &Path| path.is_file() && !path.starts_with("/dev");
        Ok(match text {
            "" => return Err(Error::new(Kind::Usage, "the name of the camera is empty")),
            "pattern" => Self::Pattern,
            _ if path.is_dir() || is_recording(path) => {
                Self::Replay(std::path::absolute(path).map_err(|source| Error::reading(path, source))?)
            }
            _ => Self::Device(text.to_owned()),
        })
    }

    /// True for an address with a password or another secret.
    pub fn has_secret(&self) -> bool {
        matches!(self, Self::Address(text) if Address::parse(text).is_some_and(|address| !address.secrets().is_empty()))
    }

    /// The `[[camera]]` section of a camera called `name`.
    pub fn to_toml(&self, name: &str, size: Option<[u32; 2]>) -> String {
        let kind = match self {
            Self::Device(device) => {
                let size =
                    size.map_or_else(String::new, |[width, height]| format!("width = {width}\nheight = {height}\n"));
                format!("kind = \"v4l2\"\ndevice = {}\n{size}", toml_text(device))
            }
            Self::Address(input) => format!("kind = \"ffmpeg\"\ninput = {}\n", toml_text(input)),
            Self::Pattern => "kind = \"pattern\"\n".to_owned(),
            Self::Replay(path) => {
                format!("kind = \"replay\"\npath = {}\nloop = true\n", toml_text(&path.display().to_string()))
            }
        };
        format!("[[camera]]\nname = {}\n{kind}", toml_text(name))
    }
}

/// The camera that `given` names, or that the user chooses from the devices of this machine.
///
/// # Errors
/// [`Kind::Usage`] if there is no answer; as [`NamedCamera::parse`].
pub fn choose(dialogue: &mut Dialogue, given: Option<String>) -> Result<NamedCamera> {
    if let Some(given) = given {
        return NamedCamera::parse(&given);
    }
    let (usable, others) = cameras::usable();
    dialogue.say(match usable.len() {
        0 => "No camera is connected to this machine.".to_owned(),
        1 => "One camera is connected to this machine:".to_owned(),
        count => format!("{count} cameras are connected to this machine:"),
    })?;
    for (index, device) in usable.iter().enumerate() {
        dialogue.say(format_args!("  {}  {}\n     {}", index + 1, device.name, device.description))?;
    }
    for other in others {
        dialogue.say(format_args!("  -  {other}"))?;
    }
    let proposal = match usable.as_slice() {
        [] => None,
        [only] => Some(only.name.as_str()),
        // With several, a person chooses.
        [first, ..] => dialogue.is_interactive().then_some(first.name.as_str()),
    };
    let question = "Camera: its number, its name, or an address as rtsp://HOST/PATH";
    loop {
        let answer = dialogue.text("--camera", None, question, proposal)?;
        let numbered = answer.parse::<usize>().ok().and_then(|number| usable.get(number.wrapping_sub(1)));
        match numbered.map_or_else(|| NamedCamera::parse(&answer), |device| NamedCamera::parse(&device.name)) {
            Ok(camera) => return Ok(camera),
            Err(error) if dialogue.is_interactive() => dialogue.say(error.chain())?,
            Err(error) => return Err(error),
        }
    }
}

/// Result of trying a camera.
pub struct Trial {
    /// Its last picture.
    pub image: Image,
    /// Pictures a second; `None` if there were too few.
    pub rate: Option<f64>,
}

/// Reads the camera for a few seconds.
///
/// # Errors
/// Those of the source; [`Kind::Unavailable`] without a picture in time, or without ffmpeg.
pub fn attempt(camera: &CameraSettings, supervision: &SupervisionSettings, is_address: bool) -> Result<Trial> {
    if is_address && machine::ffmpeg_folder().is_none() {
        return Err(Error::new(Kind::Unavailable, "addresses are read by ffmpeg, which is not installed"));
    }
    let mut source = daemon::open_source(camera, supervision)?;
    let (_trigger, stop) = stop::pair();
    let begin = Instant::now();
    let (mut received, mut last, mut measured_from) = (0u32, None, begin);
    let mut measured_to = begin;
    let mut reason = None;
    loop {
        let is_done = match received {
            0 => begin.elapsed() > FIRST_PICTURE,
            _ => measured_from.elapsed() > MEASURED || begin.elapsed() > FIRST_PICTURE + MEASURED,
        };
        if is_done {
            break;
        }
        match source.next(&stop)? {
            Capture::Image { image, .. } => {
                received += 1;
                last = Some(image);
                measured_to = Instant::now();
                if received <= SKIPPED {
                    measured_from = measured_to;
                }
            }
            Capture::Corrupt(error) => reason = Some(error),
            Capture::Nothing => {}
            Capture::Ended | Capture::Stopped => break,
        }
    }
    let Some(image) = last else {
        let error = Error::new(Kind::Unavailable, format!("no picture within {} s", FIRST_PICTURE.as_secs()));
        return Err(match reason {
            Some(reason) => error.because(reason),
            None => error,
        });
    };
    let span = (measured_to - measured_from).as_secs_f64();
    let rate = (received > SKIPPED + 1 && span > 0.0).then(|| f64::from(received - SKIPPED) / span);
    Ok(Trial { image, rate })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cameras_are_recognized_by_their_text() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().display().to_string();
        let kind = |text: &str| NamedCamera::parse(text).unwrap();
        assert_eq!(kind("pattern"), NamedCamera::Pattern);
        assert_eq!(kind(&text), NamedCamera::Replay(folder.path().to_owned()));
        assert_eq!(kind("/dev/video7"), NamedCamera::Device("/dev/video7".to_owned()));
        assert_eq!(kind("HD Pro Webcam C920"), NamedCamera::Device("HD Pro Webcam C920".to_owned()));
        let address = kind(" rtsp://viewer:s3cret-7@camera/stream ");
        assert_eq!(address, NamedCamera::Address("rtsp://viewer:s3cret-7@camera/stream".to_owned()));
        assert!(address.has_secret() && !kind("http://camera/stream").has_secret());
        for wrong in ["", "viewer:s3cret-8@camera/stream", "rtsp://viewer:s3cret-8@camera/x@other/y"] {
            let error = NamedCamera::parse(wrong).unwrap_err();
            assert!(error.kind() == Kind::Usage && !error.chain().contains("s3cret"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_section_is_toml_whatever_the_names_are() {
        let camera = NamedCamera::Device("a \"quoted\" card".to_owned());
        let text = camera.to_toml("front \\ \u{fc}", Some([640, 480]));
        let table: toml::Table = text.parse().unwrap();
        let camera = &table["camera"][0];
        assert_eq!((camera["name"].as_str(), camera["width"].as_integer()), (Some("front \\ \u{fc}"), Some(640)));
        assert_eq!(camera["device"].as_str(), Some("a \"quoted\" card"));
    }
}
