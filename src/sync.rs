//! Locks after a panic: one rule for a lock whose holder panicked.
//!
//! In: the result of locking or of waiting on a condition variable. Out: the guard, poisoned or not.
//!
//! A lock is poisoned if a thread panicked while it held the lock. The critical sections of this crate replace a value or
//! change one entry of a table, so the data stay usable. The owner of the work reports the first panic: the service ends
//! with exit code 70, the control socket answers with an error. A second panic in another thread would hide the
//! first one and would keep the service from stopping in order.

use std::sync::PoisonError;

/// Takes the guard out of a locking result, poisoned or not.
pub trait IgnorePoison {
    /// The guard.
    type Guard;

    /// The guard, even where an earlier holder panicked.
    fn ignore_poison(self) -> Self::Guard;
}

impl<G> IgnorePoison for Result<G, PoisonError<G>> {
    type Guard = G;

    fn ignore_poison(self) -> G {
        self.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_poisoned_lock_still_opens() {
        let lock = Arc::new(Mutex::new(1));
        let holder = std::thread::spawn({
            let lock = lock.clone();
            move || {
                let _guard = lock.lock().unwrap();
                panic!("made up for this test");
            }
        });
        assert!(holder.join().is_err());
        assert!(lock.is_poisoned());
        *lock.lock().ignore_poison() += 1;
        assert_eq!(*lock.lock().ignore_poison(), 2);
    }
}
