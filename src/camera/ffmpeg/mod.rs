//! ffmpeg source: a supervised child process decodes a stream or a video file into raw frames.
//!
//! In: an address or a path. Out: frames, each with the size that the stream has at that time. A child that sends nothing or
//! exits is an error, after which a new one is started. A file that was read to its end ends the camera.

mod child;
mod pipe;

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::y4m::{self, FrameError, Y4m};
use super::{Capture, Open, PixelLimit, Source};
use crate::error::{Error, Kind, Result};
use crate::frame::{Image, PixelFormat, Range, Raw, check_size};
use crate::redact::redact;
use crate::stop::Stop;
use child::Ffmpeg as Child;
use pipe::{PipeReader, is_stopped};

/// Size of a read, in bytes: the capacity of a pipe.
const BUFFER: usize = 64 << 10;

/// A camera read through ffmpeg.
#[derive(Debug)]
pub struct Ffmpeg {
    child: Child,
    state: State,
    /// The redacted input, for messages.
    redacted_input: String,
    is_file: bool,
    frames: u64,
    timeout: Duration,
    pixel_limit: PixelLimit,
}

#[derive(Debug)]
enum State {
    /// The child runs and has sent nothing yet.
    Starting(BufReader<PipeReader>),
    /// It sends raw frames; their sizes come on its error output.
    RawVideo(BufReader<PipeReader>),
    /// It sends Y4M.
    Y4mVideo(Y4m<BufReader<PipeReader>>),
    /// It has ended or failed.
    Ended,
}

/// Program and input.
#[derive(Clone)]
pub struct FfmpegConfig {
    /// The program.
    pub program: PathBuf,
    /// An address, which may contain a password, or a path.
    pub input: String,
    /// Most pixels of a frame; `None`: four times the first one.
    pub max_pixels: Option<u64>,
}

impl std::fmt::Debug for FfmpegConfig {
    /// Redacts the input, which may contain a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FfmpegConfig").field("program", &self.program).field("input", &redact(&self.input)).finish()
    }
}

impl Ffmpeg {
    /// Starts the child. A pause longer than `timeout` within a frame is an error.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] if it cannot be started, [`Kind::NoInput`] if the file does not exist.
    pub fn open(config: &FfmpegConfig, timeout: Duration) -> Result<Self> {
        let redacted_input = redact(&config.input);
        let is_file = child::is_file(&config.input);
        if config.input.contains(['\n', '\r', '\0']) {
            return Err(Error::new(Kind::Config, "the input holds a line end or a zero byte"));
        }
        if is_file {
            let path = config.input.strip_prefix("file:").unwrap_or(&config.input);
            std::fs::File::open(path).map_err(|source| Error::reading(std::path::Path::new(path), source))?;
        }
        let (child, output) = Child::start(&config.program, &config.input)?;
        let reader = BufReader::with_capacity(BUFFER, PipeReader::new(output, timeout));
        let pixel_limit = PixelLimit::of_first(config.max_pixels);
        Ok(Self { child, state: State::Starting(reader), redacted_input, is_file, frames: 0, timeout, pixel_limit })
    }

    /// Returns a function that opens the camera.
    pub fn opener(config: FfmpegConfig, timeout: Duration) -> Open {
        Box::new(move || Ok(Box::new(Self::open(&config, timeout)?)))
    }

    /// Error after the child closed its output or stopped within a frame.
    fn ended(&mut self) -> Result<Capture> {
        self.state = State::Ended;
        let status = self.child.ended();
        if self.is_file && self.frames > 0 && status.is_some_and(|status| status.success()) {
            return Ok(Capture::Ended);
        }
        let status = status.map_or_else(|| "closed its output".to_owned(), |status| format!("ended: {status}"));
        Err(self.failed(&status))
    }

    fn failed(&self, what: &str) -> Error {
        let error_lines = self.child.error_lines();
        let details = if error_lines.is_empty() { String::new() } else { format!(": {error_lines}") };
        Error::new(Kind::Unavailable, format!("{}: ffmpeg {what}{details}", self.redacted_input))
    }

    /// Error after a failed read of the pipe.
    fn broken(&mut self, error: &std::io::Error) -> Result<Capture> {
        if is_stopped(error) {
            return Ok(Capture::Stopped);
        }
        self.state = State::Ended;
        Err(self.failed(&error.to_string()))
    }
}

/// The next frame of `reader`, whose size is the next of `sizes`, of at most `max_pixels`; `None` at the end.
fn frame(
    reader: &mut BufReader<PipeReader>,
    sizes: &Receiver<(usize, usize)>,
    max_pixels: u64,
    timeout: Duration,
    stop: &Stop,
) -> std::result::Result<Option<Image>, FrameError> {
    let damaged = |text: String| FrameError::Damaged(Error::new(Kind::Data, text));
    if reader.fill_buf().map_err(FrameError::Io)?.is_empty() {
        return Ok(None);
    }
    let begin = Instant::now();
    // The line with the size is written before the frame, and read by another thread.
    let (width, height) = loop {
        match sizes.recv_timeout(pipe::POLL_INTERVAL) {
            Ok(size) => break size,
            Err(RecvTimeoutError::Timeout) if stop.is_stopped() => return Err(FrameError::Io(pipe::stopped())),
            Err(RecvTimeoutError::Timeout) if begin.elapsed() < timeout => {}
            Err(_) => {
                let text = "sends neither the size of its frames nor a stream that begins with YUV4MPEG2";
                return Err(damaged(text.to_owned()));
            }
        }
    };
    let refused = |error: Error| damaged(format!("sends a frame that is refused: {}", error.message()));
    check_size(width as u64, height as u64, max_pixels).map_err(refused)?;
    let mut data = vec![0; PixelFormat::I420.bytes(width, height)];
    match reader.read_exact(&mut data) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Err(FrameError::Truncated),
        Err(error) => return Err(FrameError::Io(error)),
    }
    let colours = (y4m::matrix(height), Range::Limited);
    Raw::new(PixelFormat::I420, (width, height), colours, data)
        .map(|raw| Some(Image::Raw(raw)))
        .map_err(FrameError::Damaged)
}

impl Source for Ffmpeg {
    fn next(&mut self, stop: &Stop) -> Result<Capture> {
        if stop.is_stopped() {
            return Ok(Capture::Stopped);
        }
        let reader = match &mut self.state {
            State::Starting(reader) | State::RawVideo(reader) => reader,
            State::Y4mVideo(frames) => frames.reader(),
            State::Ended => return Err(self.failed("has ended")),
        };
        // Between frames the caller detects stalls; within a frame the pipe's timeout does.
        if reader.buffer().is_empty() {
            match reader.get_ref().has_data() {
                Ok(true) => {}
                Ok(false) => return Ok(Capture::Nothing),
                Err(error) => return self.broken(&error),
            }
        }
        reader.get_mut().begin(stop);
        if let State::Starting(reader) = &mut self.state {
            let is_y4m = match reader.fill_buf() {
                Ok(begin) => begin.iter().zip(y4m::MAGIC).all(|(byte, expected)| byte == expected),
                Err(error) => return self.broken(&error),
            };
            let State::Starting(reader) = std::mem::replace(&mut self.state, State::Ended) else { return self.ended() };
            if is_y4m {
                match Y4m::new(reader) {
                    Ok(frames) => self.state = State::Y4mVideo(frames),
                    Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return self.ended(),
                    Err(error) => return self.broken(&error),
                }
            } else {
                self.state = State::RawVideo(reader);
            }
        }
        let next = match &mut self.state {
            State::RawVideo(reader) => frame(reader, self.child.sizes(), self.pixel_limit.max(), self.timeout, stop),
            State::Y4mVideo(frames) => frames.next(self.pixel_limit.max()),
            State::Starting(_) | State::Ended => return Err(self.failed("has ended")),
        };
        match next {
            Ok(Some(image)) => {
                if self.frames == 0 {
                    tracing::info!(input = self.redacted_input, "ffmpeg delivers frames");
                }
                self.frames += 1;
                Ok(Capture::Image { image, monotonic_ns: None })
            }
            Ok(None) | Err(FrameError::Truncated) => self.ended(),
            Err(FrameError::Io(error)) => self.broken(&error),
            Err(FrameError::Damaged(error)) => Err(self.failed(error.message())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stop;
    use std::path::Path;
    use std::time::Instant;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A program that does what `script` says in place of ffmpeg.
    fn program(folder: &Path, script: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = folder.join("ffmpeg");
        std::fs::write(&path, format!("#!/bin/sh\n[ \"$1\" = -version ] && exit\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// The next event, however long that takes.
    fn next(camera: &mut Ffmpeg, stop: &Stop) -> Result<Capture> {
        loop {
            match camera.next(stop) {
                Ok(Capture::Nothing) => {}
                other => return other,
            }
        }
    }

    /// Starts it on a stream whose address holds a password.
    fn open(script: &str, timeout: Duration) -> (tempfile::TempDir, Ffmpeg) {
        let folder = tempfile::tempdir().unwrap();
        let program = program(folder.path(), script);
        let input = "rtsp://admin:hunter2@camera/live?token=opensesame".to_owned();
        // A program just written may still be open elsewhere: a fork of another test's thread.
        let child = loop {
            match Ffmpeg::open(
                &FfmpegConfig { program: program.clone(), input: input.clone(), max_pixels: None },
                timeout,
            ) {
                Err(error) if error.chain().contains("busy") => std::thread::sleep(Duration::from_millis(5)),
                other => break other.unwrap(),
            }
        };
        (folder, child)
    }

    #[test]
    fn the_address_is_told_where_nobody_else_reads_it() {
        let script = r#"cat > "$(dirname "$0")/stdin"; echo "$@" > "$(dirname "$0")/arguments"
echo "rtsp://admin:hunter2@camera/live: hunter2 was refused" >&2; exit 1"#;
        let (folder, mut camera) = open(script, PATIENCE);
        let (_trigger, stop) = stop::pair();
        let error = next(&mut camera, &stop).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        let message = error.chain();
        assert!(message.contains("rtsp://***@camera/live: *** was refused"), "{message}");
        assert!(message.contains("exit status: 1"), "{message}");
        let read = |name| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(read("stdin").contains("rtsp://admin:hunter2@camera/live?token=opensesame"));
        for text in [message, read("arguments"), format!("{camera:?}")] {
            assert!(!text.contains("hunter2") && !text.contains("opensesame"), "{text}");
        }
        // Asked again it does not wait for what cannot come.
        assert!(next(&mut camera, &stop).is_err());
    }

    #[test]
    fn frames_come_until_the_child_ends_and_that_is_an_error_for_a_stream() {
        let script = r#"printf 'YUV4MPEG2 W2 H2 C420jpeg\nFRAME\nabcdefFRAME\nghijkl'; cat > /dev/null"#;
        let (_folder, mut camera) = open(script, PATIENCE);
        let (_trigger, stop) = stop::pair();
        for _ in 0..2 {
            assert!(matches!(next(&mut camera, &stop).unwrap(), Capture::Image { image, .. } if image.width() == 2));
        }
        assert_eq!(next(&mut camera, &stop).unwrap_err().kind(), Kind::Unavailable);
    }

    #[test]
    fn a_child_silent_within_a_picture_is_an_error_and_a_stop_is_heard() {
        let half = r"printf 'YUV4MPEG2 W2 H2 C420jpeg\nFRAME\nabc'; exec sleep 60";
        let (_folder, mut camera) = open(half, Duration::from_millis(10));
        let (trigger, stop) = stop::pair();
        let begin = Instant::now();
        let error = loop {
            match camera.next(&stop) {
                Ok(Capture::Nothing) => {}
                other => break other.unwrap_err(),
            }
        };
        assert!(error.message().contains("stalled"), "{error}");
        drop(camera);
        let (_folder, mut camera) = open("exec sleep 60", PATIENCE);
        assert!(matches!(camera.next(&stop).unwrap(), Capture::Nothing));
        trigger.stop();
        assert!(matches!(camera.next(&stop).unwrap(), Capture::Stopped));
        drop(camera);
        assert!(begin.elapsed() < PATIENCE);
    }

    #[test]
    fn garbage_and_a_missing_film_are_told() {
        let (_folder, mut camera) = open("cat > /dev/null; echo no frames at all", PATIENCE);
        let (_trigger, stop) = stop::pair();
        assert!(next(&mut camera, &stop).unwrap_err().message().contains("YUV4MPEG2"));
        let config = FfmpegConfig { program: "ffmpeg".into(), input: "/nonexistent/film.mp4".into(), max_pixels: None };
        assert_eq!(Ffmpeg::open(&config, PATIENCE).unwrap_err().kind(), Kind::NoInput);
        let config = FfmpegConfig { program: "ffmpeg".into(), input: "a\nfile 'b'".into(), max_pixels: None };
        assert_eq!(Ffmpeg::open(&config, PATIENCE).unwrap_err().kind(), Kind::Config);
    }

    #[test]
    #[allow(clippy::print_stderr, reason = "whoever runs the tests must see what was skipped")]
    fn a_film_that_changes_its_size_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let film = folder.path().join("film.mjpg");
        let mut bytes = Vec::new();
        for (colour, size) in [("red", "64x48"), ("blue", "130x98"), ("red", "32x16")] {
            let source = format!("color={colour}:size={size}:rate=10:duration=0.3");
            let mut made = std::process::Command::new("ffmpeg");
            made.args(["-loglevel", "error", "-f", "lavfi", "-i", &source, "-c:v", "mjpeg", "-f", "mjpeg", "pipe:1"]);
            let Ok(made) = made.output() else {
                eprintln!("SKIPPED: ffmpeg is not installed");
                return;
            };
            bytes.extend(made.stdout);
        }
        std::fs::write(&film, bytes).unwrap();
        let config = FfmpegConfig { program: "ffmpeg".into(), input: film.to_str().unwrap().into(), max_pixels: None };
        let mut camera = Ffmpeg::open(&config, PATIENCE).unwrap();
        let (_trigger, stop) = stop::pair();
        let mut sizes = Vec::new();
        while let Capture::Image { image, .. } = next(&mut camera, &stop).unwrap() {
            let picture = image.into_picture();
            // The last pixel as well: no frame begins within another.
            for (x, y) in [(0, 0), (picture.width - 1, picture.height - 1)] {
                let [red, _, blue] = picture.pixel(x, y);
                assert_eq!(picture.width == 130, blue > 230 && red < 20, "{red} {blue}");
            }
            sizes.push((picture.width, picture.height));
        }
        assert_eq!(sizes, [[(64, 48); 3], [(130, 98); 3], [(32, 16); 3]].concat());
    }

    #[test]
    #[allow(clippy::print_stderr, reason = "whoever runs the tests must see what was skipped")]
    fn a_real_film_is_seen_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let film = folder.path().join("it's a film.avi");
        let made = std::process::Command::new("ffmpeg")
            .args(["-loglevel", "error", "-f", "lavfi", "-i", "color=red:size=64x48:rate=10:duration=0.5"])
            .args(["-c:v", "mjpeg"])
            .arg(&film)
            .status();
        if !made.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: ffmpeg is not installed");
            return;
        }
        let config = FfmpegConfig { program: "ffmpeg".into(), input: film.to_str().unwrap().into(), max_pixels: None };
        let mut camera = Ffmpeg::open(&config, PATIENCE).unwrap();
        let (_trigger, stop) = stop::pair();
        let mut frames = 0;
        loop {
            match next(&mut camera, &stop).unwrap() {
                Capture::Image { image, .. } => {
                    let picture = image.into_picture();
                    assert_eq!((picture.width, picture.height), (64, 48));
                    let [red, green, blue] = picture.pixel(30, 20);
                    assert!(red > 245 && green < 10 && blue < 10, "{red} {green} {blue}");
                    frames += 1;
                }
                Capture::Ended => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(frames, 5);
    }
}
