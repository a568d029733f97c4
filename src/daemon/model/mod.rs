//! The model in the service: the engine, loading, the start-up check and the exchange between frames.

pub(in crate::daemon) mod engine;
pub(in crate::daemon) mod load;
pub(in crate::daemon) mod monitored;
pub(in crate::daemon) mod startup_check;
pub(in crate::daemon) mod swap;
