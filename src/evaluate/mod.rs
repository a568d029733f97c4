//! Models judged on labelled pictures: the paper's figures, recall and precision, COCO's average precision, agreement
//! between models, each with its interval.
//!
//! In: a dataset ([`Source`]: KITTI, COCO or VOC), models, a class map. Out: a [`Report`], which is a table, JSON or
//! CSV, and on request the detections as result files. Figures are exact: COCO's equal `pycocotools`', the paper's are
//! those of its code. Results are kept by content, so nothing is run twice.

mod average_precision;
mod bootstrap;
mod bounds;
mod cache;
mod classes;
mod coco;
mod dataset;
mod evaluation;
mod figures;
mod found;
mod json_lists;
mod kitti;
mod matching;
mod mersenne;
mod paper;
mod problem;
mod report;
mod results;
mod run;
mod split;
mod table;
mod voc;

pub use average_precision::Ranked;
pub use bootstrap::{Draws, Estimate};
pub use bounds::Bounds;
pub use cache::{Cache, Entry, Machine};
pub use classes::{ClassMap, Classes, DontCare, Truth};
pub use dataset::{Dataset, Label, Labelled, Layout, Role, Source};
pub use evaluation::{Options, Outcome, evaluate};
pub use figures::{Board, ClassFigures, Counts, FIGURES, Values};
pub use found::Found;
pub use matching::{AREAS, Matches, OVERLAPS, Verdict, match_class};
pub use paper::PaperSums;
pub use problem::{Problem, ProblemKind, Problems};
pub use report::{ModelFacts, ModelReport, ModuleCoverage, PairReport, Report, Timing};
pub use results::{write_coco_annotations, write_coco_results, write_kitti_results};
pub use run::{Contender, RunOptions};
pub use split::{Split, paper_split};
