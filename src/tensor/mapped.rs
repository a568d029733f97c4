//! Values mapped in place to bytes and back, and how the allocator maps memory.
//!
//! [`as_f32`] and [`as_f16`] reinterpret aligned little-endian bytes in place, [`bytes_of`] gives the bytes of values to
//! read into. [`map_large_tensors`] configures the allocator of the process, [`return_free_memory`] empties it. All
//! callers see safe slices.

use half::f16;

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

/// The bytes of `values` in memory, to read into.
pub fn bytes_of(values: &mut [f32]) -> &mut [u8] {
    // SAFETY: every pattern of bytes is an f32 and the other way round, and u8 has no alignment: nothing is left over.
    let (_, bytes, _) = unsafe { values.align_to_mut::<u8>() };
    bytes
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
    fn values_are_their_bytes() {
        let mut values = [0.0f32; 2];
        assert_eq!(bytes_of(&mut values).len(), 8);
        bytes_of(&mut values)[4..].copy_from_slice(&1.5f32.to_ne_bytes());
        assert_eq!(values, [0.0, 1.5]);
        let bytes = bytes_of(&mut values);
        assert_eq!(as_f32(bytes), Some(&[0.0, 1.5][..]));
        assert_eq!(as_f16(bytes).map(<[f16]>::len), Some(4));
        assert_eq!(as_f32(&bytes[1..]), None);
    }
}
