//! Outputs of the service: reports, events, frames and the web page.
//!
//! In: the frame and the report of each detection, from the detector thread; events from every thread. Out: messages on
//! the configured sinks, the page and its API.
//!
//! | file | content | imports |
//! |---|---|---|
//! | `observer` | the trait that receives each frame with its report | |
//! | `frame_history` | the latest frames of each camera | `observer` |
//! | `console` | the demo's output for a person at the terminal | |
//! | `publisher` | sends events and reports under the device's identity | |
//! | `object_events` | events of objects, zones and lines, as they are published | |
//! | `line_counts` | counts of crossings, kept over restarts | |
//! | `objects` | tracking; rules over tracks | `line_counts`, `object_events`, `publisher` |
//! | `sinks` | the sinks of `[[publish]]` | `console`, `frame_history` |
//! | `web` | the page, its API and the event history | `console`, `frame_history` |
//! | `drain` | the tasks of the sinks, until the end of a run | |
//!
//! From outside this wing these files import only `daemon::{identity, paths}` and `daemon::model::engine`.

pub(in crate::daemon) mod console;
pub(in crate::daemon) mod drain;
pub(in crate::daemon) mod frame_history;
pub(in crate::daemon) mod line_counts;
pub(in crate::daemon) mod object_events;
pub(in crate::daemon) mod objects;
pub(in crate::daemon) mod observer;
pub(in crate::daemon) mod publisher;
pub(in crate::daemon) mod sinks;
pub(in crate::daemon) mod web;
