//! The control socket: one JSON request and one answer a line, over a unix socket that its owner alone may open.
//!
//! In: `{"verb": "status", "args": {…}}`. Out: `{"ok": true, "result": …}` or
//! `{"ok": false, "error": {"kind", "message"}}`. Nothing a client does can hold up the daemon or another client: lines,
//! clients and waiting times are bounded. A lock beside the socket tells a daemon that lives from a socket left behind.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::paths::RuntimeFolder;
use crate::control::Control;
use crate::error::{Error, Kind, Result};

/// The socket's name in the runtime folder.
pub const NAME: &str = "control.sock";

/// Held as long as the daemon lives.
const LOCK: &str = "control.lock";

/// Longest request in bytes.
const LONGEST: u64 = 64 * 1024;

/// Clients at one time; one more is turned away.
const CLIENTS: usize = 16;

/// How long a connection may say nothing, and how long it may take to accept an answer.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(10));

/// The socket; dropping it takes it away.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    place: Place,
}

/// The socket's file, and the lock that says whose it is.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    _lock: File,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Makes the socket in `folder`. `None`, with a warning, where nobody chose the folder and it cannot be had. Called
/// inside a runtime.
///
/// # Errors
///
/// [`Kind::Unavailable`] if another daemon has the folder that was chosen for this one; else what the system says.
pub fn open(folder: &RuntimeFolder) -> Result<Option<Socket>> {
    match Socket::bind(&folder.path) {
        Ok(socket) => {
            tracing::info!(socket = %socket.place.path.display(), "control socket");
            Ok(Some(socket))
        }
        Err(error) if folder.chosen => Err(error),
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
        // Bound under another name and moved when its mode is right: nobody can open it in between. What a daemon
        // that was killed left behind is replaced.
        let (path, made) = (folder.join(NAME), folder.join(format!("{NAME}.new")));
        let _ = std::fs::remove_file(&made);
        let listener = UnixListener::bind(&made).map_err(fail)?;
        std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o600)).map_err(fail)?;
        std::fs::rename(&made, &path).map_err(fail)?;
        Ok(Self { listener, place: Place { path, _lock: lock } })
    }

    /// Answers clients for ever.
    pub async fn serve(self, control: Control) {
        let room = Arc::new(Semaphore::new(CLIENTS));
        loop {
            let mut stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // No descriptor left, most likely: one will be free again.
                    tracing::warn!(error = error.to_string(), "a control client was not let in");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            match room.clone().try_acquire_owned() {
                Ok(place) => {
                    let control = control.clone();
                    tokio::spawn(async move {
                        converse(stream, &control).await;
                        drop(place);
                    });
                }
                Err(_) => {
                    let error = Error::new(Kind::Unavailable, format!("{CLIENTS} clients are connected already"));
                    // Fits any socket buffer: no waiting.
                    let _ = timeout(Duration::from_millis(100), stream.write_all(&line(Err(error)))).await;
                }
            }
        }
    }
}

/// Takes the lock, or says who has it.
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

/// Answers one client, request by request, until it goes, says nothing for too long, or too much.
async fn converse(stream: UnixStream, control: &Control) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut request = Vec::new();
        let mut bounded = (&mut reader).take(LONGEST + 1);
        let outcome = timeout(PATIENCE.0, bounded.read_until(b'\n', &mut request)).await;
        let answer = match outcome {
            Ok(Ok(0)) | Ok(Err(_)) | Err(_) => return,
            Ok(Ok(_)) if request.len() as u64 > LONGEST => {
                Err(Error::new(Kind::Usage, format!("a request is at most {LONGEST} bytes long")))
            }
            Ok(Ok(_)) => answer(&request, control).await,
        };
        let enough = request.last() != Some(&b'\n');
        match timeout(PATIENCE.1, writer.write_all(&line(answer))).await {
            Ok(Ok(())) if !enough => {}
            _ => return,
        }
    }
}

/// Does what a request asks, off the runtime's thread: a verb may take its time.
async fn answer(request: &[u8], control: &Control) -> Result<Value> {
    let (verb, args) = read(request)?;
    let control = control.clone();
    tokio::task::spawn_blocking(move || control.call(&verb, args))
        .await
        .unwrap_or_else(|_| Err(Error::new(Kind::Internal, "the verb panicked; the log says where")))
}

fn read(request: &[u8]) -> Result<(String, Value)> {
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

fn line(answer: Result<Value>) -> Vec<u8> {
    let answer = match answer {
        Ok(result) => json!({ "ok": true, "result": result }),
        Err(error) => json!({ "ok": false, "error": { "kind": error.kind().name(), "message": error.chain() } }),
    };
    let mut line = answer.to_string().into_bytes();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    fn control() -> Control {
        let control = Control::default();
        control.register("echo", Ok);
        control.register("fail", |_| Err(Error::new(Kind::Config, "it is wrong")));
        control.register("fall", |_| panic!("made up for this test"));
        control
    }

    /// What is answered to `said`, after which the client's side is closed.
    async fn ask(path: &Path, said: &[u8]) -> String {
        let mut stream = UnixStream::connect(path).await.unwrap();
        stream.write_all(said).await.unwrap();
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

        let said = b"{\"verb\": \"echo\", \"args\": {\"a\": 1}}\n{\"verb\": \"fail\"}\n{\"verb\": \"fall\"}\n";
        let answers: Vec<Value> =
            ask(&path, said).await.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(answers[0], json!({ "ok": true, "result": { "a": 1 } }));
        assert_eq!(answers[1], json!({ "ok": false, "error": { "kind": "config", "message": "it is wrong" } }));
        assert_eq!(answers[2]["error"]["kind"], "internal");

        for (said, word) in [
            (&b"nonsense\n"[..], "not JSON"),
            (b"\xff\xfe\n", "not JSON"),
            (b"3\n", "no JSON object"),
            (b"{}\n", "names no verb"),
            (b"{\"verb\": \"echo\", \"args\": 3}\n", "args is no JSON object"),
            (b"{\"verb\": \"echo\", \"arg\": {}}\n", "a key \\\"arg\\\""),
            (b"{\"verb\": \"restart\"}\n", "no verb of this daemon; it knows echo, fail, fall"),
        ] {
            let answer = ask(&path, said).await;
            assert!(answer.contains("\"usage\"") && answer.contains(word), "{answer}");
        }
        // One client says too much, others say nothing: it is turned away, they are endured, the next is served.
        let long = ask(&path, &vec![b' '; LONGEST as usize + 10]).await;
        assert!(long.contains("at most 65536 bytes"), "{long}");
        let mut silent = Vec::new();
        for _ in 0..CLIENTS {
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
        while !ask(&path, b"{\"verb\": \"echo\"}\n").await.contains("true") {
            tokio::task::yield_now().await;
        }
        serving.abort();
        let _ = serving.await;
        assert!(!path.exists(), "it is taken away at the end");
    }

    #[tokio::test]
    async fn a_socket_left_behind_is_replaced_and_a_second_daemon_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        drop(UnixListener::bind(&path).unwrap());
        std::fs::write(folder.path().join(LOCK), "12345").unwrap();
        let first = Socket::bind(folder.path()).unwrap();
        let chosen = RuntimeFolder { path: folder.path().to_owned(), chosen: true };
        let error = open(&chosen).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.message().contains(&format!("process {}", std::process::id())), "{error}");
        assert!(open(&RuntimeFolder { chosen: false, ..chosen.clone() }).unwrap().is_none());
        assert!(UnixStream::connect(&path).await.is_ok(), "the first one's socket is still there");
        drop(first);
        assert!(open(&chosen).unwrap().is_some());
    }
}
