//! L2 observer: the range search of PyTorch's `HistogramObserver` (`_non_linear_param_search`).
//!
//! Starts at the whole range and moves the quantile of one end at a time inwards by 1e-5: the end at which more bins
//! are dropped. Stops when the L2 error of 256 equal cells over the remaining bins grows; values outside belong to the
//! outermost cells. PyTorch has 2048 bins between the smallest and the largest value. Here bins are multiples of a
//! power of two, 1025 to 2048 of them. Everything else is the same.

use crate::calibrate::histogram::Histogram;
use crate::quant::Range;

/// Cells of the remaining range.
const CELLS: f64 = 256.0;
/// Step of a quantile.
const STEP: f64 = 1e-5;

pub(super) fn range(histogram: &Histogram) -> Range {
    let (first, last) = search(histogram.counts());
    let binning = histogram.binning();
    Range::new(
        binning.lower(histogram.first() + first as i64) as f32,
        binning.lower(histogram.first() + last as i64 + 1) as f32,
    )
}

/// First and last bin of the range.
fn search(counts: &[u64]) -> (usize, usize) {
    let mut sum = 0.0;
    let cumulative: Vec<f64> = counts
        .iter()
        .map(|&count| {
            sum += count as f64;
            sum
        })
        .collect();
    let total = sum;
    let (mut first, mut last) = (0, counts.len() - 1);
    let (mut low, mut high) = (0.0, 1.0);
    let mut least = f64::INFINITY;
    while low < high {
        // The bins of both quantiles, one step further in.
        let (next_low, next_high) = (low + STEP, high - STEP);
        let left = (first..last).find(|&bin| cumulative[bin] >= next_low * total).unwrap_or(last);
        let right = (first + 1..=last).rev().find(|&bin| cumulative[bin] <= next_high * total).unwrap_or(first);
        // Move the end that drops more bins.
        let next = if left - first > last - right {
            low = next_low;
            (left, last)
        } else {
            high = next_high;
            (first, right)
        };
        if next == (first, last) {
            continue;
        }
        // Stop where the error grows.
        let error = cell_error(counts, next.0, next.1);
        if error > least {
            break;
        }
        least = error;
        (first, last) = next;
    }
    (first, last)
}

/// Σ over bins of ∫ (x − centre of the cell of x)² dx, with bins of width 1 and `first` to `last` divided into 256
/// cells.
fn cell_error(counts: &[u64], first: usize, last: usize) -> f64 {
    let cell = (last - first + 1) as f64 / CELLS;
    let cube = |x: f64| x * x * x / 3.0;
    let whole = 2.0 * cube(cell / 2.0);
    let index = |x: f64| (x / cell).floor().clamp(0.0, CELLS - 1.0);
    counts
        .iter()
        .enumerate()
        .filter(|(_, count)| **count > 0)
        .map(|(bin, &count)| {
            let begin = bin as f64 - first as f64;
            let end = begin + 1.0;
            let (from, to) = (index(begin), index(end));
            // Head: from `begin` to the end of its cell. Tail: from the start of the last cell to `end`. Between them
            // `to − from − 1` whole cells; within one cell this is −1, because head and tail overlap by a whole cell.
            let head = cube(cell / 2.0) - cube(begin - (from + 0.5) * cell);
            let tail = cube(end - (to + 0.5) * cell) + cube(cell / 2.0);
            count as f64 * (head + (to - from - 1.0) * whole + tail)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shapes of 2048 bins with what PyTorch 2.8's `_non_linear_param_search` returns for them over 0…2048.
    #[test]
    fn agrees_with_pytorch() {
        type Shape = fn(u64) -> u64;
        let shapes: [(&str, Shape, (usize, usize)); 4] = [
            ("falling", |bin| 1_000_000 / (bin + 1), FALLING),
            ("falling fast", |bin| 100_000_000 / ((bin + 1) * (bin + 1)), FALLING_FAST),
            ("hill", |bin| 50_000_000 / (2_000 + (bin.abs_diff(700)).pow(2)), HILL),
            ("even", |_| 10, EVEN),
        ];
        for (name, shape, expected) in shapes {
            let counts: Vec<u64> = (0..2048).map(shape).collect();
            assert_eq!(search(&counts), expected, "{name}");
        }
    }

    const FALLING: (usize, usize) = (0, 2041);
    const FALLING_FAST: (usize, usize) = (0, 1799);
    const HILL: (usize, usize) = (0, 2025);
    const EVEN: (usize, usize) = (0, 2046);
}
