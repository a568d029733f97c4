//! Drift: comparison passes over sampled frames, the calibration baseline, and the verdict after each pass.
//!
//! ```text
//! usable frame ─► pass ─► deviation ─► verdict ─► raised or cleared
//!                  │          ▲
//!                  │       baseline ◄─ serving artifact
//!                  └─► error_map, quality
//! ```
//!
//! 1. `pass` runs the quantized network over a frame, and the full-precision reference in lock-step if there is one. It
//!    measures histograms, clipped shares and, with the reference, errors and the agreement of detections.
//! 2. `baseline` holds the same figures from the serving artifact's calibration, with their spread over pictures.
//! 3. `deviation` gives the distance of each step's figures from the baseline, in spreads. Without the reference,
//!    `first_layer` predicts the error that another brightness causes.
//! 4. `verdict` averages the deviations over passes and raises or clears drift.
//!
//! `quality` reduces a frame to one figure in dB, from measured errors or, without the reference, from those of
//! `predicted_error`. `error_map` shows the errors of the pyramid levels by position.
//!
//! This wing uses no other wing of the monitor.

pub(in crate::monitor) mod baseline;
pub(in crate::monitor) mod deviation;
pub(in crate::monitor) mod error_map;
pub(in crate::monitor) mod first_layer;
pub(in crate::monitor) mod pass;
pub(in crate::monitor) mod predicted_error;
pub(in crate::monitor) mod quality;
pub(in crate::monitor) mod verdict;
