//! Child process of ffmpeg: start, error messages, termination.
//!
//! The address is passed through standard input, as a playlist with one entry. A command line is readable by every user of
//! the machine, and addresses may contain passwords.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};
use crate::redact::{Address, learn, redact_about_address};
use crate::sync::IgnorePoison;

/// Number of last error lines kept.
const MAX_ERROR_LINES: usize = 6;

/// Length limit of an error line, in bytes.
const MAX_LINE_BYTES: usize = 400;

/// Time limit for the child's termination.
const EXIT_TIMEOUT: Duration = Duration::from_millis(500);

/// Protocols allowed in the playlist: files and streams, not ffmpeg's others.
const PROTOCOLS: &str =
    "file,pipe,fd,crypto,data,tcp,udp,rtp,srtp,rtsp,rtsps,rtmp,rtmps,http,https,httpproxy,tls,srt,hls";

/// First version that can leave frames of another size unscaled. As `-noautoscale`: from 7.0 on `-autoscale` takes no value.
const KEEPS_SIZES: (u32, u32) = (4, 4);
/// First version with `-fps_mode`, which replaced `-vsync`.
const HAS_FPS_MODE: (u32, u32) = (5, 1);

/// Filters that convert each frame to limited range and write its size to the log.
const FILTERS: &str = "scale=out_range=tv,format=yuv420p,showinfo=checksum=0";
/// Begin of the lines that the filter `showinfo` writes.
const SHOWINFO: &str = "[Parsed_showinfo_";

/// A running ffmpeg.
#[derive(Debug)]
pub struct Ffmpeg {
    child: Child,
    error_lines: Arc<Mutex<VecDeque<String>>>,
    /// Columns and rows of each frame that it sends, in order.
    sizes: Receiver<(usize, usize)>,
    /// Thread that reads the error lines.
    error_reader: Option<std::thread::JoinHandle<()>>,
}

impl Ffmpeg {
    /// Starts `program` on `input`. Returns the child and the pipe with its output: planes of 4:2:0 in limited range, one
    /// frame after the other, whose sizes are [`Ffmpeg::sizes`]. Before 4.4 ffmpeg stretches every frame to the size of
    /// the first, and the output is Y4M.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] if it is not installed or cannot be started.
    pub fn start(program: &Path, input: &str) -> Result<(Self, ChildStdout)> {
        let spawn_error = |error: io::Error| {
            let text = match error.kind() {
                io::ErrorKind::NotFound => format!("{}: not installed; apt-get install ffmpeg", program.display()),
                _ => format!("{}: cannot be started", program.display()),
            };
            Error::new(Kind::Unavailable, text).because(error)
        };
        let mut command = Command::new(program);
        let version = version(program);
        let keeps_sizes = version >= KEEPS_SIZES;
        command.args(["-hide_banner", "-nostdin", "-nostats", "-loglevel"]);
        command.arg(if keeps_sizes { "level+info" } else { "error" });
        if is_file(input) {
            command.arg("-re");
        }
        command.args(["-f", "concat", "-safe", "0", "-protocol_whitelist", PROTOCOLS, "-i", "pipe:0"]);
        command.args(["-map", "0:v:0", "-an", "-sn", "-dn"]);
        command.args([if version >= HAS_FPS_MODE { "-fps_mode" } else { "-vsync" }, "passthrough"]);
        command.args(["-pix_fmt", "yuv420p"]);
        if keeps_sizes {
            command.args(["-noautoscale", "-vf", FILTERS, "-c:v", "rawvideo", "-f", "rawvideo", "pipe:1"]);
        } else {
            command.args(["-f", "yuv4mpegpipe", "pipe:1"]);
        }
        // The environment may contain secrets of this program.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LOOKOUT")) {
            command.env_remove(name);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(spawn_error)?;
        let (playlist, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (sender, sizes) = channel();
        let mut ffmpeg = Self { child, error_lines: Arc::default(), sizes, error_reader: None };
        if let Some(errors) = errors {
            learn(input);
            ffmpeg.read_errors(errors, sender);
        }
        if let Some(mut playlist) = playlist {
            // If the child has died, its own messages explain more.
            let _ = playlist.write_all(self::playlist(input).as_bytes());
        }
        match output {
            Some(output) => Ok((ffmpeg, output)),
            None => Err(Error::new(Kind::Internal, "the child has no output")),
        }
    }

    /// Collects the child's last error lines without secrets, and the sizes of its frames. The thread ends with the child.
    fn read_errors(&mut self, errors: impl io::Read + Send + 'static, sizes: Sender<(usize, usize)>) {
        let error_lines = self.error_lines.clone();
        let work = move || {
            let mut errors = BufReader::new(errors);
            let mut line = Vec::new();
            while matches!(errors.read_until(b'\n', &mut line), Ok(1..)) {
                let text = String::from_utf8_lossy(&line).trim().to_owned();
                line.clear();
                if text.contains(SHOWINFO) {
                    // A receiver that is gone needs no sizes.
                    let _ = frame_size(&text).map(|size| sizes.send(size));
                    continue;
                }
                let text = redact_about_address(&text);
                if text.is_empty() {
                    continue;
                }
                tracing::debug!(text, "ffmpeg");
                let Some(text) = error_text(&text) else { continue };
                let text: String = text.chars().take(MAX_LINE_BYTES).collect();
                let mut error_lines = error_lines.lock().ignore_poison();
                if error_lines.len() == MAX_ERROR_LINES {
                    error_lines.pop_front();
                }
                error_lines.push_back(text);
            }
        };
        // Without the thread no messages are read, and the pipe closes.
        self.error_reader = std::thread::Builder::new().name("ffmpeg-errors".to_owned()).spawn(work).ok();
    }

    /// Columns and rows of each frame, in order. It ends with the child's error output.
    pub fn sizes(&self) -> &Receiver<(usize, usize)> {
        &self.sizes
    }

    /// Waits briefly for the child to exit after it closed its output, and for its last messages.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let begin = Instant::now();
        loop {
            let is_read_completely = self.error_reader.as_ref().is_none_or(std::thread::JoinHandle::is_finished);
            match self.child.try_wait() {
                // A grandchild may keep the pipe open longer than the child lives.
                Ok(Some(status)) if is_read_completely || begin.elapsed() >= EXIT_TIMEOUT => return Some(status),
                Ok(_) if begin.elapsed() < EXIT_TIMEOUT => std::thread::sleep(Duration::from_millis(10)),
                _ => return None,
            }
        }
    }

    /// Its last error messages, in one line.
    pub fn error_lines(&self) -> String {
        let error_lines = self.error_lines.lock().ignore_poison();
        error_lines.iter().map(String::as_str).collect::<Vec<_>>().join("; ")
    }
}

impl Drop for Ffmpeg {
    fn drop(&mut self) {
        // The child has no state to save; waiting avoids a zombie.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// True if `input` is a file: it ends, and has no real-time rate.
pub fn is_file(input: &str) -> bool {
    !input.contains("://") || input.starts_with("file:")
}

/// Playlist with `input` as its only entry.
fn playlist(input: &str) -> String {
    let encoded = Address::parse(input).map(|address| address.encoded());
    let input = encoded.as_deref().unwrap_or(input);
    // A quote character ends the quoted text, is escaped outside of quotes, and starts quoted text again.
    let quoted = input.replace('\'', r"'\''");
    // Over UDP a lost packet would leave a damaged area in the image.
    let transport = if input.starts_with("rtsp") { "option rtsp_transport tcp\n" } else { "" };
    let address = if input.contains("://") || input.starts_with("file:") {
        quoted
    } else if Path::new(input).is_absolute() {
        format!("file:{quoted}")
    } else {
        // Relative paths would be relative to the playlist, which is a pipe.
        let folder = std::env::current_dir().unwrap_or_default();
        format!("file:{}/{quoted}", folder.display().to_string().replace('\'', r"'\''"))
    };
    format!("ffconcat version 1.0\nfile '{address}'\n{transport}")
}

/// Size of the frame that a line of `showinfo` describes. It writes other lines too.
fn frame_size(line: &str) -> Option<(usize, usize)> {
    let size = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("s:"))?;
    let (width, height) = size.split_once('x')?;
    Some((width.parse().ok()?, height.parse().ok()?))
}

/// An error in a line of the log, without its level; `None` for other lines. A line without a level is one.
fn error_text(line: &str) -> Option<String> {
    let level = |name: &&str| line.contains(&format!("[{name}] "));
    if ["info", "warning", "verbose", "debug"].iter().any(level) {
        return None;
    }
    let name = ["error", "fatal", "panic"].into_iter().find(level);
    Some(name.map_or_else(|| line.to_owned(), |name| line.replacen(&format!("[{name}] "), "", 1)))
}

/// Version of this ffmpeg. An unknown one counts as recent.
fn version(program: &Path) -> (u32, u32) {
    static CACHED: OnceLock<(u32, u32)> = OnceLock::new();
    *CACHED.get_or_init(|| {
        let output = Command::new(program).arg("-version").stdin(Stdio::null()).output();
        parse_version(&output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default())
    })
}

/// Version in the first line of `ffmpeg -version`. Builds from a repository count as recent.
fn parse_version(text: &str) -> (u32, u32) {
    let version = text.strip_prefix("ffmpeg version ").unwrap_or_default().trim_start_matches('n');
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
        _ => (u32::MAX, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_playlist_quotes_what_it_names() {
        assert_eq!(playlist("/srv/it's.mp4"), "ffconcat version 1.0\nfile 'file:/srv/it'\\''s.mp4'\n");
        let stream = playlist("rtsp://a:b@c/d");
        assert_eq!(stream, "ffconcat version 1.0\nfile 'rtsp://a:b@c/d'\noption rtsp_transport tcp\n");
        assert!(playlist("film.mp4").contains("file 'file:/"));
        let special = playlist("rtsp://admin:don't/1@c/d e");
        assert!(special.contains("file 'rtsp://admin:don%27t%2F1@c/d%20e'\n"), "{special}");
    }

    #[test]
    fn versions_are_told_apart() {
        assert_eq!(parse_version("ffmpeg version 5.1.6-0+deb12u1 Copyright"), (5, 1));
        assert_eq!(parse_version("ffmpeg version n7.1 Copyright"), (7, 1));
        assert!(parse_version("ffmpeg version N-118 Copyright") > HAS_FPS_MODE);
        assert!(parse_version("ffmpeg version 4.4.2-0ubuntu0.22.04.1 Copyright") < HAS_FPS_MODE);
        assert!(parse_version("ffmpeg version 4.3.6-0+deb11u1 Copyright") < KEEPS_SIZES);
    }

    #[test]
    fn sizes_and_errors_are_found_in_the_log() {
        let line = "[Parsed_showinfo_2 @ 0x55d] [info] n:   3 pts: 384000 pos: 20 fmt:yuv420p sar:1/1 s:128x96 i:P";
        assert_eq!(frame_size(line), Some((128, 96)));
        assert_eq!(frame_size("[Parsed_showinfo_2 @ 0x55d] [info] config in time_base: 1/1200000"), None);
        assert_eq!(
            error_text("[rtsp @ 0x5] [error] method DESCRIBE failed: 401").unwrap(),
            "[rtsp @ 0x5] method DESCRIBE failed: 401"
        );
        assert_eq!(error_text("sh: not found").unwrap(), "sh: not found");
        assert_eq!(error_text("[mjpeg @ 0x5] [warning] EOI missing, emulating"), None);
    }

    #[test]
    fn a_program_that_is_not_there_says_what_to_install() {
        let error = Ffmpeg::start(Path::new("/nonexistent/ffmpeg"), "x.mp4").unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.message().contains("apt-get install ffmpeg"), "{error}");
    }
}
