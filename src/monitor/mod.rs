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

mod biases;
mod blind;
mod candidate;
mod change;
mod compare;
mod core;
mod drafts;
mod drift;
mod evidence;
mod examine;
mod expected;
mod first;
mod generations;
mod glitch;
mod host;
mod judge;
mod keep;
mod light;
mod look;
mod maps;
mod memory;
mod models;
mod options;
mod pace;
mod recalibrate;
mod renew;
mod reservoir;
mod restrain;
mod sample;
mod split;
mod swing;
mod tell;
mod trial;
mod view;

pub use change::Outcome;
pub use core::{Monitor, Seen, Setup};
pub use drift::{Drift, Verdict};
pub use evidence::Evidence;
pub use examine::{Examiner, Reason};
pub use first::First;
pub use generations::{Entry, Generations, Start};
pub use host::{Host, Served, details};
pub use look::{Look, Looker};
pub use maps::{ErrorMap, SCALE_END};
pub use memory::{lacks, need};
pub use models::Models;
pub use options::{KeepFrames, Options, When};
pub use pace::{Hot, Pace, Rest};
pub use reservoir::{Kept, Reservoir};
pub use sample::{Sample, Sampler};
pub use view::View;
