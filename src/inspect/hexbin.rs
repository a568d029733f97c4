//! Points counted in hexagons, as they come: no point is kept.
//!
//! The hexagons are those of matplotlib's `hexbin`: two rectangular lattices, the second shifted by half a cell, and a
//! point belongs to the nearer centre. Each cell keeps how many points it got, the sum of their errors and the largest.

use serde::Serialize;

/// Cells across.
pub const CELLS: usize = 50;
/// Rows of cells of one lattice: 50 / √3, so that hexagons are regular on a square plot.
const ROWS: usize = 28;

/// Below this, a symmetric logarithm is linear.
const LINEAR: f64 = 1e-3;

/// How values are laid out along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// As they are.
    Linear,
    /// sign(v)·ln(1 + |v| / 10⁻³).
    Symlog,
}

impl Scale {
    /// The place of a value.
    pub fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Symlog => value.signum() * (value.abs() / LINEAR).ln_1p(),
        }
    }

    /// The value at a place.
    pub fn value(self, place: f64) -> f64 {
        match self {
            Self::Linear => place,
            Self::Symlog => place.signum() * place.abs().exp_m1() * LINEAR,
        }
    }
}

/// One hexagon's points.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cell {
    /// How many.
    pub count: u64,
    /// Sum of their errors.
    pub sum: f64,
    /// The largest of their errors.
    pub most: f32,
}

/// What a plot of hexagons is laid over, and all its points together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// Scale of both axes.
    pub scale: Scale,
    /// Ends of the x axis.
    pub activation: [f64; 2],
    /// Ends of the y axis; errors beyond are counted in the outermost cells.
    pub error: [f64; 2],
    /// Points counted.
    pub points: u64,
    /// Their mean error.
    pub mean_error: f64,
    /// Their largest error.
    pub max_error: f64,
}

/// The hexagons over a fixed range; points beyond are counted in the outermost cells.
#[derive(Debug, Clone)]
pub struct Hexbin {
    /// Scale of both axes.
    pub scale: Scale,
    /// Least and largest place along x.
    pub x: [f64; 2],
    /// Least and largest place along y.
    pub y: [f64; 2],
    cells: Vec<Cell>,
    second: Vec<Cell>,
}

impl Hexbin {
    /// Empty hexagons from the least to the largest values along x and y.
    pub fn new(scale: Scale, x: [f64; 2], y: [f64; 2]) -> Self {
        let ends = |[low, high]: [f64; 2]| {
            let (low, high) = (scale.place(low), scale.place(high));
            if high > low { [low, high] } else { [low - 0.5, low + 0.5] }
        };
        let cells = vec![Cell::default(); (CELLS + 1) * (ROWS + 1)];
        Self { scale, x: ends(x), y: ends(y), cells, second: vec![Cell::default(); CELLS * ROWS] }
    }

    /// Counts a point at (`x`, `error`).
    pub fn add(&mut self, x: f32, error: f32) {
        let share = |value: f32, [low, high]: [f64; 2]| {
            ((self.scale.place(f64::from(value)) - low) / (high - low)).clamp(0.0, 1.0)
        };
        let (across, up) = (share(x, self.x) * CELLS as f64, share(error, self.y) * ROWS as f64);
        if across.is_nan() || up.is_nan() {
            return;
        }
        let first = (across.round(), up.round());
        let second = (across.floor().min((CELLS - 1) as f64), up.floor().min((ROWS - 1) as f64));
        let distance = |dx: f64, dy: f64| dx * dx + 3.0 * dy * dy;
        let near = distance(across - first.0, up - first.1);
        let cell = if near < distance(across - second.0 - 0.5, up - second.1 - 0.5) {
            &mut self.cells[first.1 as usize * (CELLS + 1) + first.0 as usize]
        } else {
            &mut self.second[second.1 as usize * CELLS + second.0 as usize]
        };
        cell.count += 1;
        cell.sum += f64::from(error);
        cell.most = cell.most.max(error);
    }

    /// The cells that got a point: centre along x and y as shares of the range, and what they hold.
    pub fn cells(&self) -> impl Iterator<Item = ([f64; 2], Cell)> + '_ {
        let first = self.cells.iter().enumerate().map(|(at, cell)| {
            let (column, row) = (at % (CELLS + 1), at / (CELLS + 1));
            ([column as f64 / CELLS as f64, row as f64 / ROWS as f64], *cell)
        });
        let second = self.second.iter().enumerate().map(|(at, cell)| {
            let (column, row) = (at % CELLS, at / CELLS);
            ([(column as f64 + 0.5) / CELLS as f64, (row as f64 + 0.5) / ROWS as f64], *cell)
        });
        first.chain(second).filter(|(_, cell)| cell.count > 0)
    }

    /// Points counted.
    pub fn count(&self) -> u64 {
        self.cells.iter().chain(&self.second).map(|cell| cell.count).sum()
    }

    /// Half a hexagon's width and a third of its height, as shares of the range.
    pub fn cell_size() -> [f64; 2] {
        [0.5 / CELLS as f64, 1.0 / (3.0 * ROWS as f64)]
    }

    /// Ranges and totals.
    pub fn summary(&self) -> Summary {
        let all = self.cells().map(|(_, cell)| cell);
        let total = all.fold(Cell::default(), |a, b| Cell {
            count: a.count + b.count,
            sum: a.sum + b.sum,
            most: a.most.max(b.most),
        });
        Summary {
            scale: self.scale,
            activation: self.x.map(|place| self.scale.value(place)),
            error: self.y.map(|place| self.scale.value(place)),
            points: total.count,
            mean_error: total.sum / total.count.max(1) as f64,
            max_error: f64::from(total.most),
        }
    }

    /// The cells as CSV: activation and error at the centre, count, mean and largest error.
    pub fn to_csv(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::from("activation,error,count,mean_error,max_error\n");
        for ([x, y], cell) in self.cells() {
            let at = |share: f64, [low, high]: [f64; 2]| self.scale.value(low + share * (high - low));
            let mean = cell.sum / cell.count as f64;
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{},{},{},{mean},{}", at(x, self.x), at(y, self.y), cell.count, cell.most);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_counted_once_and_in_the_nearest_hexagon() {
        let mut bins = Hexbin::new(Scale::Linear, [0.0, 50.0], [0.0, 28.0]);
        for (x, y) in [(10.0, 5.0), (10.1, 5.1), (10.5, 5.5), (10.6, 5.4), (-5.0, 99.0)] {
            bins.add(x, y);
        }
        bins.add(f32::NAN, 1.0);
        assert_eq!(bins.count(), 5);
        let found: Vec<_> = bins.cells().map(|([x, y], cell)| (x * 50.0, y * 28.0, cell.count, cell.most)).collect();
        assert_eq!(found, [(10.0, 5.0, 2, 5.1), (0.0, 28.0, 1, 99.0), (10.5, 5.5, 2, 5.5)]);
        assert_eq!((bins.summary().points, bins.summary().max_error), (5, 99.0));
        assert!(bins.to_csv().contains("\n10,5,2,5.04"), "{}", bins.to_csv());
    }

    #[test]
    fn symlog_goes_there_and_back() {
        for value in [-12.5, -1e-4, 0.0, 3e-3, 700.0] {
            let scale = Scale::Symlog;
            assert!((scale.value(scale.place(value)) - value).abs() < 1e-9 * (1.0 + value.abs()));
        }
        let mut flat = Hexbin::new(Scale::Symlog, [0.0, 0.0], [0.0, 0.0]);
        flat.add(0.0, 0.0);
        assert_eq!(flat.count(), 1);
    }
}
