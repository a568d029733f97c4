//! Collector of a convolution's values before rounding, which arrive from several threads in any order.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::kernel::conv_u8::RawObserver;
use crate::tensor::Shape;

/// One f32 for each value of a map, written from any thread.
#[derive(Debug)]
pub(super) struct RawValues {
    bits: Vec<AtomicU32>,
    channels: usize,
    scale: f32,
}

impl RawValues {
    /// A collector for a map of `shape`; `scale` converts quantization steps to real units.
    pub fn new(shape: Shape, scale: f32) -> Self {
        let bits = std::iter::repeat_with(|| AtomicU32::new(0)).take(shape.len()).collect();
        Self { bits, channels: shape.channels, scale }
    }

    /// The map, NHWC, in real units.
    pub fn into_values(self) -> Vec<f32> {
        self.bits.into_iter().map(|bits| f32::from_bits(bits.into_inner())).collect()
    }
}

impl RawObserver for RawValues {
    fn observe(&self, pixel: usize, channel: usize, values: &[f32]) {
        let start = pixel * self.channels + channel;
        for (bits, value) in self.bits[start..start + values.len()].iter().zip(values) {
            // Each value is written once; the join of the pool makes it visible.
            bits.store((value * self.scale).to_bits(), Ordering::Relaxed);
        }
    }
}
