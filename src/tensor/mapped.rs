//! Memory-mapped files, reinterpreted bytes, and the allocator's threshold for large tensors.
//!
//! [`Mapped`] maps a regular file and dereferences to its bytes. Anything that is not a regular file is refused before it
//! is opened, so that a pipe cannot block. [`as_f32`] and [`as_f16`] reinterpret aligned little-endian bytes in place.
//! [`map_large_tensors`] configures the allocator of the process, [`return_free_memory`] empties it. All callers see safe
//! slices.
//!
//! Another process must not truncate a mapped file: the kernel would end this process with SIGBUS. Files that this crate
//! writes are replaced by renaming, never rewritten in place, so they are safe.

use std::fs::File;
use std::ops::Deref;
use std::path::Path;

use half::f16;

use crate::error::{Error, Kind, Result};

/// A read-only file mapping.
#[derive(Debug)]
pub struct Mapped {
    map: memmap2::Mmap,
}

impl Mapped {
    /// Maps the whole file at `path`.
    ///
    /// # Errors
    /// [`Kind::NoInput`] if it does not exist or is not a regular file, [`Kind::Permission`] if it is not readable,
    /// [`Kind::Io`] if it cannot be mapped.
    pub fn open(path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(|e| Error::reading(path, e))?;
        if !metadata.is_file() {
            return Err(Error::new(Kind::NoInput, format!("{} is not a regular file", path.display())));
        }
        let file = File::open(path).map_err(|e| Error::reading(path, e))?;
        // SAFETY: the mapping is private and read-only, and lives as long as this value. If another process truncates
        // the file, access ends with a signal. If it rewrites the file in place, numbers change; they are checked where
        // they are used. The module documentation states this.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| Error::reading(path, e))?;
        Ok(Self { map })
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

/// `bytes` as f32 values in place. `None` if they are not aligned to f32 at both ends, or the machine is big-endian.
pub fn as_f32(bytes: &[u8]) -> Option<&[f32]> {
    // SAFETY: every pattern of four bytes is an f32, and `align_to` puts only aligned values into the middle.
    let (head, values, tail) = unsafe { bytes.align_to::<f32>() };
    (cfg!(target_endian = "little") && head.is_empty() && tail.is_empty()).then_some(values)
}

/// `bytes` as f16 values in place. `None` if they are not aligned to f16 at both ends, or the machine is big-endian.
pub fn as_f16(bytes: &[u8]) -> Option<&[f16]> {
    // SAFETY: f16 is a transparent u16, every pattern of two bytes is one, and `align_to` yields only aligned values.
    let (head, values, tail) = unsafe { bytes.align_to::<f16>() };
    (cfg!(target_endian = "little") && head.is_empty() && tail.is_empty()).then_some(values)
}

/// Smallest allocation, in bytes, that is mapped from the system and returned to it when freed. Most camera frames are
/// smaller: they are allocated many times a second, and fresh pages would cost a page fault each.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MMAP_THRESHOLD: libc::c_int = 4 << 20;

/// Heaps of the allocator. By default it has eight for each core, and every thread of every run leaves holes in one.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const HEAPS: libc::c_int = 2;

/// Makes the allocator of this process map every large tensor separately, and share two heaps among all threads.
///
/// The GNU allocator does so at first, but raises its threshold up to 32 MiB once such a tensor is freed. Activations then
/// share heaps, and the holes between them are never returned: 30 MiB for a ResNet-50 with its int8 copy. Other
/// allocators map large allocations anyway.
pub fn map_large_tensors() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (parameter, value) in [
        (libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD),
        (libc::M_TRIM_THRESHOLD, 2 * MMAP_THRESHOLD),
        (libc::M_ARENA_MAX, HEAPS),
    ] {
        // SAFETY: `mallopt` takes two numbers and changes only the allocator's settings, under its lock. It refuses an
        // unknown parameter, and nothing depends on success.
        let _ = unsafe { libc::mallopt(parameter, value) };
    }
}

/// Returns the memory that the allocator holds without use to the system: after a model is dropped, or packed.
///
/// The GNU allocator keeps a heap for each thread and frees only its end. Weights that were packed by the detector's
/// threads and dropped leave holes there: 13 MiB of a MobileNet's 20. It takes some milliseconds.
pub fn return_free_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `malloc_trim` takes a number and works on the allocator's own lists, under its locks.
    let _ = unsafe { libc::malloc_trim(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, 1.5f32.to_le_bytes()).unwrap();
        let mapped = Mapped::open(&path).unwrap();
        assert_eq!(as_f32(&mapped), Some(&[1.5f32][..]));
        assert_eq!(as_f16(&mapped).map(<[f16]>::len), Some(2));
        assert_eq!(as_f32(&mapped[1..]), None);
    }

    #[test]
    fn an_empty_file_is_no_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty");
        std::fs::write(&path, []).unwrap();
        assert!(Mapped::open(&path).unwrap().is_empty());
    }

    #[test]
    fn folders_and_missing_files_are_no_input() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().to_path_buf(), folder.path().join("missing")] {
            assert_eq!(Mapped::open(&path).unwrap_err().kind(), Kind::NoInput);
        }
    }
}
