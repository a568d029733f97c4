//! The memory of activations, used again from frame to frame.
//!
//! In: how many values a step writes. Out: a flat tensor with room for them, of a step whose readers have all run, or
//! new. Fresh memory of this size comes from the system page by page, each zeroed at its first touch: over all layers
//! of a frame that cost as much as some layers do. Runs of one model share the pool and keep it to one canvas size.

use std::sync::Mutex;

use candle_core::{DType, Device, Result, Tensor};

use crate::sync::IgnorePoison;

/// Below this many values memory is asked of the allocator, which has it at hand.
const SMALL: usize = 1 << 14;

/// Buffers that nobody reads.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    free: Mutex<Free>,
    /// Whether nothing is kept.
    is_frugal: bool,
}

#[derive(Debug, Default)]
struct Free {
    /// Rows and columns of the canvas whose runs these are of.
    canvas: (usize, usize),
    tensors: Vec<Tensor>,
}

/// A step's output, and the buffer behind it where that one is to be used again.
#[derive(Debug)]
pub(super) struct Filled {
    /// `[height][width][channels]`, contiguous.
    pub map: Tensor,
    /// The flat tensor whose memory `map` shows.
    pub buffer: Option<Tensor>,
}

impl Buffers {
    /// Buffers that go back to the allocator as soon as nobody reads them.
    pub fn frugal() -> Self {
        Self { is_frugal: true, ..Self::default() }
    }

    /// Says which canvas is run: what was kept for another size is freed.
    pub fn serve(&self, canvas: (usize, usize)) {
        let mut free = self.free.lock().ignore_poison();
        if free.canvas != canvas {
            *free = Free { canvas, tensors: Vec::new() };
        }
    }

    /// Room for a map of `shape`, whatever was in it.
    pub fn take(&self, shape: (usize, usize, usize)) -> Result<Filled> {
        let len = shape.0 * shape.1 * shape.2;
        if len < SMALL {
            return Ok(Filled { map: Tensor::zeros(shape, DType::F32, &Device::Cpu)?, buffer: None });
        }
        let buffer = match self.reuse(len) {
            Some(buffer) => buffer,
            None => Tensor::zeros(len, DType::F32, &Device::Cpu)?,
        };
        Ok(Filled { map: buffer.narrow(0, 0, len)?.reshape(shape)?, buffer: Some(buffer) })
    }

    /// The smallest buffer that is large enough and not much too large: a small map shall not hold a large one's.
    fn reuse(&self, len: usize) -> Option<Tensor> {
        let mut free = self.free.lock().ignore_poison();
        let fits = |tensor: &Tensor| (len..=2 * len).contains(&tensor.elem_count());
        let sizes = free.tensors.iter().enumerate().filter(|(_, tensor)| fits(tensor));
        let at = sizes.min_by_key(|(_, tensor)| tensor.elem_count()).map(|(at, _)| at)?;
        Some(free.tensors.swap_remove(at))
    }

    /// Takes back a buffer whose values nobody will read again.
    pub fn give_back(&self, canvas: (usize, usize), buffer: Tensor) {
        let mut free = self.free.lock().ignore_poison();
        if free.canvas == canvas && !self.is_frugal {
            free.tensors.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANVAS: (usize, usize) = (64, 64);

    #[test]
    fn a_buffer_comes_back_to_what_fits_it() {
        let buffers = Buffers::default();
        buffers.serve(CANVAS);
        let filled = buffers.take((64, 64, 16)).unwrap();
        assert_eq!(filled.map.dims(), [64, 64, 16]);
        buffers.give_back(CANVAS, filled.buffer.unwrap());
        // Half as large is worth it, smaller is not.
        assert_eq!(buffers.take((64, 64, 7)).unwrap().buffer.unwrap().elem_count(), 64 * 64 * 7);
        assert_eq!(buffers.take((64, 64, 9)).unwrap().buffer.unwrap().elem_count(), 64 * 64 * 16);
        assert!(buffers.take((2, 2, 2)).unwrap().buffer.is_none());
    }

    #[test]
    fn the_frugal_keep_nothing() {
        let buffers = Buffers::frugal();
        buffers.serve(CANVAS);
        buffers.give_back(CANVAS, buffers.take((64, 64, 16)).unwrap().buffer.unwrap());
        assert!(buffers.free.lock().unwrap().tensors.is_empty());
    }

    #[test]
    fn another_canvas_frees_what_was_kept() {
        let buffers = Buffers::default();
        buffers.serve(CANVAS);
        let buffer = buffers.take((64, 64, 16)).unwrap().buffer.unwrap();
        buffers.serve((64, 96));
        buffers.give_back(CANVAS, buffer);
        assert!(buffers.free.lock().unwrap().tensors.is_empty());
    }
}
