//! Recalibration context: the inputs of one attempt, and the measurements on its frames.
//!
//! In: the artifacts of generation 0 and of the serving generation, the usable frames, the pass runner. Out: on request,
//! observed frames, candidate models, and quality records measured against the reference or predicted without it. The
//! weights are those of generation 0 and are shared with the serving model.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::biases::Biases;
use super::ranges::RangeChoice;
use crate::calibrate::LocalError;
use crate::detector::detection::Detection;
use crate::detector::int8::{InputMeans, Int8Model, Quantized};
use crate::detector::plan::{Plan, StepId};
use crate::error::{Error, Kind, Result};
use crate::monitor::drift::baseline::Baseline;
use crate::monitor::drift::pass::{ObservedFrame, Pass, PassRunner, YieldPoint};
use crate::monitor::drift::predicted_error::ErrorPredictor;
use crate::monitor::drift::quality::{QualityRecord, quality_of_errors};
use crate::monitor::frames::reservoir::{StoredFrame, assign_strata};
use crate::quant::artifact::Artifact;

/// Most frames that biases are measured on and candidates tried on. Twice as many changed nothing on the street.
const MAX_TRIAL_FRAMES: usize = 8;

/// Models that a recalibration starts from.
pub struct StartingPoint<'a> {
    /// Artifact of generation 0.
    pub initial: &'a [u8],
    /// Artifact of the serving generation.
    pub serving: &'a [u8],
    /// Model of the serving generation.
    pub model: &'a Arc<Int8Model>,
    /// Number of the generation that the candidate would become.
    pub next_generation: u32,
}

/// Frames by their index, and the observation of each.
pub struct ObservedFrames {
    /// Indices into the frames of the context.
    pub frames: Vec<usize>,
    observed: Vec<ObservedFrame>,
}

impl ObservedFrames {
    /// Index and observation of each frame.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &ObservedFrame)> {
        self.frames.iter().copied().zip(&self.observed)
    }
}

/// Artifact of one of the two parents of a candidate.
#[derive(Clone, Copy)]
pub enum Parent {
    /// Generation 0.
    Initial,
    /// The serving generation.
    Serving,
}

/// Inputs of one recalibration attempt.
pub struct RecalibrationContext<'a, 'g> {
    start: &'a StartingPoint<'g>,
    initial: Artifact<'g>,
    serving: Artifact<'g>,
    /// Weights of generation 0 with the quantization parameters and biases of the model that was built last.
    network: Quantized,
    initial_biases: Biases,
    /// Model of generation 0 on the weights of the serving one.
    initial_model: Arc<Int8Model>,
    serving_means: InputMeans,
    baseline: Baseline,
    predictor: ErrorPredictor,
    frames: &'a [StoredFrame],
    /// Stratum of each frame.
    strata: Vec<usize>,
    runner: &'a mut PassRunner,
    yield_point: YieldPoint<'a>,
    /// Steps with quantization parameters of their own.
    steps: Vec<StepId>,
}

impl<'a, 'g> RecalibrationContext<'a, 'g> {
    /// The context of an attempt with `frames`, sorted by time.
    ///
    /// # Errors
    /// As [`Artifact::parse`] and [`Int8Model::with_quant_params`].
    pub fn new(
        start: &'a StartingPoint<'g>,
        frames: &'a [StoredFrame],
        runner: &'a mut PassRunner,
        yield_point: YieldPoint<'a>,
    ) -> Result<Self> {
        let (initial, serving) = (Artifact::parse(start.initial)?, Artifact::parse(start.serving)?);
        let baseline = Baseline::from_artifact(&initial, runner.plan())?;
        let network = Quantized::from_artifact(&initial, |_| Ok(runner.plan().settings.clone()))?;
        let predictor = ErrorPredictor::new(&network, &baseline);
        let is_initial = start.initial == start.serving;
        let initial_model =
            if is_initial { Arc::clone(start.model) } else { Arc::new(start.model.with_quant_params(&network)?) };
        Ok(Self {
            initial_biases: Biases::of(&network),
            serving_means: InputMeans::from_artifact(&serving, runner.plan())?,
            steps: start.model.mixed_precision().quantized_steps().collect(),
            strata: assign_strata(frames),
            start,
            initial,
            serving,
            network,
            initial_model,
            baseline,
            predictor,
            frames,
            runner,
            yield_point,
        })
    }

    /// The models that the attempt starts from.
    pub fn start(&self) -> &StartingPoint<'g> {
        self.start
    }

    /// Artifact of generation 0.
    pub fn initial(&self) -> &Artifact<'g> {
        &self.initial
    }

    /// Calibration baseline of generation 0.
    pub fn baseline(&self) -> &Baseline {
        &self.baseline
    }

    /// Biases of generation 0.
    pub fn initial_biases(&self) -> &Biases {
        &self.initial_biases
    }

    /// Reference input means of the serving generation's biases.
    pub fn serving_means(&self) -> &InputMeans {
        &self.serving_means
    }

    /// Model of generation 0.
    pub fn initial_model(&self) -> Arc<Int8Model> {
        Arc::clone(&self.initial_model)
    }

    /// Predictor of errors without a reference.
    pub fn predictor(&self) -> &ErrorPredictor {
        &self.predictor
    }

    /// True if generation 0 serves.
    pub fn initial_serves(&self) -> bool {
        self.start.initial == self.start.serving
    }

    /// True if the full-precision reference is available.
    pub fn has_reference(&self) -> bool {
        self.runner.has_reference()
    }

    /// The network's plan.
    pub fn plan(&self) -> &Arc<Plan> {
        self.runner.plan()
    }

    /// Steps with quantization parameters of their own.
    pub fn steps(&self) -> &[StepId] {
        &self.steps
    }

    /// Stratum of the frame with index `at`.
    pub fn stratum(&self, at: usize) -> usize {
        self.strata[at]
    }

    /// The frame with index `at`.
    pub fn frame(&self, at: usize) -> &StoredFrame {
        &self.frames[at]
    }

    /// Lets other work run; fails if the attempt shall end.
    ///
    /// # Errors
    /// Errors of the yield point.
    pub fn pause(&mut self) -> Result<()> {
        (self.yield_point)()
    }

    /// Range and quantization parameters of `step` in the artifact of `parent`.
    ///
    /// # Errors
    /// [`Kind::Data`] if the step has none.
    pub fn range_choice(&self, parent: Parent, step: StepId) -> Result<RangeChoice> {
        let artifact = match parent {
            Parent::Initial => &self.initial,
            Parent::Serving => &self.serving,
        };
        let name = &self.runner.plan().steps[step].name;
        let edge = artifact.edge(name)?;
        let qparams = edge
            .qparams
            .ok_or_else(|| Error::new(Kind::Data, format!("edge {name} has no quantization parameters")))?;
        Ok(RangeChoice { range: edge.range, qparams: qparams.checked()? })
    }

    /// Generation 0's biases, corrected by its residuals and responses to the input means `means`.
    pub fn corrected_biases(&mut self, means: &InputMeans) -> Biases {
        self.initial_biases.put(&mut self.network);
        self.network.adapt_biases(means);
        Biases::of(&self.network)
    }

    /// Generation 0 with the quantization parameters of `ranges` and with `biases`.
    pub fn network(&mut self, ranges: &[Option<RangeChoice>], biases: &Biases) -> &Quantized {
        for (qparams, choice) in self.network.edge_qparams.iter_mut().zip(ranges) {
            *qparams = choice.map_or(*qparams, |choice| Some(choice.qparams));
        }
        biases.put(&mut self.network);
        // New ranges may have smaller steps, in which a bias has less room.
        self.network.limit_biases();
        &self.network
    }

    /// Model of [`network`](Self::network), on the weights of the serving one.
    ///
    /// # Errors
    /// As [`Int8Model::with_quant_params`].
    pub fn model(&mut self, ranges: &[Option<RangeChoice>], biases: &Biases) -> Result<Arc<Int8Model>> {
        let serving = self.start.model;
        Ok(Arc::new(serving.with_quant_params(self.network(ranges, biases))?))
    }

    /// Observes `frames`: with the reference its values, else those of the serving model before its clamps.
    ///
    /// # Errors
    /// As [`PassRunner::observe`].
    pub fn observe(&mut self, frames: Vec<usize>) -> Result<ObservedFrames> {
        let mut observed = Vec::with_capacity(frames.len());
        for &at in &frames {
            let picture = self.frames[at].picture()?;
            observed.push(self.runner.observe(self.start.model, &picture, self.yield_point)?);
        }
        Ok(ObservedFrames { frames, observed })
    }

    /// A pass of `model` over the frame with index `at`.
    ///
    /// # Errors
    /// As [`PassRunner::run`].
    pub fn pass(&mut self, model: &Arc<Int8Model>, at: usize) -> Result<Pass> {
        let picture = self.frames[at].picture()?;
        self.runner.run(model, &picture, false, self.yield_point)
    }

    /// Detections of `model` in the frame with index `at`, in canvas pixels.
    ///
    /// # Errors
    /// As [`PassRunner::detect`].
    pub fn detect(&mut self, model: &Arc<Int8Model>, at: usize) -> Result<Vec<Detection>> {
        let picture = self.frames[at].picture()?;
        self.runner.detect(model, &picture, self.yield_point)
    }

    /// Adds to `locals`, by step, the error of `model` on the reference's own inputs in the frame with index `at`.
    ///
    /// # Errors
    /// As [`PassRunner::add_local_errors`].
    pub fn add_local_errors(&mut self, model: &Arc<Int8Model>, at: usize, locals: &mut [LocalError]) -> Result<()> {
        let picture = self.frames[at].picture()?;
        self.runner.add_local_errors(model, &picture, locals)?;
        self.pause()
    }

    /// Quality of `model`, measured against the reference on the trial frames of `frames`. Without a reference it is
    /// predicted on all of them, for biases with the reference input means `reference_means`.
    ///
    /// # Errors
    /// As [`PassRunner::step_errors`].
    pub fn quality(
        &mut self,
        model: &Arc<Int8Model>,
        reference_means: &InputMeans,
        frames: &ObservedFrames,
    ) -> Result<QualityRecord> {
        let mut record = QualityRecord::default();
        if self.has_reference() {
            for at in self.trial_frames(&frames.frames).into_iter().flatten() {
                let picture = self.frames[at].picture()?;
                let errors = self.runner.step_errors(model, &picture, self.yield_point)?;
                record.add(self.strata[at], quality_of_errors(&errors), None);
            }
        } else {
            for (at, observed) in frames.iter() {
                record.add(self.strata[at], self.predictor.quality_db(observed, model, reference_means), None);
            }
        }
        Ok(record)
    }

    /// The frames of `frames` that biases are measured on and candidates tried on, by stratum. Each stratum gives the
    /// same number, if it has as many, evenly over time.
    pub fn trial_frames(&self, frames: &[usize]) -> Vec<Vec<usize>> {
        let mut strata: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for &at in frames {
            strata.entry(self.strata[at]).or_default().push(at);
        }
        let each = (MAX_TRIAL_FRAMES / strata.len().max(1)).max(1);
        let evenly = |frames: Vec<usize>| -> Vec<usize> {
            let count = each.min(frames.len());
            (0..count).map(|i| frames[i * frames.len() / count]).collect()
        };
        strata.into_values().map(evenly).collect()
    }
}
