//! The error type of the crate.
//!
//! An [`Error`] has a [`Kind`] from a closed list, a message for the user and an optional source. Policy (retry, degrade,
//! exit) depends on the kind and never parses text. `main` maps the kind to an exit code of `sysexits.h`.

use std::fmt;

use crate::redact::redact;

/// Category of an error. It decides the exit code, and whether a retry can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The command line is wrong (64).
    Usage,
    /// The content of a file or message is invalid (65).
    Data,
    /// A file or device named by the user does not exist (66).
    NoInput,
    /// A device, service or instruction set is missing or busy (69).
    Unavailable,
    /// A fault of this program (70).
    Internal,
    /// An output cannot be created (73).
    CannotCreate,
    /// Reading or writing failed (74).
    Io,
    /// The operating system denied access (77).
    Permission,
    /// The configuration is invalid (78).
    Config,
}

impl Kind {
    /// Every kind.
    const ALL: [Self; 9] = [
        Self::Usage,
        Self::Data,
        Self::NoInput,
        Self::Unavailable,
        Self::Internal,
        Self::CannotCreate,
        Self::Io,
        Self::Permission,
        Self::Config,
    ];

    /// Name of the kind in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Data => "data",
            Self::NoInput => "no_input",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
            Self::CannotCreate => "cannot_create",
            Self::Io => "io",
            Self::Permission => "permission",
            Self::Config => "config",
        }
    }

    /// The kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Process exit code of this kind (`sysexits.h`).
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Usage => 64,
            Self::Data => 65,
            Self::NoInput => 66,
            Self::Unavailable => 69,
            Self::Internal => 70,
            Self::CannotCreate => 73,
            Self::Io => 74,
            Self::Permission => 77,
            Self::Config => 78,
        }
    }
}

/// A [`Kind`], a message for the user, and the cause.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error without a source. Secrets in the message are redacted.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: redact(&message.into()), source: None }
    }

    /// Adds the error that caused this one.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Prefixes the message with `place`, where the error occurred.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.message = redact(&format!("{place}: {}", self.message));
        self
    }

    /// A failed read of `path`; the kind follows from `source`.
    pub fn reading(path: impl AsRef<std::path::Path>, source: std::io::Error) -> Self {
        let kind = match source.kind() {
            std::io::ErrorKind::NotFound => Kind::NoInput,
            std::io::ErrorKind::PermissionDenied => Kind::Permission,
            _ => Kind::Io,
        };
        Self::new(kind, format!("cannot read {}", path.as_ref().display())).because(source)
    }

    /// A failed write of `path`; the kind follows from `source`.
    pub fn writing(path: impl AsRef<std::path::Path>, source: std::io::Error) -> Self {
        let kind = match source.kind() {
            std::io::ErrorKind::PermissionDenied => Kind::Permission,
            std::io::ErrorKind::NotFound | std::io::ErrorKind::AlreadyExists => Kind::CannotCreate,
            _ => Kind::Io,
        };
        Self::new(kind, format!("cannot write {}", path.as_ref().display())).because(source)
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The message without its causes.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The message and its causes, joined by `: `, on one line, without secrets.
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        redact(&text.replace('\n', " "))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

impl From<candle_core::Error> for Error {
    /// A failed tensor operation is an internal fault, since shapes are checked before candle is called.
    fn from(source: candle_core::Error) -> Self {
        Self::new(Kind::Internal, "tensor operation failed").because(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_names_every_cause_on_one_line() {
        let low = std::io::Error::other("disk\nfell off");
        let error = Error::reading("/x/y", low).at("import");
        assert_eq!(error.chain(), "import: cannot read /x/y: disk fell off");
        assert_eq!(error.kind().exit_code(), 74);
    }

    #[test]
    fn a_missing_file_is_no_input() {
        let error = Error::reading("/x", std::io::ErrorKind::NotFound.into());
        assert_eq!(error.kind(), Kind::NoInput);
    }
}
