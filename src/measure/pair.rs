//! Both executors in lock-step, every step shown as a pair.
//!
//! In: one picture on both canvases. Out: for every step the reference's activation and the other's, fused and on wish
//! before ReLU, and how many values lay outside the other's quantization range. Only live tensors exist: the
//! reference's step runs while the other's unrounded values are at hand, so neither is copied.

use crate::detector::detection::Detection;
use crate::detector::fp32::{Fp32Model, Run, Value};
use crate::detector::int8::Int8Executor;
use crate::detector::plan::{Op, StepId};
use crate::detector::tap::{Activation, NoTap, Tap, Values, Wish};
use crate::error::Result;
use crate::tensor::Canvas;

/// Sees both networks' values.
pub trait PairTap: Send {
    /// Whether the values of `step` outside its quantization range are counted; raw values imply it. Layers that do
    /// not run in static int8 are not counted.
    fn watches(&self, step: StepId) -> bool;

    /// Whether the values before ReLU are wanted of `step`, too.
    fn wants_raw(&self, step: StepId) -> bool;

    /// The fused outputs of `step`: the reference's, then the other's.
    fn see(&mut self, step: StepId, reference: &Activation<'_>, other: &Activation<'_>);

    /// The values of `step` before ReLU, and the other's before rounding. Comes before [`PairTap::see`].
    fn see_raw(&mut self, step: StepId, reference: &Activation<'_>, other: &Activation<'_>) {
        let _ = (step, reference, other);
    }

    /// How many of the other's `count` values lay outside its quantization range.
    fn see_clipped(&mut self, step: StepId, clipped: u64, count: u64) {
        let _ = (step, clipped, count);
    }
}

/// The reference's step, seen beside the other's unrounded values.
struct Inner<'a> {
    tap: &'a mut dyn PairTap,
    other: &'a Activation<'a>,
}

impl Tap for Inner<'_> {
    fn wish(&self, _: StepId) -> Wish {
        Wish::Both
    }

    fn see(&mut self, _: StepId, _: &Activation<'_>) {}

    fn see_raw(&mut self, step: StepId, activation: &Activation<'_>) {
        self.tap.see_raw(step, activation, self.other);
    }
}

/// The other's step; the reference's runs within it where raw values are wanted.
struct Outer<'a, 'm> {
    tap: &'a mut dyn PairTap,
    run: &'a mut Run<'m>,
    wants_raw: bool,
    advanced: Option<Result<()>>,
    clipped: Option<u64>,
}

impl Tap for Outer<'_, '_> {
    fn wish(&self, _: StepId) -> Wish {
        // Counting alone needs no memory, raw values as much as the largest map.
        if self.wants_raw { Wish::Both } else { Wish::Counts }
    }

    fn see(&mut self, _: StepId, _: &Activation<'_>) {}

    fn see_raw(&mut self, _: StepId, activation: &Activation<'_>) {
        if self.wants_raw {
            let mut inner = Inner { tap: &mut *self.tap, other: activation };
            self.advanced = Some(self.run.advance(&mut inner).map(|_| ()));
        }
    }

    fn see_clipped(&mut self, _: StepId, below: u64, above: u64) {
        self.clipped = Some(below + above);
    }
}

/// Runs the step that both stand before.
fn advance(run: &mut Run<'_>, other: &mut Int8Executor, step: StepId, tap: &mut dyn PairTap) -> Result<()> {
    let wants_raw = tap.wants_raw(step);
    let is_watched = matches!(run.plan().steps[step].op, Op::Layer { .. }) && (wants_raw || tap.watches(step));
    let mut outer = Outer { tap: &mut *tap, run: &mut *run, wants_raw, advanced: None, clipped: None };
    if is_watched {
        other.compute(step, &mut outer)?;
    } else {
        other.compute(step, &mut NoTap)?;
    }
    let Outer { advanced, clipped, .. } = outer;
    match advanced {
        Some(result) => result?,
        None => drop(run.advance(&mut NoTap)?),
    }
    let Some(activation) = other.activation(step) else { return Ok(()) };
    // Where the output is in f32, there is no quantization range.
    if let (Some(clipped), Values::U8 { .. }) = (clipped, activation.values) {
        tap.see_clipped(step, clipped, activation.shape.len() as u64);
    }
    run.see(step, |reference| tap.see(step, reference, &activation))
}

/// Runs both networks over one picture and shows `tap` every step that gives out a map. The second stages are shown on
/// the reference's proposals; the other's detections come from its own. Returns the reference's detections and the
/// other's, in canvas pixels. `other` must [keep its features](Int8Executor::keeping_features).
///
/// # Errors
/// What either executor returns.
pub fn walk(
    reference: &Fp32Model,
    canvas: &Canvas<f32>,
    other: &mut Int8Executor,
    pixels: &Canvas<u8>,
    tap: &mut dyn PairTap,
) -> Result<(Vec<Detection>, Vec<Detection>)> {
    let landmarks = &reference.plan().landmarks;
    let mut run = Run::new(reference, canvas)?;
    other.begin(pixels)?;
    run.advance(&mut NoTap)?;
    while let Some(step) = run.next_step().filter(|&step| step < landmarks.proposals) {
        advance(&mut run, other, step, tap)?;
    }
    for step in landmarks.proposals..reference.plan().steps.len() {
        other.compute(step, &mut NoTap)?;
    }
    let detections = other.detections().to_vec();
    run.advance(&mut NoTap)?;
    if let Some(Value::Boxes(proposals)) = run.value(landmarks.proposals) {
        other.put_proposals(proposals);
    }
    while let Some(step) = run.next_step().filter(|&step| step < landmarks.detections) {
        advance(&mut run, other, step, tap)?;
    }
    Ok((run.finish(&mut NoTap)?, detections))
}

/// Runs every layer of `other` on the reference's own inputs, quantized, and shows `tap` what it makes of
/// them before ReLU: the error that the step adds by itself.
///
/// # Errors
/// What either executor returns.
pub fn walk_alone(
    reference: &Fp32Model,
    canvas: &Canvas<f32>,
    other: &mut Int8Executor,
    pixels: &Canvas<u8>,
    tap: &mut dyn PairTap,
) -> Result<()> {
    let mut run = Run::new(reference, canvas)?;
    other.begin(pixels)?;
    while let Some(step) = run.next_step() {
        let is_layer = matches!(reference.plan().steps[step].op, Op::Layer { .. });
        let mut outer = Outer { tap: &mut *tap, run: &mut run, wants_raw: true, advanced: None, clipped: None };
        if is_layer {
            other.compute(step, &mut outer)?;
        }
        match outer.advanced {
            Some(result) => result?,
            None => drop(run.advance(&mut NoTap)?),
        }
        if let Some(Value::Boxes(proposals)) = run.value(step) {
            other.put_proposals(proposals);
        } else if other.activation(step).is_some() {
            let mut put = Ok(());
            run.see(step, |reference| {
                if let Values::F32(values) = reference.values {
                    put = other.put(step, values);
                }
            })?;
            put?;
        }
    }
    Ok(())
}
