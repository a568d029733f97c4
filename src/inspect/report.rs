//! What an inspection found, as it stands in `report.json`.

use serde::Serialize;

use super::table::Row;
use crate::measure::Agreement;

/// One of the two models.
#[derive(Debug, Clone, Serialize)]
pub struct ModelRow {
    /// File name without its extension.
    pub name: String,
    /// `fp32`, `int8` or `mixed`.
    pub precision: &'static str,
    /// Recalibrations behind it.
    pub generation: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// Bytes of the file.
    pub bytes: u64,
}

/// One picture.
#[derive(Debug, Clone, Serialize)]
pub struct PictureRow {
    /// Its path.
    pub picture: String,
    /// What its files are called.
    pub name: String,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Detections at or above the threshold: the reference's, the other's.
    pub detections: [usize; 2],
    /// How the reference's fared, both at the threshold.
    pub agreement: Agreement,
    /// Signal to noise of the finest pyramid level, in dB.
    pub pyramid_db: Option<f64>,
    /// Least signal to noise of a step, in dB, and the step.
    pub worst: Option<(String, f64)>,
    /// Whether it has a page of maps.
    pub has_maps: bool,
    /// Whether it has a side-by-side picture.
    pub has_mosaic: bool,
}

/// The whole.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The program's version.
    pub version: &'static str,
    /// The checkpoint.
    pub reference: ModelRow,
    /// The artifact.
    pub model: ModelRow,
    /// Whether the artifact says that it was made from this checkpoint.
    pub is_related: bool,
    /// Instruction set of the kernels.
    pub kernel: &'static str,
    /// Threads.
    pub threads: usize,
    /// Score from which detections count.
    pub score: f32,
    /// Whether maps and hexagons are of the values before ReLU.
    pub before_relu: bool,
    /// The steps that maps and hexagons are of.
    pub selected: Vec<String>,
    /// Pictures that the steps' own errors were measured on.
    pub alone: usize,
    /// Points of a step and picture in the hexagons, at most about.
    pub points: usize,
    /// Agreement over all pictures: both models at `score`.
    pub strict: Agreement,
    /// Agreement over all pictures: the artifact at 0.2 less.
    pub tolerant: Agreement,
    /// The steps with the least signal to noise, worst first.
    pub worst: Vec<Worst>,
    /// Every picture.
    pub pictures: Vec<PictureRow>,
}

/// A step that errs much.
#[derive(Debug, Clone, Serialize)]
pub struct Worst {
    /// Its name.
    pub step: String,
    /// Signal to noise with all steps before it, in dB.
    pub sqnr_db: f64,
    /// Signal to noise of its own error, in dB.
    pub injected_db: Option<f64>,
}

impl Report {
    /// The `count` steps with the least signal to noise.
    pub fn worst_of(rows: &[Row], count: usize) -> Vec<Worst> {
        let known = rows.iter().filter_map(|row| Some((row, row.sqnr_db?)));
        let mut worst: Vec<Worst> = known
            .map(|(row, sqnr_db)| Worst { step: row.step.clone(), sqnr_db, injected_db: row.injected_db })
            .collect();
        worst.sort_by(|a, b| a.sqnr_db.total_cmp(&b.sqnr_db));
        worst.truncate(count);
        worst
    }

    /// The pictures as CSV.
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
