//! Report of an inspection, as in `report.json`.

use serde::Serialize;

use super::labels::LabelCounts;
use super::table::StepRow;
use crate::measure::Agreement;

/// Facts about one of the two models.
#[derive(Debug, Clone, Serialize)]
pub struct ModelRow {
    /// File name without its extension.
    pub name: String,
    /// `fp32`, `int8` or `mixed`.
    pub precision: &'static str,
    /// Generation: the number of recalibrations.
    pub generation: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// Size of the file in bytes.
    pub bytes: u64,
}

/// Results of one picture.
#[derive(Debug, Clone, Serialize)]
pub struct PictureRow {
    /// Path of the picture.
    pub picture: String,
    /// Name of its files.
    pub name: String,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Number of detections from the score threshold on: of the reference and of the quantized model.
    pub detections: [usize; 2],
    /// Agreement with the same threshold for both.
    pub agreement: Agreement,
    /// Labelled objects and those found: by the reference and by the quantized model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<[LabelCounts; 2]>,
    /// SQNR of the finest pyramid level, in dB.
    pub pyramid_db: Option<f64>,
    /// The step with the least SQNR, and its SQNR in dB.
    pub worst: Option<(String, f64)>,
    /// True if it has a page of maps.
    pub has_maps: bool,
    /// True if it has a side-by-side picture.
    pub has_mosaic: bool,
}

/// Detections of both models compared with labels.
#[derive(Debug, Clone, Serialize)]
pub struct LabelReport {
    /// Layout and path of the dataset.
    pub dataset: String,
    /// Labelled objects and those found, over all pictures: by the reference and by the quantized model.
    pub counts: [LabelCounts; 2],
}

/// Results of an inspection.
#[derive(Debug, Clone, Serialize)]
pub struct InspectionReport {
    /// What was found, in three sentences.
    pub findings: [String; 3],
    /// Version of lookout.
    pub version: &'static str,
    /// The checkpoint.
    pub reference: ModelRow,
    /// The artifact.
    pub model: ModelRow,
    /// True if the artifact's provenance names this checkpoint.
    pub is_related: bool,
    /// Instruction set of the kernels.
    pub kernel: &'static str,
    /// Threads.
    pub threads: usize,
    /// Score threshold of detections.
    pub score: f32,
    /// True if maps and hexbin plots show the values before the activation function.
    pub before_relu: bool,
    /// Steps with maps and hexbin plots.
    pub selected: Vec<String>,
    /// Number of pictures for the steps' own errors.
    #[serde(rename = "alone")]
    pub own_error_pictures: usize,
    /// Approximate number of sampled points of a step and picture in hexbin plots; 0 for all.
    pub points: usize,
    /// Agreement over all pictures with `score` for both models.
    pub strict: Agreement,
    /// Agreement over all pictures with a score 0.2 lower for the artifact.
    pub tolerant: Agreement,
    /// Comparison with labels, if the pictures have them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<LabelReport>,
    /// The steps with the least SQNR, worst first.
    pub worst: Vec<WorstStep>,
    /// Results by picture.
    pub pictures: Vec<PictureRow>,
}

/// A step with a large error.
#[derive(Debug, Clone, Serialize)]
pub struct WorstStep {
    /// Name of the step.
    pub step: String,
    /// SQNR with the errors of all steps before it, in dB.
    pub sqnr_db: f64,
    /// SQNR of its own error, in dB.
    pub injected_db: Option<f64>,
}

impl InspectionReport {
    /// The `count` steps with the least SQNR.
    pub fn worst_of(rows: &[StepRow], count: usize) -> Vec<WorstStep> {
        let known = rows.iter().filter_map(|row| Some((row, row.sqnr_db?)));
        let mut worst: Vec<WorstStep> = known
            .map(|(row, sqnr_db)| WorstStep { step: row.step.clone(), sqnr_db, injected_db: row.injected_db })
            .collect();
        worst.sort_by(|a, b| a.sqnr_db.total_cmp(&b.sqnr_db));
        worst.truncate(count);
        worst
    }

    /// CSV of the pictures.
    pub fn pictures_to_csv(&self) -> String {
        let mut text = String::from(
            "picture,name,width,height,detections_fp32,detections_int8,matched,shifted,vanished,appeared,pyramid_db,\
             worst_step,worst_db\n",
        );
        let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
        for row in &self.pictures {
            let quoted = row.picture.replace('"', "\"\"");
            let Agreement { matched, shifted, vanished, appeared } = row.agreement;
            let (step, db) = row.worst.clone().map_or((String::new(), None), |(step, db)| (step, Some(db)));
            let [f, q] = row.detections;
            text.push_str(&format!(
                "\"{quoted}\",{},{},{},{f},{q},{matched},{shifted},{vanished},{appeared},{},{step},{}\n",
                row.name,
                row.width,
                row.height,
                number(row.pyramid_db),
                number(db)
            ));
        }
        text
    }
}
