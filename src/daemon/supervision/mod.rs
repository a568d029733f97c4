//! Supervision: the health of the service, and its protocol with systemd.
//!
//! In: what capture and detection write to the health table; temperatures; signals. Out: status messages, a throttle
//! level, and the notifications that systemd expects of a service of `Type=notify` or `Type=notify-reload`.
//!
//! | file | content | imports |
//! |---|---|---|
//! | `systemd` | the notification protocol (`sd_notify`) | |
//! | `signals` | SIGTERM, SIGINT, SIGHUP | |
//! | `status_line` | a status on one line | |
//! | `thermal` | temperatures and the throttle level | |
//! | `health` | the health table | `thermal` |
//! | `watchdog` | deadlines of detector and cameras | `health` |
//! | `task` | the task that publishes status and feeds the watchdog | all but `signals` |
//!
//! From outside this wing these files import only `daemon::identity`.

pub(in crate::daemon) mod health;
pub(in crate::daemon) mod signals;
mod status_line;
pub(in crate::daemon) mod systemd;
pub(in crate::daemon) mod task;
pub(in crate::daemon) mod thermal;
mod watchdog;
