//! Connection limits: a maximum number of connections, by address and in all, and timeouts for idle ones and slow requests.
//! Two hundred slow clients then cost two hundred small buffers for a limited time.
//!
//! A new connection is always accepted. Beyond a limit the connection that has been idle the longest is closed: of the
//! same address, or in all of the address with the most connections. So nobody locks others out.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, Sleep};

use super::limits::client_key;
use super::proxy::ProxySettings;
use crate::sync::IgnorePoison;

/// Limit of connections.
const MAX_CONNECTIONS: usize = 512;
/// Limit of connections of one address that is no trusted proxy.
const MAX_CONNECTIONS_OF_ADDRESS: usize = 64;
/// Idle timeout in either direction. The live stream sends more often than that.
const IDLE: Duration = Duration::from_secs(30);
/// Timeout of a request, from its first byte to its last.
const REQUEST: Duration = Duration::from_secs(20);

/// Listener that returns [`TimedConnection`]s.
pub struct LimitedListener {
    listener: TcpListener,
    connections: Arc<Connections>,
    proxy: ProxySettings,
    closed: watch::Receiver<()>,
}

impl LimitedListener {
    /// Connections end when the sender of `closed` is dropped.
    pub fn new(listener: TcpListener, proxy: ProxySettings, closed: watch::Receiver<()>) -> Self {
        Self { listener, connections: Arc::new(Connections::new()), proxy, closed }
    }
}

impl axum::serve::Listener for LimitedListener {
    type Io = TimedConnection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TimedConnection, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    let _ = stream.set_nodelay(true);
                    let is_limited = !self.proxy.trusts(Some(address.ip()));
                    let entry = self.connections.add(address.ip(), is_limited);
                    return (TimedConnection::new(stream, entry, self.closed.clone()), address);
                }
                Err(error) => {
                    tracing::debug!(error = error.to_string(), "web client refused");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Address of the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

impl Connected<IncomingStream<'_, LimitedListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, LimitedListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// The open connections.
struct Connections {
    begin: Instant,
    table: Mutex<ConnectionTable>,
}

#[derive(Default)]
struct ConnectionTable {
    next: u64,
    open: BTreeMap<u64, Arc<OpenConnection>>,
}

struct OpenConnection {
    address: IpAddr,
    /// Time of the last byte in either direction, in milliseconds since the server started.
    last_ms: AtomicU64,
    /// Closes the connection.
    close: Notify,
}

/// A connection's place in the table, until it is dropped.
struct TableEntry {
    connections: Arc<Connections>,
    number: u64,
    connection: Arc<OpenConnection>,
}

impl Connections {
    fn new() -> Self {
        Self { begin: Instant::now(), table: Mutex::default() }
    }

    fn now_ms(&self) -> u64 {
        self.begin.elapsed().as_millis() as u64
    }

    /// Adds a connection of `address`, and closes another one if there are too many.
    fn add(self: &Arc<Self>, address: IpAddr, is_limited: bool) -> TableEntry {
        let address = client_key(address);
        let mut table = self.table.lock().ignore_poison();
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        table.open.values().for_each(|open| *counts.entry(open.address).or_default() += 1);
        let own = counts.get(&address).copied().unwrap_or(0);
        let from = match () {
            () if is_limited && own >= MAX_CONNECTIONS_OF_ADDRESS => Some(address),
            () if table.open.len() >= MAX_CONNECTIONS => {
                counts.into_iter().max_by_key(|(_, count)| *count).map(|(address, _)| address)
            }
            () => None,
        };
        if let Some(from) = from {
            let of_address = table.open.iter().filter(|(_, open)| open.address == from);
            let idlest =
                of_address.min_by_key(|(_, open)| open.last_ms.load(Ordering::Relaxed)).map(|(number, _)| *number);
            if let Some(open) = idlest.and_then(|number| table.open.remove(&number)) {
                open.close.notify_one();
            }
        }
        let (number, last_ms) = (table.next, AtomicU64::new(self.now_ms()));
        let connection = Arc::new(OpenConnection { address, last_ms, close: Notify::new() });
        table.next += 1;
        table.open.insert(number, connection.clone());
        TableEntry { connections: self.clone(), number, connection }
    }
}

impl TableEntry {
    fn touch(&self) {
        self.connection.last_ms.store(self.connections.now_ms(), Ordering::Relaxed);
    }
}

impl Drop for TableEntry {
    fn drop(&mut self) {
        self.connections.table.lock().ignore_poison().open.remove(&self.number);
    }
}

/// A connection with an idle timeout.
pub struct TimedConnection {
    stream: TcpStream,
    idle: Pin<Box<Sleep>>,
    /// Start of the incoming request; `None` once a response has begun.
    request_since: Option<Instant>,
    /// Completes when the server is dropped, or the connection makes room for another.
    closed: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_closed: bool,
    entry: TableEntry,
}

impl TimedConnection {
    fn new(stream: TcpStream, entry: TableEntry, mut closed: watch::Receiver<()>) -> Self {
        let idle = Box::pin(tokio::time::sleep(REQUEST));
        let connection = entry.connection.clone();
        let closed = Box::pin(async move {
            // Nothing is sent; only dropping the sender wakes the receiver.
            let server_ends = async { while closed.changed().await.is_ok() {} };
            tokio::select! {
                () = server_ends => {}
                () = connection.close.notified() => {}
            }
        });
        Self { stream, idle, request_since: Some(Instant::now()), closed, is_closed: false, entry }
    }

    fn restart_timeouts(&mut self) {
        self.entry.touch();
        let now = Instant::now();
        let request = self.request_since.map_or(now + IDLE, |since| since + REQUEST);
        self.idle.as_mut().reset((now + IDLE).min(request));
    }

    /// Checks the timeouts of a waiting direction.
    fn check_timeouts<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if self.idle.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.is_closed = self.is_closed || self.closed.as_mut().poll(context).is_ready();
        if self.is_closed {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Poll::Pending
    }
}

impl AsyncRead for TimedConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Pending => self.check_timeouts(context),
            Poll::Ready(Ok(())) if buffer.filled().len() > before => {
                self.request_since.get_or_insert_with(Instant::now);
                self.restart_timeouts();
                Poll::Ready(Ok(()))
            }
            ready => ready,
        }
    }
}

impl AsyncWrite for TimedConnection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            Poll::Pending => self.check_timeouts(context),
            ready => {
                self.request_since = None;
                self.restart_timeouts();
                ready
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_a_limit_the_idlest_connection_makes_room() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let connections = Arc::new(Connections::new());
        let open = |entry: &TableEntry| connections.table.lock().unwrap().open.contains_key(&entry.number);
        let mut greedy: Vec<TableEntry> = (0..64).map(|_| connections.add(ip("192.0.2.1"), true)).collect();
        greedy
            .iter()
            .enumerate()
            .for_each(|(at, entry)| entry.connection.last_ms.store(9 + at as u64, Ordering::Relaxed));
        greedy[5].connection.last_ms.store(1, Ordering::Relaxed);
        greedy.push(connections.add(ip("::ffff:192.0.2.1"), true));
        assert_eq!(greedy.iter().filter(|entry| open(entry)).count(), 64);
        assert!(!open(&greedy[5]), "the idlest of the same address");
        let proxy: Vec<TableEntry> = (0..200).map(|_| connections.add(ip("10.0.0.1"), false)).collect();
        assert!(proxy.iter().all(open), "a trusted proxy serves many clients");

        let others: Vec<TableEntry> =
            (0..300).map(|n| connections.add(IpAddr::from([10, 1, n as u8, (n >> 8) as u8]), true)).collect();
        assert_eq!(connections.table.lock().unwrap().open.len(), MAX_CONNECTIONS);
        assert!(others.iter().all(open) && greedy.iter().filter(|entry| open(entry)).count() == 64);
        assert_eq!(proxy.iter().filter(|entry| open(entry)).count(), 148, "whoever has most makes room");
        drop((greedy, others, proxy));
        assert!(connections.table.lock().unwrap().open.is_empty());
    }
}
