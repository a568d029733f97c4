//! Child process of ffmpeg: start, error messages, termination.
//!
//! The address is passed through standard input, as a playlist with one entry. A command line is readable by every user of
//! the machine, and addresses may contain passwords.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};
use crate::redact::{Address, learn, redact_about_address};
use crate::sync::IgnorePoison;

/// Number of last error lines kept.
const KEPT: usize = 6;

/// Length limit of an error line, in bytes.
const LONGEST: usize = 400;

/// Time limit for the child's termination.
const GRACE: Duration = Duration::from_millis(500);

/// Protocols allowed in the playlist: files and streams, not ffmpeg's others.
const PROTOCOLS: &str = "file,pipe,fd,crypto,data,tcp,udp,rtp,srtp,rtsp,rtsps,rtmp,rtmps,http,https,httpproxy,tls,hls";

/// A running ffmpeg.
#[derive(Debug)]
pub struct Ffmpeg {
    child: Child,
    complaints: Arc<Mutex<VecDeque<String>>>,
    /// Thread that reads the error lines.
    listener: Option<std::thread::JoinHandle<()>>,
}

impl Ffmpeg {
    /// Starts `program` on `input`. Returns the child and the pipe with its Y4M output.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] if it is not installed or cannot be started.
    pub fn start(program: &Path, input: &str) -> Result<(Self, ChildStdout)> {
        let missing = |error: io::Error| {
            let text = match error.kind() {
                io::ErrorKind::NotFound => format!("{}: not installed; apt-get install ffmpeg", program.display()),
                _ => format!("{}: cannot be started", program.display()),
            };
            Error::new(Kind::Unavailable, text).because(error)
        };
        let mut command = Command::new(program);
        command.args(["-hide_banner", "-nostdin", "-loglevel", "error"]);
        if is_file(input) {
            command.arg("-re");
        }
        command.args(["-f", "concat", "-safe", "0", "-protocol_whitelist", PROTOCOLS, "-i", "pipe:0"]);
        command.args(["-map", "0:v:0", "-an", "-sn", "-dn"]);
        command.args(if has_fps_mode(program) { ["-fps_mode", "passthrough"] } else { ["-vsync", "passthrough"] });
        command.args(["-pix_fmt", "yuv420p", "-f", "yuv4mpegpipe", "pipe:1"]);
        // The environment may contain secrets of this program.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LOOKOUT")) {
            command.env_remove(name);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(missing)?;
        let (playlist, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let mut ffmpeg = Self { child, complaints: Arc::default(), listener: None };
        if let Some(errors) = errors {
            learn(input);
            ffmpeg.listen(errors);
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

    /// Collects the child's last error lines without secrets. The thread ends with the child.
    fn listen(&mut self, errors: impl io::Read + Send + 'static) {
        let complaints = self.complaints.clone();
        let work = move || {
            let mut errors = BufReader::new(errors);
            let mut line = Vec::new();
            while matches!(errors.read_until(b'\n', &mut line), Ok(1..)) {
                let text = redact_about_address(String::from_utf8_lossy(&line).trim());
                line.clear();
                if text.is_empty() {
                    continue;
                }
                tracing::debug!(text, "ffmpeg");
                let text: String = text.chars().take(LONGEST).collect();
                let mut complaints = complaints.lock().ignore_poison();
                if complaints.len() == KEPT {
                    complaints.pop_front();
                }
                complaints.push_back(text);
            }
        };
        // Without the thread no messages are read, and the pipe closes.
        self.listener = std::thread::Builder::new().name("ffmpeg-errors".to_owned()).spawn(work).ok();
    }

    /// Waits briefly for the child to exit after it closed its output, and for its last messages.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let begin = Instant::now();
        loop {
            let is_heard = self.listener.as_ref().is_none_or(std::thread::JoinHandle::is_finished);
            match self.child.try_wait() {
                // A grandchild may keep the pipe open longer than the child lives.
                Ok(Some(status)) if is_heard || begin.elapsed() >= GRACE => return Some(status),
                Ok(_) if begin.elapsed() < GRACE => std::thread::sleep(Duration::from_millis(10)),
                _ => return None,
            }
        }
    }

    /// Its last error messages, in one line.
    pub fn complaints(&self) -> String {
        let complaints = self.complaints.lock().ignore_poison();
        complaints.iter().map(String::as_str).collect::<Vec<_>>().join("; ")
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

/// True if this ffmpeg supports `-fps_mode` (5.1 and later), which replaced `-vsync`.
fn has_fps_mode(program: &Path) -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        let output = Command::new(program).arg("-version").stdin(Stdio::null()).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        is_from_5_1(&text)
    })
}

/// True if the first line of `ffmpeg -version` names 5.1 or later. Builds from a repository count as recent.
fn is_from_5_1(text: &str) -> bool {
    let version = text.strip_prefix("ffmpeg version ").unwrap_or_default().trim_start_matches('n');
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (5, 1),
        _ => true,
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
        assert!(is_from_5_1("ffmpeg version 5.1.6-0+deb12u1 Copyright"));
        assert!(is_from_5_1("ffmpeg version n7.1 Copyright") && is_from_5_1("ffmpeg version N-118 Copyright"));
        assert!(!is_from_5_1("ffmpeg version 4.4.2-0ubuntu0.22.04.1 Copyright"));
    }

    #[test]
    fn a_program_that_is_not_there_says_what_to_install() {
        let error = Ffmpeg::start(Path::new("/nonexistent/ffmpeg"), "x.mp4").unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.message().contains("apt-get install ffmpeg"), "{error}");
    }
}
