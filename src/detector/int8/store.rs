//! The buffers of the executor: slots of bytes and slots of f32.

use super::frame::FrameLayout;
use crate::detector::plan::StepId;

/// Buffers by slot. A step's output buffer is taken out while the step writes it, so that its inputs can be read.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub bytes: Vec<Vec<u8>>,
    pub floats: Vec<Vec<f32>>,
}

/// A step's output buffer, of whichever kind it is stored in; the other one is empty.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub bytes: Vec<u8>,
    pub floats: Vec<f32>,
}

impl Store {
    /// Makes every slot as large as `layout` wants it, and drops those it does not use.
    pub fn reserve(&mut self, layout: &FrameLayout) {
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

    /// Takes the buffer that `step` writes.
    pub fn take(&mut self, layout: &FrameLayout, step: StepId) -> Output {
        let mut output = Output::default();
        if let Some(slot) = layout.bytes.of[step] {
            output.bytes = std::mem::take(&mut self.bytes[slot]);
        }
        if let Some(slot) = layout.floats.of[step] {
            output.floats = std::mem::take(&mut self.floats[slot]);
        }
        output
    }

    /// Puts the buffer of `step` back.
    pub fn give_back(&mut self, layout: &FrameLayout, step: StepId, output: Output) {
        if let Some(slot) = layout.bytes.of[step] {
            self.bytes[slot] = output.bytes;
        }
        if let Some(slot) = layout.floats.of[step] {
            self.floats[slot] = output.floats;
        }
    }
}
