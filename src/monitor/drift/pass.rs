//! One frame through the quantized network, and through the reference beside it where there is one.
//!
//! In: a picture and a quantized model. Out: a [`Pass`]: what every edge computed before its clamp and what was
//! clipped, and, with the reference, the error of every step and what became of the detections. Only live tensors are
//! held. The models are shared with the detector, the buffers are not: nothing it computes can change.

use std::sync::Arc;

use super::error_map::ErrorMap;
use crate::calibrate::{
    AGREEMENT_SCORE, Fp32Collector, Histogram, Int8Collector, LocalError, add_local_errors, clipped_share,
};
use crate::detector::detection::Detection;
use crate::detector::fp32::{Fp32Model, Fp32Run};
use crate::detector::int8::{InputMeans, Int8Executor, Int8Model};
use crate::detector::plan::{LEVELS, Plan, StepId};
use crate::detector::tap::{Activation, NoTap, Tap};
use crate::error::{Error, Kind, Result};
use crate::frame::Picture;
use crate::measure::{Agreement, Lockstep, PairDetections, PairObserver, StepError};
use crate::preprocess::{Transform, TransformParams};
use crate::tensor::{Canvas, Fit, ImageMoments};

/// Pauses between two steps.
pub type YieldPoint<'a> = &'a mut dyn FnMut() -> Result<()>;

/// What one frame gave. All lists are by step of the plan.
#[derive(Debug, Clone, Default)]
pub struct Pass {
    /// With the reference: the error of every step.
    pub errors: Vec<StepError>,
    /// Share of values outside the quantization range; `None` where a step has no quantization parameters.
    pub clipped: Vec<Option<f64>>,
    /// What each edge computed before its clamp.
    pub histograms: Vec<Option<Histogram>>,
    /// What the layers read, on average; with the reference only the picture itself.
    pub means: InputMeans,
    /// With the reference: how its detections fared.
    pub agreement: Option<Agreement>,
    /// What the quantized network found, in canvas pixels.
    pub detections: Vec<Detection>,
    /// With the reference, if asked for: where it errs.
    pub maps: Vec<ErrorMap>,
}

/// What [`PassRunner::observe`] saw, by step of the plan.
#[derive(Debug, Clone, Default)]
pub struct ObservedFrame {
    /// The values of the edge, before a clamp.
    pub histograms: Vec<Option<Histogram>>,
    /// What the layers read, on average.
    pub means: InputMeans,
}

/// Adds the errors of a comparison with the reference.
struct PassObserver<'a> {
    /// By step.
    errors: &'a mut [StepError],
    /// Counts the values of the int8 network's own pass.
    counter: Option<&'a mut Int8Collector>,
    /// Error maps of the pyramid levels, if requested.
    maps: Option<(&'a Plan, &'a mut Vec<ErrorMap>)>,
    between: YieldPoint<'a>,
}

impl PairObserver for PassObserver<'_> {
    fn before_step(&mut self) -> Result<()> {
        (self.between)()
    }

    fn int8_tap(&mut self) -> Option<&mut dyn Tap> {
        Some(self.counter.as_deref_mut()?)
    }

    fn observe(&mut self, step: StepId, reference: &Activation<'_>, int8: &Activation<'_>) {
        self.errors[step].add(reference, int8);
        let Some((plan, maps)) = &mut self.maps else { return };
        if let Some(level) = plan.key_steps.pyramid.iter().position(|&id| id == step) {
            maps.extend(ErrorMap::of(LEVELS[level], reference, int8));
        }
    }
}

/// Looks at frames. Keeps its buffers.
pub struct PassRunner {
    plan: Arc<Plan>,
    reference: Option<Arc<Fp32Model>>,
    transform: Transform,
    normalized: Canvas<f32>,
    pixels: Canvas<u8>,
    executor: Option<Int8Executor>,
}

impl PassRunner {
    /// For models of `plan`; `reference` must be of the same plan.
    ///
    /// # Errors
    /// [`Kind::Data`] if the reference is another network; as [`Transform::new`].
    pub fn new(plan: Arc<Plan>, reference: Option<Arc<Fp32Model>>) -> Result<Self> {
        if let Some(reference) = &reference
            && (reference.plan().architecture != plan.architecture || reference.plan().steps != plan.steps)
        {
            return Err(Error::new(Kind::Data, "the reference is not the network that was quantized"));
        }
        let transform = Transform::new(TransformParams::from(&plan.settings.transform))?;
        let normalized = Canvas { fit: Fit::default(), channels: 3, data: Vec::new() };
        let pixels = Canvas { fit: Fit::default(), channels: 4, data: Vec::new() };
        Ok(Self { plan, reference, transform, normalized, pixels, executor: None })
    }

    /// The network.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Whether the reference looks on.
    pub fn has_reference(&self) -> bool {
        self.reference.is_some()
    }

    /// The reference.
    pub fn reference(&self) -> Option<&Arc<Fp32Model>> {
        self.reference.as_ref()
    }

    /// Frees the buffers of the quantized network.
    pub fn forget_buffers(&mut self) {
        self.executor = None;
    }

    /// Lays `picture` on the canvases of both networks.
    fn take_in(&mut self, picture: &Picture) -> Result<()> {
        self.transform.to_f32(picture, &mut self.normalized)?;
        self.transform.to_u8(picture, &mut self.pixels)
    }

    fn executor(&mut self, model: &Arc<Int8Model>) -> Int8Executor {
        let same = |executor: &Int8Executor| Arc::ptr_eq(executor.model(), model);
        let known = self.executor.take().filter(same);
        known.unwrap_or_else(|| Int8Executor::new(Arc::clone(model)).keeping_features())
    }

    /// Looks at `picture` through `model`, on the current pool.
    ///
    /// # Errors
    /// [`Kind::Data`] if the picture cannot be looked at; what `between` returns.
    pub fn run(
        &mut self,
        model: &Arc<Int8Model>,
        picture: &Picture,
        maps: bool,
        between: YieldPoint<'_>,
    ) -> Result<Pass> {
        self.transform.to_u8(picture, &mut self.pixels)?;
        let mut executor = self.executor(model);
        let look = match self.reference.clone() {
            Some(reference) => {
                let look = self.beside(&reference, &mut executor, picture, maps, between);
                reference.release_buffers();
                look
            }
            None => self.alone(&mut executor, between),
        };
        self.executor = Some(executor);
        look
    }

    fn beside(
        &mut self,
        reference: &Fp32Model,
        executor: &mut Int8Executor,
        picture: &Picture,
        maps: bool,
        between: YieldPoint<'_>,
    ) -> Result<Pass> {
        self.transform.to_f32(picture, &mut self.normalized)?;
        let steps = self.plan.steps.len();
        let mut look = Pass { errors: vec![StepError::default(); steps], ..Pass::default() };
        let model = Arc::clone(executor.model());
        let mut counter = Int8Collector::new(&self.plan, model.mixed_precision().quantized_steps());
        let mut observer = PassObserver {
            errors: &mut look.errors,
            counter: Some(&mut counter),
            maps: maps.then_some((&self.plan, &mut look.maps)),
            between,
        };
        let pair = Lockstep { reference, canvas: &self.normalized, int8: executor, pixels: &self.pixels };
        let PairDetections { reference: wanted, int8: found } = pair.on_own_inputs(&mut observer)?;
        // The pyramid is computed from the top down.
        look.maps.sort_by_key(|map| map.level);
        let mut agreement = Agreement::default();
        agreement.add(&wanted, &found, AGREEMENT_SCORE, AGREEMENT_SCORE);
        let histograms = counter.take()?;
        let clipped = clipped_shares(&model, &histograms);
        let means = InputMeans { image: Some(ImageMoments::of(&self.pixels)), layers: Vec::new() };
        Ok(Pass { clipped, histograms, means, agreement: Some(agreement), detections: found, ..look })
    }

    fn alone(&mut self, executor: &mut Int8Executor, between: YieldPoint<'_>) -> Result<Pass> {
        let model = Arc::clone(executor.model());
        let mut counter =
            Int8Collector::new(&self.plan, model.mixed_precision().quantized_steps()).with_means(&self.plan);
        executor.begin(&self.pixels)?;
        while executor.advance(&mut counter)?.is_some() {
            between()?;
        }
        let histograms = counter.take()?;
        let clipped = clipped_shares(&model, &histograms);
        let (means, detections) = (self.means(&counter.take_means()), executor.detections().to_vec());
        Ok(Pass { clipped, histograms, means, detections, ..Pass::default() })
    }

    /// What the layers read, from the means of what the steps gave.
    fn means(&self, outputs: &[Vec<f32>]) -> InputMeans {
        InputMeans::from_outputs(&self.plan, ImageMoments::of(&self.pixels), outputs)
    }

    /// What every edge that could be stored in bytes took in `picture`, by step: of the reference where there is one,
    /// else of `model` before its clamps.
    ///
    /// # Errors
    /// As [`PassRunner::run`].
    pub fn observe(
        &mut self,
        model: &Arc<Int8Model>,
        picture: &Picture,
        between: YieldPoint<'_>,
    ) -> Result<ObservedFrame> {
        let Some(reference) = self.reference.clone() else {
            let Pass { histograms, means, .. } = self.run(model, picture, false, between)?;
            return Ok(ObservedFrame { histograms, means });
        };
        self.take_in(picture)?;
        let mut steps: Vec<StepId> =
            model.mixed_precision().quantized_steps().chain(self.plan.read_by_layers()).collect();
        steps.sort_unstable();
        steps.dedup();
        let mut watcher = Fp32Collector::new(&self.plan, &steps);
        let mut run = Fp32Run::new(&reference, &self.normalized)?;
        while run.advance(&mut watcher)?.is_some() {
            between()?;
        }
        let seen = watcher.take()?;
        let mut histograms = vec![None; self.plan.steps.len()];
        let means = self.means(&watcher.means_by_step(&seen));
        for (step, histogram) in steps.into_iter().zip(seen.histograms) {
            histograms[step] = Some(histogram).filter(|seen| !seen.is_empty() && model.qparams(step).is_some());
        }
        Ok(ObservedFrame { histograms, means })
    }

    /// What every step of `model` errs on `picture` beside the reference, by step; nothing without one.
    ///
    /// # Errors
    /// As [`PassRunner::run`].
    pub fn step_errors(
        &mut self,
        model: &Arc<Int8Model>,
        picture: &Picture,
        between: YieldPoint<'_>,
    ) -> Result<Vec<StepError>> {
        let mut errors = vec![StepError::default(); self.plan.steps.len()];
        let Some(reference) = self.reference.clone() else { return Ok(errors) };
        self.take_in(picture)?;
        let mut executor = self.executor(model);
        let mut observer = PassObserver { errors: &mut errors, counter: None, maps: None, between };
        let pair =
            Lockstep { reference: &reference, canvas: &self.normalized, int8: &mut executor, pixels: &self.pixels };
        let outcome = pair.on_own_inputs(&mut observer);
        self.executor = Some(executor);
        outcome.map(|_| errors)
    }

    /// What only the quantized network finds in `picture`, in canvas pixels, at its full speed.
    ///
    /// # Errors
    /// As [`PassRunner::run`].
    pub fn detect(
        &mut self,
        model: &Arc<Int8Model>,
        picture: &Picture,
        between: YieldPoint<'_>,
    ) -> Result<Vec<Detection>> {
        self.transform.to_u8(picture, &mut self.pixels)?;
        let mut executor = self.executor(model);
        let outcome = executor.begin(&self.pixels).and_then(|()| {
            while executor.advance(&mut NoTap)?.is_some() {
                between()?;
            }
            Ok(executor.detections().to_vec())
        });
        self.executor = Some(executor);
        outcome
    }

    /// Adds to `locals` what each int8 step of `model` does wrong on the reference's own inputs. Without a reference
    /// nothing is known and nothing is added.
    ///
    /// # Errors
    /// As [`PassRunner::run`].
    pub fn add_local_errors(
        &mut self,
        model: &Arc<Int8Model>,
        picture: &Picture,
        locals: &mut [LocalError],
    ) -> Result<()> {
        let Some(reference) = self.reference.clone() else { return Ok(()) };
        self.take_in(picture)?;
        let mut executor = self.executor(model);
        let outcome = add_local_errors(&reference, &self.normalized, &mut executor, &self.pixels, locals);
        self.executor = Some(executor);
        outcome
    }
}

/// Share of values outside the quantization range of each step.
fn clipped_shares(model: &Int8Model, histograms: &[Option<Histogram>]) -> Vec<Option<f64>> {
    let clipped = |(step, histogram): (usize, &Option<Histogram>)| {
        let histogram = histogram.as_ref().filter(|histogram| !histogram.is_empty())?;
        Some(clipped_share(histogram, &model.qparams(step)?))
    };
    histograms.iter().enumerate().map(clipped).collect()
}
