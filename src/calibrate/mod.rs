//! Calibration: chooses the quantization range of every edge from pictures and quantizes the network.
//!
//! In: a checkpoint and calibration pictures. Out: the bytes of an artifact, and a [`CalibrationRecord`] from which
//! other observers or subsets of the pictures give ranges without running the network again.
//!
//! The fp32 network runs on every picture. An [`Fp32Collector`] counts the values of every edge into a [`Histogram`].
//! Histograms of single pictures are merged by addition, and an [`Observer`] chooses the range of the edge from the
//! sum. Counts are integers and all bins lie on multiples of a power of two ([`Binning`]), so the order of the
//! pictures, their division into batches and the number of threads do not change a result.

mod bias;
mod cache;
mod choice;
mod collectors;
mod comparison;
mod convert;
mod histogram;
mod observer;
mod options;
mod pictures;
mod pipeline;
mod power_profile;
mod recipe;
mod record;
mod summary;
pub mod usability;
mod wide;

pub use bias::{LocalError, add_local_errors};
pub use cache::{CachedArtifact, quantize_cached};
pub use collectors::{Fp32Collector, Int8Collector, PictureStatistics};
pub use convert::{LayerRecipe, convert, fold_all};
pub use histogram::{BINS, Binning, Histogram, HistogramBuilder};
pub use observer::{EdgeStatistics, Observer, quantization_mse};
pub use options::{AGREEMENT_SCORE, Progress, QuantizeOptions, QuantizeOutcome};
pub use pictures::{CalibrationPicture, PictureSelection, select};
pub use pipeline::{quantize, quantize_frames, quantize_from_record, quantize_record_alone};
pub use power_profile::{PowerProfile, power_db};
pub use recipe::{KeepFloat, Recipe};
pub use record::{CalibrationRecord, RecordEdge};
pub use summary::{clipped_share, distance, mean, mean_std, with_min_std};
pub use wide::{Wide, WidePart, WideParts};
