//! Unix socket sink: JSON lines for any number of clients, each with a short queue. A client that does not keep up is
//! disconnected, since silently missing lines would be worse. It may connect again.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use super::{Sink, SinkFuture, line};
use crate::error::{Error, Kind, Result};
use crate::message::Message;

/// Queue length of a client.
const QUEUE: usize = 256;
/// Limit of connected clients.
const MAX_CLIENTS: usize = 64;
/// Timeout of a write to a client.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// The socket and its clients.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    lines: broadcast::Sender<Arc<Vec<u8>>>,
    /// Signals the end to the task of every client.
    end: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

/// Users that may connect to a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketAccess {
    /// Permission bits.
    pub mode: u32,
    /// Group of the socket, by name or number; `None`: that of the process.
    pub group: Option<String>,
}

/// The number of a group, given by name or number.
///
/// # Errors
///
/// [`Kind::Config`] if there is no such group.
pub fn group_id(group: &str) -> Result<u32> {
    const GROUPS: &str = "/etc/group";
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let table = std::fs::read_to_string(GROUPS).map_err(|error| Error::reading(GROUPS, error))?;
    let number = table.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    number.ok_or_else(|| Error::new(Kind::Config, format!("there is no group \"{group}\" in {GROUPS}")))
}

impl Socket {
    /// Listens at `path` for the users of `access`. A stale socket is replaced. Must be called in a runtime.
    ///
    /// # Errors
    ///
    /// [`Kind::Unavailable`] if another process listens there, [`Kind::CannotCreate`] if the path is not a socket, as
    /// [`group_id`], otherwise as [`Error::writing`].
    pub fn listen(path: &Path, access: &SocketAccess) -> Result<Self> {
        let failed = |error| Error::writing(path, error);
        let group = access.group.as_deref().map(group_id).transpose()?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                let text = format!("{} exists and is not a socket", path.display());
                return Err(Error::new(Kind::CannotCreate, text));
            }
            Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
                let text = format!("another process listens on {}", path.display());
                return Err(Error::new(Kind::Unavailable, text));
            }
            Ok(_) => std::fs::remove_file(path).map_err(failed)?,
            Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        // Closed to others until the group is set.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(access.mode & 0o700)).map_err(failed)?;
        if let Some(group) = group {
            std::os::unix::fs::chown(path, None, Some(group)).map_err(failed)?;
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(access.mode)).map_err(failed)?;
        let (lines, _) = broadcast::channel(QUEUE);
        let (end, ended) = watch::channel(false);
        let accepting = tokio::spawn(accept(listener, lines.clone(), ended));
        Ok(Self { path: path.to_owned(), lines, end, accepting })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.accepting.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn accept(listener: UnixListener, lines: broadcast::Sender<Arc<Vec<u8>>>, ended: watch::Receiver<bool>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if lines.receiver_count() < MAX_CLIENTS => {
                tokio::spawn(serve(stream, lines.subscribe(), ended.clone()));
            }
            Ok(_) => tracing::warn!(readers = MAX_CLIENTS, "client of the socket refused: too many are connected"),
            Err(error) => {
                // Out of file descriptors, which is temporary.
                tracing::warn!(error = error.to_string(), "cannot accept a client of the socket");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Sends lines to a client until it disconnects, falls behind, or the sink ends.
async fn serve(mut stream: UnixStream, mut lines: broadcast::Receiver<Arc<Vec<u8>>>, mut ended: watch::Receiver<bool>) {
    loop {
        let next = tokio::select! {
            biased;
            next = lines.recv() => next,
            _ = ended.wait_for(|&ended| ended) => return,
        };
        let Ok(line) = next else {
            tracing::warn!("client of the socket disconnected: it reads too slowly");
            return;
        };
        match tokio::time::timeout(WRITE_TIMEOUT, stream.write_all(&line)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => {
                tracing::warn!("client of the socket disconnected: it reads nothing");
                return;
            }
        }
    }
}

impl Sink for Socket {
    fn send<'a>(&'a mut self, message: &'a Message) -> SinkFuture<'a> {
        // No clients are connected, which is not a failure.
        let sent = line(message).map(|text| drop(self.lines.send(Arc::new(text))));
        Box::pin(std::future::ready(sent))
    }

    fn flush(&mut self) -> SinkFuture<'_> {
        Box::pin(async {
            self.end.send_replace(true);
            let disconnected = async {
                while self.lines.receiver_count() > 0 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            // A client that is still slow now is dropped.
            let _ = tokio::time::timeout(Duration::from_secs(2), disconnected).await;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, BufReader};

    use super::*;
    use crate::message::{Event, EventName, Moment, Schema};

    const OWNER: SocketAccess = SocketAccess { mode: 0o600, group: None };

    fn event(id: usize) -> Message {
        Message::Event(Event {
            schema: Schema::V1,
            device: "d".into(),
            event: EventName::CameraLost,
            id: id.to_string(),
            at: Moment(jiff::Timestamp::UNIX_EPOCH),
            camera: None,
            details: [("padding".to_owned(), "x".repeat(1000).into())].into(),
        })
    }

    #[tokio::test]
    async fn every_reader_gets_every_line_and_a_slow_one_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/lines.sock");
        let mut socket = Socket::listen(&path, &OWNER).unwrap();
        assert_eq!(Socket::listen(&path, &OWNER).unwrap_err().kind(), Kind::Unavailable);
        let read = |stream: UnixStream| async {
            let mut lines = BufReader::new(stream).lines();
            let mut count = 0;
            while lines.next_line().await.unwrap().is_some() {
                count += 1;
            }
            count
        };
        let quick = tokio::spawn(read(UnixStream::connect(&path).await.unwrap()));
        let slow = UnixStream::connect(&path).await.unwrap();
        while socket.lines.receiver_count() < 2 {
            tokio::task::yield_now().await;
        }
        for id in 0..2000 {
            socket.send(&event(id)).await.unwrap();
            if id % 32 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        socket.flush().await.unwrap();
        assert_eq!(quick.await.unwrap(), 2000);
        assert!(read(slow).await < 2000);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_left_behind_is_replaced_and_a_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        drop(Socket::listen(&path, &OWNER).unwrap());
        std::fs::write(&path, "mine").unwrap();
        assert_eq!(Socket::listen(&path, &OWNER).unwrap_err().kind(), Kind::CannotCreate);
    }

    #[tokio::test]
    async fn a_socket_has_the_mode_and_group_of_its_configuration() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let own_group = rustix::process::getegid().as_raw();
        let access = SocketAccess { mode: 0o660, group: Some(own_group.to_string()) };
        let socket = Socket::listen(&path, &access).unwrap();
        let found = std::fs::metadata(&path).unwrap();
        assert_eq!((found.mode() & 0o777, found.gid()), (0o660, own_group));
        drop(socket);
        let access = SocketAccess { group: Some("no such group".into()), ..access };
        assert_eq!(Socket::listen(&path, &access).unwrap_err().kind(), Kind::Config);
        assert_eq!(group_id("root").unwrap(), 0);
    }
}
