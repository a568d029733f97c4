//! Latest pass: error maps and figures of the last comparison pass, for the web page and the control socket.
//!
//! In: every pass, from the monitor's thread. Out: copies of the last one, for any thread.

use std::sync::Mutex;

use serde_json::Value;

use crate::monitor::drift::error_map::ErrorMap;
use crate::sync::IgnorePoison;

/// Error maps and figures of the latest pass.
#[derive(Debug, Default)]
pub struct LatestPass {
    shown: Mutex<ShownPass>,
}

#[derive(Debug, Default)]
struct ShownPass {
    maps: Vec<ErrorMap>,
    table: Value,
}

impl LatestPass {
    /// Replaces the latest pass.
    pub fn publish(&self, maps: Vec<ErrorMap>, table: Value) {
        *self.shown.lock().ignore_poison() = ShownPass { maps, table };
    }

    /// The error maps, finest level first; empty without a reference.
    pub fn maps(&self) -> Vec<ErrorMap> {
        self.shown.lock().ignore_poison().maps.clone()
    }

    /// The figures, one object per step; null before the first pass.
    pub fn table(&self) -> Value {
        self.shown.lock().ignore_poison().table.clone()
    }
}
