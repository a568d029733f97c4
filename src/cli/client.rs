//! Client of the control socket: one request to the running daemon, one response.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::ConfigArgs;
use crate::config::{self, Inputs};
use crate::daemon;
use crate::error::{Error, Kind, Result};

/// Time limit for a response; a reload may load a model.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(300);

/// Largest response in bytes.
const MAX_RESPONSE: u64 = 64 << 20;

/// Sends `verb` with `args`, a JSON object or null, to the daemon and returns its response.
///
/// # Errors
/// [`Kind::Unavailable`] if no daemon responds, [`Kind::Permission`] if it belongs to another user; otherwise the
/// daemon's error with its kind.
pub fn request(config: &ConfigArgs, verb: &str, args: Value) -> Result<Value> {
    // An invalid configuration must not prevent requests to the daemon.
    let inputs = Inputs::of_process(config.config.clone(), config.set.clone());
    let chosen = config::load_device(&inputs).ok().and_then(|device| device.runtime_dir);
    let folders = daemon::runtime_folders(chosen);
    let sockets: Vec<PathBuf> = folders.iter().map(|folder| folder.join(daemon::CONTROL_SOCKET)).collect();
    request_at(&sockets, verb, args)
}

fn request_at(sockets: &[PathBuf], verb: &str, args: Value) -> Result<Value> {
    for socket in sockets {
        match UnixStream::connect(socket) {
            Ok(stream) => return exchange(stream, verb, args).map_err(|error| error.at("daemon")),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                let text = format!("no permission to open {}; the daemon's user and root have it", socket.display());
                return Err(Error::new(Kind::Permission, text).because(error));
            }
            // Missing, or left by a killed daemon.
            Err(_) => {}
        }
    }
    let names: Vec<String> = sockets.iter().map(|socket| socket.display().to_string()).collect();
    Err(Error::new(Kind::Unavailable, format!("no daemon responds at {}", names.join(" or "))))
}

fn exchange(mut stream: UnixStream, verb: &str, args: Value) -> Result<Value> {
    let lost = |error: std::io::Error| Error::new(Kind::Io, "the connection broke").because(error);
    let invalid = || Error::new(Kind::Data, "invalid response");
    stream.set_read_timeout(Some(RESPONSE_TIMEOUT)).map_err(lost)?;
    writeln!(stream, "{}", json!({ "verb": verb, "args": args })).map_err(lost)?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_RESPONSE)).read_line(&mut line).map_err(lost)?;
    let mut response: Value = serde_json::from_str(&line).map_err(|error| invalid().because(error))?;
    match response.get("ok").and_then(Value::as_bool) {
        Some(true) => Ok(response.get_mut("result").map(Value::take).unwrap_or_default()),
        Some(false) => {
            let text = |name: &str| response["error"][name].as_str().unwrap_or_default();
            Err(Error::new(Kind::from_name(text("kind")).unwrap_or(Kind::Internal), text("message")))
        }
        None => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// The client's result for the daemon's response `response`.
    fn result_of(response: &'static [u8]) -> Result<Value> {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let daemon = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
            assert_eq!(line, "{\"args\":null,\"verb\":\"status\"}\n");
            stream.write_all(response).unwrap();
        });
        let result = request_at(&[folder.path().join("absent"), socket], "status", Value::Null);
        daemon.join().unwrap();
        result
    }

    #[test]
    fn responses_and_errors_are_returned_unchanged() {
        assert_eq!(result_of(b"{\"ok\": true, \"result\": [1]}\n").unwrap(), json!([1]));
        let error =
            result_of(b"{\"ok\": false, \"error\": {\"kind\": \"config\", \"message\": \"wrong\"}}\n").unwrap_err();
        assert_eq!((error.kind(), error.message()), (Kind::Config, "daemon: wrong"));
        for invalid in [&b"nonsense\n"[..], b"", b"{}\n"] {
            assert_eq!(result_of(invalid).unwrap_err().kind(), Kind::Data);
        }
        let error = request_at(&["/nonexistent/a".into(), "/nonexistent/b".into()], "status", Value::Null).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.message().contains("/nonexistent/a or /nonexistent/b"));
    }
}
