//! Pipe reader with timeout: every wait ends at a stop or after a limit.

use std::io::{self, Read};
use std::process::ChildStdout;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::stop::Stop;

/// Duration of a wait between checks for a stop.
pub const POLL_INTERVAL: Duration = Duration::from_millis(250);
const POLL_TIMESPEC: Timespec = Timespec { tv_sec: 0, tv_nsec: POLL_INTERVAL.subsec_nanos() as _ };

/// Text of the error that means a stop.
const STOPPED: &str = "stopped while reading";

/// Reading end of a pipe.
#[derive(Debug)]
pub struct PipeReader {
    pipe: ChildStdout,
    timeout: Duration,
    stop: Option<Stop>,
    begin: Instant,
}

impl PipeReader {
    /// Reads `pipe`; a pause longer than `timeout` is an error.
    pub fn new(pipe: ChildStdout, timeout: Duration) -> Self {
        Self { pipe, timeout, stop: None, begin: Instant::now() }
    }

    /// Starts another frame: restarts the timeout and sets the stop token.
    pub fn begin(&mut self, stop: &Stop) {
        self.begin = Instant::now();
        if self.stop.is_none() {
            self.stop = Some(stop.clone());
        }
    }
}

impl PipeReader {
    /// Waits briefly for data. False if there is none yet.
    ///
    /// # Errors
    /// As `poll(2)`.
    pub fn has_data(&self) -> io::Result<bool> {
        let mut descriptors = [PollFd::new(&self.pipe, PollFlags::IN)];
        match rustix::event::poll(&mut descriptors, Some(&POLL_TIMESPEC)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Error that means a stop.
pub fn stopped() -> io::Error {
    io::Error::other(STOPPED)
}

/// True if `error` means a stop.
pub fn is_stopped(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.to_string() == STOPPED)
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.stop.as_ref().is_some_and(Stop::is_stopped) {
                return Err(stopped());
            }
            let mut descriptors = [PollFd::new(&self.pipe, PollFlags::IN)];
            match rustix::event::poll(&mut descriptors, Some(&POLL_TIMESPEC)) {
                Ok(0) => {
                    let elapsed = self.begin.elapsed();
                    if elapsed > self.timeout {
                        let text = format!("stalled: no picture for {} s", elapsed.as_secs());
                        return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                    }
                }
                // Data is available or the writer is gone, which a read tells apart.
                Ok(_) => return self.pipe.read(buffer),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
