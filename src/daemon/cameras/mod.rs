//! Cameras of the service: capture threads, opening, the registry, filters, and enabling by request.

pub(in crate::daemon) mod capture;
pub(in crate::daemon) mod enable;
pub(in crate::daemon) mod filter;
pub(in crate::daemon) mod motion_gate;
pub(in crate::daemon) mod open;
pub(in crate::daemon) mod pattern;
pub(in crate::daemon) mod registry;
