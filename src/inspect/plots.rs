//! Plots over the depth of the network, of hexagons, and of what fp32 layers would give.

use super::hexbin::{Cell, Hexbin, Scale};
use super::stats::Spread;
use super::table::{Kept, Row};
use crate::detector::plan::Plan;
use crate::draw::svg::{Axis, Frame, LogBar, Plot};
use crate::draw::{Colour, class_colour};

/// Size of a plot over depth.
const WIDE: Frame = Frame { width: 1080.0, height: 320.0, margin: [64.0, 34.0, 20.0, 44.0], zoom: 1.0 };
/// Size of a plot of hexagons: small, for three stand beside each other, and enlarged where one is opened alone.
const SQUARE: Frame = Frame { width: 420.0, height: 330.0, margin: [62.0, 44.0, 62.0, 42.0], zoom: 2.0 };

fn blue() -> Colour {
    class_colour(7)
}

fn orange() -> Colour {
    class_colour(6)
}

/// All plots over depth: file name and SVG.
pub fn over_depth(plan: &Plan, rows: &[Row]) -> Vec<(&'static str, String)> {
    let curve = |value: &dyn Fn(&Row) -> Option<f64>| -> Vec<(f64, f64)> {
        rows.iter().map(|row| (row.depth as f64, value(row).unwrap_or(f64::NAN))).collect()
    };
    let log = |value: Option<f64>| value.filter(|value| *value > 0.0).map(f64::log10);
    let median = |spread: &Option<Spread>| spread.map(|spread| spread.median);
    vec![
        ("sqnr.svg", {
            let whole = curve(&|row| median(&row.sqnr_db_spread));
            let own = curve(&|row| median(&row.injected_db_spread));
            let band: Vec<_> =
                rows.iter().filter_map(|row| row.sqnr_db_spread.map(|s| (row.depth as f64, s.low, s.high))).collect();
            let extent: Vec<f64> = whole.iter().chain(&own).map(|(_, db)| *db).collect();
            let y = linear("SQNR, dB", &extent);
            let mut plot =
                depth_plot(plan, "Signal to quantization noise: median over pictures and quartiles", rows, y);
            plot.band(&band, blue());
            plot.curve(&own, &names(rows, "dB injected", &own), orange(), true);
            plot.curve(&whole, &names(rows, "dB", &whole), blue(), false);
            plot.legend(&[("injected by the step alone", orange()), ("with all steps before it", blue())]);
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
            let points = curve(&|row| log(row.clipped_share));
            single(plan, rows, "Values outside the quantization range", "share of values", &points)
        }),
    ]
}

fn single(plan: &Plan, rows: &[Row], title: &str, label: &str, points: &[(f64, f64)]) -> String {
    let mut plot = depth_plot(plan, title, rows, decades(label, points.iter()));
    plot.curve(points, &names(rows, "log10", points), blue(), false);
    plot.finish()
}

fn names(rows: &[Row], unit: &str, points: &[(f64, f64)]) -> Vec<String> {
    rows.iter().zip(points).map(|(row, (_, value))| format!("{}: {value:.2} {unit}", row.step)).collect()
}

fn depth_plot(plan: &Plan, title: &str, rows: &[Row], y: Axis) -> Plot {
    let last = rows.last().map_or(1, |row| row.depth) as f64;
    let x = Axis::linear("step of the plan", 0.0, last + 1.0, 12);
    let mut plot = Plot::new(title, WIDE, x, y);
    let stages = &plan.key_steps.stages;
    let marks = [
        (plan.find("backbone.body.maxpool").map_or(1, |pool| pool + 1), "layer1"),
        (stages[0] + 1, "layer2"),
        (stages[1] + 1, "layer3"),
        (stages[2] + 1, "layer4"),
        (stages[3] + 1, "FPN"),
        (plan.key_steps.pyramid.iter().max().map_or(0, |step| step + 1), "RPN"),
        (plan.key_steps.roi_features, "RoI"),
    ];
    marks.iter().for_each(|(step, word)| plot.mark(*step as f64, word));
    plot
}

fn linear(label: &str, values: &[f64]) -> Axis {
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let (low, high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    if low > high {
        return Axis::linear(label, 0.0, 1.0, 6);
    }
    Axis::linear(label, (low - 2.0).min(0.0), high + 2.0, 7)
}

fn decades<'a>(label: &str, points: impl Iterator<Item = &'a (f64, f64)>) -> Axis {
    let finite: Vec<f64> = points.map(|(_, value)| *value).filter(|value| value.is_finite()).collect();
    let (low, high) = (
        finite.iter().copied().fold(f64::INFINITY, f64::min),
        finite.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    );
    if low > high { Axis::decades(label, -1.0, 0.0) } else { Axis::decades(label, low, high) }
}

/// What a hexagon's colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colouring {
    /// How many points it got.
    Count,
    /// Their mean error.
    Mean,
    /// Their largest error.
    Most,
}

impl Colouring {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Count, Self::Mean, Self::Most];

    /// The name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Mean => "mean",
            Self::Most => "max",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Count => "points in a cell",
            Self::Mean => "mean error in a cell",
            Self::Most => "largest error in a cell",
        }
    }
}

/// A plot of hexagons; where they show counts, with a line through the mean error of each column of cells.
pub fn hexagons(title: &str, bins: &Hexbin, label: &str, colouring: Colouring) -> String {
    let axis = |label: &str, [low, high]: [f64; 2]| match bins.scale {
        Scale::Linear => Axis::linear(label, low, high, 6),
        Scale::Symlog => symlog_axis(label, low, high),
    };
    let mut plot = Plot::new(title, SQUARE, axis("fp32 activation", bins.x), axis(label, bins.y));
    let value = |cell: &Cell| match colouring {
        Colouring::Count => cell.count as f64,
        Colouring::Mean => cell.sum / cell.count.max(1) as f64,
        Colouring::Most => f64::from(cell.most),
    };
    let cells: Vec<_> = bins.cells().map(|(place, cell)| (place, value(&cell))).collect();
    let bar = LogBar::over(colouring.words(), cells.iter().map(|(_, value)| *value));
    plot.hexagons(&cells, Hexbin::cell_size(), &bar);
    if colouring == Colouring::Count {
        plot.curve(&columns(bins), &[], [220, 60, 30], false);
    }
    plot.finish()
}

/// Mean error of the points in each column of cells.
fn columns(bins: &Hexbin) -> Vec<(f64, f64)> {
    let mut sums = std::collections::BTreeMap::<u64, (f64, u64)>::new();
    for ([x, _], cell) in bins.cells() {
        let sum = sums.entry((x * 2.0 * super::hexbin::CELLS as f64).round() as u64).or_default();
        sum.0 += cell.sum;
        sum.1 += cell.count;
    }
    let place = |(column, (sum, count)): (u64, (f64, u64))| {
        let x = bins.x[0] + column as f64 / (2.0 * super::hexbin::CELLS as f64) * (bins.x[1] - bins.x[0]);
        (x, bins.scale.place(sum / count as f64))
    };
    sums.into_iter().map(place).collect()
}

/// An axis in places of the symmetric logarithm, with 0 and powers of ten of both signs written beside it: as many as
/// stand apart.
fn symlog_axis(label: &str, low: f64, high: f64) -> Axis {
    let apart = (high - low) / 9.0;
    let chosen = |stride: i32, phase: i32| -> Option<Vec<f64>> {
        let powers = (-3..=6).filter(|power| (power - phase).rem_euclid(stride) == 0).map(|power| 10f64.powi(power));
        let all = powers.clone().rev().map(|value| -value).chain([0.0]).chain(powers);
        let is_fit = |value: &f64| {
            let place = Scale::Symlog.place(*value);
            (low..=high).contains(&place) && (*value == 0.0 || place.abs() >= apart)
        };
        let values: Vec<f64> = all.filter(is_fit).collect();
        let place = |at: usize| Scale::Symlog.place(values[at]);
        (1..values.len()).all(|at| place(at) - place(at - 1) >= apart).then_some(values)
    };
    let of_stride = |stride: i32| (0..stride).filter_map(|phase| chosen(stride, phase)).max_by_key(Vec::len);
    let values = (1..=10).find_map(of_stride).unwrap_or_default();
    let text = |value: f64| match value.abs() {
        0.0 | 0.01..1e4 => format!("{value}"),
        _ => format!("{value:e}"),
    };
    let ticks = values.into_iter().map(|value| (Scale::Symlog.place(value), text(value))).collect();
    Axis { label: format!("{label}, symlog"), low, high, ticks }
}

/// Predicted signal to noise against how many layers stay in fp32.
pub fn kept(kept: &[Kept]) -> String {
    let points: Vec<(f64, f64)> =
        kept.iter().enumerate().map(|(at, kept)| (at as f64, kept.predicted_db.unwrap_or(f64::NAN))).collect();
    let values: Vec<f64> = points.iter().map(|(_, db)| *db).collect();
    let x = Axis::linear("layers kept in fp32, worst first", 0.0, kept.len() as f64, 12);
    let mut plot = Plot::new("Predicted signal to noise with the worst layers in fp32", WIDE, x, linear("dB", &values));
    let name = |(at, kept): (usize, &Kept)| {
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
    fn a_symlog_axis_has_zero_and_the_same_numbers_on_both_sides() {
        let words = |low: f64, high: f64| -> Vec<String> {
            let axis = symlog_axis("x", Scale::Symlog.place(low), Scale::Symlog.place(high));
            axis.ticks.into_iter().map(|(_, word)| word).collect()
        };
        assert_eq!(words(-120.0, 120.0), ["-10", "-0.1", "0", "0.1", "10"]);
        assert_eq!(words(0.0, 4.0), ["0", "0.01", "0.1", "1"]);
        assert_eq!(words(-0.0001, 0.0001), ["0"]);
    }
}
