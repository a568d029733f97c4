//! Asking the running daemon: one request over its control socket, one answer.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::ConfigArgs;
use crate::config::{self, Inputs};
use crate::daemon;
use crate::error::{Error, Kind, Result};

/// How long an answer may take: a reload may load a model.
const PATIENCE: Duration = Duration::from_secs(300);

/// Longest answer in bytes.
const LONGEST: u64 = 64 << 20;

/// Asks the daemon to do `verb` with `args`, a JSON object or null, and gives its answer.
///
/// # Errors
/// [`Kind::Unavailable`] if no daemon answers, [`Kind::Permission`] if it is another user's; else the error that the
/// daemon answers with, under its own kind.
pub fn ask(config: &ConfigArgs, verb: &str, args: Value) -> Result<Value> {
    // A configuration that is wrong must not keep anybody from asking the daemon about it.
    let inputs = Inputs::of_process(config.config.clone(), config.set.clone());
    let chosen = config::load_device(&inputs).ok().and_then(|device| device.runtime_dir);
    let folders = daemon::runtime_folders(chosen);
    let places: Vec<PathBuf> = folders.iter().map(|folder| folder.join(daemon::CONTROL_SOCKET)).collect();
    ask_at(&places, verb, args)
}

fn ask_at(places: &[PathBuf], verb: &str, args: Value) -> Result<Value> {
    for place in places {
        match UnixStream::connect(place) {
            Ok(stream) => return converse(stream, verb, args).map_err(|error| error.at("the daemon says")),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                let text = format!("may not open {}; the daemon's user and root may", place.display());
                return Err(Error::new(Kind::Permission, text).because(error));
            }
            // Not there, or left behind by one that was killed.
            Err(_) => {}
        }
    }
    let names: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
    Err(Error::new(Kind::Unavailable, format!("no daemon answers at {}", names.join(" or "))))
}

fn converse(mut stream: UnixStream, verb: &str, args: Value) -> Result<Value> {
    let lost = |error: std::io::Error| Error::new(Kind::Io, "nothing, the connection broke").because(error);
    let garbled = || Error::new(Kind::Data, "something that is no answer");
    stream.set_read_timeout(Some(PATIENCE)).map_err(lost)?;
    writeln!(stream, "{}", json!({ "verb": verb, "args": args })).map_err(lost)?;
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST)).read_line(&mut line).map_err(lost)?;
    let mut answer: Value = serde_json::from_str(&line).map_err(|error| garbled().because(error))?;
    match answer.get("ok").and_then(Value::as_bool) {
        Some(true) => Ok(answer.get_mut("result").map(Value::take).unwrap_or_default()),
        Some(false) => {
            let word = |name: &str| answer["error"][name].as_str().unwrap_or_default();
            Err(Error::new(Kind::from_name(word("kind")).unwrap_or(Kind::Internal), word("message")))
        }
        None => Err(garbled()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// What a client makes of `answer`.
    fn told(answer: &'static [u8]) -> Result<Value> {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("s");
        let listener = UnixListener::bind(&place).unwrap();
        let daemon = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
            assert_eq!(line, "{\"args\":null,\"verb\":\"status\"}\n");
            stream.write_all(answer).unwrap();
        });
        let told = ask_at(&[folder.path().join("absent"), place], "status", Value::Null);
        daemon.join().unwrap();
        told
    }

    #[test]
    fn answers_and_errors_come_as_they_were_given() {
        assert_eq!(told(b"{\"ok\": true, \"result\": [1]}\n").unwrap(), json!([1]));
        let error = told(b"{\"ok\": false, \"error\": {\"kind\": \"config\", \"message\": \"wrong\"}}\n").unwrap_err();
        assert_eq!((error.kind(), error.message()), (Kind::Config, "the daemon says: wrong"));
        for garbled in [&b"nonsense\n"[..], b"", b"{}\n"] {
            assert_eq!(told(garbled).unwrap_err().kind(), Kind::Data);
        }
        let error = ask_at(&["/nonexistent/a".into(), "/nonexistent/b".into()], "status", Value::Null).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.message().contains("/nonexistent/a or /nonexistent/b"));
    }
}
