//! What the monitor shows to whoever asks: the latest maps and figures.
//!
//! In: each pass. Out: copies of the last one's maps and table, from any thread.

use std::sync::Mutex;

use serde_json::Value;

use crate::monitor::drift::error_map::ErrorMap;
use crate::sync::IgnorePoison;

/// The latest pass.
#[derive(Debug, Default)]
pub struct LatestPass {
    latest: Mutex<Latest>,
}

#[derive(Debug, Default)]
struct Latest {
    maps: Vec<ErrorMap>,
    figures: Value,
}

impl LatestPass {
    /// Shows a pass.
    pub fn publish(&self, maps: Vec<ErrorMap>, figures: Value) {
        *self.latest.lock().ignore_poison() = Latest { maps, figures };
    }

    /// The error maps of the latest pass, finest level first; none without a reference.
    pub fn maps(&self) -> Vec<ErrorMap> {
        self.latest.lock().ignore_poison().maps.clone()
    }

    /// Its figures, step by step; null before the first pass.
    pub fn table(&self) -> Value {
        self.latest.lock().ignore_poison().figures.clone()
    }
}
