//! Opening of a redb database: checked at start, replaced if damaged.
//!
//! Committed data survive crashes and power cuts. A damaged file is renamed, the new name is logged, and an empty database
//! takes its place. So a worn card does not stop the device from publishing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use redb::{Database, DatabaseError, StorageError};

use crate::error::{Error, Kind, Result};

/// Page cache in bytes. It is small, since these stores are mostly written.
const CACHE: usize = 1 << 20;

/// Longest wait for another process to release a file. The kernel releases the locks of a killed process up to tens of
/// milliseconds after its end.
const RELEASE: Duration = Duration::from_millis(500);
/// Delay between two attempts to take a file.
const RELEASE_CHECK: Duration = Duration::from_millis(5);

/// Opens the database at `path`. Folder and file are created if missing.
///
/// # Errors
///
/// As [`Error::writing`] if the path is not writable; [`Kind::Unavailable`] if another process has the file open.
pub fn open(path: &Path) -> Result<Database> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| Error::writing(folder, error))?;
    }
    private_file(path).map_err(|error| Error::writing(path, error))?;
    let begin = Instant::now();
    let mut opened = checked(path);
    while matches!(opened, Err(OpenFault::Busy)) && begin.elapsed() < RELEASE {
        std::thread::sleep(RELEASE_CHECK);
        opened = checked(path);
    }
    match opened {
        Ok(database) => Ok(database),
        Err(OpenFault::Damaged(reason)) => {
            let aside = set_aside(path)?;
            tracing::warn!(
                path = %path.display(),
                aside = %aside.display(),
                reason,
                "a store is damaged: it was renamed, and an empty one takes its place"
            );
            private_file(path).map_err(|error| Error::writing(path, error))?;
            checked(path).map_err(|fault| fault.into_error(path))
        }
        Err(fault) => Err(fault.into_error(path)),
    }
}

/// Makes a file that its owner alone can read, or makes an existing one so. It may hold pictures of people.
pub fn private_file(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let file =
        std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// Reason why a database does not open.
enum OpenFault {
    /// The content of the file is unusable.
    Damaged(String),
    Busy,
    Io(std::io::Error),
}

impl OpenFault {
    fn into_error(self, path: &Path) -> Error {
        match self {
            Self::Damaged(reason) => Error::new(Kind::Data, format!("{}: {reason}", path.display())),
            Self::Busy => Error::new(Kind::Unavailable, format!("{} is in use by another process", path.display())),
            Self::Io(error) => Error::writing(path, error),
        }
    }
}

/// Opens the database at `path` and checks every page.
fn checked(path: &Path) -> std::result::Result<Database, OpenFault> {
    // The library documents that it may panic on externally modified files.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        Database::builder().set_cache_size(CACHE).set_check_integrity_on_open(true).create(path)
    }));
    match opened {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch)) => Err(OpenFault::Busy),
        Ok(Err(DatabaseError::Storage(StorageError::Io(error)))) => match error.kind() {
            // The error for a file that is not a database, or a truncated one.
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => {
                Err(OpenFault::Damaged(error.to_string()))
            }
            _ => Err(OpenFault::Io(error)),
        },
        Ok(Err(error)) => Err(OpenFault::Damaged(error.to_string())),
        Err(_) => Err(OpenFault::Damaged("its structure is broken".to_owned())),
    }
}

/// Renames a damaged file. An earlier renamed file is replaced.
fn set_aside(path: &Path) -> Result<PathBuf> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".damaged");
    let aside = path.with_file_name(name);
    std::fs::rename(path, &aside).map_err(|error| Error::writing(&aside, error))?;
    Ok(aside)
}

/// Free bytes on the file system of `folder`; `None` if unknown.
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let status = rustix::fs::statvfs(folder).ok()?;
    Some(status.f_bavail.saturating_mul(status.f_frsize))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use redb::{ReadableDatabase, TableDefinition};

    use super::*;

    const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("t");

    fn fill(path: &Path) {
        let database = open(path).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut table = transaction.open_table(TABLE).unwrap();
            for key in 0..200u64 {
                table.insert(key, &[key as u8; 300][..]).unwrap();
            }
        }
        transaction.commit().unwrap();
    }

    #[test]
    fn what_was_committed_is_there_and_a_second_owner_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.redb");
        fill(&path);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let database = open(&path).unwrap();
        assert_eq!(mode(&path), 0o600, "one of an earlier version is made private");
        assert_eq!(open(&path).unwrap_err().kind(), Kind::Unavailable);
        let read = database.begin_read().unwrap();
        assert_eq!(read.open_table(TABLE).unwrap().get(7).unwrap().unwrap().value(), [7; 300]);
    }

    #[test]
    fn a_damaged_file_is_set_aside_wherever_the_damage_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.redb");
        fill(&path);
        let whole = std::fs::read(&path).unwrap();
        let mut replaced = 0;
        for at in (0..whole.len()).step_by(whole.len() / 60) {
            let mut broken = whole.clone();
            for byte in broken.iter_mut().skip(at).take(64) {
                *byte ^= 0x5a;
            }
            std::fs::write(&path, &broken).unwrap();
            let _ = std::fs::remove_file(folder.path().join("b.redb.damaged"));
            let database = open(&path).unwrap();
            let read = database.begin_read().unwrap();
            match read.open_table(TABLE) {
                // Damage to a page that nothing uses is none.
                Ok(table) => assert_eq!(table.get(7).unwrap().unwrap().value(), [7; 300]),
                Err(_) => replaced += 1,
            }
            let aside = folder.path().join("b.redb.damaged").exists();
            assert_eq!(aside, read.open_table(TABLE).is_err(), "at {at}");
        }
        assert!(replaced > 3, "{replaced}");
        for text in [&b""[..], b"not a database at all", &whole[..whole.len() / 2]] {
            std::fs::write(&path, text).unwrap();
            drop(open(&path).unwrap());
        }
    }
}
