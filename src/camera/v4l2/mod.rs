//! V4L2 source: devices streamed into memory-mapped buffers.
//!
//! In: the configured device and format. Out: its newest frame each time. [`device`] enumerates devices, [`formats`] and
//! [`controls`] configure them, [`buffers`] streams, `unpack` makes images, and `ioctl` issues requests. After any error
//! the device is opened again.

pub mod buffers;
pub mod controls;
pub mod device;
pub mod formats;
mod ioctl;
mod unpack;

use std::collections::BTreeMap;
use std::time::Duration;

use buffers::{Buffers, WaitResult};
use device::Device;
use formats::{FormatRequest, StreamFormat};

use super::{Capture, Open, PixelLimit, Source};
use crate::error::{Error, Kind, Result};
use crate::stop::Stop;

/// Duration of a wait for a frame between checks for a stop.
const WAIT_TIMEOUT: Duration = Duration::from_millis(250);

/// Configuration of a V4L2 camera.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct V4l2Config {
    /// A path, `card` or `card@bus`.
    pub device: String,
    /// Requested format.
    pub request: FormatRequest,
    /// Controls.
    pub controls: BTreeMap<String, i64>,
    /// Most pixels of a JPEG; `None`: four times the negotiated size.
    pub max_pixels: Option<u64>,
}

/// A streaming camera.
#[derive(Debug)]
pub struct V4l2 {
    path: std::path::PathBuf,
    format: StreamFormat,
    buffers: Buffers,
    skipped: u64,
    pixel_limit: PixelLimit,
}

/// Returns a function that opens `camera`. Warns at once if its name is not persistent.
pub fn opener(camera: &str, config: V4l2Config) -> Open {
    if device::is_device_number(&config.device) {
        let hint = "another number may mean this camera after the next start; `lookout cameras` lists names that last";
        tracing::warn!(camera, device = config.device, hint, "the device is named by its number");
    }
    Box::new(move || Ok(Box::new(V4l2::open(&config)?)))
}

impl V4l2 {
    /// Opens the device, negotiates the format, sets the controls and starts streaming. Logs the format set by the driver.
    ///
    /// # Errors
    /// As [`Device::find`], [`formats::negotiate`] and [`controls::set`]; [`Kind::Unavailable`] if it cannot stream.
    pub fn open(config: &V4l2Config) -> Result<Self> {
        let device = Device::find(&config.device)?;
        let format = formats::negotiate(&device, &config.request)?;
        controls::set(&device, &config.controls)?;
        let Device { node, path, driver, card, bus, kind } = device;
        let buffers = Buffers::start(node, kind).map_err(|error| device::device_error(&path, error))?;
        tracing::info!(
            device = %path.display(),
            card,
            bus,
            driver,
            format = formats::fourcc_text(format.fourcc),
            width = format.width,
            height = format.height,
            fps = format.fps,
            colours = ?format.colours,
            "camera opened"
        );
        let pixel_limit = PixelLimit::of_size(config.max_pixels, format.width, format.height);
        Ok(Self { path, format, buffers, skipped: 0, pixel_limit })
    }

    /// The format in use.
    pub fn format(&self) -> &StreamFormat {
        &self.format
    }

    fn failed(&self, error: std::io::Error) -> Error {
        device::device_error(&self.path, error)
    }
}

impl Source for V4l2 {
    fn next(&mut self, stop: &Stop) -> Result<Capture> {
        if stop.is_stopped() {
            return Ok(Capture::Stopped);
        }
        let (buffer, skipped) = match self.buffers.wait(WAIT_TIMEOUT).map_err(|error| self.failed(error))? {
            WaitResult::Filled(buffer, skipped) => (buffer, skipped),
            WaitResult::Nothing => return Ok(Capture::Nothing),
        };
        self.skipped += skipped;
        let unpacked = if buffer.is_damaged {
            Err(Error::new(Kind::Data, format!("the driver marks frame {} as damaged", buffer.sequence)))
        } else {
            unpack::unpack(&self.format, &self.buffers.planes(&buffer), self.pixel_limit.max())
        };
        let monotonic_ns = buffer.monotonic_ns;
        self.buffers.requeue(buffer).map_err(|error| self.failed(error))?;
        Ok(match unpacked {
            Ok(image) => Capture::Image { image, monotonic_ns },
            Err(error) => Capture::Corrupt(error),
        })
    }

    fn skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }
}
