//! Cameras of the service: from an entry in the configuration to frames in the detector's slots.
//!
//! In: `[[camera]]`. Out: one capture thread per camera, and a registry of the cameras that run.
//!
//! | file | content | imports |
//! |---|---|---|
//! | `drop_reason` | why a frame was not processed | |
//! | `filter` | zones, masks and limits of one camera, applied to detections | |
//! | `motion_gate` | rate cap and motion gate before a camera's slot | `drop_reason` |
//! | `registry` | the cameras of a run, by slot index | `filter`, `motion_gate` |
//! | `pattern` | the verb `pattern`: weather of the synthetic cameras | |
//! | `open` | camera settings → a camera that can be opened | `filter`, `motion_gate`, `registry`, `pattern` |
//! | `enable` | the verb `camera`: disables and enables cameras | |
//! | `context` | state that the threads of one run share | `drop_reason`, `registry` |
//! | `capture` | the capture threads | `context`, `drop_reason`, `motion_gate`, `open`, `registry` |
//!
//! From the other wings these files import only `supervision::health` and `output::publisher`.

pub(in crate::daemon) mod capture;
pub(in crate::daemon) mod context;
pub(in crate::daemon) mod drop_reason;
pub(in crate::daemon) mod enable;
pub(in crate::daemon) mod filter;
pub(in crate::daemon) mod motion_gate;
pub(in crate::daemon) mod open;
pub(in crate::daemon) mod pattern;
pub(in crate::daemon) mod registry;
