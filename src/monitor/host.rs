//! Host interface: the service around the monitor, as the monitor uses it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::detector::int8::Int8Model;
use crate::error::Result;
use crate::message::EventName;

/// A quantized model that is ready to detect.
#[derive(Debug, Clone)]
pub struct ServingModel {
    /// The model.
    pub model: Arc<Int8Model>,
    /// Its generation.
    pub generation: u32,
    /// SHA-256 of its file.
    pub sha256: String,
    /// Names of its classes.
    pub labels: Arc<[String]>,
}

/// The service: publishes events and status, and replaces the detector's model.
pub trait Host: Send + Sync {
    /// Publishes an event.
    fn event(&self, event: EventName, details: BTreeMap<String, Value>);

    /// Replaces the detector's model by `served`, from the next frame on.
    ///
    /// # Errors
    /// The reason why the detector cannot run it; the previous model then stays.
    fn serve(&self, served: &ServingModel) -> Result<()>;

    /// Sets the state of drift in the status message.
    fn status(&self, drift: Value);

    /// Sets or clears the monitor's fault in the status message.
    fn degraded(&self, reason: Option<String>);

    /// Sets or clears the fault of cameras that deliver only unusable frames.
    fn camera_fault(&self, reason: Option<String>);

    /// Current wall time, RFC 3339.
    fn now(&self) -> String;

    /// Current wall time in microseconds since 1970; `None` while it is not synchronized.
    fn synchronized_us(&self) -> Option<i64>;
}

/// JSON fields of an event; empty if `details` does not serialize to an object.
pub fn details(details: &impl Serialize) -> BTreeMap<String, Value> {
    match serde_json::to_value(details) {
        Ok(Value::Object(fields)) => fields.into_iter().collect(),
        _ => BTreeMap::new(),
    }
}
