//! Output of commands: results on stdout, notes and errors on stderr.
//!
//! A closed stdout (`lookout … | head`) is no error: the command ends quietly.

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::error::{Error, Kind, Result};
use crate::redact::redact;

/// Writes `text` and a newline to stdout. Returns false if the reader has closed the pipe; the caller can stop then.
///
/// # Errors
///
/// [`Kind::Io`] if stdout cannot be written.
pub fn print(text: impl Display) -> Result<bool> {
    print_to(&mut std::io::stdout().lock(), text)
}

/// Writes each line to stdout, until the reader closes the pipe.
///
/// # Errors
///
/// As [`print()`].
pub fn print_lines(lines: impl IntoIterator<Item = impl Display>) -> Result<()> {
    for line in lines {
        if !print(line)? {
            break;
        }
    }
    Ok(())
}

fn print_to(out: &mut impl Write, text: impl Display) -> Result<bool> {
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::new(Kind::Io, "cannot write to stdout").because(error)),
    }
}

/// `value` as JSON on one line.
///
/// # Errors
///
/// [`Kind::Internal`] if it has no JSON form.
pub fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(no_json)
}

/// `value` as JSON with line breaks.
///
/// # Errors
///
/// As [`json`].
pub fn pretty_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(value).map_err(no_json)
}

fn no_json(source: serde_json::Error) -> Error {
    Error::new(Kind::Internal, "the result cannot be written as JSON").because(source)
}

/// Writes `text` without secrets and a newline to stderr. A closed stderr is ignored.
pub fn print_note(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{}", redact(&text.to_string()));
}

/// Writes a warning as a note.
pub fn print_warning(text: impl Display) {
    print_note(format_args!("lookout: warning: {text}"));
}

/// Writes an error with its causes as one line on stderr.
pub fn print_error(error: &Error) {
    print_note(format_args!("lookout: {}", error.chain()));
}

/// Template of a [`progress_bar`] with its position and the estimated remaining time.
pub const REMAINING: &str = "{wide_bar} {pos}/{len}, {eta} left";

/// A progress bar of `length` steps on stderr; hidden if stderr is not a terminal.
pub fn progress_bar(length: u64, template: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// A callback that moves `bar` to a number of steps done, of all.
pub fn progress_of(bar: &ProgressBar) -> impl FnMut(usize, usize) + '_ {
    |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_gone_away_is_not_an_error_but_a_full_disk_is() {
        assert!(print_to(&mut Vec::new(), "x").unwrap());
        assert!(!print_to(&mut Broken(ErrorKind::BrokenPipe), "x").unwrap());
        assert_eq!(print_to(&mut Broken(ErrorKind::StorageFull), "x").unwrap_err().kind(), Kind::Io);
    }
}
