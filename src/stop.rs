//! The shutdown token that threads and futures can both wait on.
//!
//! [`Stop`] is cloned into everything that has to end; [`Trigger`] stays with the one who decides. Dropping the trigger
//! stops too: an owner that panics or returns early can never leave threads running that nobody will end.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::sync::IgnorePoison;

/// Whoever holds this decides; stopping cannot be taken back.
#[derive(Debug)]
pub struct Trigger {
    shared: Arc<Shared>,
    futures: watch::Sender<bool>,
}

/// The waiting side, one clone for each thread or task.
#[derive(Debug, Clone)]
pub struct Stop {
    shared: Arc<Shared>,
    futures: watch::Receiver<bool>,
}

/// What [`Stop::check`] gives once the time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

#[derive(Debug, Default)]
struct Shared {
    stopped: Mutex<bool>,
    changed: Condvar,
}

/// A trigger and the token that it pulls.
pub fn pair() -> (Trigger, Stop) {
    let shared = Arc::new(Shared::default());
    let (sender, receiver) = watch::channel(false);
    (Trigger { shared: shared.clone(), futures: sender }, Stop { shared, futures: receiver })
}

impl Trigger {
    /// Tells every holder of the token to end. Telling twice changes nothing.
    pub fn stop(&self) {
        *self.shared.stopped.lock().ignore_poison() = true;
        self.shared.changed.notify_all();
        self.futures.send_replace(true);
    }
}

impl Drop for Trigger {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Stop {
    /// Whether it is time to end.
    pub fn is_stopped(&self) -> bool {
        *self.futures.borrow()
    }

    /// `Err(Stopped)` once it is time to end, for use with `?`.
    ///
    /// # Errors
    ///
    /// [`Stopped`], and nothing else.
    pub fn check(&self) -> Result<(), Stopped> {
        if self.is_stopped() { Err(Stopped) } else { Ok(()) }
    }

    /// Blocks this thread for `duration`, or less if stopped meanwhile.
    ///
    /// # Errors
    ///
    /// [`Stopped`] if it was stopped before the time was over.
    pub fn wait_for(&self, duration: Duration) -> Result<(), Stopped> {
        let deadline = Instant::now().checked_add(duration);
        let mut stopped = self.shared.stopped.lock().ignore_poison();
        while !*stopped {
            // A time too far to be represented is as good as for ever.
            let left = deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(());
            }
            let left = left.min(Duration::from_secs(3600));
            stopped = self.shared.changed.wait_timeout(stopped, left).ignore_poison().0;
        }
        Err(Stopped)
    }

    /// Completes when it is time to end, at once if it already is.
    pub async fn stopped(&self) {
        // An error means that the trigger is gone, and a trigger that goes stops first.
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
