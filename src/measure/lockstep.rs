//! Both executors, step by step, over one picture.

use super::StepError;
use crate::detector::detection::Detection;
use crate::detector::fp32::{Fp32Model, Run};
use crate::detector::int8::Int8Executor;
use crate::detector::plan::StepId;
use crate::detector::tap::{Activation, NoTap, Tap, Wish};
use crate::error::Result;
use crate::tensor::Canvas;

/// Shows one step of the reference to a comparison with the other executor.
struct Beside<'a> {
    other: &'a Int8Executor,
    until: StepId,
    see: &'a mut dyn FnMut(StepId, &Activation<'_>, &Activation<'_>),
}

impl Tap for Beside<'_> {
    fn wish(&self, step: StepId) -> Wish {
        // From the proposals on, the two networks look at different regions: their rows cannot be compared.
        if step < self.until { Wish::Output } else { Wish::Nothing }
    }

    fn see(&mut self, step: StepId, activation: &Activation<'_>) {
        if let Some(other) = self.other.activation(step) {
            (self.see)(step, activation, &other);
        }
    }
}

/// Runs both networks over the same picture and adds every step's error to `errors` (one a step). The second stages
/// are compared on the reference's proposals: the quantized network is run over them once more from the features it
/// has, and its own detections come from its own proposals. Returns the reference's detections and the other's, in
/// canvas pixels. `other` must [keep its features](Int8Executor::keeping_features).
///
/// # Errors
/// What either executor returns.
pub fn compare(
    reference: &Fp32Model,
    canvas: &Canvas<f32>,
    other: &mut Int8Executor,
    pixels: &Canvas<u8>,
    errors: &mut [StepError],
) -> Result<(Vec<Detection>, Vec<Detection>)> {
    let mut see = |step: StepId, a: &Activation<'_>, b: &Activation<'_>| errors[step].add(a, b);
    let looks = Looks { tap: &mut NoTap, see: &mut see, rest: &mut || Ok(()) };
    compare_with(reference, canvas, other, pixels, looks)
}

/// Who looks on at a comparison.
pub struct Looks<'a> {
    /// A tap of the quantized network, on its own frame.
    pub tap: &'a mut dyn Tap,
    /// Sees each step's activation in both networks, the reference's first.
    pub see: &'a mut dyn FnMut(StepId, &Activation<'_>, &Activation<'_>),
    /// Called between two steps: may wait, and ends the comparison by an error.
    pub rest: &'a mut dyn FnMut() -> Result<()>,
}

/// [`compare`] for whoever wants more than the errors.
///
/// # Errors
/// What either executor or [`Looks::rest`] returns.
pub fn compare_with(
    reference: &Fp32Model,
    canvas: &Canvas<f32>,
    other: &mut Int8Executor,
    pixels: &Canvas<u8>,
    looks: Looks<'_>,
) -> Result<(Vec<Detection>, Vec<Detection>)> {
    let Looks { tap, see, rest } = looks;
    let landmarks = &reference.plan().landmarks;
    let mut run = Run::new(reference, canvas)?;
    other.begin(pixels)?;
    run.advance(&mut NoTap)?;
    while let Some(step) = run.next_step().filter(|&step| step < landmarks.proposals) {
        rest()?;
        other.compute(step, tap)?;
        run.advance(&mut Beside { other, until: landmarks.proposals, see: &mut *see })?;
    }
    // Each network's own detections first, then the second stage of both on the same proposals.
    for step in landmarks.proposals..reference.plan().steps.len() {
        rest()?;
        other.compute(step, tap)?;
    }
    let detections = other.detections().to_vec();
    run.advance(&mut NoTap)?;
    if let Some(crate::detector::fp32::Value::Boxes(proposals)) = run.value(landmarks.proposals) {
        other.put_proposals(proposals);
    }
    while let Some(step) = run.next_step().filter(|&step| step < landmarks.detections) {
        rest()?;
        other.compute(step, &mut NoTap)?;
        run.advance(&mut Beside { other, until: landmarks.detections, see: &mut *see })?;
    }
    Ok((run.finish(&mut NoTap)?, detections))
}
