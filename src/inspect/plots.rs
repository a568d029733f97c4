//! SVG plots: metrics over the depth of the network, hexbins, and the prediction for layers kept in fp32.

use super::hexbin::{AxisScale, HexCell, Hexbin};
use super::stats::Quartiles;
use super::table::{KeptLayer, StepRow};
use crate::detector::plan::{Part, Plan, StepId};
use crate::draw::svg::{Axis, Frame, LogBar, Plot};
use crate::draw::{Colour, class_colour};

/// Size of a plot over depth.
const WIDE: Frame = Frame { width: 1080.0, height: 320.0, margin: [64.0, 34.0, 20.0, 44.0], zoom: 1.0 };
/// Size of a hexbin plot: small, because three are side by side, and enlarged if one is opened alone.
const SQUARE: Frame = Frame { width: 420.0, height: 330.0, margin: [62.0, 44.0, 62.0, 42.0], zoom: 2.0 };

fn blue() -> Colour {
    class_colour(7)
}

fn orange() -> Colour {
    class_colour(6)
}

/// An SVG file.
pub struct PlotFile {
    /// File name.
    pub name: &'static str,
    /// Content.
    pub svg: String,
}

/// All plots over depth.
pub fn over_depth(plan: &Plan, rows: &[StepRow]) -> Vec<PlotFile> {
    let curve = |value: &dyn Fn(&StepRow) -> Option<f64>| -> Vec<(f64, f64)> {
        rows.iter().map(|row| (row.depth as f64, value(row).unwrap_or(f64::NAN))).collect()
    };
    let log = |value: Option<f64>| value.filter(|value| *value > 0.0).map(f64::log10);
    let median = |spread: &Option<Quartiles>| spread.map(|spread| spread.median);
    let plots = [
        ("sqnr.svg", {
            let whole = curve(&|row| median(&row.sqnr_db_spread));
            let own = curve(&|row| median(&row.injected_db_spread));
            let band: Vec<_> =
                rows.iter().filter_map(|row| row.sqnr_db_spread.map(|s| (row.depth as f64, s.low, s.high))).collect();
            let extent: Vec<f64> = whole.iter().chain(&own).map(|(_, db)| *db).collect();
            let y = linear("SQNR, dB", &extent);
            let mut plot = depth_plot(plan, "SQNR: median over pictures and quartiles", rows, y);
            plot.band(&band, blue());
            plot.curve(&own, &names(rows, "dB injected", &own), orange(), true);
            plot.curve(&whole, &names(rows, "dB", &whole), blue(), false);
            plot.legend(&[("own error of the step", orange()), ("with all steps before it", blue())]);
            plot.finish()
        }),
        ("mean-absolute.svg", {
            let points = curve(&|row| log(Some(row.mean_absolute)));
            single(plan, rows, "Mean absolute error", "units of the activation", &points)
        }),
        ("relative.svg", {
            let element = curve(&|row| log(median(&row.relative_element)));
            let projection = curve(&|row| log(median(&row.relative_projection)));
            let y = decades("relative error", element.iter().chain(&projection));
            let mut plot =
                depth_plot(plan, "Relative error: median over elements, and over the channels' maximum", rows, y);
            plot.curve(&element, &names(rows, "log10 by element", &element), blue(), false);
            plot.curve(&projection, &names(rows, "log10 by projection", &projection), orange(), false);
            plot.legend(&[("by element", blue()), ("by projection", orange())]);
            plot.finish()
        }),
        ("cosine.svg", {
            let points = curve(&|row| log(row.cosine.map(|cosine| 1.0 - cosine)));
            single(plan, rows, "Cosine distance, 1 - cosine", "1 - cosine", &points)
        }),
        ("clipped.svg", {
            let logarithms = curve(&|row| log(row.clipped_share));
            let (low, high) = extent(logarithms.iter().map(|(_, value)| *value)).unwrap_or((-1.0, 0.0));
            let (y, zero) = Axis::decades_and_zero("share of values", low, high);
            // 0 has a place of its own below the logarithms.
            let place = |row: &StepRow| row.clipped_share.map(|share| if share > 0.0 { share.log10() } else { zero });
            let points = curve(&place);
            let name = |row: &StepRow| format!("{}: {:.2e}", row.step, row.clipped_share.unwrap_or(f64::NAN));
            let mut plot = depth_plot(plan, "Values outside the quantization range", rows, y);
            plot.curve(&points, &rows.iter().map(name).collect::<Vec<_>>(), blue(), false);
            plot.finish()
        }),
    ];
    plots.map(|(name, svg)| PlotFile { name, svg }).into()
}

fn single(plan: &Plan, rows: &[StepRow], title: &str, label: &str, points: &[(f64, f64)]) -> String {
    let mut plot = depth_plot(plan, title, rows, decades(label, points.iter()));
    plot.curve(points, &names(rows, "log10", points), blue(), false);
    plot.finish()
}

fn names(rows: &[StepRow], unit: &str, points: &[(f64, f64)]) -> Vec<String> {
    rows.iter().zip(points).map(|(row, (_, value))| format!("{}: {value:.2} {unit}", row.step)).collect()
}

fn depth_plot(plan: &Plan, title: &str, rows: &[StepRow], y: Axis) -> Plot {
    let last = rows.last().map_or(1, |row| row.depth) as f64;
    let x = Axis::linear("step of the plan", 0.0, last + 1.0, 12);
    let mut plot = Plot::new(title, WIDE, x, y);
    let mut marks: Vec<(StepId, &str)> = plan.body_stages().collect();
    for (part, word) in [(Part::Fpn, "FPN"), (Part::Rpn, "RPN"), (Part::Roi, "RoI")] {
        marks.extend(plan.steps.iter().position(|step| step.part == part).map(|first| (first, word)));
    }
    marks.iter().for_each(|(step, word)| plot.mark(*step as f64, word));
    plot
}

fn linear(label: &str, values: &[f64]) -> Axis {
    match extent(values.iter().copied()) {
        None => Axis::linear(label, 0.0, 1.0, 6),
        Some((low, high)) => Axis::linear(label, (low - 2.0).min(0.0), high + 2.0, 7),
    }
}

/// The least and the largest finite value; `None` without any.
fn extent(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|value| value.is_finite()).map(|value| (value, value)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

fn decades<'a>(label: &str, points: impl Iterator<Item = &'a (f64, f64)>) -> Axis {
    let (low, high) = extent(points.map(|(_, value)| *value)).unwrap_or((-1.0, 0.0));
    Axis::decades(label, low, high)
}

/// Quantity that colours a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colouring {
    /// Number of points.
    Count,
    /// Mean error.
    Mean,
    /// Largest error.
    Max,
}

impl Colouring {
    /// Every quantity.
    pub const ALL: [Self; 3] = [Self::Count, Self::Mean, Self::Max];

    /// Name in file names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Mean => "mean",
            Self::Max => "max",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Count => "points in a cell",
            Self::Mean => "mean error in a cell",
            Self::Max => "largest error in a cell",
        }
    }
}

/// A hexbin plot; a plot of counts has a line through the median error of each column of cells.
pub fn hexbin(title: &str, bins: &Hexbin, label: &str, colouring: Colouring) -> String {
    let axis = |label: &str, scale: AxisScale, [low, high]: [f64; 2]| match scale {
        AxisScale::Linear => Axis::linear(label, low, high, 6),
        AxisScale::Symlog => symlog_axis(label, low, high),
        // Exactly the range of the cells.
        AxisScale::Log => {
            let mut axis = Axis { low, high, ..Axis::decades(label, low, high) };
            axis.ticks.retain(|(place, _)| (low..=high).contains(place));
            axis
        }
    };
    let x = axis("fp32 activation", bins.x_scale, bins.x);
    let mut plot = Plot::new(title, SQUARE, x, axis(label, bins.y_scale, bins.y));
    let value = |cell: &HexCell| match colouring {
        Colouring::Count => cell.count as f64,
        Colouring::Mean => cell.error_sum / cell.count.max(1) as f64,
        Colouring::Max => f64::from(cell.max_error),
    };
    let cells: Vec<_> = bins.cells().map(|(centre, cell)| (centre, value(&cell))).collect();
    let bar = LogBar::over(colouring.label(), cells.iter().map(|(_, value)| *value));
    plot.hexagons(&cells, Hexbin::cell_size(), &bar);
    if colouring == Colouring::Count {
        plot.curve(&bins.medians(), &[], [220, 60, 30], false);
    }
    plot.finish()
}

/// An axis with a symmetric logarithm. Its ticks are 0 and powers of ten of both signs, as many as fit without overlap.
fn symlog_axis(label: &str, low: f64, high: f64) -> Axis {
    let min_distance = (high - low) / 9.0;
    let ticks_of = |stride: i32, phase: i32| -> Option<Vec<f64>> {
        let powers = (-3..=6).filter(|power| (power - phase).rem_euclid(stride) == 0).map(|power| 10f64.powi(power));
        let all = powers.clone().rev().map(|value| -value).chain([0.0]).chain(powers);
        let fits = |value: &f64| {
            let position = AxisScale::Symlog.position(*value);
            (low..=high).contains(&position) && (*value == 0.0 || position.abs() >= min_distance)
        };
        let values: Vec<f64> = all.filter(fits).collect();
        let position = |at: usize| AxisScale::Symlog.position(values[at]);
        (1..values.len()).all(|at| position(at) - position(at - 1) >= min_distance).then_some(values)
    };
    let of_stride = |stride: i32| (0..stride).filter_map(|phase| ticks_of(stride, phase)).max_by_key(Vec::len);
    let values = (1..=10).find_map(of_stride).unwrap_or_default();
    let text = |value: f64| match value.abs() {
        0.0 | 0.01..1e4 => format!("{value}"),
        _ => format!("{value:e}"),
    };
    let ticks = values.into_iter().map(|value| (AxisScale::Symlog.position(value), text(value))).collect();
    Axis { label: format!("{label}, symlog"), low, high, ticks }
}

/// Predicted SQNR against the number of layers kept in fp32.
pub fn kept(kept: &[KeptLayer]) -> String {
    let points: Vec<(f64, f64)> =
        kept.iter().enumerate().map(|(at, kept)| (at as f64, kept.predicted_db.unwrap_or(f64::NAN))).collect();
    let values: Vec<f64> = points.iter().map(|(_, db)| *db).collect();
    let x = Axis::linear("layers kept in fp32, worst first", 0.0, kept.len() as f64, 12);
    let mut plot = Plot::new("Predicted SQNR with the worst layers in fp32", WIDE, x, linear("dB", &values));
    let name = |(at, kept): (usize, &KeptLayer)| {
        let db = kept.predicted_db.map_or_else(|| "-".to_owned(), |db| format!("{db:.1} dB"));
        format!("{at} kept, last {}: {db}, {:.1} % of the work in fp32", kept.layer, kept.fp32_mac_share * 100.0)
    };
    let names: Vec<String> = kept.iter().enumerate().map(name).collect();
    plot.curve(&points, &names, blue(), false);
    plot.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symlog_axis_has_zero_and_symmetric_ticks() {
        let labels = |low: f64, high: f64| -> Vec<String> {
            let axis = symlog_axis("x", AxisScale::Symlog.position(low), AxisScale::Symlog.position(high));
            axis.ticks.into_iter().map(|(_, label)| label).collect()
        };
        assert_eq!(labels(-120.0, 120.0), ["-10", "-0.1", "0", "0.1", "10"]);
        assert_eq!(labels(0.0, 4.0), ["0", "0.01", "0.1", "1"]);
        assert_eq!(labels(-0.0001, 0.0001), ["0"]);
    }
}
