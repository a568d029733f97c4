//! A pipe that is read with patience: every wait ends at the stop or after a time.

use std::io::{self, Read};
use std::process::ChildStdout;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::stop::Stop;

/// How long one wait is, before it looks whether to stop.
const SLICE: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };

/// The text of an error that means: stopped.
const STOPPED: &str = "stopped while reading";

/// The reading end.
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

    /// Begins another picture: the time runs anew, and `stop` ends it.
    pub fn begin(&mut self, stop: &Stop) {
        self.begin = Instant::now();
        if self.stop.is_none() {
            self.stop = Some(stop.clone());
        }
    }
}

impl Patient {
    /// Waits a moment for something to be read; `false` if there is nothing yet.
    ///
    /// # Errors
    /// As `poll(2)`.
    pub fn has_something(&self) -> io::Result<bool> {
        let mut descriptors = [PollFd::new(&self.pipe, PollFlags::IN)];
        match rustix::event::poll(&mut descriptors, Some(&SLICE)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether `error` means that it was time to stop.
pub fn is_stopped(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.to_string() == STOPPED)
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.stop.as_ref().is_some_and(Stop::is_stopped) {
                return Err(io::Error::other(STOPPED));
            }
            let mut descriptors = [PollFd::new(&self.pipe, PollFlags::IN)];
            match rustix::event::poll(&mut descriptors, Some(&SLICE)) {
                Ok(0) => {
                    let silent = self.begin.elapsed();
                    if silent > self.patience {
                        let text = format!("stalled: no picture for {} s", silent.as_secs());
                        return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                    }
                }
                // Data, or the other end is gone, which reading tells.
                Ok(_) => return self.pipe.read(buffer),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
