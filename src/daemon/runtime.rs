//! Runtime: tokio with one thread, for sinks, the page, the control socket and timers.
//!
//! tokio panics where the system starts no thread for it. A limit of the system is no fault of this program, so the panic
//! becomes an error.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::error::{Error, Kind, Result};

/// Limit of threads for blocking work: disks, verbs, pictures.
const MAX_BLOCKING_THREADS: usize = 64;
/// Time after which a thread without blocking work ends. Work goes to the thread that waited the longest, so a rate of one
/// task in this time keeps each thread of an earlier burst alive.
const BLOCKING_THREAD_IDLE: Duration = Duration::from_millis(500);

/// Starts the runtime. No other thread may run yet: the messages of its panics would be lost.
///
/// # Errors
///
/// [`Kind::Unavailable`] if the system starts no thread.
pub fn start() -> Result<Runtime> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let runtime = without_panic(|| builder("io").build());
    std::panic::set_hook(hook);
    runtime
}

/// The runtime's settings; its threads have the name `threads`.
fn builder(threads: &str) -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).thread_name(threads).enable_all();
    builder.max_blocking_threads(MAX_BLOCKING_THREADS).thread_keep_alive(BLOCKING_THREAD_IDLE);
    builder
}

/// The result of `build`, with an error for its panic.
fn without_panic(build: impl FnOnce() -> std::io::Result<Runtime>) -> Result<Runtime> {
    let refused = || {
        let text = "the system starts no thread; raise the limit of processes: ulimit -u, or TasksMax= of the unit";
        Error::new(Kind::Unavailable, text)
    };
    match catch_unwind(AssertUnwindSafe(build)) {
        Ok(built) => built.map_err(|error| refused().because(error)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(refused().because(text.unwrap_or_else(|| "tokio panicked".to_owned())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_a_burst_end_although_there_is_work_all_the_time() {
        let runtime = builder("burst").build().unwrap();
        let begun = std::sync::Arc::new(std::sync::Barrier::new(41));
        for _ in 0..40 {
            let begun = begun.clone();
            runtime.spawn_blocking(move || {
                begun.wait();
            });
        }
        begun.wait();
        let is_ours = |task: &std::fs::DirEntry| {
            std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "burst")
        };
        let threads = || std::fs::read_dir("/proc/self/task").unwrap().flatten().filter(is_ours).count();
        assert!(threads() >= 40, "{}", threads());
        let begin = std::time::Instant::now();
        while threads() > 12 {
            assert!(begin.elapsed() < Duration::from_secs(30), "{} threads are left", threads());
            runtime.block_on(runtime.spawn_blocking(|| {})).unwrap();
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    #[test]
    fn a_refused_thread_is_unavailable_whether_tokio_returns_or_panics() {
        let refusals: [fn() -> std::io::Result<Runtime>; 3] = [
            || Err(std::io::ErrorKind::WouldBlock.into()),
            || panic!("OS can't spawn worker thread: {}", std::io::Error::from_raw_os_error(11)),
            || panic!("OS can't spawn worker thread"),
        ];
        for (refuse, cause) in refusals.into_iter().zip(["would block", "os error 11", "worker thread"]) {
            let error = without_panic(refuse).unwrap_err();
            assert_eq!((error.kind(), error.kind().exit_code()), (Kind::Unavailable, 69));
            assert!(error.chain().contains("TasksMax=") && error.chain().contains(cause), "{}", error.chain());
        }
        assert!(without_panic(|| Builder::new_current_thread().build()).is_ok());
    }
}
