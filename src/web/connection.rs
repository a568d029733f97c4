//! Connections with limits: so many at one time, and none that neither sends nor takes anything for long. Two hundred
//! slow clients then cost two hundred small buffers, for a while.

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

/// Connections at one time.
const MOST: usize = 512;
/// Longest that nothing moves in either direction. The live stream says something more often than that.
const IDLE: Duration = Duration::from_secs(30);
/// Longest that a request may take to come in, from the first of its bytes, however steadily they drip.
const REQUEST: Duration = Duration::from_secs(20);

/// A listener that gives [`Timed`] connections.
pub struct Limited {
    listener: TcpListener,
    room: Arc<Semaphore>,
    closed: watch::Receiver<()>,
}

impl Limited {
    /// Connections end when the other side of `closed` falls.
    pub fn new(listener: TcpListener, closed: watch::Receiver<()>) -> Self {
        Self { listener, room: Arc::new(Semaphore::new(MOST)), closed }
    }
}

impl axum::serve::Listener for Limited {
    type Io = Timed;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Timed, SocketAddr) {
        loop {
            // Never closed; were it, there would be no limit rather than no page.
            let permit = self.room.clone().acquire_owned().await.ok();
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    let _ = stream.set_nodelay(true);
                    return (Timed::new(stream, permit, self.closed.clone()), address);
                }
                Err(error) => {
                    tracing::debug!(error = error.to_string(), "a web client was not let in");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails when it is idle for too long.
pub struct Timed {
    stream: TcpStream,
    idle: Pin<Box<Sleep>>,
    /// When the request that is coming in began; `None` once something was answered.
    request_since: Option<Instant>,
    /// Done when the server is gone.
    closed: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_closed: bool,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Timed {
    fn new(stream: TcpStream, permit: Option<OwnedSemaphorePermit>, mut closed: watch::Receiver<()>) -> Self {
        let idle = Box::pin(tokio::time::sleep(REQUEST));
        // Nothing is ever sent: only the sender's fall wakes it.
        let closed = Box::pin(async move { while closed.changed().await.is_ok() {} });
        Self { stream, idle, request_since: Some(Instant::now()), closed, is_closed: false, _permit: permit }
    }

    fn moved(&mut self) {
        let now = Instant::now();
        let request = self.request_since.map_or(now + IDLE, |since| since + REQUEST);
        self.idle.as_mut().reset((now + IDLE).min(request));
    }

    /// Judges a direction that waits.
    fn waits<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
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

impl AsyncRead for Timed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Pending => self.waits(context),
            Poll::Ready(Ok(())) if buffer.filled().len() > before => {
                self.request_since.get_or_insert_with(Instant::now);
                self.moved();
                Poll::Ready(Ok(()))
            }
            ready => ready,
        }
    }
}

impl AsyncWrite for Timed {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            Poll::Pending => self.waits(context),
            ready => {
                self.request_since = None;
                self.moved();
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
