//! Serving model: which generation detects, and every change of it.
//!
//! In: decisions, from the monitor's thread or from the owner. Out: the change on disk, then at the detector, then the
//! event about it. The files are whole at every moment; the detector follows them.

use std::sync::{Arc, Mutex, MutexGuard};

use serde::Serialize;
use serde_json::Value;

use super::ledger::{Generations, LedgerEntry};
use super::oscillation;
use crate::detector::int8::{Int8Model, Quantized};
use crate::error::{Error, Kind, Result};
use crate::message::EventName;
use crate::metrics::Metrics;
use crate::monitor::host::{Host, ServingModel, details};
use crate::quant::QuantParams;
use crate::quant::artifact::Artifact;
use crate::sync::IgnorePoison;

/// The models of one network, shared by the monitor's thread and the owner's requests.
pub struct Models {
    generations: Mutex<Generations>,
    serving: Mutex<ServingModel>,
    host: Arc<dyn Host>,
    metrics: Arc<Metrics>,
    boot_id: String,
}

/// Details of the event `calibration_rolled_back`.
#[derive(Debug, Serialize)]
pub struct RolledBackEvent<'a> {
    /// The generation that was rolled back.
    pub from: u32,
    /// The generation that serves now.
    pub to: u32,
    /// Reason of the roll-back.
    pub reason: &'a str,
    /// The numbers behind the reason, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numbers: Option<Value>,
}

/// Differences of the quantization parameters of two generations.
#[derive(Debug, Clone, Serialize)]
pub struct GenerationComparison {
    /// The two generations.
    pub generations: [u32; 2],
    /// Count of edges with quantization parameters.
    pub edges: usize,
    /// Count of edges whose parameters differ.
    pub changed: usize,
    /// The edges that differ, the largest change first.
    pub largest_first: Vec<EdgeComparison>,
}

/// Difference of the quantization parameters of one edge.
#[derive(Debug, Clone, Serialize)]
pub struct EdgeComparison {
    /// Name of the edge.
    pub edge: String,
    /// Scale of the second generation divided by that of the first.
    pub ratio: f64,
    /// Range of each generation: lowest and highest value.
    pub range: [[f32; 2]; 2],
}

impl Models {
    /// The models of `generations`, of which `serving` detects already.
    pub fn new(
        generations: Generations,
        serving: ServingModel,
        host: Arc<dyn Host>,
        metrics: Arc<Metrics>,
        boot_id: String,
    ) -> Self {
        metrics.monitor.generation.set(i64::from(serving.generation));
        Self { generations: Mutex::new(generations), serving: Mutex::new(serving), host, metrics, boot_id }
    }

    /// The model that detects.
    pub fn serving(&self) -> ServingModel {
        self.serving.lock().ignore_poison().clone()
    }

    /// The generations. Release the guard before a model runs.
    pub fn generations(&self) -> MutexGuard<'_, Generations> {
        self.generations.lock().ignore_poison()
    }

    /// The model of generation `number`, on the packed weights of the serving one.
    ///
    /// # Errors
    /// As [`Generations::load`].
    pub fn model(&self, number: u32) -> Result<ServingModel> {
        let bytes = self.generations().load(number)?;
        let serving = self.serving();
        let artifact = Artifact::parse(&bytes)?;
        let settings = serving.model.plan().settings.clone();
        let quantized = Quantized::from_artifact(&artifact, |_| Ok(settings))?;
        let model = Arc::new(serving.model.with_quant_params(&quantized)?);
        let sha256 = crate::tensor::digest::sha256(&bytes);
        Ok(ServingModel { model, generation: number, sha256, labels: serving.labels })
    }

    fn detect_with(&self, served: ServingModel) -> Result<()> {
        self.host.serve(&served)?;
        self.metrics.monitor.generation.set(i64::from(served.generation));
        *self.serving.lock().ignore_poison() = served;
        Ok(())
    }

    /// Accepts a candidate that was made while generation `parent` served: it is written to disk, then detects, on
    /// probation.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] if another generation serves by now; as [`Generations::accept`] and [`Host::serve`].
    pub fn accept(&self, parent: u32, bytes: &[u8], model: Arc<Int8Model>, entry: LedgerEntry) -> Result<()> {
        let serving = self.serving();
        if serving.generation != parent {
            let text = format!("generation {} serves by now, not {parent}", serving.generation);
            return Err(Error::new(Kind::Unavailable, text));
        }
        let generation = entry.generation;
        let served = ServingModel { model, generation, sha256: entry.sha256.clone(), labels: serving.labels };
        self.generations().accept(bytes, entry, &self.boot_id)?;
        if let Err(error) = self.detect_with(served) {
            self.generations().roll_back(generation, parent, &error.chain())?;
            return Err(error);
        }
        Ok(())
    }

    /// Rolls the serving generation back for `why` and publishes the event. Returns the generation that serves now.
    ///
    /// # Errors
    /// [`Kind::Data`] if there is none before it; as [`Models::model`].
    pub fn roll_back(&self, why: &str, numbers: Value) -> Result<u32> {
        let from = self.serving().generation;
        let to = {
            let generations = self.generations();
            generations.on_probation_after().or_else(|| generations.before(from))
        };
        let to = to.ok_or_else(|| Error::new(Kind::Data, format!("there is no generation before {from}")))?;
        let served = self.model(to)?;
        self.generations().roll_back(from, to, why)?;
        self.detect_with(served)?;
        self.metrics.monitor.calibrated("rolled_back");
        tracing::warn!(from, to, why, "recalibration rolled back");
        let event = RolledBackEvent { from, to, reason: why, numbers: Some(numbers) };
        self.host.event(EventName::CalibrationRolledBack, details(&event));
        Ok(to)
    }

    /// Makes generation `number` serve and stay; `None` removes the pin.
    ///
    /// # Errors
    /// As [`Models::model`].
    pub fn pin(&self, number: Option<u32>) -> Result<()> {
        if let Some(number) = number.filter(|&number| number != self.serving().generation) {
            let served = self.model(number)?;
            self.generations().pin(Some(number))?;
            return self.detect_with(served);
        }
        self.generations().pin(number)
    }

    /// True if going to `candidate` reverses the last change, and that change is recent.
    ///
    /// # Errors
    /// As [`Generations::load`].
    pub fn would_oscillate(&self, candidate: &Int8Model, now: &str) -> Result<bool> {
        let serving = self.serving();
        let (before, entry) = {
            let generations = self.generations();
            let entry = generations.entries().iter().find(|entry| entry.generation == serving.generation).cloned();
            (generations.before(serving.generation), entry)
        };
        let (Some(before), Some(entry)) = (before, entry) else { return Ok(false) };
        let is_recent = |from: &str, to: &str| {
            let (from, to) = (from.parse::<jiff::Timestamp>().ok()?, to.parse::<jiff::Timestamp>().ok()?);
            Some(to.duration_since(from).unsigned_abs() < oscillation::WINDOW)
        };
        if serving.generation == 0 || !is_recent(&entry.at, now).unwrap_or(true) {
            return Ok(false);
        }
        let before = self.model(before)?;
        let point = |model: &Int8Model| oscillation::point(&edge_qparams(model));
        Ok(oscillation::reverses(&point(&before.model), &point(&serving.model), &point(candidate)))
    }

    /// Compares the quantization parameters of two generations.
    ///
    /// # Errors
    /// As [`Generations::load`].
    pub fn compare(&self, one: u32, other: u32) -> Result<GenerationComparison> {
        let (first, second) = (self.model(one)?, self.model(other)?);
        let plan = first.model.plan();
        let all = edge_qparams(&first.model);
        let mut changed: Vec<EdgeComparison> = Vec::new();
        for (step, pair) in all.iter().zip(edge_qparams(&second.model)).enumerate() {
            if let (Some(a), Some(b)) = pair
                && *a != b
            {
                let ratio = f64::from(b.scale) / f64::from(a.scale);
                let range = [a.range(), b.range()].map(|range| [range.min, range.max]);
                changed.push(EdgeComparison { edge: plan.steps[step].name.clone(), ratio, range });
            }
        }
        let size = |edge: &EdgeComparison| edge.ratio.log2().abs();
        changed.sort_by(|a, b| size(b).total_cmp(&size(a)));
        Ok(GenerationComparison {
            generations: [one, other],
            edges: all.iter().flatten().count(),
            changed: changed.len(),
            largest_first: changed,
        })
    }
}

/// By step, its quantization parameters if it has any of its own.
fn edge_qparams(model: &Int8Model) -> Vec<Option<QuantParams>> {
    let mut edge_qparams = vec![None; model.plan().steps.len()];
    for step in model.mixed_precision().quantized_steps() {
        edge_qparams[step] = model.qparams(step);
    }
    edge_qparams
}
