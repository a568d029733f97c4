//! Supervision: health, watchdog, temperature, signals and the protocol of systemd.

pub(in crate::daemon) mod health;
pub(in crate::daemon) mod signals;
pub(in crate::daemon) mod status_line;
pub(in crate::daemon) mod systemd;
pub(in crate::daemon) mod task;
pub(in crate::daemon) mod thermal;
pub(in crate::daemon) mod watchdog;
