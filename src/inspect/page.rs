//! HTML pages without scripts and external resources, so that they open from disk.

use std::fmt::Write as _;

use super::labels::LabelCounts;
use super::picture_maps::SheetRow;
use super::report::{InspectionReport, LabelReport, ModelRow, PictureRow};
use super::stats::Quartiles;
use super::table::{KeptLayer, StepRow};
use crate::draw::svg::escape;
use crate::measure::Agreement;

/// Rows of the ranking on the page; the files have all rows.
const RANKED_ROWS: usize = 16;
/// Side-by-side pictures shown on the page; the others are links.
const SHOWN: usize = 12;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;color:#222;max-width:1120px;margin:2em auto;padding:0 1em}\
h1{font-size:1.6em;margin-bottom:.2em}h2{font-size:1.25em;margin-top:2em;border-bottom:1px solid #ddd}\
h3{font-size:1.05em}table{border-collapse:collapse;font-size:13px}\
th,td{padding:2px 8px;border-bottom:1px solid #eee;text-align:right;white-space:nowrap}\
th{background:#f6f6f6;position:sticky;top:0}td:first-child,th:first-child,table.names td:nth-child(2),table.names th:nth-child(2){text-align:left}\
p.findings{font-size:1.1em;border-left:4px solid #0072b2;padding:.2em 0 .2em 1em}img{max-width:100%}figure{margin:1em 0}figcaption{color:#555;font-size:13px}p.note{color:#555;font-size:13px}\
div.wide{overflow-x:auto;max-height:34em;overflow-y:auto;border:1px solid #eee}\
div.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(340px,1fr));gap:.5em}\
code{background:#f4f4f4;padding:0 .25em}";

/// Hexbin plots of one step or of all.
pub struct HexbinRow {
    /// Name of the step, or `all N steps`.
    pub title: String,
    /// Files by kind, and by count, mean and largest error.
    pub plots: Vec<String>,
}

fn document(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title>\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><style>{STYLE}</style></head>\n\
         <body>\n<h1>{0}</h1>\n{body}</body></html>\n",
        escape(title)
    )
}

fn number(value: Option<f64>, decimals: usize) -> String {
    value.filter(|value| value.is_finite()).map_or_else(|| "–".to_owned(), |value| format!("{value:.decimals$}"))
}

/// A number with four decimals, or in scientific notation.
fn short_number(value: Option<f64>) -> String {
    match value.filter(|value| value.is_finite()) {
        None => "–".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(value) if value.abs() < 1e-3 || value.abs() >= 1e4 => format!("{value:.1e}"),
        Some(value) => format!("{value:.4}"),
    }
}

/// A table from its head and rows of cells in HTML.
fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = String::from("<table><tr>");
    head.iter().for_each(|cell| text.push_str(&format!("<th>{cell}</th>")));
    text.push_str("</tr>\n");
    for row in rows {
        text.push_str("<tr>");
        row.iter().for_each(|cell| text.push_str(&format!("<td>{cell}</td>")));
        text.push_str("</tr>\n");
    }
    text.push_str("</table>\n");
    text
}

fn figure(file: &str, caption: &str) -> String {
    let file = escape(file);
    format!(
        "<figure><a href=\"{file}\"><img loading=\"lazy\" src=\"{file}\" alt=\"{0}\"></a><figcaption>{0}</figcaption></figure>\n",
        escape(caption)
    )
}

fn model_cells(row: &ModelRow) -> Vec<String> {
    let megabytes = format!("{:.1}", row.bytes as f64 / 1e6);
    let sha = row.sha256.get(..12).unwrap_or_default();
    vec![
        escape(&row.name),
        row.precision.to_owned(),
        row.generation.to_string(),
        megabytes,
        format!("<code>{sha}</code>"),
    ]
}

fn agreement_cells(name: String, row: &Agreement) -> Vec<String> {
    let share = number(row.matched_share().map(|share| share * 100.0), 1);
    let counts = [row.reference(), row.matched, row.shifted, row.vanished, row.appeared].map(|count| count.to_string());
    [vec![name], counts.to_vec(), vec![share]].concat()
}

/// The main page.
pub fn index(report: &InspectionReport, rows: &[StepRow], kept: &[KeptLayer], hexbins: &[HexbinRow]) -> String {
    let mut body = String::from("<p class=\"findings\">");
    body.push_str(&escape(&report.findings.join(" ")));
    body.push_str("</p>\n");
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let pictures = report.pictures.len();
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(
        body,
        "<p>The inspection ran on {pictures} picture{} with kernel {} and {} thread{}. fp32 is the reference everywhere. \
         The data are in <a href=\"report.json\">report.json</a>, <a href=\"steps.csv\">steps.csv</a>, <a href=\"steps.json\">steps.json</a>, \
         <a href=\"sensitivity.csv\">sensitivity.csv</a> and <a href=\"pictures.csv\">pictures.csv</a>.</p>",
        plural(pictures),
        report.kernel,
        report.threads,
        plural(report.threads),
    );
    let models = [&report.reference, &report.model].into_iter().map(model_cells);
    body.push_str(&table(&["model", "precision", "generation", "MB", "SHA-256"], models));
    if !report.is_related {
        body.push_str("<p><b>The artifact was not quantized from this checkpoint, or does not name it.</b></p>\n");
    }
    body.push_str("<h2>Detections</h2>\n");
    if let Some(labels) = &report.labels {
        labels_table(&mut body, report, labels);
    }
    let score = report.score;
    let both = [
        agreement_cells(format!("both at {score}"), &report.strict),
        agreement_cells(format!("{} at {:.2}", report.model.precision, (score - 0.2).max(0.0)), &report.tolerant),
    ];
    let head = ["score", "fp32", "matched", "shifted", "vanished", "appeared", "matched, %"];
    body.push_str(&table(&head, both.into_iter()));
    body.push_str(
        "<p class=\"note\">A detection is matched if the other model has one of the same class with an IoU of at least \
         0.5; it is shifted if that IoU is below 0.9. Detections of fp32 alone have vanished, and those of the quantized \
         model alone have appeared.</p>\n",
    );
    side_by_side(&mut body, report);

    body.push_str("<h2>Error over the depth of the network</h2>\n<p>The steps with the least SQNR are ");
    let worst = report.worst.iter().map(|worst| {
        let own = worst.injected_db.map_or_else(String::new, |db| format!(", own error {db:.1} dB"));
        format!("<code>{}</code> ({:.1} dB{own})", escape(&worst.step), worst.sqnr_db)
    });
    body.push_str(&worst.collect::<Vec<_>>().join(", "));
    body.push_str(".</p>\n");
    let depth = [
        (
            "sqnr",
            "The signal-to-quantization-noise ratio (SQNR) of each step is the median over the pictures; the band has the \
             quartiles. The solid line includes the errors of all steps before it. The dashed line is measured on the \
             reference's inputs and passes over steps that compute nothing themselves.",
        ),
        (
            "relative",
            "The relative error |int8 − fp32| / |fp32| of each step is the median over elements, and over pixels of the \
             largest of the channels, each by picture. Elements that are 0 in both networks are left out.",
        ),
        ("mean-absolute", "The mean absolute error of each step is in units of its activation."),
        ("cosine", "The cosine distance is 1 minus the cosine similarity of both activations of a step."),
        (
            "clipped",
            "The share of values outside the quantization range is on a logarithmic axis with a place for 0. The line \
             passes over steps without such a range.",
        ),
    ];
    for (name, caption) in depth {
        body.push_str(&figure(&format!("plots/{name}.svg"), caption));
    }
    body.push_str("<div class=\"wide\">");
    body.push_str(&steps(rows));
    body.push_str("</div>\n");
    if report.own_error_pictures > 0 {
        sensitivity(&mut body, report, kept);
    }
    hexbin_plots(&mut body, report, hexbins);
    map_links(&mut body, report);
    pictures_table(&mut body, report);
    document(&format!("{} against {}", report.model.name, report.reference.name), &body)
}

fn labels_table(body: &mut String, report: &InspectionReport, labels: &LabelReport) {
    let _ = writeln!(
        body,
        "<p>The labels are those of <code>{}</code>. A labelled object is found if a detection of its class has an IoU of at \
         least 0.5; shares are the paper's accuracy and precision.</p>",
        escape(&labels.dataset)
    );
    let share = |part: u64, all: u64| number((all > 0).then(|| part as f64 / all as f64 * 100.0), 1);
    let names = [&report.reference.name, &report.model.name];
    let rows = names.into_iter().zip(&labels.counts).map(|(name, counts)| {
        let LabelCounts { labels, detections, found } = *counts;
        let counts = [labels, detections, found].map(|count| count.to_string());
        [vec![escape(name)], counts.to_vec(), vec![share(found, labels), share(found, detections)]].concat()
    });
    body.push_str(&table(&["model", "labels", "detections", "found", "accuracy, %", "precision, %"], rows));
    body.push_str(
        "<p class=\"note\">In the pictures, solid boxes are detections. Dashed boxes are labels: white if the model finds \
         the object, pink if it does not, grey for regions to ignore.</p>\n",
    );
}

fn side_by_side(body: &mut String, report: &InspectionReport) {
    let drawn: Vec<_> = report.pictures.iter().filter(|row| row.has_mosaic).collect();
    let caption = |row: &PictureRow| {
        let [of_reference, other] = row.detections;
        let Agreement { matched, shifted, vanished, appeared } = row.agreement;
        let mut text = format!(
            "In {}, fp32 detects {of_reference} and the quantized model {other}: {matched} are matched, {shifted} of them \
             shifted, {vanished} vanished and {appeared} appeared.",
            row.picture
        );
        if let Some([of_reference, other]) = &row.labels {
            let LabelCounts { labels, found, .. } = of_reference;
            let _ = write!(
                text,
                " Of {labels} labelled objects, fp32 finds {found} and the quantized model {}.",
                other.found
            );
        }
        text
    };
    for row in drawn.iter().take(SHOWN.min(2)) {
        body.push_str(&figure(&format!("side-by-side/{}.jpg", row.name), &caption(row)));
    }
    if drawn.len() > 2 {
        body.push_str("<details><summary>More pictures</summary>\n");
        for row in drawn.iter().take(SHOWN).skip(2) {
            body.push_str(&figure(&format!("side-by-side/{}.jpg", row.name), &caption(row)));
        }
        for row in drawn.iter().skip(SHOWN) {
            let _ = writeln!(body, "<a href=\"side-by-side/{0}.jpg\">{0}</a>", escape(&row.name));
        }
        body.push_str("</details>\n");
    }
}

fn steps(rows: &[StepRow]) -> String {
    let head = [
        "step",
        "precision",
        "SQNR, dB",
        "median",
        "quartiles",
        "own error, dB",
        "mean |error|",
        "relative, element",
        "relative, projection",
        "cosine",
        "clipped, %",
    ];
    let median = |spread: &Option<Quartiles>| spread.map(|spread| spread.median);
    let row = |row: &StepRow| {
        let quartiles = row.sqnr_db_spread.map_or_else(|| "–".to_owned(), |s| format!("{:.1} … {:.1}", s.low, s.high));
        vec![
            escape(&row.step),
            row.precision.to_owned(),
            number(row.sqnr_db, 1),
            number(median(&row.sqnr_db_spread), 1),
            quartiles,
            number(row.injected_db, 1),
            short_number(Some(row.mean_absolute)),
            short_number(median(&row.relative_element)),
            short_number(median(&row.relative_projection)),
            number(row.cosine, 5),
            short_number(row.clipped_share.map(|share| share * 100.0)),
        ]
    };
    table(&head, rows.iter().map(row))
}

fn sensitivity(body: &mut String, report: &InspectionReport, kept: &[KeptLayer]) {
    body.push_str("<h2>Layers to keep in fp32</h2>\n");
    let _ = writeln!(
        body,
        "<p>Layers by their own error on the reference's inputs ({} picture{}), worst first. The prediction is the SQNR of \
         the whole network, −10·log₁₀ Σρ², if that many layers stay in fp32. It assumes independent errors without \
         amplification. <code>lookout quantize --keep-float K</code> makes such a model, <code>lookout evaluate</code> \
         evaluates it.</p>",
        report.own_error_pictures,
        if report.own_error_pictures == 1 { "" } else { "s" }
    );
    body.push_str(&figure(
        "plots/kept.svg",
        "The predicted SQNR rises with the number of layers that stay in fp32, the worst first.",
    ));
    let row = |(count, kept): (usize, &KeptLayer)| {
        vec![
            count.to_string(),
            escape(&kept.layer),
            number(kept.injected_db, 1),
            number(kept.predicted_db, 1),
            number(kept.gain_db, 1),
            number(Some(kept.fp32_mac_share * 100.0), 1),
        ]
    };
    let head = ["kept", "layer", "own error, dB", "predicted, dB", "gain, dB", "work in fp32, %"];
    let ranking = table(&head, kept.iter().enumerate().take(RANKED_ROWS).map(row));
    body.push_str(&ranking.replacen("<table>", "<table class=\"names\">", 1));
}

fn hexbin_plots(body: &mut String, report: &InspectionReport, hexbins: &[HexbinRow]) {
    let values = if report.before_relu { "before the activation function" } else { "after the activation function" };
    let points = match report.points {
        0 => "every value".to_owned(),
        most => format!("about {most} evenly spread values of each step and picture"),
    };
    let _ = writeln!(
        body,
        "<h2>Error against activation</h2>\n<p>The plots show the values of {} steps {values}, {points}. The three plots of \
         a row colour the cells by the number of points, by their mean error and by their largest error; the line in the \
         first is the median error. The first two rows have the absolute error, the last two the relative error on a \
         logarithmic axis. Activations have a linear scale in one row of each pair and a symmetric logarithmic scale in the \
         other. Pairs of zeros are no points. A relative error is 1 if only the reference is 0. The cells as CSV and the \
         totals as JSON are in <code>hexbins/</code>.</p>",
        report.selected.len()
    );
    for row in hexbins {
        let _ = writeln!(body, "<h3>{}</h3>\n<div class=\"grid\">", escape(&row.title));
        for plot in &row.plots {
            let file = escape(plot);
            let _ = writeln!(body, "<a href=\"{file}\"><img loading=\"lazy\" src=\"{file}\" alt=\"{file}\"></a>");
        }
        body.push_str("</div>\n");
    }
}

fn map_links(body: &mut String, report: &InspectionReport) {
    let with: Vec<_> = report.pictures.iter().filter(|row| row.has_maps).collect();
    if with.is_empty() {
        return;
    }
    body.push_str("<h2>Maps</h2>\n");
    for row in with {
        let name = escape(&row.name);
        let _ = writeln!(body, "<p><a href=\"maps/{name}/index.html\">Every step of {}</a></p>", escape(&row.picture));
        let caption = "The maps are means over the selected steps, each resized to the largest of them.";
        body.push_str(&figure(&format!("maps/{}/mean.jpg", row.name), caption));
    }
}

fn pictures_table(body: &mut String, report: &InspectionReport) {
    body.push_str("<h2>Pictures</h2>\n<div class=\"wide\">");
    let head =
        ["picture", "size", "fp32", "quantized", "matched", "shifted", "vanished", "appeared", "P2, dB", "worst step"];
    let row = |row: &PictureRow| {
        let Agreement { matched, shifted, vanished, appeared } = row.agreement;
        let worst = row.worst.as_ref().map_or_else(String::new, |(step, db)| format!("{} ({db:.1} dB)", escape(step)));
        vec![
            escape(&row.picture),
            format!("{}×{}", row.width, row.height),
            row.detections[0].to_string(),
            row.detections[1].to_string(),
            matched.to_string(),
            shifted.to_string(),
            vanished.to_string(),
            appeared.to_string(),
            number(row.pyramid_db, 1),
            worst,
        ]
    };
    body.push_str(&table(&head, report.pictures.iter().map(row)));
    body.push_str("</div>\n");
}

/// The page of the maps of one picture; `values` is before or after the activation function.
pub fn maps_page(picture: &str, values: &str, sheets: &[SheetRow]) -> String {
    let mut body = format!(
        "<p><a href=\"../../index.html\">Back to the inspection</a>. The maps show values {values}. Both activation maps share \
         one scale. Each error map has its own scale, from 0; that of the relative error is logarithmic, from 0.001. Scales end \
         at the 99.5th percentile. Absolute and squared errors are computed by element, then the largest over the channels is \
         taken. The relative error of a pixel is the norm of its channels' errors by the norm of their values. The values of \
         the scales are in <a href=\"maps.json\">maps.json</a>.</p>\n"
    );
    for sheet in sheets {
        body.push_str(&figure(&sheet.file, &sheet.caption()));
    }
    document(&format!("Maps of {picture}"), &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undefined_numbers_are_dashes_and_names_are_escaped() {
        assert_eq!(
            (number(Some(f64::NAN), 1), short_number(Some(2e-5)), short_number(None)),
            ("–".into(), "2.0e-5".into(), "–".into())
        );
        let page = document("a<b", "<p></p>");
        assert!(page.contains("<title>a&lt;b</title>") && page.starts_with("<!DOCTYPE html>"));
        assert!(figure("x\".png", "a & b").contains("x&quot;.png"));
    }
}
