//! Precedence of urgent work: background threads pause between tasks while urgent work runs.
//!
//! Detection of a frame is urgent. Background threads wait at their next task until it ends, up to a limit. Results do not
//! depend on it.
//!
//! The scheduler's idle class is not sufficient. A pool worker without a task yields its core before it sleeps. An idle
//! thread then keeps the core for a time slice of several milliseconds, while the worker's next task comes within
//! microseconds. A detection has hundreds of such moments.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::sync::IgnorePoison;

/// State of urgent work, shared by urgent and background threads.
#[derive(Debug, Default)]
pub struct Precedence {
    /// Number of urgent sections in progress.
    taken: AtomicUsize,
    lock: Mutex<()>,
    free: Condvar,
}

/// Guard of an urgent section.
#[derive(Debug)]
pub struct Taken<'a>(&'a Precedence);

impl Precedence {
    /// Starts an urgent section, which ends when the guard is dropped.
    pub fn take(&self) -> Taken<'_> {
        self.taken.fetch_add(1, Ordering::SeqCst);
        Taken(self)
    }

    /// Waits until no urgent section is in progress, at most for `most`. Returns the time waited.
    fn wait(&self, most: Duration) -> Duration {
        if self.taken.load(Ordering::SeqCst) == 0 || most.is_zero() {
            return Duration::ZERO;
        }
        let begin = Instant::now();
        let lock = self.lock.lock().ignore_poison();
        let busy = |(): &mut ()| self.taken.load(Ordering::SeqCst) > 0;
        drop(self.free.wait_timeout_while(lock, most, busy).ignore_poison());
        begin.elapsed()
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if self.0.taken.fetch_sub(1, Ordering::SeqCst) == 1 {
            // A thread between its check and its wait holds the lock, so it cannot miss the notification.
            drop(self.0.lock.lock().ignore_poison());
            self.0.free.notify_all();
        }
    }
}

/// Precedence that a background thread respects.
struct Yielding {
    to: Arc<Precedence>,
    /// Waiting time left.
    left: Duration,
}

thread_local! {
    static YIELDING: RefCell<Option<Yielding>> = const { RefCell::new(None) };
}

/// Makes this thread a background thread of `to`.
pub fn yield_to(to: Arc<Precedence>) {
    YIELDING.set(Some(Yielding { to, left: Duration::ZERO }));
}

/// Sets the total time that this thread waits until the next call, so that background work is never blocked for ever. No
/// effect on other threads.
pub fn limit_waiting(most: Duration) {
    YIELDING.with_borrow_mut(|state| {
        if let Some(state) = state {
            state.left = most;
        }
    });
}

/// Yield point between two tasks: a background thread waits here while urgent work runs.
#[inline]
pub fn yield_point() {
    YIELDING.with_borrow_mut(|state| {
        if let Some(state) = state {
            state.left = state.left.saturating_sub(state.to.wait(state.left));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn a_thread_waits_for_urgent_work_and_others_do_not() {
        let precedence = Arc::new(Precedence::default());
        let done = AtomicBool::new(false);
        let first = precedence.take();
        let second = precedence.take();
        // This thread is not a background thread.
        limit_waiting(Duration::from_secs(60));
        yield_point();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                yield_to(Arc::clone(&precedence));
                limit_waiting(Duration::from_secs(60));
                yield_point();
                assert!(done.load(Ordering::SeqCst));
                // Nothing urgent: no wait.
                yield_point();
            });
            drop(first);
            std::thread::sleep(Duration::from_millis(20));
            assert!(!thread.is_finished());
            done.store(true, Ordering::SeqCst);
            drop(second);
        });
    }

    #[test]
    fn no_thread_waits_longer_than_its_limit() {
        let precedence = Arc::new(Precedence::default());
        let _taken = precedence.take();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                yield_to(Arc::clone(&precedence));
                limit_waiting(Duration::from_millis(10));
                let begin = Instant::now();
                // The first call uses up the limit; the others do not wait.
                (0..1000).for_each(|_| yield_point());
                assert!(begin.elapsed() >= Duration::from_millis(10));
                YIELDING.with_borrow(|state| assert!(state.as_ref().unwrap().left.is_zero()));
            });
        });
    }
}
