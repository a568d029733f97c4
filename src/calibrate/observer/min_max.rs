//! Observers by extremes: all values, or a moving average over the pictures.
//!
//! - **Min-max**: \[min x, max x\] over all values of all pictures, as PyTorch's `MinMaxObserver`.
//! - **Moving average**: m₁ = min of picture 1, mᵢ = mᵢ₋₁ + c · (minᵢ − mᵢ₋₁) with c = 0.01, and the same for the maximum,
//!   as PyTorch's `MovingAverageMinMaxObserver` with its default `averaging_constant` and one picture a batch. The result
//!   depends on the order of the pictures.

use crate::calibrate::histogram::Histogram;
use crate::quant::Range;

/// Weight c of each next picture in the moving average.
const AVERAGING_CONSTANT: f64 = 0.01;

/// Range of all values.
pub(super) fn min_max(histogram: &Histogram) -> Range {
    Range::new(histogram.min(), histogram.max())
}

/// Moving average of the `extremes` of single pictures, in their order.
pub(super) fn moving_average(extremes: &[Range]) -> Range {
    let mut extremes = extremes.iter().map(|range| (f64::from(range.min), f64::from(range.max)));
    let first = extremes.next().unwrap_or((0.0, 0.0));
    let (min, max) = extremes.fold(first, |(low, high), (min, max)| {
        (low + AVERAGING_CONSTANT * (min - low), high + AVERAGING_CONSTANT * (max - high))
    });
    Range::new(min as f32, max as f32)
}
