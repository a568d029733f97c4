//! How far the quantized network is from the full-precision one: what quantize, evaluate, inspect and monitor share.
//!
//! In: both executors on one picture. Out: error figures of every step ([`StepError`]), gathered in lock-step so that
//! only live tensors exist, and the agreement of the detections ([`Agreement`]). fp32 is always the reference.

mod agreement;
mod coverage;
mod error;
mod lockstep;

pub use agreement::Agreement;
pub use coverage::{Coverage, coverage};
pub use error::StepError;
pub use lockstep::{Lockstep, PairDetections, PairObserver, PairRequest};
