//! File sink: JSON lines with rotation by size. `path` is the current file, `path.1` the one before, and so on. An append
//! is one write, so that a reader never sees a partial line. A file that was moved or removed by someone else is created
//! again.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Sink, SinkFuture, line};
use crate::error::{Error, Result};
use crate::message::Message;

/// Sink that appends JSON lines to files.
#[derive(Debug)]
pub struct Files {
    path: PathBuf,
    max_size: u64,
    max_files: u32,
    open: Option<File>,
}

impl Files {
    /// Appends to `path`. The file is rotated before it exceeds `max_size` bytes. `max_files` files are kept, including the
    /// current one.
    ///
    /// # Errors
    ///
    /// As [`Error::writing`] if the file cannot be opened.
    pub fn open(path: &Path, max_size: u64, max_files: u32) -> Result<Self> {
        let mut files = Self { path: path.to_owned(), max_size, max_files: max_files.max(1), open: None };
        files.file()?;
        Ok(files)
    }

    /// The current file.
    fn file(&mut self) -> Result<(&mut File, u64)> {
        let failed = |error| Error::writing(&self.path, error);
        let same = |file: &File| -> Option<bool> {
            let (opened, current) = (file.metadata().ok()?, std::fs::metadata(&self.path).ok()?);
            Some(opened.ino() == current.ino() && opened.dev() == current.dev())
        };
        let file = match self.open.take().filter(|file| same(file) == Some(true)) {
            Some(file) => file,
            None => {
                if let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                    std::fs::create_dir_all(folder).map_err(failed)?;
                }
                OpenOptions::new().create(true).append(true).open(&self.path).map_err(failed)?
            }
        };
        let size = file.metadata().map_err(failed)?.len();
        Ok((self.open.insert(file), size))
    }

    fn append(&mut self, text: &[u8]) -> Result<()> {
        let (_, size) = self.file()?;
        if size > 0 && size.saturating_add(text.len() as u64) > self.max_size {
            self.rotate()?;
        }
        let path = self.path.clone();
        let (file, size) = self.file()?;
        let written = file.write_all(text);
        if written.is_err() {
            // A partial line would corrupt the next one. A second failure cannot be handled.
            let _ = file.set_len(size);
        }
        written.map_err(|error| Error::writing(&path, error))
    }

    fn rotate(&mut self) -> Result<()> {
        self.open = None;
        let numbered = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        let failed = |error| Error::writing(&self.path, error);
        if self.max_files == 1 {
            return std::fs::remove_file(&self.path).map_err(failed);
        }
        for number in (1..self.max_files - 1).rev() {
            match std::fs::rename(numbered(number), numbered(number + 1)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        std::fs::rename(&self.path, numbered(1)).map_err(failed)
    }
}

impl Sink for Files {
    fn send<'a>(&'a mut self, message: &'a Message) -> SinkFuture<'a> {
        Box::pin(async move {
            let text = line(message)?;
            // A disk may block; the other sinks share this thread.
            let mut files = Self { path: self.path.clone(), open: self.open.take(), ..*self };
            let (files, outcome) = super::run_blocking(move || {
                let outcome = files.append(&text);
                (files, outcome)
            })
            .await?;
            self.open = files.open;
            outcome
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_begun_anew_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log/lines");
        let mut files = Files::open(&path, 100, 3).unwrap();
        for number in 0..40 {
            files.append(format!("{number:09}\n").as_bytes()).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(folder.path().join("log").join(name)).unwrap();
        assert_eq!(std::fs::read_dir(folder.path().join("log")).unwrap().count(), 3);
        assert_eq!(read("lines").lines().last(), Some("000000039"));
        assert_eq!((read("lines.1").len(), read("lines.2").len()), (100, 100));
        assert_eq!(read("lines.2").lines().next(), Some("000000010"));
        // A restart goes on where it was; a file moved away is made again.
        let mut files = Files::open(&path, 1000, 3).unwrap();
        files.append(b"after\n").unwrap();
        assert_eq!(read("lines").lines().last(), Some("after"));
        std::fs::rename(&path, folder.path().join("moved")).unwrap();
        files.append(b"again\n").unwrap();
        assert_eq!(read("lines"), "again\n");
    }

    #[test]
    fn one_file_is_replaced_and_a_line_longer_than_the_limit_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        let mut files = Files::open(&path, 10, 1).unwrap();
        files.append(b"0123456789abcdef\n").unwrap();
        files.append(b"next\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "next\n");
        assert_eq!(Files::open(folder.path(), 10, 1).unwrap_err().kind(), crate::error::Kind::Io);
    }
}
