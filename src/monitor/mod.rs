//! Monitor: compares the quantized network with its full-precision reference on live frames, and recalibrates it.
//!
//! In: sampled frames, the serving model, and the full-precision checkpoint if the device has one. Out: deviations from
//! the calibration baseline as log lines, metrics and events ([`DriftState`]); error maps; and new generations of the
//! model. A recalibration starts on drift, on schedule or on request. Its candidate is accepted only if it is better on
//! frames that it was not calibrated with. It is rolled back if it is worse on later ones. The monitor never changes a
//! frame on its way to the detector: detections are the same with and without it, bit for bit.
//!
//! ```text
//! frame ─► Sampler ─► UsabilityCheck ─► Reservoir ─► hold_out ─► candidate ─► acceptance ─► Generations ─► detector
//!                           │                                        ▲                          │
//!                           ▼                                        │ due                      ▼
//!          PassRunner (int8 and fp32) ─► Deviations ─► DriftState ─► schedule         probation: confirmed or rolled back
//! ```
//!
//! | Wing | Contents |
//! |---|---|
//! | `frames/` | sampling, usability check, storage, outliers, holdout |
//! | `drift/` | comparison passes, calibration baseline, deviations, verdict |
//! | `recalibration/` | schedule, candidates, acceptance, initial calibration |
//! | `generations/` | ledger on disk, serving model, probation, oscillation |
//!
//! `monitor` combines the wings, `reporting` publishes each pass, and `cpu_budget` keeps the work within its share of a
//! core. `frames` uses no other wing, `drift` uses `frames` at most. [`Host`] is the service around the monitor.

mod cpu_budget;
mod drift;
mod frames;
mod generations;
mod host;
mod memory;
#[expect(clippy::module_inception, reason = "the file of the type Monitor")]
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
pub use memory::{kilobytes, memory_limit, memory_shortage, reference_bytes, reservoir_limit};
pub use monitor::{Monitor, MonitorSetup, SampleOutcome};
pub use options::{FrameStorage, MonitorOptions, RecalibrationPolicy};
pub use recalibration::initial::{CollectionOutcome, InitialCalibration, InitialRefusedEvent};
pub use recalibration::recalibrator::RecalibrationOutcome;
pub use recalibration::schedule::Trigger;
pub use view::LatestPass;
