//! Hexbin: points of error against activation, counted in hexagonal cells; points are not stored.
//!
//! The cells are those of matplotlib's `hexbin` (`Axes.hexbin`): two rectangular lattices, the second shifted by half a
//! cell; a point belongs to the nearer centre. Each cell has the number of its points, the sum of their errors and the
//! largest error. For the line of medians the errors of each column of cells are counted in a histogram of their own.

use serde::Serialize;

/// Cells along x.
const CELLS: usize = 50;
/// Cells along y of one lattice: 50 / √3, so that the hexagons are regular in a square plot.
const ROWS: usize = 28;
/// Bins of errors in each column, for the medians.
const LEVELS: usize = 256;

/// The symmetric logarithm is linear below this value.
const LINEAR: f64 = 1e-3;

/// Scale of an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AxisScale {
    /// Linear.
    Linear,
    /// sign(v)·ln(1 + |v| / 10⁻³).
    Symlog,
    /// log₁₀ v, for positive values; 0 is at the low end.
    Log,
}

impl AxisScale {
    /// Position of a value on the axis.
    pub fn position(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Symlog => value.signum() * (value.abs() / LINEAR).ln_1p(),
            Self::Log => value.max(0.0).log10(),
        }
    }

    /// The value at a position on the axis.
    pub fn value(self, position: f64) -> f64 {
        match self {
            Self::Linear => position,
            Self::Symlog => position.signum() * position.abs().exp_m1() * LINEAR,
            Self::Log => 10f64.powf(position),
        }
    }
}

/// The points of one cell.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct HexCell {
    /// Number of points.
    pub count: u64,
    /// Sum of their errors.
    pub error_sum: f64,
    /// Largest of their errors.
    pub max_error: f32,
}

/// Ranges and totals of a hexbin plot.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct HexbinSummary {
    /// Scale of the x axis.
    pub scale: AxisScale,
    /// Scale of the y axis.
    pub error_scale: AxisScale,
    /// Range of the x axis.
    pub activation: [f64; 2],
    /// Range of the y axis; errors beyond it are counted in the outermost cells.
    pub error: [f64; 2],
    /// Number of points.
    pub points: u64,
    /// Number of pairs that are no points, because both values are 0.
    pub zeros: u64,
    /// Their mean error.
    pub mean_error: f64,
    /// Their largest error.
    pub max_error: f64,
}

/// A hexbin over a fixed range; points outside are counted in the outermost cells.
#[derive(Debug, Clone)]
pub struct Hexbin {
    /// Scale of the x axis.
    pub x_scale: AxisScale,
    /// Scale of the y axis.
    pub y_scale: AxisScale,
    /// Range of positions along x.
    pub x: [f64; 2],
    /// Range of positions along y.
    pub y: [f64; 2],
    first: Vec<HexCell>,
    second: Vec<HexCell>,
    /// Histogram of positions along y of each column, [`LEVELS`] bins each.
    columns: Vec<u32>,
    zeros: u64,
}

impl Hexbin {
    /// An empty hexbin over ranges of values along x and y.
    pub fn new(x_scale: AxisScale, y_scale: AxisScale, x: [f64; 2], y: [f64; 2]) -> Self {
        let ends = |scale: AxisScale, [low, high]: [f64; 2]| {
            let (low, high) = (scale.position(low), scale.position(high));
            if high > low { [low, high] } else { [low - 0.5, low + 0.5] }
        };
        Self {
            x_scale,
            y_scale,
            x: ends(x_scale, x),
            y: ends(y_scale, y),
            first: vec![HexCell::default(); (CELLS + 1) * (ROWS + 1)],
            second: vec![HexCell::default(); CELLS * ROWS],
            columns: vec![0; CELLS * LEVELS],
            zeros: 0,
        }
    }

    /// Counts a pair of zeros, which says nothing about errors and is no point.
    pub fn add_zero(&mut self) {
        self.zeros += 1;
    }

    /// Adds a point.
    pub fn add(&mut self, x: f32, error: f32) {
        let share = |value: f32, scale: AxisScale, [low, high]: [f64; 2]| {
            ((scale.position(f64::from(value)) - low) / (high - low)).clamp(0.0, 1.0)
        };
        let (x, y) = (share(x, self.x_scale, self.x), share(error, self.y_scale, self.y));
        if x.is_nan() || y.is_nan() {
            return;
        }
        let bin = |share: f64, bins: usize| ((share * bins as f64) as usize).min(bins - 1);
        let count = &mut self.columns[bin(x, CELLS) * LEVELS + bin(y, LEVELS)];
        *count = count.saturating_add(1);
        let (across, up) = (x * CELLS as f64, y * ROWS as f64);
        // The nearest centre of each lattice; distances are scaled so that the hexagons are regular.
        let first = (across.round(), up.round());
        let second = (across.floor().min((CELLS - 1) as f64), up.floor().min((ROWS - 1) as f64));
        let distance = |dx: f64, dy: f64| dx * dx + 3.0 * dy * dy;
        let near = distance(across - first.0, up - first.1);
        let cell = if near < distance(across - second.0 - 0.5, up - second.1 - 0.5) {
            &mut self.first[first.1 as usize * (CELLS + 1) + first.0 as usize]
        } else {
            &mut self.second[second.1 as usize * CELLS + second.0 as usize]
        };
        cell.count += 1;
        cell.error_sum += f64::from(error);
        cell.max_error = cell.max_error.max(error);
    }

    /// The cells with points, with their centres along x and y as shares of the range.
    pub fn cells(&self) -> impl Iterator<Item = ([f64; 2], HexCell)> + '_ {
        let first = self.first.iter().enumerate().map(|(at, cell)| {
            let (column, row) = (at % (CELLS + 1), at / (CELLS + 1));
            ([column as f64 / CELLS as f64, row as f64 / ROWS as f64], *cell)
        });
        let second = self.second.iter().enumerate().map(|(at, cell)| {
            let (column, row) = (at % CELLS, at / CELLS);
            ([(column as f64 + 0.5) / CELLS as f64, (row as f64 + 0.5) / ROWS as f64], *cell)
        });
        first.chain(second).filter(|(_, cell)| cell.count > 0)
    }

    /// Positions of the median error of each column with points, from left to right.
    pub fn medians(&self) -> Vec<(f64, f64)> {
        let column = |(column, bins): (usize, &[u32])| {
            let count: u64 = bins.iter().map(|&count| u64::from(count)).sum();
            let mut below = 0.0;
            for (level, &of_level) in bins.iter().enumerate().filter(|(_, of_level)| **of_level > 0) {
                let of_level = f64::from(of_level);
                if below + of_level >= count as f64 / 2.0 {
                    // Evenly spread within the bin.
                    let up = (level as f64 + (count as f64 / 2.0 - below) / of_level) / LEVELS as f64;
                    let across = (column as f64 + 0.5) / CELLS as f64;
                    let position = |share: f64, [low, high]: [f64; 2]| low + share * (high - low);
                    return Some((position(across, self.x), position(up, self.y)));
                }
                below += of_level;
            }
            None
        };
        self.columns.chunks_exact(LEVELS).enumerate().filter_map(column).collect()
    }

    /// Half the width of a cell and a third of its height, as shares of the range.
    pub fn cell_size() -> [f64; 2] {
        [0.5 / CELLS as f64, 1.0 / (3.0 * ROWS as f64)]
    }

    /// Ranges and totals.
    pub fn summary(&self) -> HexbinSummary {
        let all = self.cells().map(|(_, cell)| cell);
        let total = all.fold(HexCell::default(), |a, b| HexCell {
            count: a.count + b.count,
            error_sum: a.error_sum + b.error_sum,
            max_error: a.max_error.max(b.max_error),
        });
        HexbinSummary {
            scale: self.x_scale,
            error_scale: self.y_scale,
            activation: self.x.map(|position| self.x_scale.value(position)),
            error: self.y.map(|position| self.y_scale.value(position)),
            points: total.count,
            zeros: self.zeros,
            mean_error: total.error_sum / total.count.max(1) as f64,
            max_error: f64::from(total.max_error),
        }
    }

    /// CSV of the cells: activation and error at the centre, count, mean and largest error.
    pub fn to_csv(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::from("activation,error,count,mean_error,max_error\n");
        for ([x, y], cell) in self.cells() {
            let at = |share: f64, scale: AxisScale, [low, high]: [f64; 2]| scale.value(low + share * (high - low));
            // As many digits as the values themselves have.
            let (x, y) = (at(x, self.x_scale, self.x) as f32, at(y, self.y_scale, self.y) as f32);
            let mean = (cell.error_sum / cell.count as f64) as f32;
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{x},{y},{},{mean},{}", cell.count, cell.max_error);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_counted_once_in_the_nearest_cell() {
        let mut bins = Hexbin::new(AxisScale::Linear, AxisScale::Linear, [0.0, 50.0], [0.0, 28.0]);
        for (x, y) in [(10.0, 5.0), (10.1, 5.1), (10.5, 5.5), (10.6, 5.4), (-5.0, 99.0)] {
            bins.add(x, y);
        }
        bins.add(f32::NAN, 1.0);
        assert_eq!(bins.summary().points, 5);
        let found: Vec<_> =
            bins.cells().map(|([x, y], cell)| (x * 50.0, y * 28.0, cell.count, cell.max_error)).collect();
        assert_eq!(found, [(10.0, 5.0, 2, 5.1), (0.0, 28.0, 1, 99.0), (10.5, 5.5, 2, 5.5)]);
        assert_eq!((bins.summary().points, bins.summary().max_error), (5, 99.0));
        assert!(bins.to_csv().contains("\n10,5,2,5.05,5.1\n"), "{}", bins.to_csv());
    }

    #[test]
    fn symlog_is_inverted() {
        for value in [-12.5, -1e-4, 0.0, 3e-3, 700.0] {
            let scale = AxisScale::Symlog;
            assert!((scale.value(scale.position(value)) - value).abs() < 1e-9 * (1.0 + value.abs()));
        }
        assert!((AxisScale::Log.value(AxisScale::Log.position(0.02)) - 0.02).abs() < 1e-9);
        let mut flat = Hexbin::new(AxisScale::Symlog, AxisScale::Symlog, [0.0, 0.0], [0.0, 0.0]);
        flat.add(0.0, 0.0);
        assert_eq!(flat.summary().points, 1);
    }

    #[test]
    fn the_line_of_medians_has_a_point_in_every_column_with_points() {
        let mut bins = Hexbin::new(AxisScale::Linear, AxisScale::Log, [0.0, 50.0], [1e-4, 1e2]);
        for column in 0..50u16 {
            for error in [0.0, 0.09, 0.1, 0.11, 1e6] {
                bins.add(f32::from(column) + 0.5, error);
            }
        }
        bins.add_zero();
        let line = bins.medians();
        assert_eq!(line.len(), 50);
        assert!(line.iter().all(|(_, y)| (y + 1.0).abs() < 0.03), "{line:?}");
        assert!(line.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let summary = bins.summary();
        assert_eq!((summary.points, summary.zeros), (250, 1));
        assert!((summary.error[0] - 1e-4).abs() < 1e-9);
    }
}
