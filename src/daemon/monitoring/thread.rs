//! Monitor thread: examines samples and runs requested recalibrations within the CPU budget.
//!
//! An error ends the monitor, is logged and reported in the status, and leaves detection alone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::host::ServiceHost;
use super::{MonitoredModel, Monitoring};
use crate::detector::checkpoint::Checkpoint;
use crate::detector::fp32::Fp32Model;
use crate::detector::int8::{Int8Model, Quantized};
use crate::error::{Error, Kind, Result};
use crate::kernel::isa::Isa;
use crate::message::EventName;
use crate::metrics::Metrics;
use crate::monitor::{
    CollectionOutcome, CpuBudget, Generations, Host, InitialCalibration, InitialRefusedEvent, Models, Monitor,
    MonitorSetup, RejectedGeneration, Reservoir, RolledBackEvent, Sample, ServingModel, ThrottleCheck, Trigger,
    details, memory_shortage, reference_bytes,
};
use crate::precedence::Precedence;
use crate::preprocess::TransformParams;
use crate::quant::artifact::Artifact;
use crate::stop::Stop;
use crate::sync::IgnorePoison;
use crate::tensor::digest::sha256;

/// Longest wait for a sample; then the thread checks for requests and for the end of the service.
const SAMPLE_TIMEOUT: Duration = Duration::from_millis(500);
/// Patience of a recalibration; beyond it, the work may exceed its CPU share.
const RECALIBRATION_PATIENCE: Duration = Duration::from_secs(6 * 3600);

/// Patience of the check of one frame during the initial calibration.
const CHECK_PATIENCE: Duration = Duration::from_secs(60);

/// The parts of the service that the thread uses.
pub struct MonitorThread {
    pub host: Arc<ServiceHost>,
    pub is_throttled: ThrottleCheck,
    pub precedence: Arc<Precedence>,
    pub metrics: Arc<Metrics>,
    pub stop: Stop,
    pub cameras: Arc<[String]>,
    pub samples: Receiver<Sample>,
    /// Set once a quantized model serves.
    pub models: Arc<Mutex<Option<Arc<Models>>>>,
    /// Set by the verb `recalibrate`.
    pub recalibration_requested: Arc<AtomicBool>,
}

/// Result of waiting for a sample.
enum NextSample {
    Sample(Sample),
    Timeout,
    /// The service stops.
    Stopped,
}

/// The reference for comparison passes.
enum ReferenceModel {
    Loaded(Arc<Fp32Model>),
    /// The configuration names none.
    NotConfigured,
    /// It was not loaded, for this reason.
    Unavailable(String),
}

impl ReferenceModel {
    /// The model, if it was loaded, and the reason if it was not.
    fn into_parts(self) -> (Option<Arc<Fp32Model>>, Option<String>) {
        match self {
            Self::Loaded(model) => (Some(model), None),
            Self::NotConfigured => (None, None),
            Self::Unavailable(reason) => (None, Some(reason)),
        }
    }
}

impl MonitorThread {
    /// Monitors until the service stops. An error is logged and reported in the status.
    pub fn run(self, monitoring: Monitoring) {
        if let Err(error) = self.monitor(monitoring)
            && !self.stop.is_stopped()
        {
            tracing::error!(error = error.chain(), "monitor ended; detection continues");
            self.host.degraded(Some(format!("the monitor has ended: {}", error.chain())));
        }
    }

    fn monitor(&self, monitoring: Monitoring) -> Result<()> {
        let (is_throttled, precedence) = (Arc::clone(&self.is_throttled), Arc::clone(&self.precedence));
        let budget = CpuBudget::new(monitoring.options.cpu_share, self.stop.clone(), is_throttled, precedence)?;
        let (options, isa, boot_id) = (monitoring.options.clone(), monitoring.isa, monitoring.boot_id.clone());
        let setup =
            |models: Arc<Models>, reference: Option<Arc<Fp32Model>>, reference_error: Option<String>| MonitorSetup {
                options: options.clone(),
                models,
                reference,
                reference_error,
                cameras: Arc::clone(&self.cameras),
                host: Arc::clone(&self.host) as Arc<dyn Host>,
                metrics: Arc::clone(&self.metrics),
                view: Arc::clone(&monitoring.view),
            };
        let mut monitor = match monitoring.model {
            MonitoredModel::Quantized { generations, served, rejected, reference } => {
                let int8 = Arc::clone(&served.model);
                let models = self.publish_models(generations, served, boot_id);
                for RejectedGeneration { generation, reason } in &rejected {
                    let to = models.serving().generation;
                    let event = RolledBackEvent { from: *generation, to, reason, numbers: None };
                    self.host.event(EventName::CalibrationRolledBack, details(&event));
                }
                // The reference's memory depends on the size of the frames.
                let Some(sample) = self.wait_for_sample() else { return Ok(()) };
                let reference = self.load_reference(reference, &int8, isa, &sample, &budget);
                let (reference, reference_error) = reference.into_parts();
                let mut monitor = Monitor::new(setup(models, reference, reference_error))?;
                self.sample(&mut monitor, &sample, &budget, options.max_interval);
                monitor
            }
            MonitoredModel::FullPrecision { mut generations, checkpoint, model, count } => {
                let bytes = options.reservoir_bytes;
                let calibration = InitialCalibration::new(
                    checkpoint,
                    Arc::clone(&model),
                    count,
                    self.cameras.len(),
                    bytes,
                    Arc::clone(&self.metrics),
                );
                let Some((bytes, reservoir)) = self.calibrate(calibration, &budget)? else { return Ok(()) };
                generations.set_initial(&bytes, &self.host.now())?;
                let start = generations.start(&boot_id)?;
                let artifact = Artifact::parse(&start.bytes)?;
                let settings = model.plan().settings.clone();
                let quantized = Quantized::from_artifact(&artifact, |_| Ok(settings))?;
                let packed = budget.run(Duration::MAX, &mut |_| Int8Model::new(&quantized, isa))?;
                let served = ServingModel {
                    model: Arc::new(packed),
                    generation: start.generation,
                    sha256: sha256(&start.bytes),
                    labels: Arc::clone(&monitoring.labels),
                };
                self.host.serve(&served)?;
                self.host.degraded(None);
                let models = self.publish_models(generations, served, boot_id);
                if !monitoring.enabled {
                    self.idle();
                    return Ok(());
                }
                let mut monitor = Monitor::new(setup(models, Some(model), None))?;
                monitor.take_over(reservoir);
                monitor
            }
        };
        loop {
            let next = self.next_sample();
            if matches!(next, NextSample::Stopped) {
                return Ok(());
            }
            if self.recalibration_requested.swap(false, Ordering::SeqCst)
                && let Err(error) = budget.run(RECALIBRATION_PATIENCE, &mut |task| {
                    monitor.recalibrate(Trigger::Request, &mut || task.pause_if_due()).map(drop)
                })
                && !self.stop.is_stopped()
            {
                tracing::warn!(error = error.chain(), "recalibration failed; the serving generation stays");
            }
            if let NextSample::Sample(sample) = next {
                self.sample(&mut monitor, &sample, &budget, options.max_interval);
            }
            self.host.free_replaced_engine();
        }
    }

    /// Shares the generations with the verbs, from now on.
    fn publish_models(&self, generations: Generations, served: ServingModel, boot_id: String) -> Arc<Models> {
        let (host, metrics) = (Arc::clone(&self.host) as Arc<dyn Host>, Arc::clone(&self.metrics));
        let models = Arc::new(Models::new(generations, served, host, metrics, boot_id));
        *self.models.lock().ignore_poison() = Some(Arc::clone(&models));
        models
    }

    /// Waits for the next sample.
    fn next_sample(&self) -> NextSample {
        if self.stop.is_stopped() {
            return NextSample::Stopped;
        }
        match self.samples.recv_timeout(SAMPLE_TIMEOUT) {
            Ok(sample) => {
                let (width, height) = (sample.frame.image.width(), sample.frame.image.height());
                self.host.set_frame_size(width, height);
                NextSample::Sample(sample)
            }
            Err(RecvTimeoutError::Timeout) => NextSample::Timeout,
            Err(RecvTimeoutError::Disconnected) => NextSample::Stopped,
        }
    }

    /// Waits for a sample without a timeout; `None` if the service stops first.
    fn wait_for_sample(&self) -> Option<Sample> {
        loop {
            match self.next_sample() {
                NextSample::Sample(sample) => return Some(sample),
                NextSample::Timeout => {}
                NextSample::Stopped => return None,
            }
        }
    }

    /// Discards samples and requests until the service stops, because monitoring is disabled.
    fn idle(&self) {
        while !matches!(self.next_sample(), NextSample::Stopped) {
            self.host.free_replaced_engine();
        }
    }

    /// Processes a sample. An error is logged, and the next sample is processed as usual.
    fn sample(&self, monitor: &mut Monitor, sample: &Sample, budget: &CpuBudget, patience: Duration) {
        let outcome = budget.run(patience, &mut |task| monitor.sample(sample, &mut || task.pause_if_due()).map(drop));
        match outcome {
            Err(error) if !self.stop.is_stopped() => {
                let sequence = sample.frame.sequence;
                tracing::warn!(sequence, error = error.chain(), "frame not compared");
            }
            _ => {}
        }
    }

    /// Loads the reference of `int8`, if there is memory for it on frames like `sample`.
    fn load_reference(
        &self,
        reference: Option<Checkpoint>,
        int8: &Int8Model,
        isa: Isa,
        sample: &Sample,
        budget: &CpuBudget,
    ) -> ReferenceModel {
        let Some(checkpoint) = reference else { return ReferenceModel::NotConfigured };
        let plan = int8.plan();
        let image = &sample.frame.image;
        let fit = TransformParams::from(&plan.settings.transform).fit(image.width(), image.height());
        let shortage =
            fit.ok().and_then(|fit| memory_shortage(reference_bytes(plan, fit.canvas_height, fit.canvas_width)));
        let loaded = match shortage {
            Some(reason) => Err(Error::new(Kind::Unavailable, reason)),
            None => budget.run(Duration::MAX, &mut |_| {
                let model = int8.reference(&checkpoint, isa)?;
                // Passes are rare, so memory matters more than speed.
                Ok(model.without_buffer_reuse())
            }),
        };
        match loaded {
            Ok(model) => ReferenceModel::Loaded(Arc::new(model)),
            Err(error) => {
                let reason = error.chain();
                tracing::warn!(reason, "monitoring without the full-precision reference");
                ReferenceModel::Unavailable(reason)
            }
        }
    }

    /// Collects frames and quantizes with them; `None` if the service stops first.
    fn calibrate(
        &self,
        mut calibration: InitialCalibration,
        budget: &CpuBudget,
    ) -> Result<Option<(Vec<u8>, Reservoir)>> {
        let report_progress = |calibration: &InitialCalibration| {
            let (frames, count) = calibration.progress();
            let reason = format!("runs in fp32 until {count} frames are there to calibrate with; there are {frames}");
            self.host.degraded(Some(reason));
        };
        report_progress(&calibration);
        loop {
            let Some(sample) = self.wait_for_sample() else { return Ok(None) };
            let outcome = budget.run(CHECK_PATIENCE, &mut |_| calibration.sample(&sample))?;
            if let CollectionOutcome::Unusable(reason) = outcome {
                let sequence = sample.frame.sequence;
                tracing::info!(sequence, reason = reason.name(), "frame unusable for calibration");
            }
            report_progress(&calibration);
            if outcome != CollectionOutcome::Complete {
                continue;
            }
            let quantized = budget.run(RECALIBRATION_PATIENCE, &mut |task| {
                // The progress callback cannot fail, so the first error of a pause is kept.
                let mut logged_phase = "";
                let mut pause_error = None;
                let outcome = calibration.quantize(&mut |phase, _, all| {
                    if phase != logged_phase {
                        tracing::info!(phase, frames = all, "initial calibration");
                        logged_phase = phase;
                    }
                    pause_error = pause_error.take().or_else(|| task.pause_if_due().err());
                });
                pause_error.map_or(outcome, Err)
            });
            match quantized {
                Ok(outcome) => {
                    outcome.selection.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                    return Ok(Some((outcome.bytes, calibration.into_reservoir())));
                }
                Err(error) if error.kind() == Kind::Data => {
                    tracing::warn!(error = error.chain(), "initial calibration refused; collecting new frames");
                    let event = InitialRefusedEvent::new(error.chain());
                    self.host.event(EventName::CalibrationRefused, details(&event));
                    calibration.clear();
                }
                Err(error) => return Err(error),
            }
        }
    }
}
