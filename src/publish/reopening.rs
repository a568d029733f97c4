//! A sink that may not be openable yet: a full disk, a folder that is not mounted, a socket that another process has.
//!
//! Messages fail until an attempt to open it succeeds. The outbox makes the attempts, so that a socket is there for its
//! clients before the first message.

use std::time::Duration;

use tokio::time::Instant;

use super::{Sink, SinkFuture};
use crate::backoff::Backoff;
use crate::error::{Error, Kind, Result};
use crate::message::Message;

/// Function that opens a sink.
pub type OpenSink = Box<dyn FnMut() -> Result<Box<dyn Sink>> + Send>;

/// Shortest and longest delay between two attempts.
const RETRY_DELAY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A sink, or the reason why it is not open.
pub struct Reopening {
    open: OpenSink,
    state: OpenState,
    backoff: Backoff,
}

enum OpenState {
    Open(Box<dyn Sink>),
    /// Kind and text of the error, and when to try again.
    Failed(Kind, String, Instant),
}

impl Reopening {
    /// A sink that `open` opens, now or later. The error is that of the first attempt.
    pub fn new(open: OpenSink) -> (Self, Result<()>) {
        let backoff = Backoff::new(RETRY_DELAY.0, RETRY_DELAY.1);
        let state = OpenState::Failed(Kind::Unavailable, String::new(), Instant::now());
        let mut sink = Self { open, state, backoff };
        let opened = sink.retry();
        (sink, opened)
    }
}

impl Sink for Reopening {
    fn send<'a>(&'a mut self, message: &'a Message) -> SinkFuture<'a> {
        match &mut self.state {
            OpenState::Open(sink) => sink.send(message),
            OpenState::Failed(kind, text, _) => {
                let error = Error::new(*kind, text.clone());
                Box::pin(std::future::ready(Err(error)))
            }
        }
    }

    fn flush(&mut self) -> SinkFuture<'_> {
        match &mut self.state {
            OpenState::Open(sink) => sink.flush(),
            OpenState::Failed(..) => Box::pin(std::future::ready(Ok(()))),
        }
    }

    fn is_closed(&self) -> bool {
        matches!(&self.state, OpenState::Open(sink) if sink.is_closed())
    }

    fn retry_at(&self) -> Option<Instant> {
        match &self.state {
            OpenState::Open(_) => None,
            OpenState::Failed(.., at) => Some(*at),
        }
    }

    fn retry(&mut self) -> Result<()> {
        match (self.open)() {
            Ok(sink) => {
                self.state = OpenState::Open(sink);
                Ok(())
            }
            Err(error) => {
                let at = Instant::now() + self.backoff.delay();
                self.state = OpenState::Failed(error.kind(), error.chain(), at);
                Err(error)
            }
        }
    }
}
