//! The tasks of the sinks, while the service runs and at its end.

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::error::{Error, Kind, Result};

/// A sink's task.
pub type Task = JoinHandle<Result<()>>;

/// The tasks.
pub struct Sinks(pub Vec<Task>);

impl Sinks {
    /// Completes with the last sink's error once no sink is left: nobody would hear what is said any more. A sink that
    /// is gone while others are left is told and done without.
    pub async fn lost(&mut self) -> Error {
        loop {
            let (ended, index) = std::future::poll_fn(|context| {
                for (index, task) in self.0.iter_mut().enumerate() {
                    if let std::task::Poll::Ready(ended) = std::pin::Pin::new(task).poll(context) {
                        return std::task::Poll::Ready((ended, index));
                    }
                }
                std::task::Poll::Pending
            })
            .await;
            self.0.swap_remove(index);
            let error = match ended {
                Ok(Err(error)) => error,
                _ => Error::new(Kind::Internal, "a sink ended by itself"),
            };
            if self.0.is_empty() {
                return error;
            }
            tracing::warn!(error = error.chain(), "a sink is gone; the others go on");
        }
    }

    /// Waits until every sink has sent what was queued, at most until `deadline`.
    pub async fn drain(self, deadline: Instant) {
        for mut task in self.0 {
            match tokio::time::timeout_at(deadline, &mut task).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => tracing::warn!(error = error.chain(), "not everything was sent"),
                Ok(Err(error)) => tracing::warn!(error = error.to_string(), "a sink failed at the end"),
                Err(_) => {
                    task.abort();
                    tracing::warn!("a sink was not done within the grace period; what it held is lost");
                }
            }
        }
    }
}
