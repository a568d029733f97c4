//! The monitor itself: what it does with a sample.
//!
//! In: samples, one after the other, on its own thread. Out: for each one a pass (or the reason why it is unfit), told as
//! one structured log line, metrics and, when the verdict changes, an event; and recalibrations when they are due. All of
//! it is a function of the samples and their times: the thread, the pauses and the service around it are given to it.

use std::sync::Arc;

use serde_json::json;

use super::host::Host;
use super::host::ServingModel;
use super::options::MonitorOptions;
use super::view::LatestPass;
use crate::detector::fp32::Fp32Model;
use crate::detector::int8::{InputMeans, Quantized};
use crate::error::Result;
use crate::frame::{Frame, Picture};
use crate::metrics::Metrics;
use crate::monitor::drift::baseline::Baseline;
use crate::monitor::drift::pass::{ObservedFrame, Pass, PassRunner, YieldPoint};
use crate::monitor::drift::predicted_error::ErrorPredictor;
use crate::monitor::drift::quality::{QualityRecord, quality_of_errors};
use crate::monitor::drift::verdict::{DriftState, DriftVerdict};
use crate::monitor::frames::camera_fault::CameraFaults;
use crate::monitor::frames::disk::FrameFolder;
use crate::monitor::frames::reservoir::{Reservoir, StoredFrame};
use crate::monitor::frames::sampler::Sample;
use crate::monitor::frames::usability::{UnusableReason, UsabilityCheck};
use crate::monitor::generations::probation::{Outcome, Trial};
use crate::monitor::generations::serving::Models;
use crate::quant::artifact::Artifact;

/// What the monitor is made of.
pub struct Setup {
    /// What the owner decided.
    pub options: MonitorOptions,
    /// The generations and who detects.
    pub models: Arc<Models>,
    /// The reference, where there is one and room for it.
    pub reference: Option<Arc<Fp32Model>>,
    /// Why there is none, where the owner wanted one.
    pub without: Option<String>,
    /// Names of the cameras.
    pub cameras: Arc<[String]>,
    /// The service.
    pub host: Arc<dyn Host>,
    /// Where things are counted.
    pub metrics: Arc<Metrics>,
    /// Where the latest pass is shown.
    pub view: Arc<LatestPass>,
}

/// See the module's head.
pub struct Monitor {
    pub(super) setup: Setup,
    pub(super) looker: PassRunner,
    pub(super) served: ServingModel,
    pub(super) evidence: Baseline,
    pub(super) drift: DriftState,
    examiners: Vec<UsabilityCheck>,
    camera_faults: CameraFaults,
    pub(super) reservoir: Reservoir,
    folder: Option<FrameFolder>,
    pub(super) trial: Option<OnTrial>,
    pub(super) agreement: Option<f64>,
    begun: Option<Begun>,
    /// Nanoseconds of monotonic time of the newest sample.
    pub(super) now_ns: u64,
    pub(super) plans: crate::monitor::recalibration::schedule::Plans,
}

/// The serving generation beside the one before it.
#[derive(Clone)]
pub(super) struct OnTrial {
    before: ServingModel,
    trial: Trial,
    /// Without the reference.
    expected: Option<Arc<Expected>>,
}

/// What tells of two generations how they do where nobody knows what is right.
struct Expected {
    expectation: ErrorPredictor,
    /// What their biases are for.
    serving: InputMeans,
    before: InputMeans,
}

/// A sample that is not done with.
struct Begun {
    frame: Arc<Frame>,
    stratum: usize,
    looked: Option<(Pass, DriftVerdict)>,
}

/// What became of a sample.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// It was unfit.
    Unfit(UnusableReason),
    /// It was compared, with this verdict.
    Passed(DriftVerdict),
}

impl Monitor {
    /// A monitor of what `models` serves.
    ///
    /// # Errors
    /// As [`PassRunner::new`] and `FrameFolder::open`.
    pub fn new(setup: Setup) -> Result<Self> {
        let served = setup.models.serving();
        let plan = Arc::clone(served.model.plan());
        let looker = PassRunner::new(Arc::clone(&plan), setup.reference.clone())?;
        let mut reservoir = Reservoir::new(setup.options.reservoir_bytes);
        let folder = setup.options.keep_frames.clone().map(FrameFolder::open).transpose()?;
        if let Some(folder) = &folder {
            let now = setup.host.now().parse::<jiff::Timestamp>().map_or(0, |now| now.as_microsecond());
            folder.load(now)?.into_iter().for_each(|frame| drop(reservoir.insert(frame)));
        }
        let mut monitor = Self {
            drift: DriftState::new(plan.steps.len(), setup.options.raise_threshold, setup.options.clear_threshold),
            examiners: setup.cameras.iter().map(|_| UsabilityCheck::default()).collect(),
            camera_faults: CameraFaults::new(setup.cameras.len()),
            evidence: Baseline::default(),
            agreement: None,
            begun: None,
            trial: None,
            now_ns: 0,
            plans: crate::monitor::recalibration::schedule::Plans::default(),
            setup,
            looker,
            served,
            reservoir,
            folder,
        };
        monitor.follow()?;
        Ok(monitor)
    }

    /// The frames kept.
    pub fn reservoir(&self) -> &Reservoir {
        &self.reservoir
    }

    /// Takes over the frames of another reservoir.
    pub fn take_over(&mut self, reservoir: Reservoir) {
        reservoir.into_frames().into_iter().for_each(|frame| drop(self.reservoir.insert(frame)));
    }

    /// The state of drift.
    pub fn drift(&self) -> &DriftState {
        &self.drift
    }

    /// Looks at what serves: its evidence, and drift from now on.
    pub(super) fn follow(&mut self) -> Result<()> {
        self.served = self.setup.models.serving();
        let (bytes, before) = {
            let generations = self.setup.models.generations();
            (generations.load(self.served.generation)?, generations.on_trial_after())
        };
        self.evidence = Baseline::from_artifact(&Artifact::parse(&bytes)?, self.looker.plan())?;
        self.looker.forget_buffers();
        self.drift.reset();
        self.agreement = self.evidence.agreement;
        self.trial = match before {
            Some(number) => {
                let before = self.setup.models.model(number)?;
                let expected = if self.looker.has_reference() { None } else { Some(self.expected(&bytes, number)?) };
                Some(OnTrial { before, trial: Trial::default(), expected })
            }
            None => None,
        };
        Ok(())
    }

    fn expected(&self, serving: &[u8], before: u32) -> Result<Arc<Expected>> {
        let plan = self.looker.plan();
        let reference_means_of = |bytes: &[u8]| InputMeans::from_artifact(&Artifact::parse(bytes)?, plan);
        let load = |number| self.setup.models.generations().load(number);
        let first = load(0)?;
        let before = if before == 0 { reference_means_of(&first)? } else { reference_means_of(&load(before)?)? };
        let first = Artifact::parse(&first)?;
        let evidence = Baseline::from_artifact(&first, self.looker.plan())?;
        let expectation = ErrorPredictor::new(&Quantized::from_artifact(&first, Ok)?, &evidence);
        Ok(Arc::new(Expected { expectation, serving: reference_means_of(serving)?, before }))
    }

    /// Does what is due with a sample, on the current pool. Where `between` ended it, the same sample may be given again
    /// and goes on where it was: no pass counts twice.
    ///
    /// # Errors
    /// What the models return, and what `between` returns; the monitor stays usable.
    pub fn sample(&mut self, sample: &Sample, between: YieldPoint<'_>) -> Result<Seen> {
        self.now_ns = sample.frame.captured_monotonic_ns;
        if self.setup.models.serving().sha256 != self.served.sha256 {
            self.follow()?;
        }
        let picture = sample.frame.image.to_picture();
        let known = self.begun.take().filter(|begun| Arc::ptr_eq(&begun.frame, &sample.frame));
        let mut begun = match known {
            Some(begun) => begun,
            None => match self.examine(sample, &picture)? {
                Ok(stratum) => Begun { frame: Arc::clone(&sample.frame), stratum, looked: None },
                Err(reason) => return Ok(Seen::Unfit(reason)),
            },
        };
        if begun.looked.is_none() {
            let begin = std::time::Instant::now();
            let model = Arc::clone(&self.served.model);
            match self.looker.run(&model, &picture, true, between) {
                Ok(look) => {
                    let verdict = self.report_pass(sample, &look, begin.elapsed().as_secs_f64() * 1e3);
                    self.plans.passed(verdict.drifting, self.now_ns);
                    begun.looked = Some((look, verdict));
                }
                Err(error) => {
                    self.begun = Some(begun);
                    return Err(error);
                }
            }
        }
        let Some((look, verdict)) = &begun.looked else { return Ok(Seen::Unfit(UnusableReason::Incomplete)) };
        let verdict = *verdict;
        let done = self.try_on(begun.stratum, &picture, look, between).and_then(|()| self.recalibrate_if_due(between));
        if let Err(error) = done {
            self.begun = Some(begun);
            return Err(error);
        }
        Ok(Seen::Passed(verdict))
    }

    /// Examines a sample and keeps it if it is fit. Returns its stratum.
    fn examine(&mut self, sample: &Sample, picture: &Picture) -> Result<Result<usize, UnusableReason>> {
        let camera = self.camera(sample);
        let next = sample.next.as_ref().map(|next| next.image.to_picture());
        let Some(examiner) = self.examiners.get_mut(sample.camera) else { return Ok(Err(UnusableReason::Incomplete)) };
        let examined = examiner.check(picture, next.as_deref());
        if self.camera_faults.record(sample.camera, examined.err()) {
            self.setup.host.camera_fault(self.camera_faults.message(&self.setup.cameras));
        }
        let fit = match examined {
            Ok(fit) => fit,
            Err(reason) => {
                self.setup.metrics.monitor.passed(reason.name());
                let sequence = sample.frame.sequence;
                tracing::info!(camera, sequence, reason = reason.name(), "a frame is unfit to be compared");
                return Ok(Err(reason));
            }
        };
        let at_us = sample.frame.captured_at.as_microsecond();
        let kept = StoredFrame::encode(sample.camera, at_us, fit, picture)?.in_drift(self.drift.is_raised());
        let stratum = kept.stratum();
        self.keep(kept, at_us);
        Ok(Ok(stratum))
    }

    pub(super) fn camera(&self, sample: &Sample) -> String {
        self.setup.cameras.get(sample.camera).cloned().unwrap_or_default()
    }

    fn keep(&mut self, frame: StoredFrame, now_us: i64) {
        if let Some(folder) = &self.folder
            && let Err(error) = folder.write(&frame, now_us)
        {
            tracing::warn!(error = error.chain(), "a frame cannot be kept on disk");
        }
        let given_up = self.reservoir.insert(frame);
        if let Some(folder) = &self.folder {
            given_up.iter().for_each(|frame| folder.remove(frame));
        }
        self.setup.metrics.monitor.reservoir(self.reservoir.frames().len(), self.reservoir.bytes());
    }

    /// Looks at the same frame through the generation before, while the serving one is on trial.
    fn try_on(&mut self, stratum: usize, picture: &Picture, look: &Pass, between: YieldPoint<'_>) -> Result<()> {
        let Some(OnTrial { before, mut trial, expected }) = self.trial.clone() else { return Ok(()) };
        let (mut new, mut old) = (QualityRecord::default(), QualityRecord::default());
        if let Some(Expected { expectation, serving, before: reference_means }) = expected.as_deref() {
            let frame = ObservedFrame { histograms: look.histograms.clone(), means: look.means.clone() };
            new.add(stratum, expectation.quality_db(&frame, &self.served.model, serving), None);
            old.add(stratum, expectation.quality_db(&frame, &before.model, reference_means), None);
        } else {
            let other = self.looker.run(&before.model, picture, false, between)?;
            new.add(stratum, quality_of_errors(&look.errors), look.agreement);
            old.add(stratum, quality_of_errors(&other.errors), other.agreement);
        }
        trial.add(new, old);
        let numbers = json!({ "passes": trial.passes(), "gain_db": rounded(trial.gain_db()) });
        match trial.outcome() {
            Outcome::Open => self.trial = Some(OnTrial { before, trial, expected }),
            Outcome::Stood => {
                self.trial = None;
                self.setup.models.generations().confirm()?;
                let generation = self.served.generation;
                tracing::info!(generation, gain_db = rounded(trial.gain_db()), "the new generation stood its trial");
            }
            Outcome::Failed(why) => {
                self.trial = None;
                self.setup.models.roll_back(&why, numbers)?;
                self.plans.failed(self.now_ns);
                self.follow()?;
            }
        }
        Ok(())
    }
}

/// To three digits behind the point: more would be noise.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
