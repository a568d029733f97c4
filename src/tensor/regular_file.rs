//! Files that other programs may overwrite: read, never mapped.
//!
//! In: a path. Out: a [`RegularFile`] that is open for reading, or its contents. Anything that is not a regular file is
//! refused before it is opened, so that a pipe cannot block. A file that is replaced by renaming stays what it was when it
//! was opened. One that is truncated or overwritten in place gives an error; the pages of a mapped file would end the
//! process with SIGBUS.

use std::fs::{File, Metadata};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::digest::hexadecimal;
use crate::error::{Error, Kind, Result};

/// Bytes that are read at once where the contents are not kept.
const CHUNK: usize = 1 << 20;

/// A regular file, open for reading.
#[derive(Debug)]
pub struct RegularFile {
    file: File,
    path: PathBuf,
    /// As they were when the file was opened.
    stamp: FileStamp,
}

/// Size of a file and the time of its last change: another stamp means other contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStamp {
    /// Bytes.
    size: u64,
    /// `None` where the file system has no times.
    modified: Option<SystemTime>,
}

impl FileStamp {
    /// The stamp of the file at `path`; `None` if there is none.
    pub fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().as_ref().map(Self::from)
    }
}

impl From<&Metadata> for FileStamp {
    fn from(metadata: &Metadata) -> Self {
        Self { size: metadata.len(), modified: metadata.modified().ok() }
    }
}

/// The contents of the regular file at `path`.
///
/// # Errors
/// As [`RegularFile::open`] and [`RegularFile::read`].
pub fn read(path: &Path) -> Result<Vec<u8>> {
    RegularFile::open(path)?.read()
}

impl RegularFile {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// [`Kind::NoInput`] if it does not exist or is not a regular file, [`Kind::Permission`] if it is not readable.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |error| Error::reading(path, error);
        if !std::fs::metadata(path).map_err(failed)?.is_file() {
            return Err(Error::new(Kind::NoInput, format!("{} is not a regular file", path.display())));
        }
        let file = File::open(path).map_err(failed)?;
        let stamp = FileStamp::from(&file.metadata().map_err(failed)?);
        Ok(Self { file, path: path.to_owned(), stamp })
    }

    /// Size in bytes when the file was opened.
    pub fn size(&self) -> u64 {
        self.stamp.size
    }

    /// Checks that nobody has written to the file since it was opened.
    ///
    /// # Errors
    /// [`Kind::Unavailable`], naming the file and both sizes.
    pub fn check_unchanged(&self) -> Result<()> {
        let now = FileStamp::from(&self.file.metadata().map_err(|error| Error::reading(&self.path, error))?);
        if now == self.stamp {
            return Ok(());
        }
        let (path, before, now) = (self.path.display(), self.stamp.size, now.size);
        let text = format!(
            "{path} was overwritten while it was in use ({before} bytes before, {now} now); replace files by renaming, and \
             load it again once it is whole"
        );
        Err(Error::new(Kind::Unavailable, text))
    }

    /// The whole contents.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] if there is no memory for them, or as [`RegularFile::check_unchanged`]; [`Kind::Io`] if
    /// reading fails.
    pub fn read(&self) -> Result<Vec<u8>> {
        let bytes = self.read_range(0, usize::try_from(self.size()).unwrap_or(usize::MAX))?;
        self.check_unchanged()?;
        Ok(bytes)
    }

    /// `length` bytes from byte `offset` on.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] if there is no memory for them; as [`RegularFile::read_exact_at`].
    pub fn read_range(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if bytes.try_reserve_exact(length).is_err() {
            let text = format!("{}: there is no memory for {length} of its bytes", self.path.display());
            return Err(Error::new(Kind::Unavailable, text));
        }
        bytes.resize(length, 0);
        self.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// Fills `bytes` with the contents from byte `offset` on.
    ///
    /// # Errors
    /// As [`RegularFile::check_unchanged`] if the file has become too short; [`Kind::Io`] if reading fails.
    pub fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        self.file.read_exact_at(bytes, offset).map_err(|error| match self.check_unchanged() {
            Ok(()) => Error::reading(&self.path, error),
            Err(changed) => changed,
        })
    }

    /// Calls `visit` with the bytes from `offset` on, `length` of them, in pieces.
    ///
    /// # Errors
    /// As [`RegularFile::read_exact_at`].
    pub fn visit(&self, offset: u64, length: u64, mut visit: impl FnMut(&[u8])) -> Result<()> {
        let mut buffer = vec![0; CHUNK.min(usize::try_from(length).unwrap_or(CHUNK))];
        let mut done = 0;
        while done < length {
            let left = usize::try_from(length - done).unwrap_or(CHUNK);
            let piece = &mut buffer[..left.min(CHUNK)];
            self.read_exact_at(piece, offset + done)?;
            visit(piece);
            done += piece.len() as u64;
        }
        Ok(())
    }

    /// SHA-256 of the contents, in lower-case hexadecimal.
    ///
    /// # Errors
    /// As [`RegularFile::read`].
    pub fn sha256(&self) -> Result<String> {
        let mut digest = Sha256::new();
        self.visit(0, self.size(), |piece| digest.update(piece))?;
        self.check_unchanged()?;
        Ok(hexadecimal(&digest.finalize()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::digest::sha256;

    #[test]
    fn a_file_is_read_whole_in_part_and_in_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let contents: Vec<u8> = (0..3 * CHUNK + 5).map(|at| (at % 251) as u8).collect();
        std::fs::write(&path, &contents).unwrap();
        let file = RegularFile::open(&path).unwrap();
        assert_eq!(file.read().unwrap(), contents);
        let mut some = [0; 9];
        file.read_exact_at(&mut some, 1000).unwrap();
        assert_eq!(some, contents[1000..1009]);
        let mut pieces = Vec::new();
        file.visit(7, contents.len() as u64 - 7, |piece| pieces.extend_from_slice(piece)).unwrap();
        assert_eq!(pieces, contents[7..]);
        assert_eq!(file.sha256().unwrap(), sha256(&contents));
        std::fs::write(&path, []).unwrap();
        assert!(read(&path).unwrap().is_empty());
    }

    #[test]
    fn a_file_cut_short_or_overwritten_is_an_error_and_one_replaced_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, vec![7; 100_000]).unwrap();
        let file = RegularFile::open(&path).unwrap();
        std::fs::write(folder.path().join("new"), "new").unwrap();
        std::fs::rename(folder.path().join("new"), &path).unwrap();
        assert_eq!(file.read().unwrap(), vec![7; 100_000]);

        std::fs::write(&path, vec![7; 100_000]).unwrap();
        let file = RegularFile::open(&path).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(5000).unwrap();
        for error in [
            file.read().unwrap_err(),
            file.sha256().unwrap_err(),
            file.read_exact_at(&mut [0; 10], 4995).unwrap_err(),
            file.check_unchanged().unwrap_err(),
        ] {
            assert_eq!(error.kind(), Kind::Unavailable);
            assert!(
                error.message().contains("overwritten while it was in use (100000 bytes before, 5000 now)"),
                "{error}"
            );
        }
        assert!(file.read_exact_at(&mut [0; 10], 0).is_ok());
    }

    #[test]
    fn folders_pipes_and_missing_files_are_no_input() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path(), &folder.path().join("missing"), Path::new("/dev/null")] {
            assert_eq!(read(path).unwrap_err().kind(), Kind::NoInput);
        }
    }
}
