//! Sinks for messages, behind one trait, and the outbox that feeds them.
//!
//! In: [`Message`]s from any thread. Out: the same messages to every sink that accepts their type. Each sink has a task and
//! a short queue, so that a blocked sink loses only its own messages. Lost messages are counted.

mod file;
pub mod history;
pub mod journal;
#[cfg(test)]
mod kills;
pub mod mqtt;
mod outbox;
mod reopening;
pub mod spool;
mod stamp;
mod stdout;
pub mod store;
mod summary;
mod unix;
#[cfg(test)]
mod wear;

pub use file::Files;
pub use outbox::{Outbox, Outlet};
pub use reopening::{OpenSink, Reopening};
pub use stdout::Stdout;
pub use summary::{ConditionOf, Summary};
pub use unix::{Socket, SocketAccess, group_id};

use std::future::Future;
use std::pin::Pin;

use serde::Serialize;

use crate::error::{Error, Kind, Result};
use crate::message::Message;

/// Future of a sink's operation.
pub type SinkFuture<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// Destination of messages.
pub trait Sink: Send {
    /// Sends one message.
    ///
    /// # Errors
    ///
    /// The message could not be delivered. The next one is tried nevertheless, unless [`Sink::is_closed`].
    fn send<'a>(&'a mut self, message: &'a Message) -> SinkFuture<'a>;

    /// False for a message that the sink only looks at: success with it does not mean that the sink works.
    fn delivers(&self, _message: &Message) -> bool {
        true
    }

    /// Writes buffered messages. Called before the end.
    ///
    /// # Errors
    ///
    /// As [`Sink::send`].
    fn flush(&mut self) -> SinkFuture<'_> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// True if the sink has failed permanently.
    fn is_closed(&self) -> bool {
        false
    }

    /// When to try to open the sink again; `None` if it is open.
    fn retry_at(&self) -> Option<tokio::time::Instant> {
        None
    }

    /// Tries to open the sink again.
    ///
    /// # Errors
    ///
    /// It cannot be opened yet; [`Sink::retry_at`] tells when to try again.
    fn retry(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Crossings of a line in one direction by objects of one label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LineCount {
    /// Name of the camera.
    pub camera: String,
    /// Name of the line.
    pub line: String,
    /// Name of the direction.
    pub direction: String,
    /// Name of the class.
    pub label: String,
    /// Crossings since the last reset.
    pub count: u64,
}

/// A message as a line of JSON, including the newline.
fn line(message: &Message) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)
        .map_err(|error| Error::new(Kind::Internal, "cannot write a message as JSON").because(error))?;
    line.push(b'\n');
    Ok(line)
}

/// Runs `work`, which may wait for a disk, on tokio's pool for blocking work.
///
/// # Errors
///
/// [`Kind::Internal`] if the work panicked.
pub async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::new(Kind::Internal, "work on a disk panicked").because(error))
}
