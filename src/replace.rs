//! Writing a file so that whoever looks sees the old one or the new one, whole, even across a power cut.
//!
//! In: a path and a function that writes the contents. Out: the file, synced, renamed into place, its folder synced.
//! Promises: on any failure the old file stands untouched and the temporary one beside it is gone.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};

/// A temporary file that disappears unless it was renamed.
struct Temporary {
    path: PathBuf,
    kept: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept {
            // Nothing is left to do about a file that cannot even be removed.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Replaces the file at `path` by what `write` writes, atomically and durably.
///
/// # Errors
/// What `write` returns; [`Kind::CannotCreate`], [`Kind::Permission`] or [`Kind::Io`] if the file system refuses.
pub fn replace(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    let failed = |e| Error::writing(path, e);
    let Some(name) = path.file_name() else {
        return Err(Error::new(Kind::CannotCreate, format!("{} is no file name to write to", path.display())));
    };
    if path.is_dir() {
        return Err(Error::new(
            Kind::CannotCreate,
            format!("{} is a folder; expected a file to write", path.display()),
        ));
    }
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}.tmp", std::process::id()));
    let mut temporary = Temporary { path: folder.join(hidden), kept: false };

    let mut out = BufWriter::new(File::create(&temporary.path).map_err(failed)?);
    write(&mut out)?;
    out.flush().map_err(failed)?;
    out.get_ref().sync_all().map_err(failed)?;
    drop(out);
    std::fs::rename(&temporary.path, path).map_err(failed)?;
    temporary.kept = true;
    // The rename itself is on disk only once its folder is.
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        replace(&path, |out| out.write_all(b"old").map_err(|e| Error::writing("x", e))).unwrap();
        let error = replace(&path, |out| {
            out.write_all(b"half").map_err(|e| Error::writing("x", e))?;
            Err(Error::new(Kind::Data, "no"))
        });
        assert_eq!(error.unwrap_err().kind(), Kind::Data);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_folder_and_a_folder_in_the_way_cannot_be_created() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().join("no/file"), folder.path().to_path_buf()] {
            assert_eq!(replace(&path, |_| Ok(())).unwrap_err().kind(), Kind::CannotCreate);
        }
    }
}
