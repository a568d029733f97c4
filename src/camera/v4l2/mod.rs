//! Cameras on this board: V4L2 devices, streamed into mapped buffers.
//!
//! In: what the configuration calls the device and wants of it. Out: its frames, the newest each time. [`device`] finds
//! and names devices, [`formats`] and [`controls`] set them up, [`buffers`] streams, `unpack` makes images; `ioctl`
//! is the way to the kernel. Whatever goes wrong is an error after which the device is opened anew.

pub mod buffers;
pub mod controls;
pub mod device;
pub mod formats;
mod ioctl;
mod unpack;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use buffers::{Buffers, Waited};
use device::Device;
use formats::{Given, Wanted};

use super::{Capture, Source};
use crate::error::{Error, Kind, Result};
use crate::stop::Stop;

/// How long the thread waits for a frame before it looks whether it shall stop.
const SLICE: Duration = Duration::from_millis(250);

/// What a camera shall be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Setup {
    /// A path; or a card, or `card@bus`.
    pub device: String,
    /// Its format.
    pub wanted: Wanted,
    /// Its controls.
    pub controls: BTreeMap<String, i64>,
}

/// A camera that streams.
#[derive(Debug)]
pub struct V4l2 {
    path: std::path::PathBuf,
    given: Given,
    buffers: Buffers,
    /// A camera silent for longer is to be opened anew.
    patience: Duration,
    passed_over: u64,
}

impl V4l2 {
    /// Opens the device, chooses the format nearest to what is wanted, sets the controls and starts the stream. Says in
    /// the log what the driver really gave. A stream silent for longer than `patience` will be an error.
    ///
    /// # Errors
    /// As [`Device::find`], [`formats::negotiate`] and [`controls::set`]; [`Kind::Unavailable`] if it cannot stream.
    pub fn open(setup: &Setup, patience: Duration) -> Result<Self> {
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
        Ok(Self { path, given, buffers, patience, passed_over: 0 })
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
        let begin = Instant::now();
        let (full, passed_over) = loop {
            if stop.is_stopped() {
                return Ok(Capture::Stopped);
            }
            match self.buffers.wait(SLICE).map_err(|error| self.failed(error))? {
                Waited::Full(full, passed_over) => break (full, passed_over),
                Waited::Nothing if begin.elapsed() > self.patience => {
                    let silent = begin.elapsed().as_secs();
                    let text = format!("{}: stalled: no frame for {silent} s", self.path.display());
                    return Err(Error::new(Kind::Unavailable, text));
                }
                Waited::Nothing => {}
            }
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
