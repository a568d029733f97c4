//! Stream sink: JSON lines on stdout or another stream, one message a line, each flushed.

use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::{Sink, SinkFuture, line};
use crate::error::{Error, Kind, Result};
use crate::message::Message;

/// Sink that writes JSON lines to a stream.
#[derive(Debug)]
pub struct Stdout<W = tokio::io::Stdout> {
    stream: W,
    is_closed: bool,
}

impl Stdout {
    /// A sink on the process's stdout.
    pub fn new() -> Self {
        Self::on(tokio::io::stdout())
    }
}

impl Default for Stdout {
    fn default() -> Self {
        Self::new()
    }
}

impl<W: AsyncWrite + Unpin + Send> Stdout<W> {
    /// A sink on `stream`.
    pub fn on(stream: W) -> Self {
        Self { stream, is_closed: false }
    }

    /// The stream, for tests.
    #[cfg(test)]
    pub(super) fn into_stream(self) -> W {
        self.stream
    }

    /// Writes `bytes` whole and flushes them.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let outcome = match self.stream.write_all(bytes).await {
            Ok(()) => self.stream.flush().await,
            error => error,
        };
        self.check_outcome(outcome)
    }

    fn check_outcome(&mut self, outcome: std::io::Result<()>) -> Result<()> {
        outcome.map_err(|error| {
            self.is_closed = error.kind() == std::io::ErrorKind::BrokenPipe;
            let text = if self.is_closed { "the reader of stdout has closed it" } else { "cannot write to stdout" };
            Error::new(Kind::Io, text).because(error)
        })
    }
}

impl<W: AsyncWrite + Unpin + Send> Sink for Stdout<W> {
    fn send<'a>(&'a mut self, message: &'a Message) -> SinkFuture<'a> {
        Box::pin(async move { self.write(&line(message)?).await })
    }

    fn flush(&mut self) -> SinkFuture<'_> {
        Box::pin(async move {
            let outcome = self.stream.flush().await;
            self.check_outcome(outcome)
        })
    }

    fn is_closed(&self) -> bool {
        self.is_closed
    }
}
