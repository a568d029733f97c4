//! Tasks of the sinks: watched while the service runs, drained at its end.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::error::{Error, Kind, Result};

/// The task of each sink.
pub struct SinkTasks(pub Vec<JoinHandle<Result<()>>>);

impl SinkTasks {
    /// Completes once no sink is left, with the error of the last one. The loss of a sink while others are left is
    /// logged.
    pub async fn all_lost(&mut self) -> Error {
        loop {
            let (ended, index) = std::future::poll_fn(|context| {
                for (index, task) in self.0.iter_mut().enumerate() {
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
            if self.0.is_empty() {
                return error;
            }
            tracing::warn!(error = error.chain(), "sink lost; the other sinks continue");
        }
    }

    /// Waits until every sink has sent its queue, at most until `deadline`.
    pub async fn drain(self, deadline: Instant) {
        for mut task in self.0 {
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
