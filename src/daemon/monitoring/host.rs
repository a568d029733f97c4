//! The service as the monitor sees it.

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

/// Speaks with the service's voice and swaps the detector's engine.
pub struct ServiceHost {
    publisher: Publisher,
    health: Arc<Health>,
    clock: Arc<dyn crate::clock::Clock>,
    swap: EngineSwap,
    name: String,
    pool: Arc<rayon::ThreadPool>,
    /// Size of the last frame: the next engine makes room for it before it takes over.
    size: Mutex<Option<(usize, usize)>>,
    replaced: Mutex<Option<Receiver<Box<dyn Engine>>>>,
}

impl ServiceHost {
    /// Through what the service shares.
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

    /// The size of the frames that come.
    pub fn frame_size(&self, width: usize, height: usize) {
        *self.size.lock().ignore_poison() = Some((width, height));
    }

    /// Frees the engine that was replaced, on this thread.
    pub fn tidy(&self) {
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
}
