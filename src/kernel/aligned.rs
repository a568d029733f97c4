//! A buffer of plain numbers that starts on a cache line.
//!
//! In: a length. Out: that many zeros, 64-byte aligned, of a fixed length. Packed weight panels live here, so that a
//! kernel's vector loads never straddle two lines. The buffer is allocated zeroed, so memory that is never written is
//! never touched.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Bytes of a cache line, and of the widest vector register.
pub const ALIGNMENT: usize = 64;

mod sealed {
    /// Number types for which every bit pattern, including zero, is valid.
    pub trait Number: Copy + Send + Sync + 'static {}

    impl Number for u8 {}
    impl Number for i8 {}
    impl Number for i16 {}
    impl Number for i32 {}
    impl Number for f32 {}
}

use sealed::Number;

/// A slice of `T` on the heap that starts at a multiple of [`ALIGNMENT`].
pub struct AlignedBuffer<T: Number> {
    start: NonNull<T>,
    length: usize,
}

// SAFETY: the buffer owns its memory alone and numbers carry no thread affinity.
unsafe impl<T: Number> Send for AlignedBuffer<T> {}
// SAFETY: through a shared reference the numbers can only be read.
unsafe impl<T: Number> Sync for AlignedBuffer<T> {}

impl<T: Number> AlignedBuffer<T> {
    /// `length` zeros. Aborts where memory is out, as `Vec` does.
    ///
    /// # Panics
    ///
    /// Where `length` values are more than the address space, as `Vec` does.
    pub fn zeroed(length: usize) -> Self {
        let layout = Self::layout(length);
        if layout.size() == 0 {
            return Self { start: NonNull::dangling(), length };
        }
        // SAFETY: the layout's size is not zero.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(memory.cast::<T>()) else { handle_alloc_error(layout) };
        Self { start, length }
    }

    /// A copy of `values`.
    pub fn from_slice(values: &[T]) -> Self {
        Self::padded(values, values.len())
    }

    /// A copy of `values`, followed by zeros up to `length` values.
    ///
    /// # Panics
    ///
    /// Where there are more than `length` values.
    pub fn padded(values: &[T], length: usize) -> Self {
        let mut buffer = Self::zeroed(length);
        buffer[..values.len()].copy_from_slice(values);
        buffer
    }

    /// Bytes that the buffer holds.
    pub fn bytes(&self) -> usize {
        self.length * size_of::<T>()
    }

    fn layout(length: usize) -> Layout {
        match Layout::array::<T>(length).and_then(|layout| layout.align_to(ALIGNMENT)) {
            Ok(layout) => layout,
            Err(_) => panic!("capacity overflow"),
        }
    }
}

impl<T: Number> Drop for AlignedBuffer<T> {
    fn drop(&mut self) {
        let layout = Self::layout(self.length);
        if layout.size() != 0 {
            // SAFETY: `start` came from `alloc_zeroed` with this same layout and is freed once.
            unsafe { dealloc(self.start.as_ptr().cast(), layout) }
        }
    }
}

impl<T: Number> Deref for AlignedBuffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `length` initialised values start here (dangling only where there are none), owned by `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl<T: Number> DerefMut for AlignedBuffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl<T: Number> Default for AlignedBuffer<T> {
    fn default() -> Self {
        Self::zeroed(0)
    }
}

impl<T: Number> Clone for AlignedBuffer<T> {
    fn clone(&self) -> Self {
        Self::from_slice(self)
    }
}

impl<T: Number> fmt::Debug for AlignedBuffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuffer({} × {} bytes)", self.length, size_of::<T>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_on_a_line_and_is_zero() {
        for length in [0, 1, 15, 64, 1000] {
            let mut buffer = AlignedBuffer::<f32>::zeroed(length);
            assert_eq!(buffer.len(), length);
            assert!(buffer.iter().all(|&value| value == 0.0));
            assert!(length == 0 || (buffer.as_ptr() as usize).is_multiple_of(ALIGNMENT));
            buffer.fill(1.0);
            assert_eq!(*buffer.clone(), *buffer);
        }
    }
}
