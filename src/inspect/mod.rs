//! fp32 beside int8 in pictures.
//!
//! In: a checkpoint, an artifact, pictures. Out: a folder with an `index.html` that opens from disk: maps of activations
//! and of errors, errors against activations in hexagons, figures and plots over the depth of the network, detections of
//! both models side by side; PNG and SVG for the eye, CSV and JSON for programs. fp32 is always the reference. Both
//! networks run in lock-step over live tensors, pictures come one at a time, and what is kept of one is a few numbers.

mod hexbin;
mod map;
mod models;
mod mosaic;
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
mod watch;

pub use hexbin::{Cell, Hexbin, Scale};
pub use map::{Between, ErrorMaps, Map, MeanMap, relative};
pub use report::{ModelRow, PictureRow, Report};
pub use session::{Options, Outcome, inspect};
pub use stats::Spread;
pub use table::{Kept, Row};
pub use watch::Steps;
