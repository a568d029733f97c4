//! Evaluation of models on labelled pictures: the paper's metrics, recall and precision, COCO's metrics, and agreement
//! between models, each with a confidence interval.
//!
//! In: a dataset ([`DatasetSource`]: KITTI, COCO or VOC), models, a class map. Out: an
//! [`EvaluationReport`] as table, JSON or CSV, and optionally result files. COCO's metrics equal
//! those of `pycocotools`, the paper's those of its code. Results are cached by content.

mod average_precision;
mod bootstrap;
mod bounds;
mod cache;
mod classes;
mod dataset;
mod evaluation;
mod figures;
mod ids;
mod json_lists;
mod label_files;
mod layouts;
mod matching;
mod mersenne;
mod paper;
mod picture_check;
mod prediction;
mod problem;
mod report;
mod results;
mod run;
mod split;
mod table;

pub use bounds::Bounds;
pub use classes::{ClassMap, Classes, DontCare, GroundTruth};
pub use dataset::{BoxRole, Dataset, DatasetSource};
pub use evaluation::{EvaluateOptions, Evaluation, NamedFile, NamedPredictions, evaluate};
pub use figures::FIGURES;
pub use paper::{PaperMatches, PaperSums};
pub use picture_check::ExifMode;
pub use prediction::Prediction;
pub use report::EvaluationReport;
pub use results::{write_coco_annotations, write_coco_results, write_kitti_results};
pub use run::RunOptions;
pub use split::Split;
