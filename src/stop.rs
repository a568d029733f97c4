//! Shutdown token for threads and futures.
//!
//! [`Stop`] is cloned into every thread and task; the owner keeps the [`StopTrigger`]. Dropping the trigger stops as
//! well, so an owner that panics or returns early leaves no threads running.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::sync::IgnorePoison;

/// Owner's side. A stop is final.
#[derive(Debug)]
pub struct StopTrigger {
    shared: Arc<Shared>,
    futures: watch::Sender<bool>,
}

/// Waiting side, cloned for each thread or task.
#[derive(Debug, Clone)]
pub struct Stop {
    shared: Arc<Shared>,
    futures: watch::Receiver<bool>,
}

/// Error of [`Stop::check`] after a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

#[derive(Debug, Default)]
struct Shared {
    stopped: Mutex<bool>,
    changed: Condvar,
}

/// A trigger and its token.
pub fn pair() -> (StopTrigger, Stop) {
    let shared = Arc::new(Shared::default());
    let (sender, receiver) = watch::channel(false);
    (StopTrigger { shared: shared.clone(), futures: sender }, Stop { shared, futures: receiver })
}

impl StopTrigger {
    /// Stops all holders of the token. A second call has no effect.
    pub fn stop(&self) {
        *self.shared.stopped.lock().ignore_poison() = true;
        self.shared.changed.notify_all();
        self.futures.send_replace(true);
    }
}

impl Drop for StopTrigger {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Stop {
    /// True after a stop.
    pub fn is_stopped(&self) -> bool {
        *self.futures.borrow()
    }

    /// `Err(Stopped)` after a stop, for use with `?`.
    ///
    /// # Errors
    ///
    /// [`Stopped`], and nothing else.
    pub fn check(&self) -> Result<(), Stopped> {
        if self.is_stopped() { Err(Stopped) } else { Ok(()) }
    }

    /// Blocks this thread for `duration`, or until a stop.
    ///
    /// # Errors
    ///
    /// [`Stopped`] if stopped before `duration` was over.
    pub fn wait_for(&self, duration: Duration) -> Result<(), Stopped> {
        let deadline = Instant::now().checked_add(duration);
        let mut stopped = self.shared.stopped.lock().ignore_poison();
        while !*stopped {
            // A deadline beyond the range of `Instant` is treated as infinite.
            let left = deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(());
            }
            let left = left.min(Duration::from_secs(3600));
            stopped = self.shared.changed.wait_timeout(stopped, left).ignore_poison().0;
        }
        Err(Stopped)
    }

    /// Completes at a stop; at once if already stopped.
    pub async fn stopped(&self) {
        // An error means that the trigger was dropped, which stops as well.
        let _ = self.futures.clone().wait_for(|stopped| *stopped).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_at_the_time_or_at_the_stop() {
        let (trigger, stop) = pair();
        assert_eq!(stop.wait_for(Duration::from_millis(1)), Ok(()));
        assert_eq!(stop.check(), Ok(()));
        let waiter = std::thread::spawn({
            let stop = stop.clone();
            move || stop.wait_for(Duration::MAX)
        });
        trigger.stop();
        assert_eq!(waiter.join().unwrap(), Err(Stopped));
        assert_eq!(stop.check(), Err(Stopped));
    }

    #[test]
    fn a_dropped_trigger_stops() {
        let (trigger, stop) = pair();
        drop(trigger);
        assert!(stop.is_stopped());
        assert_eq!(stop.wait_for(Duration::from_secs(60)), Err(Stopped));
    }

    #[tokio::test]
    async fn futures_wait_on_it_too() {
        let (trigger, stop) = pair();
        let waiting = tokio::spawn({
            let stop = stop.clone();
            async move { stop.stopped().await }
        });
        trigger.stop();
        waiting.await.unwrap();
        stop.stopped().await;
    }
}
