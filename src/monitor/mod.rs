//! The monitor: proves on live frames that the quantized network still agrees with the full-precision one.
//!
//! In: one frame in many, the serving model, and the full-precision checkpoint where the device has one. Out: how far
//! each step is off ([`Drift`]), told as log lines, metrics and events; maps of where it errs; and, when it drifts, on
//! schedule or when asked, another generation of the model, kept only if it is better on frames it was not calibrated
//! with, and taken back if it does not hold on those that come. It never touches a frame on its way to the detector:
//! detections are the same with and without it, bit for bit.
//!
//! ```text
//! frame ─► Sampler ─► Examiner ─► Reservoir ──────────► split ─► candidate ─► judge ─► Generations ─► the detector
//!                        │ fit                                       ▲                     │
//!                        ▼                                           │ due                 ▼
//!                     Looker (int8, fp32 beside it) ─► Drift ─► Plans          Trial ─► stands, or is taken back
//! ```

mod cpu_budget;
mod drift;
mod frames;
mod generations;
mod host;
mod memory;
mod monitor;
mod options;
mod recalibration;
mod reporting;
mod view;

pub use cpu_budget::{Hot, Pace, Rest};
pub use drift::baseline::Evidence;
pub use drift::error_map::{ErrorMap, SCALE_END};
pub use drift::pass::{Look, Looker};
pub use drift::verdict::{Drift, Verdict};
pub use frames::reservoir::{Kept, Reservoir};
pub use frames::sampler::{Sample, Sampler};
pub use frames::usability::{Examiner, Reason};
pub use generations::ledger::{Entry, Generations, Start};
pub use generations::serving::Models;
pub use host::{Host, Served, details};
pub use memory::{lacks, need};
pub use monitor::{Monitor, Seen, Setup};
pub use options::{KeepFrames, Options, When};
pub use recalibration::initial::First;
pub use recalibration::schedule::Outcome;
pub use view::View;
