//! Lockstep: runs the fp32 and the int8 executor over one picture, step by step, and shows every step as a pair.
//!
//! In: one picture on the canvases of both executors. Out: for every step the activation of both executors, on request
//! before the activation function too, and how many values the int8 step clipped. In [`Lockstep::on_own_inputs`] the
//! int8 step reads the outputs of its own predecessors, so errors accumulate. In [`Lockstep::on_reference_inputs`] it
//! reads the outputs of fp32, so only the error that the step itself adds is seen. Only live tensors exist. Where
//! values before the activation function are requested, the fp32 step runs while the int8 step holds its own, so
//! neither is copied.

use super::StepError;
use crate::detector::detection::Detection;
use crate::detector::fp32::{Fp32Model, Fp32Run, StepOutput};
use crate::detector::int8::Int8Executor;
use crate::detector::plan::{Op, StepId};
use crate::detector::tap::{Activation, NoTap, Tap, TapRequest, Values};
use crate::error::Result;
use crate::tensor::Canvas;

/// Values of a step that a [`PairObserver`] requests; each level includes those above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PairRequest {
    /// The fused outputs.
    Output,
    /// The number of clipped values. Only layers that run with fixed quantization parameters have one.
    Clipping,
    /// The values before the activation function; in int8 also before rounding and clipping. Only layers have them.
    Raw,
}

/// Observes pairs of activations: fp32's first, then int8's, of the same step and shape.
pub trait PairObserver {
    /// Values of `step` to observe. Called once a step.
    fn request(&self, step: StepId) -> PairRequest {
        let _ = step;
        PairRequest::Output
    }

    /// Called before every step: may wait. An error ends the run.
    ///
    /// # Errors
    /// Any error that shall end the run.
    fn before_step(&mut self) -> Result<()> {
        Ok(())
    }

    /// A tap on the int8 executor's own pass: all its steps, with the second stage on its own proposals.
    fn int8_tap(&mut self) -> Option<&mut dyn Tap> {
        None
    }

    /// The fused outputs of `step`.
    fn observe(&mut self, step: StepId, reference: &Activation<'_>, int8: &Activation<'_>) {
        let _ = (step, reference, int8);
    }

    /// The values of `step` before the activation function, int8's before rounding too. Comes before
    /// [`PairObserver::observe`].
    fn observe_raw(&mut self, step: StepId, reference: &Activation<'_>, int8: &Activation<'_>) {
        let _ = (step, reference, int8);
    }

    /// Number of int8 values that were clipped, of `count`. Comes before [`PairObserver::observe`].
    fn observe_clipped(&mut self, step: StepId, clipped: u64, count: u64) {
        let _ = (step, clipped, count);
    }
}

/// Both executors and one picture on the canvas of each.
pub struct Lockstep<'a> {
    /// The fp32 network.
    pub reference: &'a Fp32Model,
    /// The picture, normalized.
    pub canvas: &'a Canvas<f32>,
    /// The int8 network, of the same plan. It must [keep its features](Int8Executor::keeping_features).
    pub int8: &'a mut Int8Executor,
    /// The picture in bytes.
    pub pixels: &'a Canvas<u8>,
}

/// Detections of both networks on one picture, in canvas pixels, best first.
#[derive(Debug, Clone, PartialEq)]
pub struct PairDetections {
    /// Of the fp32 network.
    pub reference: Vec<Detection>,
    /// Of the int8 network, from its own proposals.
    pub int8: Vec<Detection>,
}

impl Lockstep<'_> {
    /// Runs both networks, each on its own activations. The second stage is shown on fp32's proposals, so that rows
    /// correspond. The int8 network runs it twice, first on its own proposals for its detections.
    ///
    /// # Errors
    /// Errors of either executor and of [`PairObserver::before_step`].
    pub fn on_own_inputs(self, observer: &mut dyn PairObserver) -> Result<PairDetections> {
        let Self { reference, canvas, int8, pixels } = self;
        let key_steps = &reference.plan().key_steps;
        let mut run = Fp32Run::new(reference, canvas)?;
        int8.begin(pixels)?;
        run.advance(&mut NoTap)?;
        // Body, pyramid and proposal head see the same picture in both networks.
        while let Some(step) = run.next_step().filter(|&step| step < key_steps.proposals) {
            observer.before_step()?;
            advance_pair(&mut run, int8, step, observer, true)?;
        }
        // The int8 network's own proposals, second stage and detections.
        for step in key_steps.proposals..reference.plan().steps.len() {
            observer.before_step()?;
            int8.compute(step, observer.int8_tap().unwrap_or(&mut NoTap))?;
        }
        let detections = int8.detections().to_vec();
        // The second stage of both on the proposals of fp32; the int8 network still holds its features.
        run.advance(&mut NoTap)?;
        if let Some(StepOutput::Boxes(proposals)) = run.value(key_steps.proposals) {
            int8.put_proposals(proposals);
        }
        while let Some(step) = run.next_step().filter(|&step| step < key_steps.detections) {
            observer.before_step()?;
            advance_pair(&mut run, int8, step, observer, false)?;
        }
        Ok(PairDetections { reference: run.finish(&mut NoTap)?, int8: detections })
    }

    /// Runs in int8 the layers that the observer requests [`PairRequest::Raw`] of, so that it sees the error that each
    /// layer adds itself. A layer reads the outputs of fp32, quantized with the int8 network's parameters.
    ///
    /// # Errors
    /// Errors of either executor and of [`PairObserver::before_step`].
    pub fn on_reference_inputs(self, observer: &mut dyn PairObserver) -> Result<()> {
        let Self { reference, canvas, int8, pixels } = self;
        let mut run = Fp32Run::new(reference, canvas)?;
        int8.begin(pixels)?;
        while let Some(step) = run.next_step() {
            observer.before_step()?;
            let is_layer = matches!(reference.plan().steps[step].op, Op::Layer { .. });
            if is_layer && observer.request(step) == PairRequest::Raw {
                advance_pair(&mut run, int8, step, observer, false)?;
            } else {
                run.advance(&mut NoTap)?;
            }
            // What the following int8 steps read is replaced by fp32's output.
            if let Some(StepOutput::Boxes(proposals)) = run.value(step) {
                int8.put_proposals(proposals);
            } else if int8.activation(step).is_some() {
                let mut put = Ok(());
                run.with_activation(step, |reference| {
                    if let Values::F32(values) = reference.values {
                        put = int8.put(step, values);
                    }
                })?;
                put?;
            }
        }
        Ok(())
    }

    /// [`Lockstep::on_own_inputs`], adding the error of every step to `errors`, one a step of the plan.
    ///
    /// # Errors
    /// As there.
    pub fn add_errors(self, errors: &mut [StepError]) -> Result<PairDetections> {
        struct Errors<'a>(&'a mut [StepError]);
        impl PairObserver for Errors<'_> {
            fn observe(&mut self, step: StepId, reference: &Activation<'_>, int8: &Activation<'_>) {
                self.0[step].add(reference, int8);
            }
        }
        self.on_own_inputs(&mut Errors(errors))
    }
}

/// Runs `step`, the next one of `run`, in both networks and shows the pair. With `is_own_pass` the observer's tap on
/// the int8 network sees the step as well.
fn advance_pair(
    run: &mut Fp32Run<'_>,
    int8: &mut Int8Executor,
    step: StepId,
    observer: &mut dyn PairObserver,
    is_own_pass: bool,
) -> Result<()> {
    let is_layer = matches!(run.plan().steps[step].op, Op::Layer { .. });
    let request = if is_layer { observer.request(step) } else { PairRequest::Output };
    let tap = observer.int8_tap().filter(|_| is_own_pass);
    let tap_request = tap.map_or(TapRequest::Nothing, |tap| tap.request(step));
    let mut tap =
        Int8Tap { observer: &mut *observer, run: &mut *run, request, tap_request, advanced: None, clipped: None };
    int8.compute(step, &mut tap)?;
    let Int8Tap { advanced, clipped, .. } = tap;
    match advanced {
        Some(result) => result?,
        None => drop(run.advance(&mut NoTap)?),
    }
    let Some(activation) = int8.activation(step) else { return Ok(()) };
    // An f32 output has no range to be clipped to.
    if let (Some(clipped), Values::U8 { .. } | Values::U16 { .. }) = (clipped, activation.values) {
        observer.observe_clipped(step, clipped, activation.shape.len() as u64);
    }
    run.with_activation(step, |reference| observer.observe(step, reference, &activation))
}

/// Tap on an int8 step: runs the fp32 step once the values before the activation function are there, and forwards to
/// the observer's own tap.
struct Int8Tap<'a, 'm> {
    observer: &'a mut dyn PairObserver,
    run: &'a mut Fp32Run<'m>,
    request: PairRequest,
    /// The request of the observer's own tap.
    tap_request: TapRequest,
    advanced: Option<Result<()>>,
    clipped: Option<u64>,
}

impl Tap for Int8Tap<'_, '_> {
    fn request(&self, _: StepId) -> TapRequest {
        // Counting needs no memory; raw values take as much as the largest map.
        let request = match self.request {
            PairRequest::Output => TapRequest::Nothing,
            PairRequest::Clipping => TapRequest::Clipping,
            PairRequest::Raw => TapRequest::Raw,
        };
        request.max(self.tap_request)
    }

    fn observe(&mut self, step: StepId, activation: &Activation<'_>) {
        if self.tap_request >= TapRequest::Output
            && let Some(tap) = self.observer.int8_tap()
        {
            tap.observe(step, activation);
        }
    }

    fn observe_raw(&mut self, step: StepId, activation: &Activation<'_>) {
        if self.request == PairRequest::Raw {
            let mut tap = ReferenceTap { observer: &mut *self.observer, int8: activation };
            self.advanced = Some(self.run.advance(&mut tap).map(drop));
        }
        if self.tap_request == TapRequest::Raw
            && let Some(tap) = self.observer.int8_tap()
        {
            tap.observe_raw(step, activation);
        }
    }

    fn observe_clipped(&mut self, step: StepId, below: u64, above: u64) {
        if self.request >= PairRequest::Clipping {
            self.clipped = Some(below + above);
        }
        if self.tap_request >= TapRequest::Clipping
            && let Some(tap) = self.observer.int8_tap()
        {
            tap.observe_clipped(step, below, above);
        }
    }
}

/// Tap on the fp32 step, whose raw values it shows together with int8's.
struct ReferenceTap<'a> {
    observer: &'a mut dyn PairObserver,
    int8: &'a Activation<'a>,
}

impl Tap for ReferenceTap<'_> {
    fn request(&self, _: StepId) -> TapRequest {
        TapRequest::Raw
    }

    fn observe(&mut self, _: StepId, _: &Activation<'_>) {}

    fn observe_raw(&mut self, step: StepId, activation: &Activation<'_>) {
        self.observer.observe_raw(step, activation, self.int8);
    }
}
