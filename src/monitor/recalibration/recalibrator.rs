//! Recalibrator: runs attempts, publishes their outcome, and owns the schedule.
//!
//! In: passes, requests, the frames of the reservoir. Out: at most one attempt at a time; for each an event with its
//! numbers, and another serving generation if it was accepted. The caller follows the serving generation.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::acceptance::AcceptanceDecision;
use super::attempt::{AttemptOutcome, JudgedCandidate, attempt};
use super::context::StartingPoint;
use super::schedule::{Schedule, Trigger};
use crate::error::Result;
use crate::message::EventName;
use crate::metrics::Metrics;
use crate::monitor::drift::pass::{PassRunner, YieldPoint};
use crate::monitor::frames::holdout::MIN_FRAMES;
use crate::monitor::frames::reservoir::StoredFrame;
use crate::monitor::generations::ledger::LedgerEntry;
use crate::monitor::generations::serving::Models;
use crate::monitor::host::{Host, ServingModel, details};
use crate::monitor::memory::{attempt_bytes, attempt_shortage};
use crate::monitor::numbers::{rounded, rounded_value};
use crate::monitor::options::RecalibrationPolicy;
use crate::tensor::digest::sha256;
use crate::tensor::mapped::return_free_memory;

/// Runs recalibrations of the models of one network.
pub struct Recalibrator {
    models: Arc<Models>,
    host: Arc<dyn Host>,
    metrics: Arc<Metrics>,
    schedule: Schedule,
}

/// Inputs of an attempt.
pub struct RecalibrationInputs<'a> {
    /// The serving model.
    pub serving: &'a ServingModel,
    /// The frames of the reservoir, sorted by time.
    pub frames: &'a [StoredFrame],
    /// Runs passes.
    pub runner: &'a mut PassRunner,
    /// Monotonic time, in nanoseconds.
    pub now_ns: u64,
}

/// Outcome of a recalibration attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct RecalibrationOutcome {
    /// True if another generation serves now.
    pub accepted: bool,
    /// The reasons of a refusal.
    pub reasons: Vec<String>,
    /// The generation that serves.
    pub generation: u32,
}

/// Numbers of a candidate, in its events and in the ledger.
#[derive(Serialize)]
struct CandidateNumbers<'a> {
    #[serde(flatten)]
    decision: &'a AcceptanceDecision,
    frames: FrameCounts,
    extent: f32,
    reference: bool,
}

#[derive(Serialize)]
struct FrameCounts {
    calibrating: usize,
    judging: usize,
}

/// Details of the events `calibration_candidate` and `calibration_accepted`.
#[derive(Serialize)]
struct CandidateEvent<'a> {
    generation: u32,
    parent: u32,
    why: Trigger,
    numbers: &'a Value,
}

/// Details of the event `calibration_refused`.
#[derive(Serialize)]
struct RefusedEvent<'a> {
    generation: u32,
    why: Trigger,
    reasons: &'a [String],
    numbers: &'a Value,
}

impl Recalibrator {
    /// A recalibrator of `models` with an empty schedule.
    pub fn new(models: Arc<Models>, host: Arc<dyn Host>, metrics: Arc<Metrics>) -> Self {
        Self { models, host, metrics, schedule: Schedule::default() }
    }

    /// Counts a pass.
    pub fn pass(&mut self, drifting: bool, now_ns: u64) {
        self.schedule.pass(drifting, now_ns);
    }

    /// The generation that was accepted last was rolled back.
    pub fn rolled_back(&mut self, now_ns: u64) {
        self.schedule.fail(now_ns);
    }

    /// The trigger of the attempt that is due under `policy` with so many `frames`, if one is.
    pub fn due(&self, policy: RecalibrationPolicy, frames: usize, now_ns: u64) -> Option<Trigger> {
        let trigger = self.schedule.due(policy, now_ns)?;
        // With too few frames the attempt would be refused, and the next one would have to wait.
        let ready = frames >= MIN_FRAMES && self.models.generations().pinned().is_none();
        ready.then_some(trigger)
    }

    /// Attempts a recalibration now.
    ///
    /// # Errors
    /// Errors of the models, of writing and of the yield point. The serving model keeps serving. After an error of the
    /// yield point the attempt is still due; after others it waits as after a refusal.
    pub fn recalibrate(
        &mut self,
        trigger: Trigger,
        inputs: RecalibrationInputs<'_>,
        yield_point: YieldPoint<'_>,
    ) -> Result<RecalibrationOutcome> {
        let RecalibrationInputs { serving, frames, runner, now_ns } = inputs;
        self.schedule.begin(now_ns);
        let (initial, artifact, next_generation) = {
            let generations = self.models.generations();
            (generations.load(0)?, generations.load(serving.generation)?, generations.next())
        };
        let start = StartingPoint { initial: &initial, serving: &artifact, model: &serving.model, next_generation };
        tracing::info!(why = trigger.name(), frames = frames.len(), "recalibration started");
        // The attempt runs other models: buffers of the serving one are not needed meanwhile, nor theirs afterwards.
        runner.release_buffers();
        let mut interrupted = false;
        let needed = attempt_bytes(runner.plan(), frames.len(), artifact.len());
        let outcome = match attempt_shortage(needed, frames.len()) {
            Some(reason) => Ok(AttemptOutcome::Unusable(reason)),
            None => attempt(&start, frames, runner, &mut || yield_point().inspect_err(|_| interrupted = true)),
        };
        runner.release_buffers();
        // The histograms of an attempt are as large as the service, and the next attempt may be days away.
        return_free_memory();
        let attempt = Attempt { trigger, parent: serving.generation, next_generation, now_ns };
        match outcome {
            Ok(AttemptOutcome::Unusable(reason)) => Ok(self.refuse(&attempt, vec![reason], &Value::Null)),
            Ok(AttemptOutcome::Judged(candidate)) => {
                let decision = &candidate.decision;
                let frames =
                    FrameCounts { calibrating: candidate.calibration_frames, judging: candidate.validation_frames };
                let (extent, reference) = (candidate.extent, runner.has_reference());
                let numbers = rounded_value(&CandidateNumbers { decision, frames, extent, reference });
                self.decide(&attempt, *candidate, numbers)
            }
            // Work that is interrupted is restarted on another thread, or the service stops.
            Err(error) if interrupted => Err(error),
            Err(error) => {
                self.fail(now_ns);
                Err(error)
            }
        }
    }

    /// Carries out the decision about `candidate`.
    fn decide(
        &mut self,
        attempt: &Attempt,
        candidate: JudgedCandidate,
        numbers: Value,
    ) -> Result<RecalibrationOutcome> {
        let Attempt { trigger, parent, next_generation: generation, now_ns } = *attempt;
        let JudgedCandidate { bytes, model, decision, .. } = candidate;
        let event = details(&CandidateEvent { generation, parent, why: trigger, numbers: &numbers });
        self.host.event(EventName::CalibrationCandidate, event.clone());
        let now = self.host.now();
        // Two kinds of frames that take turns would recalibrate for ever. The owner's request is carried out all the same.
        if decision.accepted && trigger != Trigger::Request && self.models.would_oscillate(&model, &now)? {
            self.schedule.halt();
            let reason = format!(
                "it would take back the change of generation {parent}: two kinds of frames alternate, so nothing is \
                 recalibrated any more except on request"
            );
            return Ok(self.refuse(attempt, vec![reason], &numbers));
        }
        if !decision.accepted {
            return Ok(self.refuse(attempt, decision.reasons, &numbers));
        }
        let entry = LedgerEntry {
            generation,
            sha256: sha256(&bytes),
            at: now,
            why: trigger.name().to_owned(),
            rolled_back: None,
            numbers,
        };
        if let Err(error) = self.models.accept(parent, &bytes, model, entry) {
            self.fail(now_ns);
            return Err(error);
        }
        self.schedule.succeed(now_ns);
        self.metrics.monitor.calibrated("accepted");
        tracing::info!(generation, why = trigger.name(), gain_db = rounded(decision.gain_db), "recalibrated");
        self.host.event(EventName::CalibrationAccepted, event);
        Ok(RecalibrationOutcome { accepted: true, reasons: Vec::new(), generation })
    }

    fn refuse(&mut self, attempt: &Attempt, reasons: Vec<String>, numbers: &Value) -> RecalibrationOutcome {
        let Attempt { trigger, parent: generation, now_ns, .. } = *attempt;
        self.schedule.fail(now_ns);
        self.metrics.monitor.calibrated("rejected");
        tracing::info!(why = trigger.name(), reasons = reasons.join("; "), "recalibration refused");
        let event = RefusedEvent { generation, why: trigger, reasons: &reasons, numbers };
        self.host.event(EventName::CalibrationRefused, details(&event));
        RecalibrationOutcome { accepted: false, reasons, generation }
    }

    fn fail(&mut self, now_ns: u64) {
        self.schedule.fail(now_ns);
        self.metrics.monitor.calibrated("failed");
    }
}

/// An attempt that has begun.
struct Attempt {
    trigger: Trigger,
    /// The serving generation.
    parent: u32,
    /// The generation that its candidate would become.
    next_generation: u32,
    now_ns: u64,
}
