//! A file seen as bytes without reading it first, bytes seen as numbers without copying them, and large tensors in
//! memory of their own.
//!
//! In: a path to a regular file. Out: [`Mapped`], which dereferences to its bytes for as long as it lives; and
//! [`as_f32`] and [`as_f16`], which reinterpret aligned little-endian bytes in place. Promises: everything outside
//! sees safe slices; anything that is not a regular file is refused before it is opened, so a pipe cannot block.
//! [`map_large_tensors`] sets the allocator of the process.
//!
//! A mapped file must not be shortened by another process while it is in use: the kernel would end us with SIGBUS.
//! Every file this crate writes is replaced by renaming, never rewritten in place, so its own files are safe.

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
    /// [`Kind::NoInput`] if it is not there or is no regular file, [`Kind::Permission`] if it may not be read,
    /// [`Kind::Io`] if it cannot be mapped.
    pub fn open(path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(|e| Error::reading(path, e))?;
        if !metadata.is_file() {
            return Err(Error::new(Kind::NoInput, format!("{} is not a regular file", path.display())));
        }
        let file = File::open(path).map_err(|e| Error::reading(path, e))?;
        // SAFETY: the mapping is private and read-only, and its lifetime is this value's. Another process that shortens
        // the file makes access fail with a signal, not with undefined contents we would act on; one that rewrites it
        // in place changes numbers, which are checked where they are used. The module's documentation says so.
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

/// `bytes` as f32 values in place; `None` if they do not start and end on a value, or this machine is big-endian.
pub fn as_f32(bytes: &[u8]) -> Option<&[f32]> {
    // SAFETY: every pattern of four bytes is an f32, and `align_to` puts in the middle only what is aligned.
    let (head, values, tail) = unsafe { bytes.align_to::<f32>() };
    (cfg!(target_endian = "little") && head.is_empty() && tail.is_empty()).then_some(values)
}

/// `bytes` as f16 values in place; `None` if they do not start and end on a value, or this machine is big-endian.
pub fn as_f16(bytes: &[u8]) -> Option<&[f16]> {
    // SAFETY: f16 is a transparent u16, any pattern of two bytes is one, and `align_to` yields only what is aligned.
    let (head, values, tail) = unsafe { bytes.align_to::<f16>() };
    (cfg!(target_endian = "little") && head.is_empty() && tail.is_empty()).then_some(values)
}

/// From here on, in bytes, an allocation is mapped from the system and goes back to it when it is freed. Frames of most
/// cameras are smaller: they come anew many times a second, and fresh pages would cost them a fault each.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_FROM: libc::c_int = 4 << 20;

/// Has the allocator map large tensors one by one, for all of the process and from now on. The GNU allocator does so at
/// first, but raises the limit to 32 MiB as soon as such a tensor is freed; from then on the activations of a network lie
/// among each other in heaps, and the holes they leave are never given back: with a ResNet-50 beside its int8 copy
/// 30 MiB of them. Other allocators map what is large anyway.
pub fn map_large_tensors() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (parameter, bytes) in [(libc::M_MMAP_THRESHOLD, MAPPED_FROM), (libc::M_TRIM_THRESHOLD, 2 * MAPPED_FROM)] {
        // SAFETY: `mallopt` takes two numbers and touches nothing but the allocator's own settings, under its lock. A
        // parameter that it does not know is refused, and nothing depends on its taking.
        let _ = unsafe { libc::mallopt(parameter, bytes) };
    }
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
