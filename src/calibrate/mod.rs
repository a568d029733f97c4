//! From pictures to the ranges of every edge.
//!
//! In: activations of the f32 executor, picture by picture. Out: a [`Histogram`] an edge and picture, merged by
//! addition, and from them the range each [`Observer`] chooses. Counts are integers and bins lie on one absolute
//! lattice, so the order of pictures, the cut into batches and the number of threads cannot change a result.

mod alter;
mod cache;
mod comparison;
mod convert;
mod correct;
mod counter;
mod entropy;
mod evidence;
pub mod fitness;
mod histogram;
mod l2;
mod lattice;
mod mse;
mod observe;
mod observer;
mod options;
mod pictures;
mod pipeline;
mod recipe;
mod record;
mod recorder;
mod respond;
mod scene;
mod varint;

pub use cache::{Cached, quantize_cached};
pub use convert::{LayerRecipe, convert, fold_all};
pub use correct::{LocalError, add_local_errors};
pub use counter::Counter;
pub use evidence::{clipped_share, distance, mean, no_narrower, spread, stored};
pub use histogram::Histogram;
pub use lattice::{BINS, Lattice};
pub use mse::quantization_mse;
pub use observe::{EdgeWatcher, Observation};
pub use observer::{EdgeStatistics, Observer};
pub use options::{AGREEMENT_SCORE, Options, Outcome, Progress};
pub use pictures::{Chosen, Selection, select};
pub use pipeline::{quantize, quantize_frames, quantize_from_record, quantize_record_alone};
pub use recipe::{KeepFloat, Recipe};
pub use record::{EdgeEntry, Record};
pub use recorder::Recorder;
pub use scene::{Scene, power_db};
