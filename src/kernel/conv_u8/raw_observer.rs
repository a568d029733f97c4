//! Observation of values before clamping and rounding, on selected frames.

/// Receives every value of a convolution: see [`convolve_observed`](super::convolve_observed).
pub trait RawObserver: Sync {
    /// `values` of output pixel `pixel` (row-major, map by map) from `channel` on: with the residual added, before the
    /// activation function, rounding and clamping. They are in output steps (real value = `value · s_out`; the value
    /// itself for f32 output), or in real units: see [`Epilogue::raw_scale`](super::Epilogue::raw_scale).
    /// Called from several threads, in no order, once for every value.
    fn observe(&self, pixel: usize, channel: usize, values: &[f32]);
}

/// Observes nothing; for the clip counts alone.
impl RawObserver for () {
    fn observe(&self, _pixel: usize, _channel: usize, _values: &[f32]) {}
}

/// Number of values of a map outside the output quantization range.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clipped {
    /// Values below the range after the activation function and rounding.
    pub below: u64,
    /// Values above the range after the activation function and rounding.
    pub above: u64,
}

impl std::ops::AddAssign for Clipped {
    fn add_assign(&mut self, other: Self) {
        self.below += other.below;
        self.above += other.above;
    }
}
