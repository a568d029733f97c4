//! Which generation detects, and every change of it.
//!
//! In: decisions, from the monitor's thread or from the owner. Out: the change on disk and at the detector, in this
//! order, and the event that tells of it. What is on disk is whole at every moment; what detects follows.

use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use super::ledger::{Entry, Generations};
use super::oscillation;
use crate::detector::int8::{Int8Model, Quantized};
use crate::error::{Error, Kind, Result};
use crate::message::EventName;
use crate::metrics::Metrics;
use crate::monitor::host::{Host, ServingModel, details};
use crate::quant::QuantParams;
use crate::quant::artifact::Artifact;
use crate::sync::IgnorePoison;

/// The models of one network; shared by whoever decides.
pub struct Models {
    generations: Mutex<Generations>,
    serving: Mutex<ServingModel>,
    host: Arc<dyn Host>,
    metrics: Arc<Metrics>,
    boot_id: String,
}

impl Models {
    /// `serving` detects already, out of `generations`.
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

    /// What detects.
    pub fn serving(&self) -> ServingModel {
        self.serving.lock().ignore_poison().clone()
    }

    /// The generations. Not to be held while a model runs.
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

    /// Accepts a candidate that was made when `ground` served: written down, then detecting, on trial.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] if another generation serves meanwhile; as [`Generations::accept`] and [`Host::serve`].
    pub fn accept(&self, ground: u32, bytes: &[u8], model: Arc<Int8Model>, entry: Entry) -> Result<()> {
        let serving = self.serving();
        if serving.generation != ground {
            let text = format!("generation {} serves by now, not {ground}", serving.generation);
            return Err(Error::new(Kind::Unavailable, text));
        }
        let served =
            ServingModel { model, generation: entry.generation, sha256: entry.sha256.clone(), labels: serving.labels };
        self.generations().accept(bytes, entry, &self.boot_id)?;
        let generation = served.generation;
        if let Err(error) = self.detect_with(served) {
            self.generations().take_back(generation, ground, &error.chain())?;
            return Err(error);
        }
        Ok(())
    }

    /// Takes the serving generation back for `why` and tells of it. Returns the one that serves now.
    ///
    /// # Errors
    /// [`Kind::Data`] if there is none before it; as [`Models::model`].
    pub fn roll_back(&self, why: &str, numbers: Value) -> Result<u32> {
        let from = self.serving().generation;
        let to = {
            let generations = self.generations();
            generations.on_trial_after().or_else(|| generations.before(from))
        };
        let to = to.ok_or_else(|| Error::new(Kind::Data, format!("there is no generation before {from}")))?;
        let served = self.model(to)?;
        self.generations().take_back(from, to, why)?;
        self.detect_with(served)?;
        self.metrics.monitor.calibrated("rolled_back");
        tracing::warn!(from, to, why, "recalibration taken back");
        let numbers = details([("from", from.into()), ("to", to.into()), ("reason", why.into()), ("numbers", numbers)]);
        self.host.event(EventName::CalibrationRolledBack, numbers);
        Ok(to)
    }

    /// Makes `number` serve and stay, or frees the choice again.
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

    /// Whether going to `candidate` takes back what the last change brought, within the window of `swing`.
    ///
    /// # Errors
    /// As [`Generations::load`].
    pub fn would_swing(&self, candidate: &Int8Model, now: &str) -> Result<bool> {
        let serving = self.serving();
        let (before, entry) = {
            let generations = self.generations();
            let entry = generations.entries().iter().find(|entry| entry.generation == serving.generation).cloned();
            (generations.before(serving.generation), entry)
        };
        let (Some(before), Some(entry)) = (before, entry) else { return Ok(false) };
        let recent = |from: &str, to: &str| {
            let (from, to) = (from.parse::<jiff::Timestamp>().ok()?, to.parse::<jiff::Timestamp>().ok()?);
            Some(to.duration_since(from).unsigned_abs() < oscillation::WINDOW)
        };
        if serving.generation == 0 || !recent(&entry.at, now).unwrap_or(true) {
            return Ok(false);
        }
        let before = self.model(before)?;
        let point = |model: &Int8Model| oscillation::point(&edge_qparams(model));
        Ok(oscillation::swings(&point(&before.model), &point(&serving.model), &point(candidate)))
    }

    /// Two generations side by side: by edge, how much wider the second one's quantization range is; the largest
    /// changes first.
    ///
    /// # Errors
    /// As [`Generations::load`].
    pub fn compare(&self, one: u32, other: u32) -> Result<Value> {
        let (first, second) = (self.model(one)?, self.model(other)?);
        let plan = first.model.plan();
        let mut edges: Vec<(f64, Value)> = Vec::new();
        for (step, pair) in edge_qparams(&first.model).iter().zip(edge_qparams(&second.model)).enumerate() {
            if let (Some(a), Some(b)) = pair
                && *a != b
            {
                let ratio = f64::from(b.scale) / f64::from(a.scale);
                let ranges = [a.range(), b.range()].map(|range| [range.min, range.max]);
                let edge = json!({ "edge": plan.steps[step].name, "ratio": ratio, "range": ranges });
                edges.push((ratio.log2().abs(), edge));
            }
        }
        edges.sort_by(|a, b| b.0.total_cmp(&a.0));
        let changed = edges.len();
        let edges: Vec<Value> = edges.into_iter().map(|(_, edge)| edge).collect();
        let all = edge_qparams(&first.model).iter().flatten().count();
        Ok(json!({ "generations": [one, other], "edges": all, "changed": changed, "largest_first": edges }))
    }
}

/// The quantization parameters of every step that has its own.
fn edge_qparams(model: &Int8Model) -> Vec<Option<QuantParams>> {
    let mut edge_qparams = vec![None; model.plan().steps.len()];
    for step in model.mixed_precision().quantized_steps() {
        edge_qparams[step] = model.qparams(step);
    }
    edge_qparams
}
