//! What is said to systemd: ready, alive, reloading, stopping, and how it is. Without systemd all of it is nothing.

use std::time::Duration;

use sd_notify::NotifyState;

fn tell(states: &[NotifyState<'_>]) {
    // Without a socket this does nothing; with one that is broken the watchdog will act, and the log says why.
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(error = error.to_string(), "systemd does not hear us");
    }
}

/// The service is up; `line` says how it is.
pub fn ready(line: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(line)]);
}

/// How it is.
pub fn status(line: &str) {
    tell(&[NotifyState::Status(line)]);
}

/// Work is being done, or none is due.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// The configuration is being read again; [`ready`] or [`reloaded`] ends it. systemd from 253 on wants the time in the
/// same message.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(error = error.to_string(), "the monotonic clock cannot be read"),
    }
}

/// The end of [`reloading`].
pub fn reloaded() {
    tell(&[NotifyState::Ready]);
}

/// The end has begun.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Starting goes on for at least `time` more; `doing` says with what.
pub fn more_time(time: Duration, doing: &str) {
    let microseconds = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::ExtendTimeoutUsec(microseconds), NotifyState::Status(doing)]);
}

/// How often the watchdog wants to hear from us, if there is one.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}
