//! Monitoring: runs the monitor in the service.
//!
//! In: the configuration and the loaded model. Out: a frame observer that samples frames on the detector thread; a
//! thread of low priority that examines them; the verbs `recalibrate`, `generations` and `drift`.

mod host;
pub(super) mod load;
mod thread;
mod verbs;

use std::sync::atomic::AtomicBool;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};

use super::cameras::context::RunContext;
use super::identity::Identity;
use super::model::engine::LocalEngine;
use super::model::swap::EngineSwap;
use super::output::observer::FrameObserver;
use super::paths::state_folder;
use crate::config::{Recalibrate, Settings};
use crate::control::Control;
use crate::detector::checkpoint::Checkpoint;
use crate::detector::fp32::Fp32Model;
use crate::error::{Error, Kind, Result};
use crate::frame::Frame;
use crate::kernel::isa::Isa;
use crate::message::Report;
use crate::monitor::{
    FrameStorage, Generations, LatestPass, Models, MonitorOptions, RecalibrationPolicy, RejectedGeneration, Sampler,
    ServingModel, reservoir_limit,
};
use crate::sync::IgnorePoison;

/// Model that the monitor starts with.
enum MonitoredModel {
    /// A quantized model serves.
    Quantized {
        generations: Generations,
        served: ServingModel,
        rejected: Vec<RejectedGeneration>,
        reference: Option<Checkpoint>,
    },
    /// The full-precision model serves until enough frames are collected to quantize it.
    FullPrecision { generations: Generations, checkpoint: Checkpoint, model: Arc<Fp32Model>, count: usize },
}

/// A monitor that is not started.
pub struct Monitoring {
    options: MonitorOptions,
    /// True if monitoring continues after an initial calibration.
    enabled: bool,
    model: MonitoredModel,
    name: String,
    labels: Arc<[String]>,
    pool: Arc<rayon::ThreadPool>,
    isa: Isa,
    boot_id: String,
    view: Arc<LatestPass>,
}

/// A monitor that was started.
pub struct RunningMonitor {
    /// The generations, once a quantized model serves.
    models: Arc<Mutex<Option<Arc<Models>>>>,
}

impl Monitoring {
    /// A monitor of number `generation` of `generations`, which `engine` runs.
    ///
    /// # Errors
    /// [`Kind::Internal`] if the engine does not run a quantized network.
    pub fn of_generations(
        settings: &Settings,
        engine: &LocalEngine,
        generations: Generations,
        generation: u32,
        rejected: Vec<RejectedGeneration>,
        reference: Option<Checkpoint>,
        identity: &Identity,
    ) -> Result<Self> {
        let detector = engine.detector();
        let model = detector.int8_model().ok_or_else(|| Error::new(Kind::Internal, "a generation is not quantized"))?;
        let labels: Arc<[String]> = detector.labels().into();
        let sha256 = detector.summary().sha256.clone();
        let served = ServingModel { model: Arc::clone(model), generation, sha256, labels };
        Ok(Self::new(
            settings,
            engine,
            MonitoredModel::Quantized { generations, served, rejected, reference },
            identity,
        ))
    }

    /// A monitor that quantizes the full-precision model of `engine` with `count` frames of the cameras.
    ///
    /// # Errors
    /// [`Kind::Internal`] if the engine does not run a full-precision network.
    pub fn of_live(
        settings: &Settings,
        engine: &LocalEngine,
        generations: Generations,
        checkpoint: Checkpoint,
        count: usize,
        identity: &Identity,
    ) -> Result<Self> {
        let model = engine.detector().fp32_model();
        let model = model.ok_or_else(|| Error::new(Kind::Internal, "a checkpoint runs in full precision"))?;
        let source = MonitoredModel::FullPrecision { generations, checkpoint, model: Arc::clone(model), count };
        Ok(Self::new(settings, engine, source, identity))
    }

    fn new(settings: &Settings, engine: &LocalEngine, model: MonitoredModel, identity: &Identity) -> Self {
        let detector = engine.detector();
        Self {
            options: options(settings),
            enabled: settings.monitor.enabled,
            model,
            name: detector.summary().name.clone(),
            labels: detector.labels().into(),
            pool: detector.shared_pool(),
            isa: detector.isa(),
            boot_id: identity.boot_id.clone(),
            view: Arc::default(),
        }
    }

    /// The same monitor, which keeps its latest pass in `view`, for the page.
    #[must_use]
    pub fn with_view(self, view: Arc<LatestPass>) -> Self {
        Self { view, ..self }
    }

    /// Starts the thread and registers the verbs.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] if the system starts no thread.
    pub fn start(
        self,
        context: &RunContext,
        cameras: Arc<[String]>,
        swap: EngineSwap,
        control: &Control,
    ) -> Result<(Box<dyn FrameObserver>, RunningMonitor)> {
        let (sender, samples) = sync_channel(1);
        let observer = SamplingObserver {
            sampler: Sampler::new(cameras.len(), self.options.sample_interval, sender),
            cameras: Arc::clone(&cameras),
        };
        let models = Arc::new(Mutex::new(None));
        let recalibration_requested = Arc::new(AtomicBool::new(false));
        verbs::register(control, Arc::clone(&models), Arc::clone(&recalibration_requested), Arc::clone(&self.view));
        let host = Arc::new(host::ServiceHost::new(context, swap, self.name.clone(), Arc::clone(&self.pool)));
        let health = Arc::clone(&context.health);
        let thread = thread::MonitorThread {
            host,
            is_throttled: Arc::new(move || health.throttle_level() > 0),
            precedence: Arc::clone(&context.precedence),
            metrics: Arc::clone(&context.metrics),
            stop: context.stop.clone(),
            cameras,
            samples,
            models: Arc::clone(&models),
            recalibration_requested,
        };
        std::thread::Builder::new()
            .name("monitor-wait".to_owned())
            .spawn(move || thread.run(self))
            .map_err(|error| Error::new(Kind::Unavailable, "cannot start the monitor's thread").because(error))?;
        Ok((Box::new(observer), RunningMonitor { models }))
    }
}

impl RunningMonitor {
    /// Records in the ledger that the service ends normally, so that the serving generation is not counted as crashed.
    pub fn end(&self) {
        let models = self.models.lock().ignore_poison().clone();
        if let Some(models) = models
            && let Err(error) = models.generations().end()
        {
            tracing::warn!(error = error.chain(), "ledger of generations not written");
        }
    }
}

/// Samples frames on the detector thread.
struct SamplingObserver {
    sampler: Sampler,
    cameras: Arc<[String]>,
}

impl FrameObserver for SamplingObserver {
    fn observe(&mut self, _: usize, frame: &Arc<Frame>, report: &Report) {
        // By name: a camera that was opened again has another slot.
        if let Some(camera) = self.cameras.iter().position(|name| *name == report.camera) {
            self.sampler.observe(camera, frame);
        }
    }
}

/// The monitor's options, from `[monitor]`.
fn options(settings: &Settings) -> MonitorOptions {
    let monitor = &settings.monitor;
    let keep = || {
        let folder = state_folder(&settings.device).ok()?.join("reservoir");
        Some(FrameStorage { folder, max_bytes: monitor.keep_max_size, max_age: monitor.keep_max_age })
    };
    MonitorOptions {
        cpu_share: f64::from(monitor.share).max(0.001),
        sample_interval: monitor.sample_interval,
        max_interval: monitor.max_interval,
        reservoir_bytes: usize::try_from(reservoir_limit(monitor.reservoir)).unwrap_or(usize::MAX),
        keep_frames: if monitor.keep_frames { keep() } else { None },
        raise_threshold: f64::from(monitor.thresholds.0),
        clear_threshold: f64::from(monitor.thresholds.1),
        recalibrate: match monitor.recalibrate {
            Recalibrate::Never => RecalibrationPolicy::Never,
            Recalibrate::OnDrift => RecalibrationPolicy::OnDrift,
            Recalibrate::Every(interval) => RecalibrationPolicy::Every(interval),
        },
        keep_generations: monitor.keep_generations as usize,
    }
}
