//! The monitor: proves on live frames that the quantized network still agrees with the full-precision one.
//!
//! In: one frame in many, the serving model, and the full-precision checkpoint where the device has one. Out: how far
//! each step is off ([`DriftState`]), told as log lines, metrics and events; maps of where it errs; and, when it drifts, on
//! schedule or when asked, another generation of the model, kept only if it is better on frames it was not calibrated
//! with, and taken back if it does not hold on those that come. It never touches a frame on its way to the detector:
//! detections are the same with and without it, bit for bit.
//!
//! ```text
//! frame ─► Sampler ─► UsabilityCheck ─► Reservoir ──────────► split ─► candidate ─► judge ─► Generations ─► the detector
//!                        │ fit                                       ▲                     │
//!                        ▼                                           │ due                 ▼
//!                     PassRunner (int8, fp32 beside it) ─► DriftState ─► Plans          Trial ─► stands, or is taken back
//! ```

mod cpu_budget;
mod drift;
mod frames;
mod generations;
mod host;
mod memory;
mod monitor;
mod numbers;
mod options;
mod recalibration;
mod reporting;
mod view;

pub use cpu_budget::{BudgetedTask, CpuBudget, ThrottleCheck};
pub use drift::baseline::Baseline;
pub use drift::error_map::ErrorMap;
pub use drift::pass::{Pass, PassRunner};
pub use drift::verdict::{DriftState, DriftVerdict};
pub use frames::reservoir::{Reservoir, StoredFrame};
pub use frames::sampler::{Sample, Sampler};
pub use frames::usability::{UnusableReason, UsabilityCheck};
pub use generations::ledger::{GenerationStatus, Generations, LedgerEntry, RejectedGeneration, StartGeneration};
pub use generations::serving::{EdgeComparison, GenerationComparison, Models, RolledBackEvent};
pub use host::{Host, ServingModel, details};
pub use memory::{memory_shortage, reference_bytes};
pub use monitor::{Monitor, MonitorSetup, SampleOutcome};
pub use options::{FrameStorage, MonitorOptions, RecalibrationPolicy};
pub use recalibration::initial::{GatheringOutcome, InitialCalibration, InitialRefusedEvent};
pub use recalibration::recalibrator::RecalibrationOutcome;
pub use recalibration::schedule::Trigger;
pub use view::LatestPass;
