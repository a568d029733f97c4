//! Start-up check: compares one inference of the loaded model with the same inference on portable kernels.
//!
//! In: an engine, before its first frame. Out: success, or the first step whose numbers differ. The kernels' self-test
//! covers small cases; this check covers the layers of this model. Int8 steps must give the same bytes. Floating-point
//! steps may differ by the effect of another order of summation. Of the second stage only the best regions are compared,
//! because each region is computed independently.

use super::engine::LocalEngine;
use crate::detector::DetectorOptions;
use crate::detector::plan::StepId;
use crate::detector::tap::{Activation, Tap, TapRequest, Values};
use crate::error::{Error, Kind, Result};
use crate::kernel::isa::{Isa, IsaName};
use crate::message::ModelPrecision;
use crate::tensor::{Canvas, Fit, Input};

/// Rows and columns of the synthetic canvas.
const SIDE: usize = 64;

/// Regions of the second stage that are compared. Each one reads every weight of the second stage, so two are enough; the
/// portable kernels would take most of the check's time for more.
const REGIONS: usize = 2;

/// Largest difference of floating-point values, as a share of the step's largest value.
const TOLERANCE: f32 = 1e-3;

/// Outputs of the portable kernels for every step of a model.
pub struct Expected {
    /// SHA-256 of the model; `None` if nothing is compared.
    sha256: Option<String>,
    outputs: Vec<ComparedOutput>,
    until: StepId,
    /// True if the numbers must be the same to the bit.
    exact: bool,
}

/// Runs an engine with portable kernels, which `load` creates. It is gone before the engine proper is loaded: on a small
/// board there is no memory for both.
///
/// # Errors
///
/// The errors of loading and inference.
pub fn expect(options: &DetectorOptions, load: &dyn Fn(&DetectorOptions) -> Result<LocalEngine>) -> Result<Expected> {
    let Some(isa) = Isa::new(IsaName::Scalar).filter(|isa| *isa != options.isa) else {
        // The tests cover the portable kernels; the check is only that the model runs.
        return Ok(Expected { sha256: None, outputs: Vec::new(), until: usize::MAX, exact: true });
    };
    let mut portable = load(&DetectorOptions { isa, proposals: Some(REGIONS), ..*options })?;
    let exact = portable.detector().summary().precision == ModelPrecision::Int8;
    // In floating point the two engines may choose different regions, so the comparison ends before the second stage.
    let until = if exact { usize::MAX } else { portable.detector().plan().key_steps.proposals };
    let sha256 = Some(portable.detector().summary().sha256.clone());
    Ok(Expected { sha256, outputs: run(&mut portable, until)?, until, exact })
}

/// Runs `engine` and compares its steps with those `expected`.
///
/// # Errors
///
/// [`Kind::Internal`] with the name of the first step that differs; [`Kind::Unavailable`] if the file was overwritten
/// between the two; the errors of inference.
pub fn check(engine: &mut LocalEngine, expected: &Expected) -> Result<()> {
    let &Expected { ref sha256, ref outputs, until, exact } = expected;
    let summary = engine.detector().summary();
    if sha256.as_ref().is_some_and(|sha256| *sha256 != summary.sha256) {
        let text = format!("the file of model {} was replaced while it was loaded", summary.name);
        return Err(Error::new(Kind::Unavailable, text));
    }
    let found = run(engine, until)?;
    for (step, expected) in outputs.iter().enumerate() {
        // The engine has more regions than the portable one: only the common ones are compared.
        let same = match (expected, found.get(step).unwrap_or(&ComparedOutput::None)) {
            (ComparedOutput::None, _) => true,
            (ComparedOutput::Bytes(expected), ComparedOutput::Bytes(found)) => {
                found.iter().zip(expected).all(|(found, expected)| found.starts_with(expected))
            }
            (ComparedOutput::Numbers(expected), ComparedOutput::Numbers(found)) if exact => found.starts_with(expected),
            (ComparedOutput::Numbers(expected), ComparedOutput::Numbers(found)) => is_close(expected, found),
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

fn is_close(expected: &[f32], found: &[f32]) -> bool {
    let largest = expected.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    expected.len() <= found.len()
        && expected.iter().zip(found).all(|(a, b)| (a - b).abs() <= largest * TOLERANCE && b.is_finite())
}

/// Output of a step, as far as it is compared.
#[derive(Debug, Clone, Default)]
enum ComparedOutput {
    #[default]
    None,
    /// High bytes and low ones, if there are any.
    Bytes([Vec<u8>; 2]),
    Numbers(Vec<f32>),
}

/// Records the outputs of the steps before `until`; of the second stage only the first regions.
struct StepRecorder {
    until: StepId,
    second_stage: StepId,
    outputs: Vec<ComparedOutput>,
}

impl Tap for StepRecorder {
    fn request(&self, step: StepId) -> TapRequest {
        if step < self.until { TapRequest::Output } else { TapRequest::Nothing }
    }

    fn observe(&mut self, step: StepId, activation: &Activation<'_>) {
        // A region is one row of a linear layer, or seven rows of pooled features: `REGIONS` rows hold at least one.
        let rows = if step < self.second_stage { activation.shape.height } else { REGIONS };
        let most = rows * activation.shape.width * activation.shape.channels;
        let output = match activation.values {
            Values::U8 { data, .. } => ComparedOutput::Bytes([data[..most.min(data.len())].to_vec(), Vec::new()]),
            Values::U16 { high, low, .. } => {
                ComparedOutput::Bytes([high, low].map(|bytes| bytes[..most.min(bytes.len())].to_vec()))
            }
            Values::F32(data) => ComparedOutput::Numbers(data[..most.min(data.len())].to_vec()),
        };
        if let Some(slot) = self.outputs.get_mut(step) {
            *slot = output;
        }
    }
}

/// Runs the engine on the synthetic canvas.
fn run(engine: &mut LocalEngine, until: StepId) -> Result<Vec<ComparedOutput>> {
    let detector = engine.detector_mut();
    let plan = detector.plan();
    let (steps, second_stage) = (plan.steps.len(), plan.key_steps.proposals);
    let mut recorder = StepRecorder { until, second_stage, outputs: vec![ComparedOutput::default(); steps] };
    let input = canvas(detector.new_input());
    detector.detect_with(&input, &mut recorder, &mut |_| {})?;
    Ok(recorder.outputs)
}

/// A canvas of the same type as `like`, filled with stripes, a ramp and noise.
fn canvas(like: Input) -> Input {
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
    match like {
        Input::U8(like) => {
            let pixels = (0..SIDE * SIDE * 4).map(|index| if index % 4 == 3 { 0 } else { level(index, 4) });
            // Low bytes of all values.
            let low = (0..if like.two_bytes { SIDE * SIDE * 4 } else { 0 }).map(|index| (index * 37) as u8);
            Input::U8(Canvas { two_bytes: like.two_bytes, ..Canvas::new(fit, 4, pixels.chain(low).collect()) })
        }
        Input::F32(_) => {
            let values = (0..SIDE * SIDE * 3).map(|index| f32::from(level(index, 3)) / 60.0 - 2.0);
            Input::F32(Canvas::new(fit, 3, values.collect()))
        }
    }
}
