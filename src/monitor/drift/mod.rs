//! Drift: comparison passes over sampled frames, their calibration baseline, and the verdict on each.

pub(in crate::monitor) mod baseline;
pub(in crate::monitor) mod deviation;
pub(in crate::monitor) mod error_map;
pub(in crate::monitor) mod first_layer;
pub(in crate::monitor) mod pass;
pub(in crate::monitor) mod predicted_error;
pub(in crate::monitor) mod quality;
pub(in crate::monitor) mod verdict;
