//! Inspection: visual comparison of an int8 model with its fp32 reference.
//!
//! In: a checkpoint, an artifact, pictures. Out: a folder with an `index.html` that opens from disk. It has maps of
//! activations and errors, hexbin plots of error against activation, and metrics over the depth of the network.
//! Detections of both models are side by side, with the labels if the pictures have any. The files are JPEG, SVG, CSV and
//! JSON; the values of steps are written as safetensors on request. fp32 is always the reference. Both networks run in
//! lock-step, one picture at a time; only a few numbers of each picture are stored.

mod findings;
mod hexbin;
mod labels;
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
mod tensors;
mod video;

pub use labels::LabelSource;
pub use observers::StepSelection;
pub use report::InspectionReport;
pub use session::{InspectOptions, Inspection, PictureFailures, PictureSource, inspect};
