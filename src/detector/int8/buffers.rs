//! Buffers of the int8 executor: slots of bytes and slots of f32.

use super::frame::FrameLayout;
use crate::detector::plan::StepId;

/// Buffers by slot. The output buffer of a step is moved out while the step writes it, so that its inputs can be
/// borrowed.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub bytes: Vec<Vec<u8>>,
    pub floats: Vec<Vec<f32>>,
}

/// The output buffer of a step: bytes or f32; the other one is empty.
#[derive(Debug, Default)]
pub(super) struct OutputBuffer {
    pub bytes: Vec<u8>,
    pub floats: Vec<f32>,
}

impl Buffers {
    /// Resizes the slots to those of `layout`.
    pub fn resize(&mut self, layout: &FrameLayout) {
        self.bytes.resize_with(layout.bytes.sizes.len(), Vec::new);
        for (buffer, &size) in self.bytes.iter_mut().zip(&layout.bytes.sizes) {
            buffer.resize(size, 0);
            buffer.shrink_to_fit();
        }
        self.floats.resize_with(layout.floats.sizes.len(), Vec::new);
        for (buffer, &size) in self.floats.iter_mut().zip(&layout.floats.sizes) {
            buffer.resize(size, 0.0);
            buffer.shrink_to_fit();
        }
    }

    /// The first `len` bytes of a step's output; empty if it is not stored in bytes.
    pub fn bytes(&self, layout: &FrameLayout, step: StepId, len: usize) -> &[u8] {
        layout.bytes.of[step].map_or(&[], |slot| &self.bytes[slot][..len])
    }

    /// The first `len` values of a step's output; empty if it is not stored in f32.
    pub fn floats(&self, layout: &FrameLayout, step: StepId, len: usize) -> &[f32] {
        layout.floats.of[step].map_or(&[], |slot| &self.floats[slot][..len])
    }

    /// Moves out the buffer that `step` writes.
    pub fn take(&mut self, layout: &FrameLayout, step: StepId) -> OutputBuffer {
        let mut output = OutputBuffer::default();
        if let Some(slot) = layout.bytes.of[step] {
            output.bytes = std::mem::take(&mut self.bytes[slot]);
        }
        if let Some(slot) = layout.floats.of[step] {
            output.floats = std::mem::take(&mut self.floats[slot]);
        }
        output
    }

    /// Moves the buffer of `step` back.
    pub fn put_back(&mut self, layout: &FrameLayout, step: StepId, output: OutputBuffer) {
        if let Some(slot) = layout.bytes.of[step] {
            self.bytes[slot] = output.bytes;
        }
        if let Some(slot) = layout.floats.of[step] {
            self.floats[slot] = output.floats;
        }
    }
}
