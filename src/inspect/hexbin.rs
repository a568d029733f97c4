//! Hexbin: points of error against activation, counted in hexagonal cells; points are not stored.
//!
//! The cells are those of matplotlib's `hexbin` (`Axes.hexbin`): two rectangular lattices, the second shifted by half a
//! cell; a point belongs to the nearer centre. Each cell has the number of its points, the sum of their errors and the
//! largest error.

use serde::Serialize;

/// Cells along x.
pub const CELLS: usize = 50;
/// Cells along y of one lattice: 50 / √3, so that the hexagons are regular in a square plot.
const ROWS: usize = 28;

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
}

impl AxisScale {
    /// Position of a value on the axis.
    pub fn position(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Symlog => value.signum() * (value.abs() / LINEAR).ln_1p(),
        }
    }

    /// The value at a position on the axis.
    pub fn value(self, position: f64) -> f64 {
        match self {
            Self::Linear => position,
            Self::Symlog => position.signum() * position.abs().exp_m1() * LINEAR,
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
    /// Scale of both axes.
    pub scale: AxisScale,
    /// Range of the x axis.
    pub activation: [f64; 2],
    /// Range of the y axis; larger errors are counted in the outermost cells.
    pub error: [f64; 2],
    /// Number of points.
    pub points: u64,
    /// Their mean error.
    pub mean_error: f64,
    /// Their largest error.
    pub max_error: f64,
}

/// A hexbin over a fixed range; points outside are counted in the outermost cells.
#[derive(Debug, Clone)]
pub struct Hexbin {
    /// Scale of both axes.
    pub scale: AxisScale,
    /// Range of positions along x.
    pub x: [f64; 2],
    /// Range of positions along y.
    pub y: [f64; 2],
    first: Vec<HexCell>,
    second: Vec<HexCell>,
}

impl Hexbin {
    /// An empty hexbin over ranges of values along x and y.
    pub fn new(scale: AxisScale, x: [f64; 2], y: [f64; 2]) -> Self {
        let ends = |[low, high]: [f64; 2]| {
            let (low, high) = (scale.position(low), scale.position(high));
            if high > low { [low, high] } else { [low - 0.5, low + 0.5] }
        };
        let first = vec![HexCell::default(); (CELLS + 1) * (ROWS + 1)];
        Self { scale, x: ends(x), y: ends(y), first, second: vec![HexCell::default(); CELLS * ROWS] }
    }

    /// Adds a point.
    pub fn add(&mut self, x: f32, error: f32) {
        let share = |value: f32, [low, high]: [f64; 2]| {
            ((self.scale.position(f64::from(value)) - low) / (high - low)).clamp(0.0, 1.0)
        };
        let (across, up) = (share(x, self.x) * CELLS as f64, share(error, self.y) * ROWS as f64);
        if across.is_nan() || up.is_nan() {
            return;
        }
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
            scale: self.scale,
            activation: self.x.map(|position| self.scale.value(position)),
            error: self.y.map(|position| self.scale.value(position)),
            points: total.count,
            mean_error: total.error_sum / total.count.max(1) as f64,
            max_error: f64::from(total.max_error),
        }
    }

    /// CSV of the cells: activation and error at the centre, count, mean and largest error.
    pub fn to_csv(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::from("activation,error,count,mean_error,max_error\n");
        for ([x, y], cell) in self.cells() {
            let at = |share: f64, [low, high]: [f64; 2]| self.scale.value(low + share * (high - low));
            let mean = cell.error_sum / cell.count as f64;
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{},{},{},{mean},{}", at(x, self.x), at(y, self.y), cell.count, cell.max_error);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_counted_once_in_the_nearest_cell() {
        let mut bins = Hexbin::new(AxisScale::Linear, [0.0, 50.0], [0.0, 28.0]);
        for (x, y) in [(10.0, 5.0), (10.1, 5.1), (10.5, 5.5), (10.6, 5.4), (-5.0, 99.0)] {
            bins.add(x, y);
        }
        bins.add(f32::NAN, 1.0);
        assert_eq!(bins.summary().points, 5);
        let found: Vec<_> =
            bins.cells().map(|([x, y], cell)| (x * 50.0, y * 28.0, cell.count, cell.max_error)).collect();
        assert_eq!(found, [(10.0, 5.0, 2, 5.1), (0.0, 28.0, 1, 99.0), (10.5, 5.5, 2, 5.5)]);
        assert_eq!((bins.summary().points, bins.summary().max_error), (5, 99.0));
        assert!(bins.to_csv().contains("\n10,5,2,5.04"), "{}", bins.to_csv());
    }

    #[test]
    fn symlog_is_inverted() {
        for value in [-12.5, -1e-4, 0.0, 3e-3, 700.0] {
            let scale = AxisScale::Symlog;
            assert!((scale.value(scale.position(value)) - value).abs() < 1e-9 * (1.0 + value.abs()));
        }
        let mut flat = Hexbin::new(AxisScale::Symlog, [0.0, 0.0], [0.0, 0.0]);
        flat.add(0.0, 0.0);
        assert_eq!(flat.summary().points, 1);
    }
}
