//! The monitor's thread: waits for samples and wishes, works at its pace, and never ends the service.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::host::ServiceHost;
use super::{Monitoring, Work, asked};
use crate::detector::checkpoint::Checkpoint;
use crate::detector::fp32::{Backend, Fp32Model};
use crate::detector::int8::{Int8Model, Quantized};
use crate::detector::plan::Plan;
use crate::error::{Error, Kind, Result};
use crate::kernel::isa::Isa;
use crate::message::EventName;
use crate::metrics::Metrics;
use crate::monitor::{
    CpuBudget, GatheringOutcome, Generations, Host, InitialCalibration, InitialRefusedEvent, Models, Monitor,
    MonitorSetup, RejectedGeneration, Reservoir, RolledBackEvent, Sample, ServingModel, ThrottleCheck, Trigger,
    details, memory_shortage, reference_bytes,
};
use crate::precedence::Precedence;
use crate::preprocess::TransformParams;
use crate::quant::artifact::Artifact;
use crate::stop::Stop;
use crate::sync::IgnorePoison;
use crate::tensor::digest::sha256;

/// How long the thread waits for a sample before it looks whether something else is wanted.
const LOOK: Duration = Duration::from_millis(500);
/// A recalibration may take so long; beyond, it takes more than its share.
const RECALIBRATION: Duration = Duration::from_secs(6 * 3600);

/// What the thread works with.
pub struct Thread {
    pub host: Arc<ServiceHost>,
    pub hot: ThrottleCheck,
    pub precedence: Arc<Precedence>,
    pub metrics: Arc<Metrics>,
    pub stop: Stop,
    pub cameras: Arc<[String]>,
    pub samples: Receiver<Sample>,
    pub models: Arc<Mutex<Option<Arc<Models>>>>,
    pub asked: Arc<AtomicBool>,
}

impl Thread {
    /// Watches until the service stops. What goes wrong is told and leaves detection alone.
    pub fn run(self, monitoring: Monitoring) {
        if let Err(error) = self.watch(monitoring)
            && !self.stop.is_stopped()
        {
            tracing::error!(error = error.chain(), "the monitor has ended; detection goes on");
            self.host.degraded(Some(format!("the monitor has ended: {}", error.chain())));
        }
    }

    fn watch(&self, monitoring: Monitoring) -> Result<()> {
        let (hot, precedence) = (Arc::clone(&self.hot), Arc::clone(&self.precedence));
        let pace = CpuBudget::new(monitoring.options.cpu_share, self.stop.clone(), hot, precedence)?;
        let (options, isa, boot_id) = (monitoring.options.clone(), monitoring.isa, monitoring.boot_id.clone());
        let setup = |models: Arc<Models>, reference: Option<Arc<Fp32Model>>, without: Option<String>| MonitorSetup {
            options: options.clone(),
            models,
            reference,
            without,
            cameras: Arc::clone(&self.cameras),
            host: Arc::clone(&self.host) as Arc<dyn Host>,
            metrics: Arc::clone(&self.metrics),
            view: Arc::clone(&monitoring.view),
        };
        let mut monitor = match monitoring.work {
            Work::Watch { generations, served, rejected, reference } => {
                let plan = Arc::clone(served.model.plan());
                let models = self.serve(generations, served, boot_id);
                for RejectedGeneration { generation, reason } in &rejected {
                    let to = models.serving().generation;
                    let event = RolledBackEvent { from: *generation, to, reason, numbers: None };
                    self.host.event(EventName::CalibrationRolledBack, details(&event));
                }
                // How much the reference takes depends on the frames' size.
                let Some(sample) = self.first_sample() else { return Ok(()) };
                let (reference, without) = self.reference(reference, &plan, isa, &sample, &pace);
                let mut monitor = Monitor::new(setup(models, reference, without))?;
                self.sample(&mut monitor, &sample, &pace, options.max_interval);
                monitor
            }
            Work::InitialCalibration { mut generations, checkpoint, model, count } => {
                let bytes = options.reservoir_bytes;
                let first = InitialCalibration::new(
                    checkpoint,
                    Arc::clone(&model),
                    count,
                    self.cameras.len(),
                    bytes,
                    Arc::clone(&self.metrics),
                );
                let Some((bytes, reservoir)) = self.first(first, &pace)? else { return Ok(()) };
                generations.found(&bytes, &self.host.now())?;
                let start = generations.start(&boot_id)?;
                let artifact = Artifact::parse(&start.bytes)?;
                let settings = model.plan().settings.clone();
                let quantized = Quantized::from_artifact(&artifact, |_| Ok(settings))?;
                let packed = pace.run(Duration::MAX, &mut |_| Int8Model::new(&quantized, isa))?;
                let served = ServingModel {
                    model: Arc::new(packed),
                    generation: start.generation,
                    sha256: sha256(&start.bytes),
                    labels: Arc::clone(&monitoring.labels),
                };
                self.host.serve(&served)?;
                self.host.degraded(None);
                let models = self.serve(generations, served, boot_id);
                if !monitoring.enabled {
                    return self.idle();
                }
                let mut monitor = Monitor::new(setup(models, Some(model), None))?;
                monitor.take_over(reservoir);
                monitor
            }
        };
        while let Some(sample) = self.next() {
            if asked(&self.asked)
                && let Err(error) = pace.run(RECALIBRATION, &mut |task| {
                    monitor.recalibrate(Trigger::Request, &mut || task.pause_if_due()).map(drop)
                })
                && !self.stop.is_stopped()
            {
                tracing::warn!(error = error.chain(), "the recalibration failed; what served serves on");
            }
            if let Some(sample) = sample {
                self.sample(&mut monitor, &sample, &pace, options.max_interval);
            }
            self.host.tidy();
        }
        Ok(())
    }

    /// What answers for the models from now on.
    fn serve(&self, generations: Generations, served: ServingModel, boot_id: String) -> Arc<Models> {
        let (host, metrics) = (Arc::clone(&self.host) as Arc<dyn Host>, Arc::clone(&self.metrics));
        let models = Arc::new(Models::new(generations, served, host, metrics, boot_id));
        *self.models.lock().ignore_poison() = Some(Arc::clone(&models));
        models
    }

    /// The next sample, or nothing for a while; `None` at the end.
    #[allow(clippy::option_option)]
    fn next(&self) -> Option<Option<Sample>> {
        if self.stop.is_stopped() {
            return None;
        }
        match self.samples.recv_timeout(LOOK) {
            Ok(sample) => {
                let (width, height) = (sample.frame.image.width(), sample.frame.image.height());
                self.host.frame_size(width, height);
                Some(Some(sample))
            }
            Err(RecvTimeoutError::Timeout) => Some(None),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    fn first_sample(&self) -> Option<Sample> {
        loop {
            if let Some(sample) = self.next()? {
                return Some(sample);
            }
        }
    }

    /// Nothing is to be watched; wishes for a recalibration are not heard.
    fn idle(&self) -> Result<()> {
        while self.next().is_some() {
            self.host.tidy();
        }
        Ok(())
    }

    fn sample(&self, monitor: &mut Monitor, sample: &Sample, pace: &CpuBudget, patience: Duration) {
        let done = pace.run(patience, &mut |task| monitor.sample(sample, &mut || task.pause_if_due()).map(drop));
        match done {
            Err(error) if !self.stop.is_stopped() => {
                let sequence = sample.frame.sequence;
                tracing::warn!(sequence, error = error.chain(), "a frame could not be compared");
            }
            _ => {}
        }
    }

    /// Loads the reference, or says why not.
    fn reference(
        &self,
        reference: Option<PathBuf>,
        plan: &Arc<Plan>,
        isa: Isa,
        sample: &Sample,
        pace: &CpuBudget,
    ) -> (Option<Arc<Fp32Model>>, Option<String>) {
        let Some(path) = reference else { return (None, None) };
        let image = &sample.frame.image;
        let fit = TransformParams::from(&plan.settings.transform).fit(image.width(), image.height());
        let lack = fit.ok().and_then(|fit| memory_shortage(reference_bytes(plan, fit.canvas_height, fit.canvas_width)));
        let loaded = match lack {
            Some(reason) => Err(Error::new(Kind::Unavailable, reason)),
            None => pace.run(Duration::MAX, &mut |_| {
                let checkpoint = Checkpoint::open(&path)?;
                let eps = checkpoint.header().batch_norm_eps;
                let model = Fp32Model::new(Arc::clone(plan), &checkpoint.var_builder(), eps, Backend::Kernel(isa))?;
                // Passes are rare and memory is dear.
                Ok(model.without_buffer_reuse())
            }),
        };
        match loaded {
            Ok(model) => (Some(Arc::new(model)), None),
            Err(error) => {
                let reason = error.chain();
                tracing::warn!(reason, "the monitor works without the full-precision reference");
                (None, Some(reason))
            }
        }
    }

    /// Gathers frames and quantizes; `None` if the service stops first.
    fn first(&self, mut first: InitialCalibration, pace: &CpuBudget) -> Result<Option<(Vec<u8>, Reservoir)>> {
        let tell = |first: &InitialCalibration| {
            let (frames, count) = first.progress();
            let reason = format!("runs in fp32 until {count} frames are there to calibrate with; there are {frames}");
            self.host.degraded(Some(reason));
        };
        tell(&first);
        loop {
            let Some(sample) = self.next() else { return Ok(None) };
            let Some(sample) = sample else { continue };
            let outcome = pace.run(Duration::from_secs(60), &mut |_| first.sample(&sample))?;
            if let GatheringOutcome::Unusable(reason) = outcome {
                let sequence = sample.frame.sequence;
                tracing::info!(sequence, reason = reason.name(), "frame unusable for calibration");
            }
            tell(&first);
            if outcome != GatheringOutcome::Complete {
                continue;
            }
            let made = pace.run(RECALIBRATION, &mut |task| {
                let mut told = "";
                let mut trouble = None;
                let outcome = first.quantize(&mut |phase, _, all| {
                    if phase != told {
                        tracing::info!(phase, frames = all, "calibrating from the cameras");
                        told = phase;
                    }
                    trouble = trouble.take().or_else(|| task.pause_if_due().err());
                });
                trouble.map_or(outcome, Err)
            });
            match made {
                Ok(outcome) => {
                    outcome.selection.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                    return Ok(Some((outcome.bytes, first.into_reservoir())));
                }
                Err(error) if error.kind() == Kind::Data => {
                    tracing::warn!(error = error.chain(), "calibration from the cameras is refused; gathering anew");
                    let event = InitialRefusedEvent::new(error.chain());
                    self.host.event(EventName::CalibrationRefused, details(&event));
                    first.clear();
                }
                Err(error) => return Err(error),
            }
        }
    }
}
