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

use buffers::{Buffers, Waited};
use device::Device;
use formats::{Given, Wanted};

use super::{Capture, Open, Source};
use crate::error::{Error, Kind, Result};
use crate::stop::Stop;

/// Duration of a wait for a frame between checks for a stop.
const SLICE: Duration = Duration::from_millis(250);

/// Configuration of a V4L2 camera.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Setup {
    /// A path, `card` or `card@bus`.
    pub device: String,
    /// Requested format.
    pub wanted: Wanted,
    /// Controls.
    pub controls: BTreeMap<String, i64>,
}

/// A streaming camera.
#[derive(Debug)]
pub struct V4l2 {
    path: std::path::PathBuf,
    given: Given,
    buffers: Buffers,
    passed_over: u64,
}

/// Returns a function that opens `camera`. Warns at once if its name is not persistent.
pub fn opener(camera: &str, setup: Setup) -> Open {
    if device::is_bare(&setup.device) {
        let hint = "another number may mean this camera after the next start; `lookout cameras` lists names that last";
        tracing::warn!(camera, device = setup.device, hint, "the device is named by its number");
    }
    Box::new(move || Ok(Box::new(V4l2::open(&setup)?)))
}

impl V4l2 {
    /// Opens the device, negotiates the format, sets the controls and starts streaming. Logs the format set by the driver.
    ///
    /// # Errors
    /// As [`Device::find`], [`formats::negotiate`] and [`controls::set`]; [`Kind::Unavailable`] if it cannot stream.
    pub fn open(setup: &Setup) -> Result<Self> {
        let device = Device::find(&setup.device)?;
        let given = formats::negotiate(&device, &setup.wanted)?;
        controls::set(&device, &setup.controls)?;
        let Device { node, path, driver, card, bus, kind } = device;
        let buffers = Buffers::start(node, kind).map_err(|error| device::explain(&path, error))?;
        tracing::info!(
            device = %path.display(),
            card,
            bus,
            driver,
            format = formats::shown(given.fourcc),
            width = given.width,
            height = given.height,
            fps = given.fps,
            colours = ?given.colours,
            "camera opened"
        );
        Ok(Self { path, given, buffers, passed_over: 0 })
    }

    /// The format in use.
    pub fn given(&self) -> &Given {
        &self.given
    }

    fn failed(&self, error: std::io::Error) -> Error {
        device::explain(&self.path, error)
    }
}

impl Source for V4l2 {
    fn next(&mut self, stop: &Stop) -> Result<Capture> {
        if stop.is_stopped() {
            return Ok(Capture::Stopped);
        }
        let (full, passed_over) = match self.buffers.wait(SLICE).map_err(|error| self.failed(error))? {
            Waited::Full(full, passed_over) => (full, passed_over),
            Waited::Nothing => return Ok(Capture::Nothing),
        };
        self.passed_over += passed_over;
        let unpacked = if full.is_damaged {
            Err(Error::new(Kind::Data, format!("the driver marks frame {} as damaged", full.sequence)))
        } else {
            unpack::unpack(&self.given, &self.buffers.planes(&full))
        };
        let monotonic_ns = full.monotonic_ns;
        self.buffers.give_back(full).map_err(|error| self.failed(error))?;
        Ok(match unpacked {
            Ok(image) => Capture::Image { image, monotonic_ns },
            Err(error) => Capture::Corrupt(error),
        })
    }

    fn passed_over(&mut self) -> u64 {
        std::mem::take(&mut self.passed_over)
    }
}
