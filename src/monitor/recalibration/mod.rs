//! Recalibration: when one is due, which candidates are built, and which of them is accepted.

pub(in crate::monitor) mod acceptance;
pub(in crate::monitor) mod artifact;
pub(in crate::monitor) mod attempt;
pub(in crate::monitor) mod bias_shifts;
pub(in crate::monitor) mod biases;
pub(in crate::monitor) mod candidates;
pub(in crate::monitor) mod comparison;
pub(in crate::monitor) mod context;
pub(in crate::monitor) mod initial;
pub(in crate::monitor) mod ranges;
pub(in crate::monitor) mod recalibrator;
pub(in crate::monitor) mod schedule;
