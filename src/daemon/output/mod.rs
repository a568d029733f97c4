//! Outputs of the service: sinks, events of objects, frame history and the web page.

pub(in crate::daemon) mod drain;
pub(in crate::daemon) mod frame_history;
pub(in crate::daemon) mod objects;
pub(in crate::daemon) mod observer;
pub(in crate::daemon) mod publisher;
pub(in crate::daemon) mod sinks;
pub(in crate::daemon) mod web;
