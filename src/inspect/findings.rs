//! Findings: an inspection in three sentences, with figures of the run.

use super::labels::LabelCounts;
use super::report::{InspectionReport, LabelReport};
use super::table::{KeptLayer, StepRow};
use crate::measure::Agreement;

/// The findings: detections, the largest error, and the layer to keep in fp32, or else the clipping.
pub fn findings(report: &InspectionReport, rows: &[StepRow], kept: &[KeptLayer]) -> [String; 3] {
    [detections(report), largest_error(report), layer(rows, kept)]
}

fn plural(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn percent(part: u64, all: u64) -> String {
    format!("{:.1} %", part as f64 / all.max(1) as f64 * 100.0)
}

fn detections(report: &InspectionReport) -> String {
    let (reference, model, score) = (&report.reference.name, &report.model.name, report.score);
    let pictures = plural(report.pictures.len() as u64, "picture");
    let agreement = &report.strict;
    let Agreement { matched, appeared, .. } = *agreement;
    let all = agreement.reference();
    if let Some(LabelReport { counts: [LabelCounts { labels, found: of_reference, .. }, other], .. }) = &report.labels {
        return format!(
            "Of {} in {pictures}, {reference} finds {of_reference} and {model} {}; {matched} of {reference}'s {} from \
             score {score} on are also {model}'s.",
            plural(*labels, "labelled object"),
            other.found,
            plural(all, "detection"),
        );
    }
    match all {
        0 => format!(
            "{reference} detects nothing with a score of {score} or more in {pictures}, and {model} detects {}.",
            plural(appeared, "object")
        ),
        _ => format!(
            "Of {} that {reference} detects in {pictures} with a score of {score} or more, {model} detects {matched} \
             ({}), and {appeared} that {reference} does not.",
            plural(all, "object"),
            percent(matched, all),
        ),
    }
}

fn largest_error(report: &InspectionReport) -> String {
    let Some(worst) = report.worst.first() else {
        return "No step has an error.".to_owned();
    };
    // The ratio of the root mean squares of error and values.
    let share = |db: f64| 100.0 * 10f64.powf(-db / 20.0);
    let mut text = format!(
        "The error is largest at step {}, where it has {:.1} % of the values' magnitude (SQNR {:.1} dB)",
        worst.step,
        share(worst.sqnr_db),
        worst.sqnr_db
    );
    let pyramid: Vec<f64> = report.pictures.iter().filter_map(|row| row.pyramid_db).collect();
    if !pyramid.is_empty() {
        let mean = pyramid.iter().sum::<f64>() / pyramid.len() as f64;
        text.push_str(&format!(", and {:.1} % in the finest map that the heads read", share(mean)));
    }
    text + "."
}

fn layer(rows: &[StepRow], kept: &[KeptLayer]) -> String {
    if let Some(KeptLayer { layer, injected_db: Some(own), gain_db: Some(gain), fp32_mac_share, .. }) = kept.get(1) {
        return format!(
            "Layer {layer} adds the largest error of its own (SQNR {own:.1} dB); kept in fp32, it would raise the \
             predicted SQNR by {gain:.1} dB for {:.1} % of the work.",
            fp32_mac_share * 100.0
        );
    }
    let clipped = |row: &StepRow| row.clipped_share.unwrap_or(0.0);
    match rows.iter().max_by(|a, b| clipped(a).total_cmp(&clipped(b))) {
        Some(row) if clipped(row) > 0.0 => format!(
            "Step {} clips most: {:.3} % of its values are outside its quantization range.",
            row.step,
            clipped(row) * 100.0
        ),
        _ => "No step has values outside its quantization range.".to_owned(),
    }
}
