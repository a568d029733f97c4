//! Work that other work gives way to.
//!
//! In: when urgent work is being done (a frame is in the detector). Out: threads that said so wait at their next task
//! until it is over, but never longer than they were told to. Results do not depend on it.
//!
//! The scheduler's idle class alone does not do this. A worker of a thread pool that finds nothing to do offers its core
//! before it sleeps; the idle thread then keeps it for a time slice, several milliseconds, while the worker's next task,
//! which comes after microseconds, waits. A detection has hundreds of such moments.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::sync::IgnorePoison;

/// Says when urgent work is done; shared by those who do it and those who give way.
#[derive(Debug, Default)]
pub struct Precedence {
    /// Pieces of urgent work now.
    taken: AtomicUsize,
    lock: Mutex<()>,
    free: Condvar,
}

/// Urgent work is done for as long as this lives.
#[derive(Debug)]
pub struct Taken<'a>(&'a Precedence);

impl Precedence {
    /// Urgent work begins.
    pub fn take(&self) -> Taken<'_> {
        self.taken.fetch_add(1, Ordering::SeqCst);
        Taken(self)
    }

    /// Waits until no urgent work is done, at most for `most`; returns how long that was.
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
            // Whoever has looked but does not wait yet holds the lock.
            drop(self.0.lock.lock().ignore_poison());
            self.0.free.notify_all();
        }
    }
}

/// To what a thread gives way.
struct Way {
    to: Arc<Precedence>,
    /// How long it still may.
    left: Duration,
}

thread_local! {
    static WAY: RefCell<Option<Way>> = const { RefCell::new(None) };
}

/// This thread gives way to `to` from now on.
pub fn give_way_to(to: Arc<Precedence>) {
    WAY.set(Some(Way { to, left: Duration::ZERO }));
}

/// From now until the next call this thread waits for `most` in all: whoever shall not be kept from working for ever
/// sets that a time. Without effect on threads that do not give way.
pub fn wait_at_most(most: Duration) {
    WAY.with_borrow_mut(|way| {
        if let Some(way) = way {
            way.left = most;
        }
    });
}

/// Between two tasks: waits where this thread gives way and urgent work is done.
#[inline]
pub fn give_way() {
    WAY.with_borrow_mut(|way| {
        if let Some(way) = way {
            way.left = way.left.saturating_sub(way.to.wait(way.left));
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
        // This one gives way to nothing.
        wait_at_most(Duration::from_secs(60));
        give_way();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                give_way_to(Arc::clone(&precedence));
                wait_at_most(Duration::from_secs(60));
                give_way();
                assert!(done.load(Ordering::SeqCst));
                // Nothing urgent: no wait.
                give_way();
            });
            drop(first);
            std::thread::sleep(Duration::from_millis(20));
            assert!(!thread.is_finished());
            done.store(true, Ordering::SeqCst);
            drop(second);
        });
    }

    #[test]
    fn no_thread_waits_longer_than_it_was_told_to() {
        let precedence = Arc::new(Precedence::default());
        let _taken = precedence.take();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                give_way_to(Arc::clone(&precedence));
                wait_at_most(Duration::from_millis(10));
                let begin = Instant::now();
                // The first one waits, the others have no time left to.
                (0..1000).for_each(|_| give_way());
                assert!(begin.elapsed() >= Duration::from_millis(10));
                WAY.with_borrow(|way| assert!(way.as_ref().unwrap().left.is_zero()));
            });
        });
    }
}
