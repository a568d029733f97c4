//! Reload: another configuration is applied while the service runs.
//!
//! In: a request (SIGHUP or the verb `reload`). Out: the sections that changed, in force; or an error, and the previous
//! configuration stays in force.
//!
//! | file | content | imports |
//! |---|---|---|
//! | `changes` | compares two configurations | |
//! | `reloader` | applies a configuration to the current run, or ends it for a new run | `changes` |
//! | `requests` | handles requests at any time: by the current run, or for the next one | `changes`, `reloader` |

mod changes;
pub(in crate::daemon) mod reloader;
pub(in crate::daemon) mod requests;
