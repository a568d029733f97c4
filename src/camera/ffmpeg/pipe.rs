//! Pipe reader with timeout: every wait ends at a stop or after a limit.

use std::io::{self, Read};
use std::process::ChildStdout;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::stop::Stop;

/// Duration of a wait between checks for a stop.
pub const SLICE: Duration = Duration::from_millis(250);
const SLICE_SPEC: Timespec = Timespec { tv_sec: 0, tv_nsec: SLICE.subsec_nanos() as _ };

/// Text of the error that means a stop.
const STOPPED: &str = "stopped while reading";

/// Reading end of a pipe.
#[derive(Debug)]
pub struct Patient {
    pipe: ChildStdout,
    patience: Duration,
    stop: Option<Stop>,
    begin: Instant,
}

impl Patient {
    /// Reads `pipe`; silence for longer than `patience` is an error.
    pub fn new(pipe: ChildStdout, patience: Duration) -> Self {
        Self { pipe, patience, stop: None, begin: Instant::now() }
    }

    /// Starts another frame: restarts the timeout and sets the stop token.
    pub fn begin(&mut self, stop: &Stop) {
        self.begin = Instant::now();
        if self.stop.is_none() {
            self.stop = Some(stop.clone());
        }
    }
}

impl Patient {
    /// Waits briefly for data. False if there is none yet.
    ///
    /// # Errors
    /// As `poll(2)`.
    pub fn has_something(&self) -> io::Result<bool> {
        let mut descriptors = [PollFd::new(&self.pipe, PollFlags::IN)];
        match rustix::event::poll(&mut descriptors, Some(&SLICE_SPEC)) {
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

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.stop.as_ref().is_some_and(Stop::is_stopped) {
                return Err(stopped());
            }
            let mut descriptors = [PollFd::new(&self.pipe, PollFlags::IN)];
            match rustix::event::poll(&mut descriptors, Some(&SLICE_SPEC)) {
                Ok(0) => {
                    let silent = self.begin.elapsed();
                    if silent > self.patience {
                        let text = format!("stalled: no picture for {} s", silent.as_secs());
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
