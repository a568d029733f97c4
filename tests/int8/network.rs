//! A narrow random network, quantized with the ranges of the pictures it is then run on.

use std::path::Path;
use std::sync::Arc;

use lookout::calibrate::{LayerRecipe, convert, fold_all};
use lookout::detector::fp32::{Fp32Model, Fp32Run};
use lookout::detector::int8::{MixedPrecision, Quantized};
use lookout::detector::network::{Architecture, ArchitectureHints, Shapes};
use lookout::detector::plan::{Plan, StepId};
use lookout::detector::settings::{BatchNormEps, Settings};
use lookout::detector::tap::{Activation, Tap, TapRequest, Values};
use lookout::kernel::isa::Isa;
use lookout::preprocess::{Transform, TransformParams};
use lookout::quant::{Digits, Precision, QuantParams, Range, Scheme};
use lookout::tensor::{Canvas, Fit};

/// Both canvases of one picture, and a normalized one whose pixels are those of the u8 canvas.
pub struct Picture {
    pub normalized: Canvas<f32>,
    pub pixels: Canvas<u8>,
    pub unresized: Canvas<f32>,
}

pub struct Network {
    pub plan: Arc<Plan>,
    pub reference: Fp32Model,
    pub quantized: Quantized,
    pub pictures: Vec<Picture>,
}

/// Smallest and largest value of every step.
struct Extremes(Vec<Option<Range>>);

impl Tap for Extremes {
    fn request(&self, _: StepId) -> TapRequest {
        TapRequest::Output
    }

    fn observe(&mut self, step: StepId, activation: &Activation<'_>) {
        let Values::F32(values) = activation.values else { return };
        let (low, high) = values.iter().fold((0.0f32, 0.0f32), |(low, high), &x| (low.min(x), high.max(x)));
        let range = Range::new(low, high);
        self.0[step] = Some(self.0[step].map_or(range, |known| known.union(range)));
    }
}

impl Network {
    /// `tests/golden/<name>.safetensors` with each layer in the precision that `precision` says for its name.
    pub fn quantized(name: &str, precision: impl Fn(&str) -> Precision) -> Self {
        Self::new(name, precision, false)
    }

    /// `tests/golden/<name>.safetensors` in int8, with two bytes a value of every edge and two digits of every weight.
    pub fn wide(name: &str) -> Self {
        Self::new(name, |_| Precision::Int8Static, true)
    }

    fn new(name: &str, precision: impl Fn(&str) -> Precision, wide: bool) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.safetensors"));
        let bytes = std::fs::read(path).unwrap();
        let tensors = candle_core::safetensors::load_buffer(&bytes, &candle_core::Device::Cpu).unwrap();
        let shapes: Shapes = tensors.iter().map(|(name, tensor)| (name.clone(), tensor.dims().to_vec())).collect();
        let mut settings = Settings::default();
        settings.transform.min_size = vec![96];
        settings.transform.max_size = 200;
        settings.rpn.post_nms_top_n = 60;
        let plan =
            Arc::new(Plan::new(Architecture::recognize(&shapes, &ArchitectureHints::default()).unwrap(), settings));
        let cpu = candle_core::Device::Cpu;
        let builder = candle_nn::VarBuilder::from_tensors(tensors, candle_core::DType::F32, &cpu);
        let reference = Fp32Model::new(plan.clone(), &builder, &BatchNormEps::all(1e-5), Isa::best()).unwrap();
        let pictures: Vec<Picture> = [(131, 117), (100, 160)].map(|(w, h)| picture(&plan, w, h, wide)).into();

        let mut extremes = Extremes(vec![None; plan.steps.len()]);
        for picture in &pictures {
            Fp32Run::new(&reference, &picture.normalized).unwrap().finish(&mut extremes).unwrap();
        }
        let recipes: Vec<LayerRecipe> = plan
            .layers
            .iter()
            .map(|layer| {
                let digits = if wide { Digits::Two } else { Digits::One };
                LayerRecipe { precision: precision(&layer.name), digits, ..LayerRecipe::default() }
            })
            .collect();
        let mixed_precision =
            MixedPrecision::new(&plan, &recipes.iter().map(|recipe| recipe.precision).collect::<Vec<_>>());
        let mut edge_qparams = vec![None; plan.steps.len()];
        for step in mixed_precision.quantized_steps() {
            // Other steps than layers write single bytes.
            let wide = wide && plan.steps[step].layer().is_some();
            let qparams = |range| QuantParams::covering(range, Scheme::Affine).with_two_bytes(wide);
            edge_qparams[step] = extremes.0[step].map(qparams);
        }
        let folded = fold_all(&plan, &builder, &BatchNormEps::all(1e-5)).unwrap();
        let quantized = convert(&plan, &folded, &recipes, edge_qparams, wide).unwrap();
        Self { plan, reference, quantized, pictures }
    }
}

/// A made picture: gradients, a grid and some noise.
fn picture(plan: &Plan, width: usize, height: usize, wide: bool) -> Picture {
    let mut seed = 7u32;
    let mut data = Vec::new();
    for y in 0..height {
        for x in 0..width {
            for c in 0..3 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let edge = if (x / 13 + y / 9) % 3 == c { 70 } else { 0 };
                data.push((40 + x * 120 / width + edge + (seed >> 28) as usize) as u8);
            }
        }
    }
    let picture = lookout::frame::Picture::new(width, height, data).unwrap();
    let mut transform = Transform::new(TransformParams::from(&plan.settings.transform)).unwrap();
    let mut normalized = Canvas::empty(3);
    let mut pixels = Canvas { two_bytes: wide, ..Canvas::empty(4) };
    transform.to_f32(&picture, &mut normalized).unwrap();
    transform.to_u8(&picture, &mut pixels).unwrap();
    let values = pixels.fit.canvas_height * pixels.fit.canvas_width * 3;
    let mut unresized = Canvas::new(pixels.fit, 3, vec![0.0; values]);
    let Fit { height, width, canvas_width, .. } = pixels.fit;
    let settings = &plan.settings.transform;
    for y in 0..height {
        for x in 0..width {
            for c in 0..3 {
                let level = f32::from(pixels.data[(y * canvas_width + x) * 4 + c]) / 255.0;
                let value = (level - settings.mean[c] as f32) / settings.std[c] as f32;
                unresized.data[(y * canvas_width + x) * 3 + c] = value;
            }
        }
    }
    Picture { normalized, pixels, unresized }
}
