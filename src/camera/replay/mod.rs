//! Replay source: a folder of pictures sorted by name, an MJPEG or a Y4M file. It plays at a fixed rate or lossless, once
//! or in a loop.

mod mjpeg;
mod recording;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Capture, Delivery, PixelLimit, Source};
use crate::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::frame::PictureFolder;
use crate::stop::Stop;
use recording::{RecordedPicture, Recording};

/// Pictures of a recording, in their order.
#[derive(Debug)]
pub struct Replay {
    path: PathBuf,
    recording: Recording,
    /// Time between pictures; `None`: lossless.
    period: Option<Duration>,
    repeat: bool,
    clock: Arc<dyn Clock>,
    pixel_limit: PixelLimit,
    /// Due time of the next picture, nanoseconds of monotonic time.
    due_ns: Option<u64>,
    /// True if this pass has returned a picture.
    any_decoded: bool,
    /// Pictures of the first pass that lack their end marker alone; `None` once they were reported.
    unterminated: Option<u64>,
}

impl Replay {
    /// Opens the folder or file at `path` with `rate` pictures a second. Without a rate it is lossless: a picture is returned
    /// for each request. After the last picture it loops if `repeat`, and ends otherwise.
    ///
    /// # Errors
    ///
    /// [`Kind::NoInput`] if it does not exist or has no picture, [`Kind::Data`] if it is not a recording; otherwise errors of
    /// reading.
    pub fn open(path: &Path, rate: Option<f64>, repeat: bool, clock: Arc<dyn Clock>) -> Result<Self> {
        let recording = Recording::open(path)?;
        if path.is_dir()
            && let Some(note) = PictureFolder::without_subfolders(path)?.note()
        {
            tracing::warn!(path = %path.display(), "{note}");
        }
        let period = rate.map(|rate| Duration::from_secs_f64(1.0 / rate.max(1e-6)));
        Ok(Self {
            path: path.to_owned(),
            recording,
            period,
            repeat,
            clock,
            pixel_limit: PixelLimit::of_first(None),
            due_ns: None,
            any_decoded: false,
            unterminated: Some(0),
        })
    }

    /// The same recording, whose pictures have at most `max_pixels`; `None`: four times its first one.
    #[must_use]
    pub fn with_max_pixels(mut self, max_pixels: Option<u64>) -> Self {
        self.pixel_limit = PixelLimit::of_first(max_pixels);
        self
    }

    /// Waits until the next picture is due. If reading is too slow for the rate, the schedule restarts from now: lost time is
    /// not made up for.
    fn wait_until_due(&mut self, stop: &Stop) -> Result<(), crate::stop::Stopped> {
        let Some(period) = self.period else { return stop.check() };
        let now = self.clock.monotonic_ns();
        let due = self.due_ns.unwrap_or(now).max(now);
        self.clock.wait(Duration::from_nanos(due - now), stop)?;
        self.due_ns = Some(due + period.as_nanos() as u64);
        Ok(())
    }

    /// The next picture, looping if configured; `None` at the end.
    fn picture(&mut self) -> Result<Option<Result<RecordedPicture>>> {
        if let Some(found) = self.recording.next(self.pixel_limit.max())? {
            return Ok(Some(found));
        }
        self.report_unterminated();
        if !self.repeat {
            return Ok(None);
        }
        if !self.any_decoded {
            // Otherwise an empty loop without a rate would spin.
            let text = format!("{}: not one picture in it can be decoded", self.path.display());
            return Err(Error::new(Kind::Data, text));
        }
        self.any_decoded = false;
        self.recording = Recording::open(&self.path)?;
        self.recording.next(self.pixel_limit.max())
    }

    /// Warns once of the pictures without an end marker.
    fn report_unterminated(&mut self) {
        if let Some(pictures @ 1..) = self.unterminated.take() {
            let path = self.path.display();
            tracing::warn!(%path, pictures, "pictures without an end marker were played; they are complete otherwise");
        }
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.report_unterminated();
    }
}

impl Source for Replay {
    fn next(&mut self, stop: &Stop) -> Result<Capture> {
        let Some(found) = self.picture()? else { return Ok(Capture::Ended) };
        if self.wait_until_due(stop).is_err() {
            return Ok(Capture::Stopped);
        }
        Ok(match found {
            Ok(RecordedPicture { image, is_unterminated }) => {
                self.any_decoded = true;
                self.pixel_limit.accepted(image.width(), image.height());
                if let Some(pictures) = self.unterminated.as_mut().filter(|_| is_unterminated) {
                    *pictures += 1;
                }
                Capture::Image { image, monotonic_ns: None }
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
    use crate::frame::Picture;
    use crate::stop;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (index, name) in names.iter().enumerate() {
            let picture = image::RgbImage::from_pixel(4, 3, image::Rgb([index as u8; 3]));
            picture.save_with_format(folder.path().join(name), image::ImageFormat::Png).unwrap();
        }
        folder
    }

    /// What `work` returns, and the log of it.
    fn logged<T>(work: impl FnOnce() -> T) -> (T, String) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(Arc::new(file.reopen().unwrap())).finish();
        let outcome = tracing::subscriber::with_default(log, work);
        (outcome, std::fs::read_to_string(file.path()).unwrap())
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

    #[test]
    fn a_file_of_jpegs_is_a_recording() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("drive.mjpeg");
        let jpeg = |shade| Picture::filled(16, 8, [shade; 3]).to_jpeg().unwrap();
        let whole = [jpeg(10), jpeg(200)[..300].to_vec(), jpeg(90), jpeg(90)].concat();
        std::fs::write(&path, whole).unwrap();
        let (_trigger, stop) = stop::pair();
        let mut replay = Replay::open(&path, None, true, Arc::new(SimulatedClock::default())).unwrap();
        let mut shades = Vec::new();
        let mut corrupt = 0;
        for _ in 0..6 {
            match replay.next(&stop).unwrap() {
                Capture::Corrupt(_) => corrupt += 1,
                capture => shades.extend(shade(capture)),
            }
        }
        assert!(corrupt >= 1 && shades.len() >= 3, "{shades:?}");
        assert!(shades.iter().all(|&shade| shade == 10 || shade == 90), "{shades:?}");
    }

    #[test]
    fn pictures_that_lack_only_their_end_marker_are_played_and_counted_in_one_warning() {
        let jpeg = |shade| Picture::filled(48, 32, [shade; 3]).to_jpeg().unwrap();
        let unterminated = |shade| {
            let whole = jpeg(shade);
            whole[..whole.len() - 2].to_vec()
        };
        let noise =
            Picture::new(48, 32, (0..48 * 32 * 3u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect());
        let noise = noise.unwrap().to_jpeg().unwrap();
        let short = noise[..noise.len() - 200].to_vec();
        let header = b"\r\n--frame\r\nContent-Type: image/jpeg\r\n\r\n".to_vec();
        let film = [
            unterminated(10),
            unterminated(90),
            jpeg(10),
            short.clone(),
            header.clone(),
            unterminated(90),
            header,
            unterminated(10),
        ];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("drive.mjpeg");
        std::fs::write(&path, film.concat()).unwrap();
        let pictures = folder.path().join("pictures");
        std::fs::create_dir(&pictures).unwrap();
        for (number, bytes) in [unterminated(10), jpeg(90), short].iter().enumerate() {
            std::fs::write(pictures.join(format!("{number}.jpg")), bytes).unwrap();
        }
        for (path, repeat, expected, corrupt, count) in [
            (&path, false, &[10, 90, 10, 90, 10][..], 1, 4),
            (&path, true, &[10, 90, 10, 90, 10][..], 1, 4),
            (&pictures, false, &[10, 90], 1, 1),
        ] {
            let ((shades, damaged), log) = logged(|| {
                let (_trigger, stop) = stop::pair();
                let mut replay = Replay::open(path, None, repeat, Arc::new(SimulatedClock::default())).unwrap();
                let (mut shades, mut damaged) = (Vec::new(), 0);
                for _ in 0..expected.len() + corrupt {
                    match replay.next(&stop).unwrap() {
                        Capture::Corrupt(_) => damaged += 1,
                        capture => shades.extend(shade(capture)),
                    }
                }
                if repeat {
                    // The second pass says nothing again.
                    (0..expected.len() + corrupt).for_each(|_| drop(replay.next(&stop).unwrap()));
                }
                (shades, damaged)
            });
            assert_eq!((shades.as_slice(), damaged), (expected, corrupt));
            let warnings: Vec<&str> = log.lines().filter(|line| line.contains("end marker")).collect();
            assert!(warnings.len() == 1 && warnings[0].contains(&format!("pictures={count}")), "{log}");
        }
    }

    #[test]
    fn a_picture_of_too_many_pixels_is_refused_by_its_header_in_every_form() {
        let folder = tempfile::tempdir().unwrap();
        let small = Picture::filled(16, 8, [90; 3]).to_jpeg().unwrap();
        // A header alone: were memory allocated before it is checked, a gigabyte would be.
        let mut huge = small.clone();
        let size = huge.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap() + 5;
        huge[size..size + 4].copy_from_slice(&[0x20, 0, 0x20, 0]);
        let y4m = [
            b"YUV4MPEG2 W16 H8 Cmono\nFRAME\n".to_vec(),
            vec![90; 128],
            b"YUV4MPEG2 W8192 H8192 Cmono\nFRAME\n".to_vec(),
        ];
        let pictures = folder.path().join("pictures");
        std::fs::create_dir(&pictures).unwrap();
        for (name, bytes) in [("a.jpg", &small), ("b.jpg", &huge), ("c.jpg", &small)] {
            std::fs::write(pictures.join(name), bytes).unwrap();
        }
        let film = folder.path().join("film.mjpeg");
        std::fs::write(&film, [&small[..], &huge, &small].concat()).unwrap();
        let raw = folder.path().join("film.y4m");
        std::fs::write(&raw, y4m.concat()).unwrap();
        let (_trigger, stop) = stop::pair();
        for (path, played) in [(&pictures, 2), (&film, 2), (&raw, 1)] {
            for (max_pixels, words) in
                [(None, "more than the 8294400 that are"), (Some(1000), "more than the 1000 that are")]
            {
                let replay = Replay::open(path, None, false, Arc::new(SimulatedClock::default())).unwrap();
                let mut replay = replay.with_max_pixels(max_pixels);
                let (mut shades, mut refused) = (Vec::new(), Vec::new());
                loop {
                    match replay.next(&stop).unwrap() {
                        Capture::Corrupt(error) => refused.push(error.message().to_owned()),
                        Capture::Ended => break,
                        capture => shades.extend(shade(capture)),
                    }
                }
                assert_eq!((shades.len(), refused.len()), (played, 1), "{}: {refused:?}", path.display());
                assert!(refused[0].contains("8192×8192 pixels") && refused[0].contains(words), "{refused:?}");
                assert!(refused[0].contains("max_pixels of the camera"), "{refused:?}");
            }
        }
    }

    #[test]
    fn a_file_of_raw_frames_is_a_recording() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("drive.y4m");
        let mut bytes = b"YUV4MPEG2 W4 H2 F25:1 Cmono XCOLORRANGE=FULL\n".to_vec();
        for shade in [5u8, 250] {
            bytes.extend_from_slice(b"FRAME\n");
            bytes.extend_from_slice(&[shade; 8]);
        }
        bytes.extend_from_slice(b"FRAME\nab");
        std::fs::write(&path, bytes).unwrap();
        let (_trigger, stop) = stop::pair();
        let mut replay = Replay::open(&path, Some(25.0), false, Arc::new(SimulatedClock::default())).unwrap();
        assert_eq!(shade(replay.next(&stop).unwrap()), Some(5));
        assert_eq!(shade(replay.next(&stop).unwrap()), Some(250));
        assert!(matches!(replay.next(&stop).unwrap(), Capture::Corrupt(_)), "the last frame is cut off");
        assert!(matches!(replay.next(&stop).unwrap(), Capture::Ended));
    }

    #[test]
    fn what_is_no_recording_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SimulatedClock::default());
        for (name, bytes) in [("a.mp4", &b"\0\0\0\x20ftypisom"[..]), ("b.y4m", b"YUV4MPEG2 W4\n"), ("empty", b"")] {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let error = Replay::open(&path, None, false, clock.clone()).unwrap_err();
            assert_eq!(error.kind(), Kind::Data, "{error}");
            assert!(error.message().contains(name), "{error}");
        }
    }
}
