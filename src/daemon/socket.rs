//! Control socket: a Unix socket with one JSON request and one JSON answer per line. Only its owner may open it.
//!
//! In: `{"verb": "status", "args": {…}}`. Out: `{"ok": true, "result": …}` or
//! `{"ok": false, "error": {"kind", "message"}}`. Request length, number of clients and waiting times are bounded, so no
//! client can block the service or another client. A lock file distinguishes a running service from a stale socket.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::paths::RuntimeFolder;
use crate::control::Control;
use crate::error::{Error, Kind, Result};

/// File name of the socket in the runtime folder.
pub const NAME: &str = "control.sock";

/// File name of the lock, which is held while the service runs.
const LOCK: &str = "control.lock";

/// Bounds on what clients may use.
struct ClientLimits {
    /// Longest request in bytes.
    request_bytes: u64,
    /// Clients at a time; further ones are refused.
    clients: usize,
    /// Longest wait for a request.
    read_timeout: Duration,
    /// Longest wait for a client to accept an answer.
    write_timeout: Duration,
}

const LIMITS: ClientLimits = ClientLimits {
    request_bytes: 64 * 1024,
    clients: 16,
    read_timeout: Duration::from_secs(60),
    write_timeout: Duration::from_secs(10),
};

/// The control socket; dropping it removes its file.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    file: SocketFile,
}

/// The socket's file, and the lock of its owner.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    _lock: File,
}

/// An answer; the fields are in alphabetical order on the wire.
#[derive(Serialize)]
struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<AnswerError>,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
}

/// The error of an answer.
#[derive(Serialize)]
struct AnswerError {
    kind: &'static str,
    message: String,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Creates the socket in `folder`, on the current runtime. `None`, with a warning, if the folder is unusable but not
/// required.
///
/// # Errors
///
/// [`Kind::Unavailable`] if another process has its socket in a required folder; otherwise the error of the system.
pub fn open(folder: &RuntimeFolder) -> Result<Option<Socket>> {
    match Socket::bind(&folder.path) {
        Ok(socket) => {
            tracing::info!(socket = %socket.file.path.display(), "control socket");
            Ok(Some(socket))
        }
        Err(error) if folder.required => Err(error),
        Err(error) => {
            tracing::warn!(error = error.chain(), "no control socket; device.runtime_dir chooses a folder for it");
            Ok(None)
        }
    }
}

impl Socket {
    fn bind(folder: &Path) -> Result<Self> {
        let fail = |error: std::io::Error| Error::writing(folder.join(NAME), error);
        std::fs::create_dir_all(folder).map_err(fail)?;
        let lock = lock(&folder.join(LOCK))?;
        // Bound under another name and renamed once its mode is set, so that nobody else can open it in between. The
        // rename replaces the socket of a killed process.
        let (path, temporary) = (folder.join(NAME), folder.join(format!("{NAME}.new")));
        let _ = std::fs::remove_file(&temporary);
        let listener = UnixListener::bind(&temporary).map_err(fail)?;
        std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o600)).map_err(fail)?;
        std::fs::rename(&temporary, &path).map_err(fail)?;
        Ok(Self { listener, file: SocketFile { path, _lock: lock } })
    }

    /// Accepts and answers clients until it is aborted.
    pub async fn serve(self, control: Control) {
        let permits = Arc::new(Semaphore::new(LIMITS.clients));
        loop {
            let mut stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Most likely no file descriptor is left; a later attempt may succeed.
                    tracing::warn!(error = error.to_string(), "cannot accept a control client");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            match permits.clone().try_acquire_owned() {
                Ok(permit) => {
                    let control = control.clone();
                    tokio::spawn(async move {
                        serve_client(stream, &control).await;
                        drop(permit);
                    });
                }
                Err(_) => {
                    let error =
                        Error::new(Kind::Unavailable, format!("{} clients are connected already", LIMITS.clients));
                    // The answer fits any socket buffer, so the timeout is not reached in practice.
                    let _ = timeout(Duration::from_millis(100), stream.write_all(&line(Err(error)))).await;
                }
            }
        }
    }
}

/// Takes the lock and writes the process id into it.
///
/// # Errors
///
/// [`Kind::Unavailable`], with the process id of the owner, if another process holds it.
fn lock(path: &Path) -> Result<File> {
    let fail = |error| Error::writing(path, error);
    let mut file = File::options().create(true).truncate(false).read(true).write(true).open(path).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())).map_err(fail)?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut process = String::new();
            let _ = Read::by_ref(&mut file).take(32).read_to_string(&mut process);
            let folder = path.parent().unwrap_or(path).display();
            let text = format!(
                "another lookout (process {process}) has its control socket in {folder}; stop that one, or give this \
                 one a folder of its own by device.runtime_dir"
            );
            Err(Error::new(Kind::Unavailable, text))
        }
        Err(TryLockError::Error(error)) => Err(fail(error)),
    }
}

/// Answers the requests of one client until it disconnects or exceeds a limit.
async fn serve_client(stream: UnixStream, control: &Control) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut request = Vec::new();
        let mut bounded = (&mut reader).take(LIMITS.request_bytes + 1);
        let outcome = timeout(LIMITS.read_timeout, bounded.read_until(b'\n', &mut request)).await;
        let answer = match outcome {
            Ok(Ok(0)) | Ok(Err(_)) | Err(_) => return,
            Ok(Ok(_)) if request.len() as u64 > LIMITS.request_bytes => {
                Err(Error::new(Kind::Usage, format!("a request is at most {} bytes long", LIMITS.request_bytes)))
            }
            Ok(Ok(_)) => answer(&request, control).await,
        };
        let is_incomplete = request.last() != Some(&b'\n');
        match timeout(LIMITS.write_timeout, writer.write_all(&line(answer))).await {
            Ok(Ok(())) if !is_incomplete => {}
            _ => return,
        }
    }
}

/// Calls the verb of a request on a blocking thread, because a verb may take long.
async fn answer(request: &[u8], control: &Control) -> Result<Value> {
    let (verb, args) = parse_request(request)?;
    let control = control.clone();
    tokio::task::spawn_blocking(move || control.call(&verb, args))
        .await
        .unwrap_or_else(|_| Err(Error::new(Kind::Internal, "the verb panicked; the log has the place")))
}

/// The verb and the arguments of a request on the control socket, a line of JSON.
///
/// # Errors
///
/// [`Kind::Usage`] with what a request looks like.
pub fn parse_request(request: &[u8]) -> Result<(String, Value)> {
    let wrong = |text: &str| Error::new(Kind::Usage, format!("{text}; write {{\"verb\": \"status\", \"args\": {{}}}}"));
    let mut request: Value =
        serde_json::from_slice(request).map_err(|error| wrong("the request is not JSON").because(error))?;
    let Some(fields) = request.as_object_mut() else { return Err(wrong("the request is no JSON object")) };
    let Some(Value::String(verb)) = fields.remove("verb") else { return Err(wrong("the request names no verb")) };
    let args = fields.remove("args").unwrap_or(Value::Null);
    if !matches!(args, Value::Null | Value::Object(_)) {
        return Err(wrong("args is no JSON object"));
    }
    match fields.keys().next() {
        Some(key) => Err(wrong(&format!("the request has a key \"{key}\""))),
        None => Ok((verb, args)),
    }
}

/// The line of an answer.
fn line(outcome: Result<Value>) -> Vec<u8> {
    let answer = match outcome {
        Ok(result) => Answer { error: None, ok: true, result: Some(result) },
        Err(error) => {
            let error = AnswerError { kind: error.kind().name(), message: error.chain() };
            Answer { error: Some(error), ok: false, result: None }
        }
    };
    // Writing to memory cannot fail, and every field has a JSON form.
    let mut line = serde_json::to_vec(&answer).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::AsyncReadExt;

    use super::*;

    fn control() -> Control {
        let control = Control::default();
        control.register("echo", Ok);
        control.register("fail", |_| Err(Error::new(Kind::Config, "it is wrong")));
        control.register("fall", |_| panic!("made up for this test"));
        control
    }

    /// Sends `requests`, closes the client's side, and returns the answers.
    async fn send(path: &Path, requests: &[u8]) -> String {
        let mut stream = UnixStream::connect(path).await.unwrap();
        stream.write_all(requests).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn requests_are_answered_line_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let socket = Socket::bind(folder.path()).unwrap();
        let path = folder.path().join(NAME);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let serving = tokio::spawn(socket.serve(control()));

        let requests = b"{\"verb\": \"echo\", \"args\": {\"a\": 1}}\n{\"verb\": \"fail\"}\n{\"verb\": \"fall\"}\n";
        let answers: Vec<Value> =
            send(&path, requests).await.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(answers[0], json!({ "ok": true, "result": { "a": 1 } }));
        assert_eq!(answers[1], json!({ "ok": false, "error": { "kind": "config", "message": "it is wrong" } }));
        assert_eq!(answers[2]["error"]["kind"], "internal");

        for (request, expected) in [
            (&b"nonsense\n"[..], "not JSON"),
            (b"\xff\xfe\n", "not JSON"),
            (b"3\n", "no JSON object"),
            (b"{}\n", "names no verb"),
            (b"{\"verb\": \"echo\", \"args\": 3}\n", "args is no JSON object"),
            (b"{\"verb\": \"echo\", \"arg\": {}}\n", "a key \\\"arg\\\""),
            (b"{\"verb\": \"restart\"}\n", "not a command of this daemon; commands are echo, fail, fall"),
        ] {
            let answer = send(&path, request).await;
            assert!(answer.contains("\"usage\"") && answer.contains(expected), "{answer}");
        }
        // A request that is too long is refused; silent clients are kept up to the limit; then clients are served again.
        let long = send(&path, &vec![b' '; LIMITS.request_bytes as usize + 10]).await;
        assert!(long.contains("at most 65536 bytes"), "{long}");
        let mut silent = Vec::new();
        for _ in 0..LIMITS.clients {
            silent.push(UnixStream::connect(&path).await.unwrap());
        }
        let refused = async {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            text
        };
        assert!(refused.await.contains("clients are connected already"));
        drop(silent);
        while !send(&path, b"{\"verb\": \"echo\"}\n").await.contains("true") {
            tokio::task::yield_now().await;
        }
        serving.abort();
        let _ = serving.await;
        assert!(!path.exists(), "the file is removed at the end");
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_second_service_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        drop(UnixListener::bind(&path).unwrap());
        std::fs::write(folder.path().join(LOCK), "12345").unwrap();
        let first = Socket::bind(folder.path()).unwrap();
        let required = RuntimeFolder { path: folder.path().to_owned(), required: true };
        let error = open(&required).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.message().contains(&format!("process {}", std::process::id())), "{error}");
        assert!(open(&RuntimeFolder { required: false, ..required.clone() }).unwrap().is_none());
        assert!(UnixStream::connect(&path).await.is_ok(), "the first service still has its socket");
        drop(first);
        assert!(open(&required).unwrap().is_some());
    }
}
