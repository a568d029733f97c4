//! Measures of the difference between the quantized and the full-precision network, for calibrate, evaluate, inspect and
//! monitor.
//!
//! In: both executors on one picture, driven in [`Lockstep`]. Out: errors of every step ([`StepError`]), agreement of
//! the detections ([`Agreement`]), share of the network in int8 ([`Coverage`]). fp32 is always the reference.

mod agreement;
mod coverage;
mod error;
mod lockstep;

pub use agreement::Agreement;
pub use coverage::{Coverage, coverage};
pub use error::StepError;
pub use lockstep::{Lockstep, PairDetections, PairObserver, PairRequest};
