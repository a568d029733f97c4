//! Between two lives: a model is being loaded, or a failure waited out, and there is nothing that could be reloaded.
//!
//! In: the verb `reload` meanwhile, which reads and checks the configuration. Out: what it says, for the next life, which
//! begins at once. Who mends in the configuration what a service fails by does not wait for its next attempt.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;

use super::supervision::systemd;
use super::{components, reload};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Inputs, Settings};
use crate::control::Control;
use crate::stop::{Stop, Stopped};
use crate::sync::IgnorePoison;

/// How long a configuration that was asked for waits at most.
const SLICE: Duration = Duration::from_millis(200);

/// The configuration that was asked for; clones share it.
#[derive(Clone, Default)]
pub struct Asked(Arc<Mutex<Option<Settings>>>);

impl Asked {
    /// Makes `reload` keep here what `inputs` say, until a life answers to it; `settings` are those tried now.
    pub fn answer(&self, control: &Control, inputs: &Inputs, settings: &Settings) {
        let (asked, inputs, now) = (self.clone(), inputs.clone(), settings.clone());
        control.register("reload", move |_| {
            let next = config::load(&inputs)?;
            components::check(&next)?;
            let model = next.model != now.model || next.detector != now.detector;
            let changed = reload::changed(&now, &next, model);
            *asked.0.lock().ignore_poison() = Some(next);
            Ok(json!({ "changed": changed }))
        });
    }

    /// The configuration, if one was asked for since.
    pub fn take(&self) -> Option<Settings> {
        self.0.lock().ignore_poison().take()
    }

    /// Waits until one is asked for, `delay` at most; the watchdog is told that nothing is due meanwhile.
    ///
    /// # Errors
    ///
    /// [`Stopped`] if `stop` comes first.
    pub fn wait(&self, delay: Duration, stop: &Stop) -> Result<Option<Settings>, Stopped> {
        let slice =
            systemd::watchdog().map_or(SLICE, |watchdog| SLICE.min(watchdog / 4)).max(Duration::from_millis(10));
        let mut left = delay;
        while !left.is_zero() {
            if let Some(asked) = self.take() {
                return Ok(Some(asked));
            }
            systemd::alive();
            SystemClock.wait(left.min(slice), stop)?;
            left = left.saturating_sub(slice);
        }
        Ok(self.take())
    }
}
