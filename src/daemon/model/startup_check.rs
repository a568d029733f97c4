//! One inference before the first: the loaded network on a made-up canvas, beside the same network on portable kernels.
//!
//! In: an engine that is about to serve. Out: nothing, or the step whose numbers differ. The kernels' self-test looks at
//! small cases; this looks at the layers of this very model. Where every step is int8 the bytes must be the same;
//! floating point may differ by what summing in another order does. Of the second stage the best regions are enough:
//! each is calculated by itself.

use super::engine::LocalEngine;
use crate::detector::DetectorOptions;
use crate::detector::plan::StepId;
use crate::detector::tap::{Activation, Tap, TapRequest, Values};
use crate::error::{Error, Kind, Result};
use crate::kernel::isa::{Isa, IsaName};
use crate::tensor::{Canvas, Fit, Input};

/// Rows and columns of the canvas.
const SIDE: usize = 64;

/// Regions of the second stage that are compared.
const REGIONS: usize = 8;

/// How far apart floating point may be, as a share of a step's largest value.
const TOLERANCE: f32 = 1e-3;

/// Runs `engine` and what `again` makes with other options, and compares.
///
/// # Errors
///
/// [`Kind::Internal`] naming the first step that differs; what running gives.
pub fn prove(
    engine: &mut LocalEngine,
    options: &DetectorOptions,
    again: &dyn Fn(&DetectorOptions) -> Result<LocalEngine>,
) -> Result<()> {
    let Some(portable) = Isa::new(IsaName::Scalar).filter(|portable| *portable != options.isa) else {
        // The portable kernels prove themselves in the tests; that the model runs is worth a look all the same.
        return run(engine, usize::MAX).map(drop);
    };
    let proposals = engine.detector().plan().key_steps.proposals;
    let exact = engine.detector().summary().precision == "int8";
    let until = if exact { usize::MAX } else { proposals };
    let mut other = again(&DetectorOptions { isa: portable, proposals: Some(REGIONS), ..*options })?;
    let expected = run(&mut other, until)?;
    let found = run(engine, until)?;
    for (step, expected) in expected.iter().enumerate() {
        let same = match (expected, found.get(step).unwrap_or(&Seen::Nothing)) {
            (Seen::Nothing, _) => true,
            (Seen::Bytes(expected), Seen::Bytes(found)) => found.starts_with(expected),
            (Seen::Numbers(expected), Seen::Numbers(found)) if exact => found.starts_with(expected),
            (Seen::Numbers(expected), Seen::Numbers(found)) => close(expected, found),
            _ => false,
        };
        if !same {
            let plan = engine.detector().plan();
            let name = plan.steps.get(step).map_or("?", |step| step.name.as_str());
            let kernel = engine.detector().kernel();
            let text = format!("step {name} gives other numbers on the {kernel} kernels than on the portable ones");
            return Err(Error::new(Kind::Internal, text));
        }
    }
    Ok(())
}

fn close(expected: &[f32], found: &[f32]) -> bool {
    let largest = expected.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    expected.len() <= found.len()
        && expected.iter().zip(found).all(|(a, b)| (a - b).abs() <= largest * TOLERANCE && b.is_finite())
}

/// What a step gave.
#[derive(Debug, Clone, Default)]
enum Seen {
    #[default]
    Nothing,
    Bytes(Vec<u8>),
    Numbers(Vec<f32>),
}

/// Keeps what steps before `until` give; of regions only the first.
struct Record {
    until: StepId,
    second_stage: StepId,
    seen: Vec<Seen>,
}

impl Tap for Record {
    fn request(&self, step: StepId) -> TapRequest {
        if step < self.until { TapRequest::Output } else { TapRequest::Nothing }
    }

    fn observe(&mut self, step: StepId, activation: &Activation<'_>) {
        // A region is one row of a linear layer, or seven of pooled features.
        let rows = if step < self.second_stage { activation.shape.height } else { REGIONS };
        let most = rows * activation.shape.width * activation.shape.channels;
        let seen = match activation.values {
            Values::U8 { data, .. } => Seen::Bytes(data[..most.min(data.len())].to_vec()),
            Values::F32(data) => Seen::Numbers(data[..most.min(data.len())].to_vec()),
        };
        if let Some(slot) = self.seen.get_mut(step) {
            *slot = seen;
        }
    }
}

fn run(engine: &mut LocalEngine, until: StepId) -> Result<Vec<Seen>> {
    let detector = engine.detector_mut();
    let plan = detector.plan();
    let (steps, second_stage) = (plan.steps.len(), plan.key_steps.proposals);
    let mut record = Record { until, second_stage, seen: vec![Seen::default(); steps] };
    let input = canvas(detector.new_input());
    detector.detect_with(&input, &mut record, &mut |_| {})?;
    Ok(record.seen)
}

/// Stripes, a ramp and some noise, on a canvas of the kind that `kind` is.
fn canvas(kind: Input) -> Input {
    let fit = Fit {
        frame_height: SIDE,
        frame_width: SIDE,
        height: SIDE,
        width: SIDE,
        canvas_height: SIDE,
        canvas_width: SIDE,
    };
    let level = |index: usize, channels: usize| {
        let (pixel, channel) = (index / channels, index % channels);
        let (x, y) = (pixel % SIDE, pixel / SIDE);
        let noise = (index as u32).wrapping_mul(0x9E37_79B1) >> 28;
        let stripe = if (x / 8 + y / 16) % 2 == 0 { 160 } else { 0 };
        (stripe + x + noise as usize + 5 * channel).min(255) as u8
    };
    match kind {
        Input::U8(_) => {
            let pixels = (0..SIDE * SIDE * 4).map(|index| if index % 4 == 3 { 0 } else { level(index, 4) });
            Input::U8(Canvas { fit, channels: 4, data: pixels.collect() })
        }
        Input::F32(_) => {
            let values = (0..SIDE * SIDE * 3).map(|index| f32::from(level(index, 3)) / 60.0 - 2.0);
            Input::F32(Canvas { fit, channels: 3, data: values.collect() })
        }
    }
}
