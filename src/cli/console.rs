//! What commands print: results on stdout, complaints on stderr.
//!
//! A reader that went away (`lookout … | head`) is not a failure of ours: printing to it ends quietly.

use std::io::{ErrorKind, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};

use crate::error::{Error, Kind, Result};

/// Writes `text` and a newline to stdout.
///
/// # Errors
///
/// [`Kind::Io`] if stdout cannot take it. A closed pipe is no error: the caller learns from `false` that nobody reads
/// any more and that it may stop.
pub fn print(text: impl std::fmt::Display) -> Result<bool> {
    print_to(&mut std::io::stdout().lock(), text)
}

fn print_to(out: &mut impl Write, text: impl std::fmt::Display) -> Result<bool> {
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::new(Kind::Io, "cannot write to stdout").because(error)),
    }
}

/// Writes `text` and a newline to stderr; nothing can be done where that fails.
pub fn note(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Writes an error with its causes as one line on stderr.
pub fn complain(error: &Error) {
    note(format_args!("lookout: {}", error.chain()));
}

/// How far a [`progress_bar`] is, and how long it will still take.
pub const REMAINING: &str = "{wide_bar} {pos}/{len}, {eta} left";

/// A bar of `length` steps on stderr that looks like `template`; hidden where stderr is no terminal.
pub fn progress_bar(length: u64, template: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
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
