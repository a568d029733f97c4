//! Pass: one frame through the quantized network, and through the reference in lock-step if there is one.
//!
//! In: a picture and a quantized model. Out: a [`Pass`] with the histogram of every edge before its clamp and the share
//! of clipped values. With the reference it also has the error of every step and the agreement of the detections. Only
//! live tensors are held. The models are shared with the detector, the buffers are not, so a pass cannot change a
//! detection.

use std::sync::Arc;

use super::error_map::ErrorMap;
use crate::calibrate::{
    AGREEMENT_SCORE, Fp32Collector, Histogram, Int8Collector, LocalError, add_local_errors, clipped_share,
};
use crate::detector::detection::Detection;
use crate::detector::fp32::{Fp32Model, Fp32Run};
use crate::detector::int8::{InputMeans, Int8Executor, Int8Model};
use crate::detector::plan::{Plan, StepId};
use crate::detector::tap::{Activation, NoTap, Tap};
use crate::error::{Error, Kind, Result};
use crate::frame::Picture;
use crate::measure::{Agreement, Lockstep, PairDetections, PairObserver, StepError};
use crate::preprocess::{Transform, TransformParams};
use crate::tensor::{Canvas, ImageMoments};

/// Callback between two steps of the network. It may pause, and its error ends the work.
pub type YieldPoint<'a> = &'a mut dyn FnMut() -> Result<()>;

/// Measurements on one frame. Lists are by step of the plan.
#[derive(Debug, Clone, Default)]
pub struct Pass {
    /// Error of every step against the reference; empty without it.
    pub errors: Vec<StepError>,
    /// Share of values outside the quantization range; `None` if a step has no quantization parameters.
    pub clipped: Vec<Option<f64>>,
    /// Values of each edge before its clamp.
    pub histograms: Vec<Option<Histogram>>,
    /// Mean input of the layers; with the reference only the moments of the picture.
    pub input_means: InputMeans,
    /// Agreement with the reference's detections; `None` without it.
    pub agreement: Option<Agreement>,
    /// Detections of the quantized network, in canvas pixels.
    pub detections: Vec<Detection>,
    /// Error maps of the pyramid levels, finest first, if requested; empty without the reference.
    pub maps: Vec<ErrorMap>,
}

/// Activations on one frame, by step of the plan.
#[derive(Debug, Clone, Default)]
pub struct ObservedFrame {
    /// Values of each edge, before a clamp.
    pub histograms: Vec<Option<Histogram>>,
    /// Mean input of the layers.
    pub input_means: InputMeans,
}

/// Collects the measurements of a pass in lock-step with the reference.
struct PassObserver<'a> {
    /// By step.
    errors: &'a mut [StepError],
    /// Counts the values of the int8 network.
    counter: Option<&'a mut Int8Collector>,
    /// Error maps of the pyramid levels, if requested.
    maps: Option<(&'a Plan, &'a mut Vec<ErrorMap>)>,
    yield_point: YieldPoint<'a>,
}

impl PairObserver for PassObserver<'_> {
    fn before_step(&mut self) -> Result<()> {
        (self.yield_point)()
    }

    fn int8_tap(&mut self) -> Option<&mut dyn Tap> {
        Some(self.counter.as_deref_mut()?)
    }

    fn observe(&mut self, step: StepId, reference: &Activation<'_>, int8: &Activation<'_>) {
        self.errors[step].add(reference, int8);
        let Some((plan, maps)) = &mut self.maps else { return };
        if let Some(level) = plan.level_of(step) {
            maps.extend(ErrorMap::of(&level.name, reference, int8));
        }
    }
}

/// Runs passes over frames, and reuses its buffers.
pub struct PassRunner {
    plan: Arc<Plan>,
    reference: Option<Arc<Fp32Model>>,
    transform: Transform,
    /// Input of the reference.
    normalized: Canvas<f32>,
    /// Input of the quantized network.
    pixels: Canvas<u8>,
    /// Buffers for the latest model.
    executor: Option<Int8Executor>,
}

impl PassRunner {
    /// A runner for models of `plan`; `reference` must be of the same plan.
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
        let normalized = Canvas::empty(3);
        let pixels = Canvas::empty(4);
        Ok(Self { plan, reference, transform, normalized, pixels, executor: None })
    }

    /// The plan of the network.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// True if there is a reference.
    pub fn has_reference(&self) -> bool {
        self.reference.is_some()
    }

    /// The reference.
    pub fn reference(&self) -> Option<&Arc<Fp32Model>> {
        self.reference.as_ref()
    }

    /// Frees the buffers of the quantized network.
    pub fn release_buffers(&mut self) {
        self.executor = None;
    }

    /// Prepares the inputs of both networks.
    fn prepare(&mut self, model: &Int8Model, picture: &Picture) -> Result<()> {
        self.transform.to_f32(picture, &mut self.normalized)?;
        self.prepare_pixels(model, picture)
    }

    /// Prepares the input of `model`.
    fn prepare_pixels(&mut self, model: &Int8Model, picture: &Picture) -> Result<()> {
        self.pixels.two_bytes = model.is_wide(self.plan.key_steps.image);
        self.transform.to_u8(picture, &mut self.pixels)
    }

    /// The executor of `model`, with the buffers of the latest pass if that ran the same model.
    fn take_executor(&mut self, model: &Arc<Int8Model>) -> Int8Executor {
        let is_same = |executor: &Int8Executor| Arc::ptr_eq(executor.model(), model);
        let known = self.executor.take().filter(is_same);
        known.unwrap_or_else(|| Int8Executor::new(Arc::clone(model)).keeping_features())
    }

    /// Runs `model` on `picture`, on the current pool; with error maps if `with_maps` and if there is a reference.
    ///
    /// # Errors
    /// [`Kind::Data`] if the picture does not fit the network; what `yield_point` returns.
    pub fn run(
        &mut self,
        model: &Arc<Int8Model>,
        picture: &Picture,
        with_maps: bool,
        yield_point: YieldPoint<'_>,
    ) -> Result<Pass> {
        let mut executor = self.take_executor(model);
        let pass = match self.reference.clone() {
            Some(reference) => {
                let pass = self.run_pair(&reference, &mut executor, picture, with_maps, yield_point);
                reference.release_buffers();
                pass
            }
            None => self.run_alone(&mut executor, picture, yield_point),
        };
        self.executor = Some(executor);
        pass
    }

    fn run_pair(
        &mut self,
        reference: &Fp32Model,
        executor: &mut Int8Executor,
        picture: &Picture,
        with_maps: bool,
        yield_point: YieldPoint<'_>,
    ) -> Result<Pass> {
        self.prepare(executor.model(), picture)?;
        let steps = self.plan.steps.len();
        let mut pass = Pass { errors: vec![StepError::default(); steps], ..Pass::default() };
        let model = Arc::clone(executor.model());
        let mut counter = Int8Collector::new(&self.plan, model.mixed_precision().quantized_steps());
        let mut observer = PassObserver {
            errors: &mut pass.errors,
            counter: Some(&mut counter),
            maps: with_maps.then_some((&self.plan, &mut pass.maps)),
            yield_point,
        };
        let pair = Lockstep { reference, canvas: &self.normalized, int8: executor, pixels: &self.pixels };
        let detections: PairDetections = pair.on_own_inputs(&mut observer)?;
        // The network computes the coarsest level first.
        pass.maps.sort_by(|a, b| a.level.cmp(&b.level));
        let mut agreement = Agreement::default();
        agreement.add(&detections.reference, &detections.int8, AGREEMENT_SCORE, AGREEMENT_SCORE);
        let histograms = counter.take()?;
        let clipped = clipped_shares(&model, &histograms);
        let input_means = InputMeans { image: Some(ImageMoments::of(&self.pixels)), layers: Vec::new() };
        let (agreement, detections) = (Some(agreement), detections.int8);
        Ok(Pass { clipped, histograms, input_means, agreement, detections, ..pass })
    }

    fn run_alone(
        &mut self,
        executor: &mut Int8Executor,
        picture: &Picture,
        yield_point: YieldPoint<'_>,
    ) -> Result<Pass> {
        self.prepare_pixels(executor.model(), picture)?;
        let model = Arc::clone(executor.model());
        let mut counter =
            Int8Collector::new(&self.plan, model.mixed_precision().quantized_steps()).with_means(&self.plan);
        executor.begin(&self.pixels)?;
        while executor.advance(&mut counter)?.is_some() {
            yield_point()?;
        }
        let histograms = counter.take()?;
        let clipped = clipped_shares(&model, &histograms);
        let (input_means, detections) = (self.input_means(&counter.take_means()), executor.detections().to_vec());
        Ok(Pass { clipped, histograms, input_means, detections, ..Pass::default() })
    }

    /// Mean input of the layers, from the mean output of the steps.
    fn input_means(&self, outputs: &[Vec<f32>]) -> InputMeans {
        InputMeans::from_outputs(&self.plan, ImageMoments::of(&self.pixels), outputs)
    }

    /// Activations on `picture`: the reference's at the edges that `model` quantizes; without a reference, those of
    /// `model` before its clamps.
    ///
    /// # Errors
    /// As [`PassRunner::run`].
    pub fn observe(
        &mut self,
        model: &Arc<Int8Model>,
        picture: &Picture,
        yield_point: YieldPoint<'_>,
    ) -> Result<ObservedFrame> {
        let Some(reference) = self.reference.clone() else {
            let Pass { histograms, input_means, .. } = self.run(model, picture, false, yield_point)?;
            return Ok(ObservedFrame { histograms, input_means });
        };
        self.prepare(model, picture)?;
        // Layers read steps that need no quantization parameters; these give input means only.
        let mut steps: Vec<StepId> =
            model.mixed_precision().quantized_steps().chain(self.plan.read_by_layers()).collect();
        steps.sort_unstable();
        steps.dedup();
        let mut collector = Fp32Collector::new(&self.plan, &steps);
        let mut run = Fp32Run::new(&reference, &self.normalized)?;
        while run.advance(&mut collector)?.is_some() {
            yield_point()?;
        }
        let observed = collector.take()?;
        let mut histograms = vec![None; self.plan.steps.len()];
        let input_means = self.input_means(&collector.means_by_step(&observed));
        for (step, histogram) in steps.into_iter().zip(observed.histograms) {
            let is_needed = |histogram: &Histogram| !histogram.is_empty() && model.qparams(step).is_some();
            histograms[step] = Some(histogram).filter(is_needed);
        }
        Ok(ObservedFrame { histograms, input_means })
    }

    /// Error of every step of `model` on `picture` against the reference; all zero without a reference.
    ///
    /// # Errors
    /// As [`PassRunner::run`].
    pub fn step_errors(
        &mut self,
        model: &Arc<Int8Model>,
        picture: &Picture,
        yield_point: YieldPoint<'_>,
    ) -> Result<Vec<StepError>> {
        let mut errors = vec![StepError::default(); self.plan.steps.len()];
        let Some(reference) = self.reference.clone() else { return Ok(errors) };
        self.prepare(model, picture)?;
        let mut executor = self.take_executor(model);
        let mut observer = PassObserver { errors: &mut errors, counter: None, maps: None, yield_point };
        let pair =
            Lockstep { reference: &reference, canvas: &self.normalized, int8: &mut executor, pixels: &self.pixels };
        let outcome = pair.on_own_inputs(&mut observer);
        self.executor = Some(executor);
        outcome.map(|_| errors)
    }

    /// Detections of `model` in `picture`, in canvas pixels, without any measurement.
    ///
    /// # Errors
    /// As [`PassRunner::run`].
    pub fn detect(
        &mut self,
        model: &Arc<Int8Model>,
        picture: &Picture,
        yield_point: YieldPoint<'_>,
    ) -> Result<Vec<Detection>> {
        self.prepare_pixels(model, picture)?;
        let mut executor = self.take_executor(model);
        let outcome = executor.begin(&self.pixels).and_then(|()| {
            while executor.advance(&mut NoTap)?.is_some() {
                yield_point()?;
            }
            Ok(executor.detections().to_vec())
        });
        self.executor = Some(executor);
        outcome
    }

    /// Adds the local error of each int8 step of `model`, computed on the reference's own inputs, to `locals`. Without a
    /// reference it adds nothing.
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
        self.prepare(model, picture)?;
        let mut executor = self.take_executor(model);
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
