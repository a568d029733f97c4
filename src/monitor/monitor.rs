//! Monitor: compares sampled frames against the reference, reports drift and triggers recalibrations.
//!
//! In: samples, one after the other, on its own thread. Out: for each a pass, or the reason why the frame is unusable,
//! as one structured log line and metrics. A change of the verdict is an event. Recalibrations run when they are due.
//! Everything is a function of the samples and their times: the thread, the pauses and the service around it are passed
//! in.

use std::sync::Arc;
use std::time::Instant;

use super::drift::baseline::Baseline;
use super::drift::deviation::Deviations;
use super::drift::pass::{Pass, PassRunner, YieldPoint};
use super::drift::verdict::{DriftState, DriftVerdict};
use super::frames::camera_fault::CameraFaults;
use super::frames::disk::FrameFolder;
use super::frames::reservoir::{Reservoir, StoredFrame};
use super::frames::sampler::Sample;
use super::frames::usability::{UnusableReason, UsabilityCheck};
use super::generations::probation::{LiveFrame, Probation, ProbationOutcome};
use super::generations::serving::Models;
use super::host::{Host, ServingModel};
use super::options::MonitorOptions;
use super::recalibration::recalibrator::{RecalibrationInputs, RecalibrationOutcome, Recalibrator};
use super::recalibration::schedule::Trigger;
use super::reporting::{PassReport, Reporter};
use super::view::LatestPass;
use crate::detector::fp32::Fp32Model;
use crate::error::Result;
use crate::frame::{Frame, Picture};
use crate::metrics::Metrics;
use crate::quant::artifact::Artifact;

/// Parts of a monitor.
pub struct MonitorSetup {
    /// The owner's options.
    pub options: MonitorOptions,
    /// The generations and the serving model.
    pub models: Arc<Models>,
    /// The full-precision reference, where there is one and memory for it.
    pub reference: Option<Arc<Fp32Model>>,
    /// The reason why the configured reference is not available.
    pub reference_error: Option<String>,
    /// Names of the cameras.
    pub cameras: Arc<[String]>,
    /// The service.
    pub host: Arc<dyn Host>,
    /// Metrics of the service.
    pub metrics: Arc<Metrics>,
    /// Figures and maps of the latest pass.
    pub view: Arc<LatestPass>,
}

/// Compares sampled frames against the reference and triggers recalibrations.
pub struct Monitor {
    setup: MonitorSetup,
    runner: PassRunner,
    served: ServingModel,
    baseline: Baseline,
    drift: DriftState,
    checks: Vec<UsabilityCheck>,
    camera_faults: CameraFaults,
    reservoir: Reservoir,
    folder: Option<FrameFolder>,
    /// Of the serving generation, while it is new.
    probation: Option<Probation>,
    reporter: Reporter,
    recalibrator: Recalibrator,
    /// A sample whose processing was interrupted.
    pending: Option<PendingSample>,
    /// Monotonic time of the newest sample, in nanoseconds.
    now_ns: u64,
}

/// A usable sample whose processing is not finished.
struct PendingSample {
    frame: Arc<Frame>,
    stratum: usize,
    compared: Option<(Pass, DriftVerdict)>,
}

/// Outcome of a sample.
#[derive(Debug, Clone, PartialEq)]
pub enum SampleOutcome {
    /// The frame was unusable.
    Unusable(UnusableReason),
    /// The frame was compared, with this verdict.
    Compared(DriftVerdict),
}

/// Result of the usability check.
enum Usability {
    /// The frame was stored; its stratum.
    Stored(usize),
    /// The frame was unusable.
    Unusable(UnusableReason),
}

impl Monitor {
    /// A monitor of the serving model.
    ///
    /// # Errors
    /// As [`PassRunner::new`] and `FrameFolder::open`.
    pub fn new(setup: MonitorSetup) -> Result<Self> {
        let served = setup.models.serving();
        let plan = Arc::clone(served.model.plan());
        let runner = PassRunner::new(Arc::clone(&plan), setup.reference.clone())?;
        let mut reservoir = Reservoir::new(setup.options.reservoir_bytes);
        let folder = setup.options.keep_frames.clone().map(FrameFolder::open).transpose()?;
        if let Some(folder) = &folder {
            folder.load(setup.host.synchronized_us())?.into_iter().for_each(|frame| drop(reservoir.insert(frame)));
        }
        let reporter = Reporter::new(
            Arc::clone(&setup.cameras),
            Arc::clone(&setup.host),
            Arc::clone(&setup.metrics),
            Arc::clone(&setup.view),
            setup.reference_error.clone(),
        );
        let (models, host) = (Arc::clone(&setup.models), Arc::clone(&setup.host));
        let mut monitor = Self {
            drift: DriftState::new(plan.steps.len(), setup.options.raise_threshold, setup.options.clear_threshold),
            checks: setup.cameras.iter().map(|_| UsabilityCheck::default()).collect(),
            camera_faults: CameraFaults::new(setup.cameras.len()),
            baseline: Baseline::default(),
            pending: None,
            probation: None,
            now_ns: 0,
            reporter,
            recalibrator: Recalibrator::new(models, host, Arc::clone(&setup.metrics)),
            setup,
            runner,
            served,
            reservoir,
            folder,
        };
        monitor.adopt_serving_model()?;
        Ok(monitor)
    }

    /// The reservoir of frames to recalibrate with.
    pub fn reservoir(&self) -> &Reservoir {
        &self.reservoir
    }

    /// Adds the frames of another reservoir.
    pub fn take_over(&mut self, reservoir: Reservoir) {
        reservoir.into_frames().into_iter().for_each(|frame| drop(self.reservoir.insert(frame)));
    }

    /// The state of drift.
    pub fn drift(&self) -> &DriftState {
        &self.drift
    }

    /// Processes a sample on the current pool. If the yield point ended it early, the same sample may be given again: it
    /// continues where it was, and no pass counts twice.
    ///
    /// # Errors
    /// Errors of the models and of the yield point; the monitor stays usable.
    pub fn sample(&mut self, sample: &Sample, yield_point: YieldPoint<'_>) -> Result<SampleOutcome> {
        self.now_ns = sample.frame.captured_monotonic_ns;
        // The owner may have pinned or rolled back another generation.
        if self.setup.models.serving().sha256 != self.served.sha256 {
            self.adopt_serving_model()?;
        }
        let picture = sample.frame.image.to_picture();
        let known = self.pending.take().filter(|pending| Arc::ptr_eq(&pending.frame, &sample.frame));
        let mut pending = match known {
            Some(pending) => pending,
            None => match self.check(sample, &picture)? {
                Usability::Stored(stratum) => {
                    PendingSample { frame: Arc::clone(&sample.frame), stratum, compared: None }
                }
                Usability::Unusable(reason) => return Ok(SampleOutcome::Unusable(reason)),
            },
        };
        let outcome = self.process(sample, &picture, &mut pending, yield_point);
        if outcome.is_err() {
            self.pending = Some(pending);
        }
        outcome.map(SampleOutcome::Compared)
    }

    /// Requests a recalibration now.
    ///
    /// # Errors
    /// Errors of the models and of the ledger; the serving generation stays.
    pub fn recalibrate(&mut self, trigger: Trigger, yield_point: YieldPoint<'_>) -> Result<RecalibrationOutcome> {
        let inputs = RecalibrationInputs {
            serving: &self.served,
            frames: self.reservoir.frames(),
            runner: &mut self.runner,
            now_ns: self.now_ns,
        };
        let outcome = self.recalibrator.recalibrate(trigger, inputs, yield_point)?;
        if outcome.accepted {
            self.adopt_serving_model()?;
        }
        Ok(outcome)
    }

    /// Takes over the serving generation: its baseline, its probation, and drift from now on.
    fn adopt_serving_model(&mut self) -> Result<()> {
        self.served = self.setup.models.serving();
        let bytes = self.setup.models.generations().load(self.served.generation)?;
        self.baseline = Baseline::from_artifact(&Artifact::parse(&bytes)?, self.runner.plan())?;
        self.runner.release_buffers();
        self.drift.reset();
        self.reporter.restart(self.baseline.agreement);
        self.probation = Probation::of_serving(&self.setup.models, &bytes, &self.runner)?;
        Ok(())
    }

    /// Checks a sample and stores it if it is usable.
    fn check(&mut self, sample: &Sample, picture: &Picture) -> Result<Usability> {
        let next = sample.next.as_ref().map(|next| next.image.to_picture());
        let Some(check) = self.checks.get_mut(sample.camera) else {
            return Ok(Usability::Unusable(UnusableReason::Incomplete));
        };
        let checked = check.check(picture, next.as_deref());
        if self.camera_faults.record(sample.camera, checked.err()) {
            self.setup.host.camera_fault(self.camera_faults.message(&self.setup.cameras));
        }
        let usable = match checked {
            Ok(usable) => usable,
            Err(reason) => {
                self.setup.metrics.monitor.passed(reason.name());
                let (camera, sequence) = (self.reporter.camera(sample), sample.frame.sequence);
                tracing::info!(camera, sequence, reason = reason.name(), "frame unusable");
                return Ok(Usability::Unusable(reason));
            }
        };
        let at_us = sample.frame.captured_at.as_microsecond();
        let frame = StoredFrame::encode(sample.camera, at_us, usable, picture)?.in_drift(self.drift.is_raised());
        let stratum = frame.stratum();
        self.store(frame);
        Ok(Usability::Stored(stratum))
    }

    fn store(&mut self, frame: StoredFrame) {
        if let Some(folder) = &self.folder
            && let Err(error) = folder.write(&frame, self.setup.host.synchronized_us())
        {
            tracing::warn!(error = error.chain(), "a frame could not be written to disk");
        }
        let dropped = self.reservoir.insert(frame);
        if let Some(folder) = &self.folder {
            dropped.iter().for_each(|frame| folder.remove(frame));
        }
        self.setup.metrics.monitor.reservoir(self.reservoir.frames().len(), self.reservoir.bytes());
    }

    /// Compares and reports a sample, unless that is done already; then probation and recalibration.
    fn process(
        &mut self,
        sample: &Sample,
        picture: &Picture,
        pending: &mut PendingSample,
        yield_point: YieldPoint<'_>,
    ) -> Result<DriftVerdict> {
        let (pass, verdict) = match pending.compared.take() {
            Some(compared) => compared,
            None => self.compare(sample, picture, yield_point)?,
        };
        let frame = LiveFrame { stratum: pending.stratum, picture, pass: &pass };
        let done = self.continue_probation(&frame, yield_point).and_then(|()| self.recalibrate_if_due(yield_point));
        pending.compared = Some((pass, verdict));
        done.map(|()| verdict)
    }

    /// Runs a pass over a frame and reports it.
    fn compare(
        &mut self,
        sample: &Sample,
        picture: &Picture,
        yield_point: YieldPoint<'_>,
    ) -> Result<(Pass, DriftVerdict)> {
        let begin = Instant::now();
        let pass = self.runner.run(&self.served.model, picture, true, yield_point)?;
        let milliseconds = begin.elapsed().as_secs_f64() * 1e3;
        let plan = Arc::clone(self.runner.plan());
        let deviations = Deviations::of(&self.baseline, &plan, &pass);
        let verdict = self.drift.update(&deviations.spreads(), deviations.all_layers);
        self.reporter.report(&PassReport {
            sample,
            pass: &pass,
            milliseconds,
            deviations: &deviations,
            verdict: &verdict,
            drift: &self.drift,
            baseline: &self.baseline,
            plan: &plan,
            generation: self.served.generation,
            with_reference: self.runner.has_reference(),
            on_probation: self.probation.is_some(),
            stored_frames: self.reservoir.frames().len(),
        });
        self.recalibrator.pass(verdict.drifting, self.now_ns);
        Ok((pass, verdict))
    }

    /// Compares the same frame with the previous generation while the serving one is on probation.
    fn continue_probation(&mut self, frame: &LiveFrame<'_>, yield_point: YieldPoint<'_>) -> Result<()> {
        let Some(probation) = &mut self.probation else { return Ok(()) };
        let outcome = probation.add(frame, &self.served, &mut self.runner, yield_point)?;
        let numbers = probation.numbers();
        match outcome {
            ProbationOutcome::Undecided => {}
            ProbationOutcome::Passed => {
                self.probation = None;
                self.setup.models.generations().confirm()?;
                tracing::info!(generation = self.served.generation, gain_db = numbers.gain_db, "probation passed");
            }
            ProbationOutcome::Failed(reason) => {
                self.probation = None;
                let numbers = serde_json::to_value(numbers).unwrap_or_default();
                self.setup.models.roll_back(&reason, numbers)?;
                self.recalibrator.rolled_back(self.now_ns);
                self.adopt_serving_model()?;
            }
        }
        Ok(())
    }

    fn recalibrate_if_due(&mut self, yield_point: YieldPoint<'_>) -> Result<()> {
        // A generation on probation is not replaced before its gain is confirmed.
        if self.probation.is_some() {
            return Ok(());
        }
        let frames = self.reservoir.frames().len();
        match self.recalibrator.due(self.setup.options.recalibrate, frames, self.now_ns) {
            Some(trigger) => self.recalibrate(trigger, yield_point).map(drop),
            None => Ok(()),
        }
    }
}
