//! A folder of pictures as a camera: sorted by name, at a rate or as fast as the detector takes them, once or for ever.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Capture, Delivery, Source};
use crate::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::frame::Picture;
use crate::stop::Stop;

/// Pictures of a folder, in the order of their names.
#[derive(Debug)]
pub struct Replay {
    folder: PathBuf,
    pictures: Vec<PathBuf>,
    next: usize,
    /// Between two pictures; `None`: no pace of its own.
    period: Option<Duration>,
    repeat: bool,
    clock: Arc<dyn Clock>,
    /// When the next picture is due, nanoseconds of monotonic time.
    due_ns: Option<u64>,
    /// Whether this pass through the folder has given anything.
    fruitful: bool,
}

impl Replay {
    /// The pictures in `folder`, `rate` a second; without a rate each is given when it is asked for and none is
    /// dropped. After the last one the replay begins again if `repeat`, and ends otherwise.
    ///
    /// # Errors
    ///
    /// [`Kind::NoInput`] if the folder is not there or holds no picture; as reading it otherwise.
    pub fn open(folder: &Path, rate: Option<f64>, repeat: bool, clock: Arc<dyn Clock>) -> Result<Self> {
        let unreadable = |source| Error::reading(folder, source);
        let mut pictures = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if Picture::is_named_like_one(&path) {
                pictures.push(path);
            }
        }
        if pictures.is_empty() {
            let text = format!("{} holds no picture (.jpg, .jpeg or .png)", folder.display());
            return Err(Error::new(Kind::NoInput, text));
        }
        pictures.sort();
        let period = rate.map(|rate| Duration::from_secs_f64(1.0 / rate.max(1e-6)));
        Ok(Self { folder: folder.to_owned(), pictures, next: 0, period, repeat, clock, due_ns: None, fruitful: false })
    }

    /// Waits until the next picture is due. A reader too slow for the rate starts anew from now: it never hurries to
    /// make up for lost time.
    fn pace(&mut self, stop: &Stop) -> Result<(), crate::stop::Stopped> {
        let Some(period) = self.period else { return stop.check() };
        let now = self.clock.monotonic_ns();
        let due = self.due_ns.unwrap_or(now).max(now);
        self.clock.wait(Duration::from_nanos(due - now), stop)?;
        self.due_ns = Some(due + period.as_nanos() as u64);
        Ok(())
    }
}

impl Source for Replay {
    fn next(&mut self, stop: &Stop) -> Result<Capture> {
        if self.next == self.pictures.len() {
            if !self.repeat {
                return Ok(Capture::Ended);
            }
            if !self.fruitful {
                // Otherwise a loop without a rate would spin.
                let text = format!("none of the {} pictures in {} can be decoded", self.next, self.folder.display());
                return Err(Error::new(Kind::Data, text));
            }
            self.next = 0;
            self.fruitful = false;
        }
        let decoded = Picture::open(&self.pictures[self.next]);
        self.next += 1;
        if self.pace(stop).is_err() {
            return Ok(Capture::Stopped);
        }
        Ok(match decoded {
            Ok(picture) => {
                self.fruitful = true;
                Capture::Image { image: picture.into(), monotonic_ns: None }
            }
            Err(error) => Capture::Corrupt(error),
        })
    }

    fn delivery(&self) -> Delivery {
        if self.period.is_some() { Delivery::Newest } else { Delivery::Every }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SimulatedClock;
    use crate::stop;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (index, name) in names.iter().enumerate() {
            let picture = image::RgbImage::from_pixel(4, 3, image::Rgb([index as u8; 3]));
            picture.save_with_format(folder.path().join(name), image::ImageFormat::Png).unwrap();
        }
        folder
    }

    fn shade(capture: Capture) -> Option<u8> {
        match capture {
            Capture::Image { image, .. } => Some(image.to_picture().data[0]),
            _ => None,
        }
    }

    #[test]
    fn pictures_come_by_name_and_at_their_rate() {
        let folder = folder(&["b.png", "a.png", "c.PNG"]);
        std::fs::write(folder.path().join("notes.txt"), "no picture").unwrap();
        let clock = Arc::new(SimulatedClock::default());
        let (_trigger, stop) = stop::pair();
        let mut replay = Replay::open(folder.path(), Some(4.0), true, clock.clone()).unwrap();
        assert_eq!(replay.delivery(), Delivery::Newest);
        let mut shades = Vec::new();
        let mut times = Vec::new();
        for _ in 0..4 {
            shades.extend(shade(replay.next(&stop).unwrap()));
            times.push(clock.monotonic_ns() / 1_000_000);
        }
        assert_eq!(shades, [1, 0, 2, 1]);
        assert_eq!(times, [0, 250, 500, 750]);
        // A second lost is not made up for.
        clock.advance(Duration::from_secs(1));
        replay.next(&stop).unwrap();
        replay.next(&stop).unwrap();
        assert_eq!(clock.monotonic_ns() / 1_000_000, 1750 + 250);
    }

    #[test]
    fn it_ends_where_it_does_not_loop() {
        let folder = folder(&["a.png"]);
        let (_trigger, stop) = stop::pair();
        let mut replay = Replay::open(folder.path(), None, false, Arc::new(SimulatedClock::default())).unwrap();
        assert_eq!(replay.delivery(), Delivery::Every);
        assert_eq!(shade(replay.next(&stop).unwrap()), Some(0));
        assert!(matches!(replay.next(&stop).unwrap(), Capture::Ended));
    }

    #[test]
    fn a_broken_picture_is_passed_over_and_a_folder_of_them_fails() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.png"), "no picture").unwrap();
        let (_trigger, stop) = stop::pair();
        let mut replay = Replay::open(folder.path(), None, true, Arc::new(SimulatedClock::default())).unwrap();
        assert!(matches!(replay.next(&stop).unwrap(), Capture::Corrupt(_)));
        assert_eq!(replay.next(&stop).unwrap_err().kind(), Kind::Data);
    }

    #[test]
    fn nothing_to_show_is_no_input() {
        let clock: Arc<dyn Clock> = Arc::new(SimulatedClock::default());
        let empty = tempfile::tempdir().unwrap();
        for path in [empty.path(), Path::new("/nonexistent")] {
            assert_eq!(Replay::open(path, None, false, clock.clone()).unwrap_err().kind(), Kind::NoInput);
        }
    }
}
