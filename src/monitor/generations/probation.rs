//! Probation: the first passes of a new generation, compared with the generation before it.
//!
//! In: live frames through both models. Out: a [`ProbationOutcome`]. A gain on stored frames must hold on live ones, or
//! the change is rolled back. Without the reference both qualities are predicted.

use serde::Serialize;

use super::serving::Models;
use crate::detector::int8::{InputMeans, Quantized};
use crate::detector::plan::Plan;
use crate::error::Result;
use crate::frame::Picture;
use crate::measure::Agreement;
use crate::monitor::drift::baseline::Baseline;
use crate::monitor::drift::pass::{ObservedFrame, Pass, PassRunner, YieldPoint};
use crate::monitor::drift::predicted_error::ErrorPredictor;
use crate::monitor::drift::quality::{QualityRecord, quality_of_errors};
use crate::monitor::host::ServingModel;
use crate::monitor::numbers::rounded;
use crate::quant::artifact::Artifact;

/// Thresholds of a probation.
///
/// | threshold | value | reason |
/// |---|---:|---|
/// | `passes` | 12 | six minutes at the default interval |
/// | `min_passes` | 4 | one odd frame decides nothing |
/// | `max_loss_db` | 0.4 dB | as much as a stratum may lose at acceptance |
/// | `max_agreement_loss` | 0.1 | few detections come in so few passes |
/// | `min_detections` | 10 | a share of fewer detections is chance |
struct ProbationThresholds {
    /// Passes after which the generation is confirmed.
    passes: u32,
    /// Passes before it can be rolled back.
    min_passes: u32,
    /// Most that the mean quality may lose, in dB.
    max_loss_db: f64,
    /// Most that the matched share of the detections may lose.
    max_agreement_loss: f64,
    /// Fewest reference detections whose matched share counts.
    min_detections: u64,
}

const THRESHOLDS: ProbationThresholds =
    ProbationThresholds { passes: 12, min_passes: 4, max_loss_db: 0.4, max_agreement_loss: 0.1, min_detections: 10 };

/// A probation under way.
pub struct Probation {
    /// The generation before.
    previous: ServingModel,
    /// Without the reference.
    prediction: Option<ProbationPredictor>,
    score: ProbationScore,
}

/// Predicts the quality of both models without a reference.
struct ProbationPredictor {
    predictor: ErrorPredictor,
    /// Reference input means of the serving generation's biases.
    serving_means: InputMeans,
    /// Reference input means of the previous generation's biases.
    previous_means: InputMeans,
}

/// A live frame and the serving model's pass over it.
pub struct LiveFrame<'a> {
    /// Stratum of the frame.
    pub stratum: usize,
    /// The frame.
    pub picture: &'a Picture,
    /// The serving model's pass.
    pub pass: &'a Pass,
}

/// Outcome of a pass in probation.
#[derive(Debug, Clone, PartialEq)]
pub enum ProbationOutcome {
    /// Undecided: more passes are needed.
    Undecided,
    /// The generation stays.
    Passed,
    /// The generation shall be rolled back, for this reason.
    Failed(String),
}

/// Numbers of a probation, for events.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ProbationNumbers {
    /// Passes so far.
    pub passes: u32,
    /// Mean quality of the new generation minus that of the previous one, in dB.
    pub gain_db: f64,
}

impl Probation {
    /// The probation of the generation that serves, whose artifact is `serving`, if it is on probation.
    ///
    /// # Errors
    /// As [`Models::model`].
    pub fn of_serving(models: &Models, serving: &[u8], runner: &PassRunner) -> Result<Option<Self>> {
        let Some(number) = models.generations().on_probation_after() else { return Ok(None) };
        let previous = models.model(number)?;
        let prediction = match runner.has_reference() {
            true => None,
            false => Some(ProbationPredictor::new(models, serving, number, runner.plan())?),
        };
        Ok(Some(Self { previous, prediction, score: ProbationScore::default() }))
    }

    /// Adds a live frame of `serving`.
    ///
    /// # Errors
    /// Errors of the previous model and of the yield point. The frame is not counted then.
    pub fn add(
        &mut self,
        frame: &LiveFrame<'_>,
        serving: &ServingModel,
        runner: &mut PassRunner,
        yield_point: YieldPoint<'_>,
    ) -> Result<ProbationOutcome> {
        let LiveFrame { stratum, picture, pass } = *frame;
        let (mut new, mut old) = (QualityRecord::default(), QualityRecord::default());
        if let Some(ProbationPredictor { predictor, serving_means, previous_means }) = &self.prediction {
            let observed = ObservedFrame { histograms: pass.histograms.clone(), input_means: pass.input_means.clone() };
            new.add(stratum, predictor.quality_db(&observed, &serving.model, serving_means), None);
            old.add(stratum, predictor.quality_db(&observed, &self.previous.model, previous_means), None);
        } else {
            let other = runner.run(&self.previous.model, picture, false, yield_point)?;
            new.add(stratum, quality_of_errors(&pass.errors), pass.agreement);
            old.add(stratum, quality_of_errors(&other.errors), other.agreement);
        }
        self.score.add(new, old);
        Ok(self.score.outcome())
    }

    /// Its numbers so far, rounded.
    pub fn numbers(&self) -> ProbationNumbers {
        ProbationNumbers { passes: self.score.passes, gain_db: rounded(self.score.gain_db()) }
    }
}

impl ProbationPredictor {
    fn new(models: &Models, serving: &[u8], previous: u32, plan: &Plan) -> Result<Self> {
        let means_of = |bytes: &[u8]| InputMeans::from_artifact(&Artifact::parse(bytes)?, plan);
        let load = |number| models.generations().load(number);
        let initial = load(0)?;
        let previous_means = if previous == 0 { means_of(&initial)? } else { means_of(&load(previous)?)? };
        let initial = Artifact::parse(&initial)?;
        let baseline = Baseline::from_artifact(&initial, plan)?;
        let predictor = ErrorPredictor::new(&Quantized::from_artifact(&initial, Ok)?, &baseline);
        Ok(Self { predictor, serving_means: means_of(serving)?, previous_means })
    }
}

/// Quality of both generations so far.
#[derive(Debug, Clone, Default)]
struct ProbationScore {
    passes: u32,
    new: QualityRecord,
    old: QualityRecord,
}

impl ProbationScore {
    /// Adds a frame.
    fn add(&mut self, new: QualityRecord, old: QualityRecord) {
        self.passes += 1;
        self.new.merge(new);
        self.old.merge(old);
    }

    /// Mean quality of the new generation minus that of the old one, in dB.
    fn gain_db(&self) -> f64 {
        self.new.quality_db() - self.old.quality_db()
    }

    fn outcome(&self) -> ProbationOutcome {
        if self.passes >= THRESHOLDS.min_passes {
            let gain = self.gain_db();
            if gain < -THRESHOLDS.max_loss_db {
                let passes = self.passes;
                let reason = format!("over {passes} live frames it is {:.2} dB worse than before", -gain);
                return ProbationOutcome::Failed(reason);
            }
            // Errors may fall while detections are lost.
            let (new, old): (&Agreement, &Agreement) = (&self.new.agreement, &self.old.agreement);
            if new.reference() >= THRESHOLDS.min_detections
                && let (Some(new), Some(old)) = (new.matched_share(), old.matched_share())
                && new < old - THRESHOLDS.max_agreement_loss
            {
                let (new, old) = (100.0 * new, 100.0 * old);
                let reason = format!("it matches {new:.1} % of the detections, the generation before {old:.1} %");
                return ProbationOutcome::Failed(reason);
            }
        }
        if self.passes >= THRESHOLDS.passes { ProbationOutcome::Passed } else { ProbationOutcome::Undecided }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(quality: f64, matched: u64) -> QualityRecord {
        let mut record = QualityRecord::default();
        let agreement = Agreement { matched, vanished: 5 - matched, ..Agreement::default() };
        record.add(0, Some(quality), Some(agreement));
        record
    }

    #[test]
    fn worse_on_live_frames_fails_and_as_good_passes() {
        let run = |new: (f64, u64), old: (f64, u64)| {
            let mut score = ProbationScore::default();
            loop {
                score.add(record(new.0, new.1), record(old.0, old.1));
                match score.outcome() {
                    ProbationOutcome::Undecided => {}
                    end => return (end, score.passes),
                }
            }
        };
        assert_eq!(run((20.0, 5), (20.2, 5)), (ProbationOutcome::Passed, THRESHOLDS.passes));
        let (outcome, passes) = run((18.0, 5), (20.2, 5));
        assert!(matches!(outcome, ProbationOutcome::Failed(why) if why.contains("2.20 dB worse")));
        assert_eq!(passes, THRESHOLDS.min_passes);
        assert!(matches!(run((21.0, 2), (20.0, 5)).0, ProbationOutcome::Failed(why) if why.contains("40.0 %")));
    }
}
