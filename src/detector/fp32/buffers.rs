//! Pool of activation buffers, reused from step to step and from frame to frame.
//!
//! In: the number of values that a step writes. Out: a flat tensor of at least that size, released by an earlier step, or
//! new. The system zeroes fresh pages at their first touch; over all layers of a frame that takes as long as some
//! layers. Runs of one model share the pool, which keeps buffers of one canvas size.

use std::sync::Mutex;

use candle_core::{DType, Device, Result, Tensor};

use crate::sync::IgnorePoison;

/// Number of values below which a buffer comes from the allocator, which reuses small blocks itself.
const MIN_POOLED: usize = 1 << 14;

/// The pool.
#[derive(Debug, Default)]
pub(super) struct BufferPool {
    free: Mutex<FreeBuffers>,
    /// True if released buffers are freed.
    is_disabled: bool,
}

/// Buffers without a reader.
#[derive(Debug, Default)]
struct FreeBuffers {
    /// Rows and columns of the canvas that these buffers were allocated for.
    canvas: (usize, usize),
    tensors: Vec<Tensor>,
}

/// A tensor for a step's output, and the pooled buffer that holds its values, if any.
#[derive(Debug)]
pub(super) struct PooledTensor {
    /// `[height][width][channels]`, contiguous.
    pub map: Tensor,
    /// The flat tensor that `map` is a view of.
    pub buffer: Option<Tensor>,
}

impl BufferPool {
    /// A pool that frees every buffer as soon as it is released.
    pub fn without_reuse() -> Self {
        Self { is_disabled: true, ..Self::default() }
    }

    /// Sets the size (rows, columns) of the canvas; buffers kept for another size are freed.
    pub fn set_canvas(&self, canvas: (usize, usize)) {
        let mut free = self.free.lock().ignore_poison();
        if free.canvas != canvas {
            *free = FreeBuffers { canvas, tensors: Vec::new() };
        }
    }

    /// A tensor of `shape` (height, width, channels) with arbitrary values.
    pub fn take(&self, shape: (usize, usize, usize)) -> Result<PooledTensor> {
        let len = shape.0 * shape.1 * shape.2;
        if len < MIN_POOLED {
            return Ok(PooledTensor { map: Tensor::zeros(shape, DType::F32, &Device::Cpu)?, buffer: None });
        }
        let buffer = match self.reuse(len) {
            Some(buffer) => buffer,
            None => Tensor::zeros(len, DType::F32, &Device::Cpu)?,
        };
        Ok(PooledTensor { map: buffer.narrow(0, 0, len)?.reshape(shape)?, buffer: Some(buffer) })
    }

    /// The smallest free buffer of `len` to 2 · `len` values: a small map must not occupy a large map's buffer.
    fn reuse(&self, len: usize) -> Option<Tensor> {
        let mut free = self.free.lock().ignore_poison();
        let fits = |tensor: &Tensor| (len..=2 * len).contains(&tensor.elem_count());
        let sizes = free.tensors.iter().enumerate().filter(|(_, tensor)| fits(tensor));
        let at = sizes.min_by_key(|(_, tensor)| tensor.elem_count()).map(|(at, _)| at)?;
        Some(free.tensors.swap_remove(at))
    }

    /// Releases a buffer whose values are no longer read.
    pub fn release(&self, canvas: (usize, usize), buffer: Tensor) {
        let mut free = self.free.lock().ignore_poison();
        if free.canvas == canvas && !self.is_disabled {
            free.tensors.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANVAS: (usize, usize) = (64, 64);

    #[test]
    fn a_released_buffer_is_reused_by_what_fits_it() {
        let buffers = BufferPool::default();
        buffers.set_canvas(CANVAS);
        let pooled = buffers.take((64, 64, 16)).unwrap();
        assert_eq!(pooled.map.dims(), [64, 64, 16]);
        buffers.release(CANVAS, pooled.buffer.unwrap());
        // A map of at least half the size reuses it, a smaller one does not.
        assert_eq!(buffers.take((64, 64, 7)).unwrap().buffer.unwrap().elem_count(), 64 * 64 * 7);
        assert_eq!(buffers.take((64, 64, 9)).unwrap().buffer.unwrap().elem_count(), 64 * 64 * 16);
        assert!(buffers.take((2, 2, 2)).unwrap().buffer.is_none());
    }

    #[test]
    fn a_pool_without_reuse_keeps_nothing() {
        let buffers = BufferPool::without_reuse();
        buffers.set_canvas(CANVAS);
        buffers.release(CANVAS, buffers.take((64, 64, 16)).unwrap().buffer.unwrap());
        assert!(buffers.free.lock().unwrap().tensors.is_empty());
    }

    #[test]
    fn another_canvas_frees_what_was_kept() {
        let buffers = BufferPool::default();
        buffers.set_canvas(CANVAS);
        let buffer = buffers.take((64, 64, 16)).unwrap().buffer.unwrap();
        buffers.set_canvas((64, 96));
        buffers.release(CANVAS, buffer);
        assert!(buffers.free.lock().unwrap().tensors.is_empty());
    }
}
