//! What the monitor needs of the service around it.

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
    /// Which generation it is.
    pub generation: u32,
    /// SHA-256 of its file.
    pub sha256: String,
    /// Names of its classes.
    pub labels: Arc<[String]>,
}

/// The service: tells the world, and lets another model detect.
pub trait Host: Send + Sync {
    /// Something happened.
    fn event(&self, event: EventName, details: BTreeMap<String, Value>);

    /// Detects with `served` from the next frame on.
    ///
    /// # Errors
    /// What keeps the detector from running it; then the old one goes on.
    fn serve(&self, served: &ServingModel) -> Result<()>;

    /// How the network is, for the status message.
    fn status(&self, drift: Value);

    /// Something of the monitor does not work, or works again.
    fn degraded(&self, reason: Option<String>);

    /// Cameras show nothing that can be watched, or do again.
    fn camera_fault(&self, reason: Option<String>);

    /// Wall time now, RFC 3339.
    fn now(&self) -> String;
}

/// The details of an event as JSON fields; empty if `details` is no structure.
pub fn details(details: &impl Serialize) -> BTreeMap<String, Value> {
    match serde_json::to_value(details) {
        Ok(Value::Object(fields)) => fields.into_iter().collect(),
        _ => BTreeMap::new(),
    }
}
