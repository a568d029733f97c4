//! Service host: connects the monitor with the publisher, the health table and the detector's engine.

use std::collections::BTreeMap;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::daemon::cameras::context::RunContext;
use crate::daemon::model::engine::{Engine, LocalEngine};
use crate::daemon::model::swap::EngineSwap;
use crate::daemon::output::publisher::Publisher;
use crate::daemon::supervision::health::{FaultSource, Health};
use crate::detector::{Detector, ModelSummary};
use crate::error::Result;
use crate::message::{EventName, ModelPrecision};
use crate::monitor::{Host, ServingModel};
use crate::preprocess::TransformParams;
use crate::sync::IgnorePoison;

/// Implements the monitor's [`Host`] with the parts of the service.
pub struct ServiceHost {
    publisher: Publisher,
    health: Arc<Health>,
    clock: Arc<dyn crate::clock::Clock>,
    swap: EngineSwap,
    name: String,
    pool: Arc<rayon::ThreadPool>,
    /// Size of the latest frame; the next engine allocates its buffers for it before it takes over.
    size: Mutex<Option<(usize, usize)>>,
    /// Returns the engine that was replaced.
    replaced: Mutex<Option<Receiver<Box<dyn Engine>>>>,
}

impl ServiceHost {
    /// A host on the parts in `context`; it replaces engines through `swap`.
    pub fn new(context: &RunContext, swap: EngineSwap, name: String, pool: Arc<rayon::ThreadPool>) -> Self {
        Self {
            publisher: context.publisher.clone(),
            health: Arc::clone(&context.health),
            clock: Arc::clone(&context.clock),
            swap,
            name,
            pool,
            size: Mutex::new(None),
            replaced: Mutex::new(None),
        }
    }

    /// Records the size of the latest frame.
    pub fn set_frame_size(&self, width: usize, height: usize) {
        *self.size.lock().ignore_poison() = Some((width, height));
    }

    /// Frees the engine that was replaced, on the current thread.
    pub fn free_replaced_engine(&self) {
        let mut replaced = self.replaced.lock().ignore_poison();
        if replaced.as_ref().is_some_and(|receiver| receiver.try_recv().is_ok()) {
            *replaced = None;
        }
    }
}

impl Host for ServiceHost {
    fn event(&self, event: EventName, details: BTreeMap<String, Value>) {
        self.publisher.event(event, None, &details);
    }

    fn serve(&self, served: &ServingModel) -> Result<()> {
        let exact = served.model.mixed_precision().is_exact(served.model.plan());
        let summary = ModelSummary {
            name: self.name.clone(),
            precision: if exact { ModelPrecision::Int8 } else { ModelPrecision::Mixed },
            generation: u64::from(served.generation),
            sha256: served.sha256.clone(),
        };
        let labels = served.labels.to_vec();
        let mut detector = Detector::from_model(Arc::clone(&served.model), Arc::clone(&self.pool), labels, summary);
        if let Some((width, height)) = *self.size.lock().ignore_poison()
            && let Ok(fit) = TransformParams::from(detector.transform()).fit(width, height)
        {
            detector.reserve(fit);
        }
        let engine = LocalEngine::new(detector)?;
        let receiver = self.swap.offer(Box::new(engine));
        *self.replaced.lock().ignore_poison() = Some(receiver);
        Ok(())
    }

    fn status(&self, drift: Value) {
        self.health.set_drift(Some(drift));
    }

    fn degraded(&self, reason: Option<String>) {
        self.health.set_fault(FaultSource::Monitor, reason);
    }

    fn camera_fault(&self, reason: Option<String>) {
        self.health.set_fault(FaultSource::Cameras, reason);
    }

    fn now(&self) -> String {
        self.clock.wall().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    fn synchronized_us(&self) -> Option<i64> {
        self.clock.is_synchronized().then(|| self.clock.wall().as_microsecond())
    }
}
