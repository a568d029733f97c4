//! Reload requests between two runs, while a model is loaded or a retry is pending.
//!
//! In: the verb `reload`, which reads and checks the configuration. Out: the requested settings, for the next run. A
//! corrected configuration so takes effect without waiting for the pending retry.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::changes::{ReloadAnswer, changed_sections, model_changed};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Inputs, Settings};
use crate::control::{Control, answer};
use crate::daemon::settings_check::check_settings;
use crate::daemon::supervision::systemd;
use crate::stop::{Stop, Stopped};
use crate::sync::IgnorePoison;

/// Interval of the checks for a request.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// The requested settings; clones share them.
#[derive(Clone, Default)]
pub struct ReloadRequests(Arc<Mutex<Option<Settings>>>);

impl ReloadRequests {
    /// Registers a handler of `reload` that stores the settings of `inputs` here. A run replaces it with its own.
    /// `settings` are those of the pending attempt; the answer names the sections that differ from them.
    pub fn accept(&self, control: &Control, inputs: &Inputs, settings: &Settings) {
        let (requests, inputs, current) = (self.clone(), inputs.clone(), settings.clone());
        control.register("reload", move |_| {
            let next = config::load(&inputs)?;
            check_settings(&next)?;
            let changed = changed_sections(&current, &next, model_changed(&current, &next));
            *requests.0.lock().ignore_poison() = Some(next);
            answer(&ReloadAnswer { changed })
        });
    }

    /// Takes the requested settings, if there are any.
    pub fn take(&self) -> Option<Settings> {
        self.0.lock().ignore_poison().take()
    }

    /// Waits for a request, at most for `delay`. Feeds the watchdog meanwhile.
    ///
    /// # Errors
    ///
    /// [`Stopped`] if `stop` comes first.
    pub fn wait(&self, delay: Duration, stop: &Stop) -> Result<Option<Settings>, Stopped> {
        let interval = systemd::watchdog_timeout().map_or(CHECK_INTERVAL, |timeout| CHECK_INTERVAL.min(timeout / 4));
        let interval = interval.max(Duration::from_millis(10));
        let mut left = delay;
        while !left.is_zero() {
            if let Some(requested) = self.take() {
                return Ok(Some(requested));
            }
            systemd::feed_watchdog();
            SystemClock.wait(left.min(interval), stop)?;
            left = left.saturating_sub(interval);
        }
        Ok(self.take())
    }
}
