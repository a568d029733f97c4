//! The range search of PyTorch's `HistogramObserver`, from its definition.
//!
//! In: a histogram. Out: the range at which the search stops. Quantiles are drawn in from both ends in steps of 1e-5,
//! always at the end that loses more bins by it, as long as the L2 error of 256 equal cells over what remains does not
//! grow; values outside belong to the outermost cells. PyTorch's 2048 bins reach from smallest to largest value, ours
//! lie on the binning, 1025 to 2048 of them; nothing else differs.

use crate::calibrate::histogram::Histogram;
use crate::quant::Range;

/// Cells the remaining range is cut into.
const CELLS: f64 = 256.0;
/// By how much a quantile moves.
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
    let mut below = 0.0;
    let cumulative: Vec<f64> = counts
        .iter()
        .map(|&count| {
            below += count as f64;
            below
        })
        .collect();
    let total = below;
    let (mut first, mut last) = (0, counts.len() - 1);
    let (mut low, mut high) = (0.0, 1.0);
    let mut least = f64::INFINITY;
    while low < high {
        let (next_low, next_high) = (low + STEP, high - STEP);
        let left = (first..last).find(|&bin| cumulative[bin] >= next_low * total).unwrap_or(last);
        let right = (first + 1..=last).rev().find(|&bin| cumulative[bin] <= next_high * total).unwrap_or(first);
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
        let error = cell_error(counts, next.0, next.1);
        if error > least {
            break;
        }
        least = error;
        (first, last) = next;
    }
    (first, last)
}

/// Σ over bins of ∫ (x − centre of the cell of x)² dx, bins one wide, `first` to `last` cut into 256 cells.
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
            // From `begin` to the end of its cell, whole cells between, from the start of the last cell to `end`; in
            // one cell the three parts overlap by exactly one whole cell, which the count of −1 takes back.
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
