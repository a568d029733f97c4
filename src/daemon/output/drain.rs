//! Tasks of the sinks: watched while the service runs, drained at its end.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::error::{Error, Kind, Result};

/// The task of a sink.
pub struct SinkTask {
    /// True if the service runs for this sink; see [`crate::publish::Outlet`].
    pub is_output: bool,
    /// The task.
    pub task: JoinHandle<Result<()>>,
}

/// The task of each sink.
pub struct SinkTasks(pub Vec<SinkTask>);

impl SinkTasks {
    /// Completes once no output is left, with the error of the last one. The loss of an output while others are left is
    /// logged. Page and history are no outputs: the service does not run for them alone.
    pub async fn all_lost(&mut self) -> Error {
        loop {
            let (ended, index) = std::future::poll_fn(|context| {
                for (index, SinkTask { task, .. }) in self.0.iter_mut().enumerate() {
                    if let Poll::Ready(ended) = Pin::new(task).poll(context) {
                        return Poll::Ready((ended, index));
                    }
                }
                Poll::Pending
            })
            .await;
            self.0.swap_remove(index);
            let error = match ended {
                Ok(Err(error)) => error,
                _ => Error::new(Kind::Internal, "a sink ended without an error"),
            };
            if !self.0.iter().any(|task| task.is_output) {
                return error;
            }
            tracing::warn!(error = error.chain(), "sink lost; the other sinks continue");
        }
    }

    /// Waits until every sink has sent its queue, at most until `deadline`.
    pub async fn drain(self, deadline: Instant) {
        for SinkTask { mut task, .. } in self.0 {
            match tokio::time::timeout_at(deadline, &mut task).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => tracing::warn!(error = error.chain(), "sink lost messages at shutdown"),
                Ok(Err(error)) => tracing::warn!(error = error.to_string(), "sink failed at shutdown"),
                Err(_) => {
                    task.abort();
                    tracing::warn!("grace period exceeded; a sink's queue is lost");
                }
            }
        }
    }
}
