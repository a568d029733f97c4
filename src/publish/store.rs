//! A file that survives power cuts: redb, opened small and checked, or begun anew.
//!
//! In: a path. Out: a database there. Promises: what was committed is there after any crash; a file that is damaged
//! all the same is set aside under a name that the log tells, and an empty one takes its place, for a device must not
//! stay mute because a card went bad.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError, StorageError};

use crate::error::{Error, Kind, Result};

/// Bytes of pages kept in memory: these stores are written rather than read.
const CACHE: usize = 1 << 20;

/// Opens the store at `path`, making folder and file where there are none.
///
/// # Errors
///
/// As [`Error::writing`] if the place cannot be written; [`Kind::Unavailable`] if another process has it open.
pub fn open(path: &Path) -> Result<Database> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| Error::writing(folder, error))?;
    }
    match checked(path) {
        Ok(database) => Ok(database),
        Err(Fault::Damaged(reason)) => {
            let aside = set_aside(path)?;
            tracing::warn!(
                path = %path.display(),
                aside = %aside.display(),
                reason,
                "a store is damaged: it was set aside and a new one is begun"
            );
            checked(path).map_err(|fault| fault.into_error(path))
        }
        Err(fault) => Err(fault.into_error(path)),
    }
}

/// Why a store does not open.
enum Fault {
    /// What is in the file cannot be used.
    Damaged(String),
    Busy,
    Io(std::io::Error),
}

impl Fault {
    fn into_error(self, path: &Path) -> Error {
        match self {
            Self::Damaged(reason) => Error::new(Kind::Data, format!("{}: {reason}", path.display())),
            Self::Busy => Error::new(Kind::Unavailable, format!("{} is in use by another process", path.display())),
            Self::Io(error) => Error::writing(path, error),
        }
    }
}

/// The database at `path`, every page of it checked.
fn checked(path: &Path) -> std::result::Result<Database, Fault> {
    // The library says that it may panic on a file altered behind its back.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        Database::builder().set_cache_size(CACHE).set_check_integrity_on_open(true).create(path)
    }));
    match opened {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch)) => Err(Fault::Busy),
        Ok(Err(DatabaseError::Storage(StorageError::Io(error)))) => match error.kind() {
            // What a file that is no database, or half of one, reads as.
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => {
                Err(Fault::Damaged(error.to_string()))
            }
            _ => Err(Fault::Io(error)),
        },
        Ok(Err(error)) => Err(Fault::Damaged(error.to_string())),
        Err(_) => Err(Fault::Damaged("its structure is broken".to_owned())),
    }
}

/// Renames the file at `path`; one that was set aside before makes room.
fn set_aside(path: &Path) -> Result<PathBuf> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".damaged");
    let aside = path.with_file_name(name);
    std::fs::rename(path, &aside).map_err(|error| Error::writing(&aside, error))?;
    Ok(aside)
}

/// Bytes free on the file system of `folder`; `None` where it cannot be told.
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let told = rustix::fs::statvfs(folder).ok()?;
    Some(told.f_bavail.saturating_mul(told.f_frsize))
}

#[cfg(test)]
mod tests {
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
        let database = open(&path).unwrap();
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
