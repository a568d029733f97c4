//! Sinks for messages, behind one trait, and the outbox that feeds them.
//!
//! In: [`Message`]s from any thread. Out: the same messages to every sink that accepts their type. Each sink has a task and
//! a short queue, so that a blocked sink loses only its own messages. Lost messages are counted.

mod file;
pub mod history;
#[cfg(test)]
mod kills;
pub mod mqtt;
mod outbox;
pub mod spool;
mod stdout;
pub mod store;
mod unix;

pub use file::Files;
pub use outbox::{Outbox, Outlet};
pub use stdout::Stdout;
pub use unix::Socket;

use std::future::Future;
use std::pin::Pin;

use crate::error::{Error, Kind, Result};
use crate::message::Message;

/// What a sink's methods give: a future that its task waits for.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// A place that messages go to.
pub trait Sink: Send {
    /// Sends one message.
    ///
    /// # Errors
    ///
    /// Whatever keeps this message from its readers; the next one is tried all the same, unless [`Sink::is_gone`].
    fn send<'a>(&'a mut self, message: &'a Message) -> Sending<'a>;

    /// Hands on what is still held back. Called before the end.
    ///
    /// # Errors
    ///
    /// As [`Sink::send`].
    fn flush(&mut self) -> Sending<'_> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Whether nothing will ever get through again.
    fn is_gone(&self) -> bool {
        false
    }
}

/// A message as a line of JSON, its end included.
fn line(message: &Message) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)
        .map_err(|error| Error::new(Kind::Internal, "cannot write a message as JSON").because(error))?;
    line.push(b'\n');
    Ok(line)
}

/// Does what may wait for a disk on a thread where waiting harms nobody.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::new(Kind::Internal, "work on a disk panicked").because(error))
}
