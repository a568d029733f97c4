//! Runtime: tokio with one thread, for sinks, the page, the control socket and timers.
//!
//! tokio panics where the system starts no thread for it. A limit of the system is no fault of this program, so the panic
//! becomes an error.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::runtime::{Builder, Runtime};

use crate::error::{Error, Kind, Result};

/// Starts the runtime. No other thread may run yet: the messages of its panics would be lost.
///
/// # Errors
///
/// [`Kind::Unavailable`] if the system starts no thread.
pub fn start() -> Result<Runtime> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let runtime =
        without_panic(|| Builder::new_multi_thread().worker_threads(1).thread_name("io").enable_all().build());
    std::panic::set_hook(hook);
    runtime
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
