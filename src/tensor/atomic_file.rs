//! Atomic file replacement.
//!
//! In: a path and the contents. Out: the file, replaced in one step. A reader sees the old contents or the new ones, also
//! after a power cut. A failed write leaves no temporary file behind; a killed process may, see [`remove_leftovers`].

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};

/// Writes `path`: `contents` fills a temporary file in the same folder, which is synced and renamed over `path`.
///
/// # Errors
/// [`Kind::CannotCreate`] if `path` names no file, otherwise as [`Error::writing`].
pub fn write(path: &Path, contents: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    write_checked(path, |out| contents(out).map_err(|e| Error::writing(path, e)))
}

/// [`write()`] for a file that its owner alone can read (0600).
///
/// # Errors
/// As [`write()`].
pub fn write_private(path: &Path, contents: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    replace(path, 0o600, |out| contents(out).map_err(|e| Error::writing(path, e)))
}

/// [`write()`] for contents that can fail with an [`Error`] of their own. The old file then stays.
///
/// # Errors
/// As [`write()`], and errors of `contents`.
pub fn write_checked(path: &Path, contents: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    replace(path, 0o666, contents)
}

/// Replaces the file; a new one has `mode`, less the process's umask.
fn replace(path: &Path, mode: u32, contents: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let refuse = |what: &str| Err(Error::new(Kind::CannotCreate, format!("{} {what}", path.display())));
    let Some(name) = path.file_name() else { return refuse("is not the name of a file") };
    if path.is_dir() {
        return refuse("is a folder; expected a file to write");
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let failed = |e| Error::writing(path, e);
    let (file, temporary) = create_beside(folder, name, mode).map_err(failed)?;
    let result = fill(file, path, contents).and_then(|()| std::fs::rename(&temporary, path).map_err(failed));
    if result.is_err() {
        // The first error is the one to report.
        let _ = std::fs::remove_file(&temporary);
    }
    // Without this a power cut may undo the rename. File systems that refuse to sync a folder order the rename themselves.
    result.map(|()| {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    })
}

/// A new hidden file in `folder`, so that the rename stays within one file system.
fn create_beside(folder: &Path, name: &std::ffi::OsStr, mode: u32) -> io::Result<(File, PathBuf)> {
    let process = std::process::id();
    let mut attempt = 0u32;
    loop {
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{process}-{attempt}.part"));
        let path = folder.join(hidden);
        match OpenOptions::new().write(true).create_new(true).mode(mode).open(&path) {
            Ok(file) => return Ok((file, path)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && attempt < 1000 => attempt += 1,
            Err(e) => return Err(e),
        }
    }
}

/// Removes the temporary files of processes that have ended from `folder` and its folders. Those of another process that
/// runs stay. Call it before this process writes there.
pub fn remove_leftovers(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_leftovers(&path);
        } else if let Some(process) = process_of_temporary(&entry.file_name().to_string_lossy())
            && (process == std::process::id() || !Path::new(&format!("/proc/{process}")).exists())
        {
            match std::fs::remove_file(&path) {
                Ok(()) => tracing::info!(path = %path.display(), "removed the temporary file of a killed process"),
                Err(error) => {
                    let (path, error) = (path.display(), error.to_string());
                    tracing::warn!(%path, error, "the temporary file of a killed process cannot be removed");
                }
            }
        }
    }
}

/// The process whose temporary file has this name; `None` for other names.
fn process_of_temporary(name: &str) -> Option<u32> {
    let (_, numbers) = name.strip_prefix('.')?.strip_suffix(".part")?.rsplit_once('.')?;
    let (process, attempt) = numbers.split_once('-')?;
    attempt.parse::<u32>().ok()?;
    process.parse().ok()
}

fn fill(file: File, path: &Path, contents: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut buffered = BufWriter::with_capacity(1 << 16, file);
    contents(&mut buffered)?;
    let flushed = buffered.into_inner().map_err(io::IntoInnerError::into_error);
    flushed.and_then(|file| file.sync_all()).map_err(|e| Error::writing(path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_in_one_step_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        write(&path, |out| out.write_all(b"old")).unwrap();
        let failed = write(&path, |out| {
            out.write_all(b"half")?;
            Err(io::Error::other("power cut"))
        });
        assert_eq!(failed.unwrap_err().kind(), Kind::Io);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        write_private(&path, |out| out.write_all(b"new")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_temporary_files_of_ended_processes_are_leftovers() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("models");
        std::fs::create_dir(&below).unwrap();
        let ended = std::process::Command::new("true").spawn().and_then(|mut child| child.wait().map(|_| child.id()));
        let (ended, own) = (ended.unwrap(), std::process::id());
        let leftovers = [format!(".ledger.json.{ended}-0.part"), format!(".gen-0001.lookout.{own}-3.part")];
        let others = [".ledger.json.1-0.part", ".x.part", "a.1-0.part", ".y.12-z.part", "ledger.json"];
        for name in leftovers.iter().map(String::as_str).chain(others) {
            std::fs::write(below.join(name), "").unwrap();
        }
        remove_leftovers(folder.path());
        assert!(leftovers.iter().all(|name| !below.join(name).exists()));
        assert!(others.iter().all(|name| below.join(name).exists()));
        remove_leftovers(&folder.path().join("missing"));
    }

    #[test]
    fn a_missing_folder_cannot_be_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let error = write(&folder.path().join("no/model"), |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), Kind::CannotCreate);
        assert_eq!(write(Path::new("/"), |_| Ok(())).unwrap_err().kind(), Kind::CannotCreate);
    }
}
