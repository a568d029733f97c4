//! Connection limits: a maximum number of connections, and timeouts for idle ones and slow requests. Two hundred slow
//! clients then cost two hundred small buffers for a limited time.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep};

/// Limit of connections.
const MAX_CONNECTIONS: usize = 512;
/// Idle timeout in either direction. The live stream sends more often than that.
const IDLE: Duration = Duration::from_secs(30);
/// Timeout of a request, from its first byte to its last.
const REQUEST: Duration = Duration::from_secs(20);

/// Listener that returns [`TimedConnection`]s.
pub struct LimitedListener {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    closed: watch::Receiver<()>,
}

impl LimitedListener {
    /// Connections end when the sender of `closed` is dropped.
    pub fn new(listener: TcpListener, closed: watch::Receiver<()>) -> Self {
        Self { listener, permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)), closed }
    }
}

impl axum::serve::Listener for LimitedListener {
    type Io = TimedConnection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TimedConnection, SocketAddr) {
        loop {
            // The semaphore is never closed. If it were, connections would be unlimited.
            let permit = self.permits.clone().acquire_owned().await.ok();
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    let _ = stream.set_nodelay(true);
                    return (TimedConnection::new(stream, permit, self.closed.clone()), address);
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

/// A connection with an idle timeout.
pub struct TimedConnection {
    stream: TcpStream,
    idle: Pin<Box<Sleep>>,
    /// Start of the incoming request; `None` once a response has begun.
    request_since: Option<Instant>,
    /// Completes when the server is dropped.
    closed: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_closed: bool,
    _permit: Option<OwnedSemaphorePermit>,
}

impl TimedConnection {
    fn new(stream: TcpStream, permit: Option<OwnedSemaphorePermit>, mut closed: watch::Receiver<()>) -> Self {
        let idle = Box::pin(tokio::time::sleep(REQUEST));
        // Nothing is sent; only dropping the sender wakes the receiver.
        let closed = Box::pin(async move { while closed.changed().await.is_ok() {} });
        Self { stream, idle, request_since: Some(Instant::now()), closed, is_closed: false, _permit: permit }
    }

    fn restart_timeouts(&mut self) {
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
