//! Inspection: visual comparison of an int8 model with its fp32 reference.
//!
//! In: a checkpoint, an artifact, pictures. Out: a folder with an `index.html` that opens from disk. It has maps of
//! activations and errors, hexbin plots of error against activation, and metrics over the depth of the network.
//! Detections of both models are side by side. The files are PNG, SVG, CSV and JSON. fp32 is always the reference. Both
//! networks run in lock-step, one picture at a time; only a few numbers of each picture are stored.

mod hexbin;
mod map;
mod models;
mod mosaic;
mod observers;
mod page;
mod panel;
mod picture_maps;
mod plots;
mod report;
mod results;
mod session;
mod stats;
mod table;
mod video;

pub use observers::StepSelection;
pub use report::InspectionReport;
pub use session::{InspectOptions, Inspection, PictureFailures, inspect};
