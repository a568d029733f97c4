//! Text tables and CSV of an evaluation report.

use std::fmt::{self, Display, Write as _};

use super::bootstrap::Estimate;
use super::figures::{ClassFigures, FIGURES};
use super::report::{EvaluationReport, ModelReport};
use crate::measure::Agreement;

/// A table of metrics.
struct FigureGroup {
    title: &'static str,
    columns: &'static [FigureColumn],
}

/// A column of a table of metrics.
struct FigureColumn {
    figure: &'static str,
    heading: &'static str,
}

const fn column(figure: &'static str, heading: &'static str) -> FigureColumn {
    FigureColumn { figure, heading }
}

const GROUPS: [FigureGroup; 4] = [
    FigureGroup {
        title: "the paper's metrics",
        columns: &[
            column("paper.accuracy", "accuracy"),
            column("paper.precision", "precision"),
            column("paper.mean_iou", "mean IoU"),
        ],
    },
    FigureGroup {
        title: "with regions ignored",
        columns: &[
            column("regions.recall", "recall"),
            column("regions.precision", "precision"),
            column("regions.f1", "F1"),
        ],
    },
    FigureGroup {
        title: "COCO's average precision",
        columns: &[
            column("coco.ap", "AP"),
            column("coco.ap50", "AP50"),
            column("coco.ap75", "AP75"),
            column("coco.ap_small", "AP small"),
            column("coco.ap_medium", "AP medium"),
            column("coco.ap_large", "AP large"),
        ],
    },
    FigureGroup {
        title: "COCO's average recall",
        columns: &[
            column("coco.ar1", "AR1"),
            column("coco.ar10", "AR10"),
            column("coco.ar100", "AR100"),
            column("coco.ar_small", "AR small"),
            column("coco.ar_medium", "AR medium"),
            column("coco.ar_large", "AR large"),
        ],
    },
];

impl Display for EvaluationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dataset, split, pictures, truths, regions, score, .. } = self;
        writeln!(f, "{dataset}, split {split}: {pictures} pictures, {truths} boxes, {regions} regions to ignore")?;
        writeln!(
            f,
            "score ≥ {score}; DontCare: {}; in percent, with 95 % intervals by bootstrap over pictures, {} resamples",
            if self.dont_care == "class" { "a class in the paper's metrics" } else { "ignored" },
            self.resamples
        )?;
        for FigureGroup { title, columns } in &GROUPS {
            let rows = self.models.iter().map(|model| {
                let values = columns.iter().map(|column| estimate(model.figures.get(column.figure), false));
                std::iter::once(model.name.clone()).chain(values).collect()
            });
            let headings = columns.iter().map(|column| column.heading.to_owned());
            write_rows(f, std::iter::once((*title).to_owned()).chain(headings).collect(), rows.collect())?;
        }
        for FigureGroup { title, columns } in GROUPS.iter().filter(|_| !self.pairs.is_empty()) {
            let rows = self.pairs.iter().map(|pair| {
                let values = columns.iter().map(|column| estimate(pair.differences.get(column.figure), true));
                std::iter::once(format!("{} - {}", pair.other, pair.reference)).chain(values).collect()
            });
            let headings = columns.iter().map(|column| column.heading.to_owned());
            write_rows(f, std::iter::once(format!("difference, {title}")).chain(headings).collect(), rows.collect())?;
        }
        self.write_agreement(f)?;
        self.write_classes(f)?;
        self.write_cost(f)
    }
}

impl EvaluationReport {
    fn write_agreement(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pairs.is_empty() {
            return Ok(());
        }
        let head = ["agreement", "matched", "shifted", "vanished", "appeared", "matched", "from score 0.3"];
        let rows = self.pairs.iter().map(|pair| {
            let Agreement { matched, shifted, vanished, appeared } = pair.strict;
            vec![
                format!("{} with {}", pair.other, pair.reference),
                matched.to_string(),
                shifted.to_string(),
                vanished.to_string(),
                appeared.to_string(),
                percent(pair.strict.matched_share()),
                percent(pair.tolerant.matched_share()),
            ]
        });
        write_rows(f, head.map(str::to_owned).into(), rows.collect())
    }

    fn write_classes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["by class", "", "boxes", "recall", "precision", "AP", "AP50", "AP75"];
        let of_model = |model: &ModelReport| -> Vec<Vec<String>> {
            let row = |figures: &ClassFigures| {
                vec![
                    model.name.clone(),
                    figures.class.clone(),
                    figures.counts.truths.to_string(),
                    points(Some(figures.counts.recall())),
                    points(Some(figures.counts.precision())),
                    points(figures.ap),
                    points(figures.ap50),
                    points(figures.ap75),
                ]
            };
            model
                .classes
                .iter()
                .filter(|figures| figures.counts.truths + figures.counts.predictions > 0.0)
                .map(row)
                .collect()
        };
        write_rows(f, head.map(str::to_owned).into(), self.models.iter().flat_map(of_model).collect())
    }

    fn write_cost(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = || self.models.iter().filter_map(|model| Some((&model.name, model.model.as_ref()?)));
        if info().next().is_none() {
            return Ok(());
        }
        let head =
            ["size and coverage", "precision", "MB", "in fp32", "module", "GMAC", "in int8", "parameters", "in int8"];
        let mut rows: Vec<Vec<String>> = Vec::new();
        for (name, info) in info() {
            for (at, row) in info.coverage.iter().enumerate() {
                let mut line = match at {
                    0 => vec![
                        name.clone(),
                        info.precision.to_owned(),
                        format!("{:.2}", info.bytes as f64 / 1e6),
                        format!("{:.2}", info.fp32_bytes as f64 / 1e6),
                    ],
                    _ => vec![String::new(); 4],
                };
                let c = &row.coverage;
                line.extend([
                    row.module.to_owned(),
                    format!("{:.2}", c.gmac),
                    percent(Some(c.mac_share())),
                    c.parameters.to_string(),
                    percent((c.parameters > 0).then(|| c.parameters_int8 as f64 / c.parameters as f64)),
                ]);
                rows.push(line);
            }
        }
        write_rows(f, head.map(str::to_owned).into(), rows)?;
        let head = ["ms a picture", "wall p50", "p99", "CPU p50", "p99", "pictures", "threads", "kernel", "CPU"];
        let timings = info().flat_map(|(name, info)| info.timing.iter().map(move |timing| (name, timing)));
        let rows = timings.map(|(name, timing)| {
            let ms = |value: f64| format!("{value:.1}");
            vec![
                name.clone(),
                ms(timing.wall_ms_p50),
                ms(timing.wall_ms_p99),
                ms(timing.cpu_ms_p50),
                ms(timing.cpu_ms_p99),
                timing.pictures.to_string(),
                timing.machine.threads.to_string(),
                timing.machine.kernel.clone(),
                timing.machine.cpu.clone(),
            ]
        });
        write_rows(f, head.map(str::to_owned).into(), rows.collect())
    }

    /// CSV with one line for every metric of every model and pair: model, reference, class, figure, value, low, high.
    pub fn to_csv(&self) -> String {
        let mut text = String::from("model,reference,class,figure,value,low,high\n");
        let mut line = |model: &str, reference: &str, class: &str, figure: &str, e: Estimate| {
            let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
            let (value, low, high) = (number(e.value), number(e.low), number(e.high));
            // Writing to a string cannot fail.
            let _ =
                writeln!(text, "{},{},{},{figure},{value},{low},{high}", field(model), field(reference), field(class));
        };
        let plain = |value: f64| Estimate { value: value.is_finite().then_some(value), ..Estimate::default() };
        for model in &self.models {
            for figure in FIGURES {
                line(&model.name, "", "", figure, model.figures.get(figure).copied().unwrap_or_default());
            }
            for class in &model.classes {
                line(&model.name, "", &class.class, "truths", plain(class.counts.truths));
                line(&model.name, "", &class.class, "regions.recall", plain(class.counts.recall()));
                line(&model.name, "", &class.class, "regions.precision", plain(class.counts.precision()));
                for (figure, value) in [("coco.ap", class.ap), ("coco.ap50", class.ap50), ("coco.ap75", class.ap75)] {
                    line(&model.name, "", &class.class, figure, Estimate { value, ..Estimate::default() });
                }
            }
            let Some(info) = &model.model else { continue };
            line(&model.name, "", "", "bytes", plain(info.bytes as f64));
            for module in &info.coverage {
                line(&model.name, "", module.module, "int8_mac_share", plain(module.coverage.mac_share()));
            }
            for timing in &info.timing {
                let machine =
                    format!("{}; {} threads; {}", timing.machine.cpu, timing.machine.threads, timing.machine.kernel);
                for (figure, ms) in [
                    ("wall_ms_p50", timing.wall_ms_p50),
                    ("wall_ms_p99", timing.wall_ms_p99),
                    ("cpu_ms_p50", timing.cpu_ms_p50),
                    ("cpu_ms_p99", timing.cpu_ms_p99),
                ] {
                    line(&model.name, "", &machine, figure, plain(ms));
                }
            }
        }
        for pair in &self.pairs {
            for figure in FIGURES {
                line(
                    &pair.other,
                    &pair.reference,
                    "",
                    figure,
                    pair.differences.get(figure).copied().unwrap_or_default(),
                );
            }
            for (kind, agreement) in [("strict", pair.strict), ("tolerant", pair.tolerant)] {
                let counts = [
                    ("matched", agreement.matched),
                    ("shifted", agreement.shifted),
                    ("vanished", agreement.vanished),
                    ("appeared", agreement.appeared),
                ];
                for (name, count) in counts {
                    line(&pair.other, &pair.reference, "", &format!("{kind}.{name}"), plain(count as f64));
                }
            }
        }
        text
    }
}

/// A CSV field, quoted if needed.
fn field(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// A fraction in percent, without unit; a dash if it is not defined.
fn points(value: Option<f64>) -> String {
    value.filter(|value| value.is_finite()).map_or_else(|| "-".to_owned(), |value| format!("{:.1}", value * 100.0))
}

/// A share in percent, with unit; a dash if it is not defined.
fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0))
}

/// A metric and its interval in percent, without unit.
fn estimate(estimate: Option<&Estimate>, signed: bool) -> String {
    let number = |value: f64| {
        // Adding 0.0 changes −0 to 0.
        let points = (value * 10_000.0).round() / 100.0 + 0.0;
        if signed { format!("{points:+.2}") } else { format!("{points:.2}") }
    };
    match estimate {
        Some(&Estimate { value: Some(value), low: Some(low), high: Some(high) }) => {
            format!("{} ({} to {})", number(value), number(low), number(high))
        }
        Some(&Estimate { value: Some(value), .. }) => number(value),
        _ => "-".to_owned(),
    }
}

/// Writes a table: an empty line, the head, then the rows. Columns fit their cells; the first is aligned to the left.
fn write_rows(f: &mut fmt::Formatter<'_>, head: Vec<String>, rows: Vec<Vec<String>>) -> fmt::Result {
    let width = |column: usize| {
        let cells = std::iter::once(&head).chain(&rows).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    writeln!(f)?;
    for row in std::iter::once(&head).chain(&rows) {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match at {
                0 => write!(line, "{cell:width$}"),
                _ => write!(line, "  {cell:>width$}"),
            };
        }
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_their_interval() {
        let some = Estimate { value: Some(0.5), low: Some(0.25), high: Some(0.755) };
        assert_eq!(estimate(Some(&some), false), "50.00 (25.00 to 75.50)");
        assert_eq!(estimate(Some(&Estimate { value: Some(-0.00001), ..some }), true), "+0.00 (+25.00 to +75.50)");
        assert_eq!(estimate(None, true), "-");
        assert_eq!(points(Some(f64::NAN)), "-");
    }

    #[test]
    fn csv_fields_are_quoted_if_needed() {
        assert_eq!(field("a,\"b"), "\"a,\"\"b\"");
        assert_eq!(field("plain"), "plain");
    }
}
