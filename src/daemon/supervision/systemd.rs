//! Notifications to systemd (`sd_notify`). Without systemd every function here does nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;

fn notify(states: &[NotifyState<'_>]) {
    // Without NOTIFY_SOCKET this does nothing. If the socket is broken, the watchdog will act and the log has the cause.
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(error = error.to_string(), "cannot notify systemd");
    }
}

/// True once READY was sent: before, systemd waits for the start, not for a reload.
static IS_READY: AtomicBool = AtomicBool::new(false);

/// READY: the service is up. `line` is its status. Also the end of a reload that needed a new run.
pub fn ready(line: &str) {
    IS_READY.store(true, Ordering::SeqCst);
    notify(&[NotifyState::Ready, NotifyState::Status(line)]);
}

/// STATUS: the status line that `systemctl status` shows.
pub fn status(line: &str) {
    notify(&[NotifyState::Status(line)]);
}

/// WATCHDOG: no thread is stuck.
pub fn feed_watchdog() {
    notify(&[NotifyState::Watchdog]);
}

/// RELOADING: the configuration is being read again. [`ready`] or [`reloaded`] ends it. systemd 253 and later require
/// the monotonic time in the same message.
pub fn reloading() {
    if !IS_READY.load(Ordering::SeqCst) {
        return;
    }
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(error = error.to_string(), "cannot read the monotonic clock"),
    }
}

/// READY: the end of [`reloading`], unless the service was never up.
pub fn reloaded() {
    if IS_READY.load(Ordering::SeqCst) {
        notify(&[NotifyState::Ready]);
    }
}

/// STOPPING: the service is shutting down.
pub fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// EXTEND_TIMEOUT_USEC: starting takes at least `time` more. `activity` becomes the status line.
pub fn extend_timeout(time: Duration, activity: &str) {
    let microseconds = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    notify(&[NotifyState::ExtendTimeoutUsec(microseconds), NotifyState::Status(activity)]);
}

/// Watchdog timeout, if systemd set one.
pub fn watchdog_timeout() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}
