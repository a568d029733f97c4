//! Work shared by the threads of the current rayon pool, without a queue and without allocating.
//!
//! In: a number of tasks and a worker. Out: every task claimed exactly once, lowest first, by whichever thread is
//! free; a slow core takes fewer. Before each one a thread of less urgent work gives way ([`crate::precedence`]). On a
//! pool of one thread, or outside of any parallel work, the caller does it all.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::precedence::yield_point;

/// Tasks for each thread, so that one which comes late finds little left to wait for.
const TASKS_PER_THREAD: usize = 4;

/// The number of tasks that work should be cut into for the current pool, if its size allows: 1 for one thread.
pub fn wanted_tasks() -> usize {
    let threads = rayon::current_num_threads();
    if threads > 1 { threads * TASKS_PER_THREAD } else { 1 }
}

/// The tasks not yet claimed, as an iterator that several threads draw from.
#[derive(Debug)]
pub struct Claims<'a> {
    next: &'a AtomicUsize,
    tasks: usize,
}

impl Iterator for Claims<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        yield_point();
        // Only the number itself is exchanged here; what the tasks write is published by the join at the end.
        let task = self.next.fetch_add(1, Ordering::Relaxed);
        (task < self.tasks).then_some(task)
    }
}

/// Runs `worker` on as many threads of the current pool as there are tasks for, at most all of them. Each call of
/// `worker` should set up its scratch once and then draw tasks until there are none left.
pub fn share<F: Fn(Claims<'_>) + Sync>(tasks: usize, worker: F) {
    let next = AtomicUsize::new(0);
    let threads = rayon::current_num_threads().min(tasks);
    fan_out(threads, &|| worker(Claims { next: &next, tasks }));
}

fn fan_out(threads: usize, worker: &(dyn Fn() + Sync)) {
    match threads {
        0 => {}
        1 => worker(),
        _ => {
            rayon::join(worker, || fan_out(threads - 1, worker));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_claimed_once() {
        for threads in 1..=3 {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let counts: Vec<AtomicUsize> = (0..50).map(|_| AtomicUsize::new(0)).collect();
            pool.install(|| {
                share(counts.len(), |claims| {
                    for task in claims {
                        counts[task].fetch_add(1, Ordering::Relaxed);
                    }
                });
            });
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn nothing_to_do_is_fine() {
        share(0, |claims| assert_eq!(claims.count(), 0));
    }
}
