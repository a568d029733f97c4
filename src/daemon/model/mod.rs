//! The model of the service: from the settings to an engine that detects.
//!
//! In: `[model]`, `[detector]`. Out: an [`engine::Engine`] that passed the start-up check, and a slot through which
//! another engine replaces it between two frames.
//!
//! | file | content | imports |
//! |---|---|---|
//! | `engine` | the trait of an engine, and the engine of this process | |
//! | `startup_check` | compares a loaded model with the same model on portable kernels | `engine` |
//! | `load` | loads or quantizes a model and checks it | `engine`, `startup_check` |
//! | `swap` | hands another engine to the detector thread | `engine` |
//! | `memory` | warns of a memory limit below the need of the configuration | |
//!
//! From outside this wing these files import only `daemon::paths` and `daemon::supervision::systemd`.

pub(in crate::daemon) mod engine;
pub(in crate::daemon) mod load;
pub(in crate::daemon) mod memory;
mod startup_check;
pub(in crate::daemon) mod swap;
