//! Status line: a status on one line, and the comparison that decides about publishing.

use crate::message::{CameraState, Status};

/// True if two statuses differ in more than rates and counts. Such a change is published at once.
pub fn differs(one: &Status, other: &Status) -> bool {
    let states = |status: &Status| -> Vec<(String, CameraState)> {
        status.cameras.iter().map(|(name, camera)| (name.clone(), camera.state)).collect()
    };
    let level = |status: &Status| status.throttle.as_ref().map_or(0, |throttle| throttle.level);
    let verdict = |status: &Status| {
        let drift = status.drift.as_ref()?;
        Some([drift["verdict"].clone(), drift["generation"].clone()])
    };
    one.state != other.state
        || one.reasons != other.reasons
        || one.model != other.model
        || states(one) != states(other)
        || level(one) != level(other)
        || verdict(one) != verdict(other)
}

/// A status on one line.
pub fn line(status: &Status) -> String {
    let mut line = status.state.name().to_owned();
    if !status.reasons.is_empty() {
        line.push_str(&format!(": {}", status.reasons.join(", ")));
    }
    let streaming = status.cameras.values().filter(|camera| camera.state == CameraState::Streaming).count();
    line.push_str(&format!("; {streaming} of {} cameras", status.cameras.len()));
    if let Some(model) = &status.model {
        line.push_str(&format!("; {} ({}, generation {})", model.name, model.precision.name(), model.generation));
    }
    line
}
