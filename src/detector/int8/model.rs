//! Quantized network, packed for the kernels of one instruction set.

use std::sync::Arc;

use super::{EdgeStorage, LayerWeights, MixedPrecision, Quantized, QuantizedLayer};
use crate::detector::checkpoint::Checkpoint;
use crate::detector::equalization::Equalization;
use crate::detector::fp32::Fp32Model;
use crate::detector::plan::{Layer, LayerId, Op, Plan, Step, StepId};
use crate::error::{Error, Kind, Result};
use crate::kernel::conv_f32::ConvF32;
use crate::kernel::conv_u8::{Epilogue, EpilogueSpec, OutputKind, PackedU8, SkipKind, is_curved};
use crate::kernel::isa::Isa;
use crate::quant::{Precision, QuantParams, integer_bias, multiplier};
use crate::tensor::{Canvas, Shape, mean_colour};

/// Most levels that RoIAlign reads: none of torchvision's bodies has more stages.
pub(super) const MAX_LEVELS: usize = 32;

/// A layer's weights, packed for a kernel.
#[derive(Debug, Clone)]
pub(super) enum PackedLayer {
    /// Static quantization; every step has an epilogue.
    Int8(Arc<PackedU8>),
    /// Dynamic quantization: the quantization parameters of the input, and so the epilogue, are computed at each call.
    Dynamic { packed: Arc<PackedU8>, scales: Vec<f32>, bias: Vec<f32> },
    /// Full precision.
    Fp32(Arc<ConvF32>),
}

/// The packed network, immutable. Models with the same weights share the packed panels.
#[derive(Debug, Clone)]
pub struct Int8Model {
    pub(super) plan: Arc<Plan>,
    pub(super) isa: Isa,
    pub(super) mixed_precision: MixedPrecision,
    pub(super) edge_qparams: Vec<Option<QuantParams>>,
    /// By step: true where the output has two bytes a value.
    pub(super) wide: Vec<bool>,
    pub(super) layers: Vec<PackedLayer>,
    pub(super) epilogues: Vec<Option<Epilogue>>,
    equalization: Arc<Equalization>,
}

impl Int8Model {
    /// Packs `quantized` for `isa`.
    ///
    /// # Errors
    /// [`Kind::Data`] naming the step or layer without quantization parameters, whose sums could overflow, or whose
    /// weights are not pair-safe.
    pub fn new(quantized: &Quantized, isa: Isa) -> Result<Self> {
        let layers = (0..quantized.layers.len()).map(|id| pack_layer(quantized, id, isa)).collect::<Result<_>>()?;
        Self::with_layers(quantized, isa, layers)
    }

    /// [`Int8Model::new`], which frees the weights of each layer as soon as its panels are there.
    ///
    /// # Errors
    /// As [`Int8Model::new`].
    pub fn of(mut quantized: Quantized, isa: Isa) -> Result<Self> {
        let mut layers = Vec::with_capacity(quantized.layers.len());
        for id in 0..quantized.layers.len() {
            layers.push(pack_layer(&quantized, id, isa)?);
            match &mut quantized.layers[id].weights {
                LayerWeights::S8 { values, low, .. } => (*values, *low) = (Vec::new(), Vec::new()),
                LayerWeights::F32(values) => *values = Vec::new(),
            }
        }
        Self::with_layers(&quantized, isa, layers)
    }

    /// The same panels with other quantization parameters: a candidate of recalibration. Biases and scales come from
    /// `quantized`, which must have the weights that this model was packed from.
    ///
    /// # Errors
    /// As [`Int8Model::new`].
    pub fn with_quant_params(&self, quantized: &Quantized) -> Result<Self> {
        Self::with_layers(quantized, self.isa, self.layers.clone())
    }

    /// The same model with other weights of one layer.
    ///
    /// # Errors
    /// As [`Int8Model::new`].
    pub fn with_weights(&self, quantized: &Quantized, layer: LayerId) -> Result<Self> {
        let mut layers = self.layers.clone();
        layers[layer] = pack_layer(quantized, layer, self.isa)?;
        Self::with_layers(quantized, self.isa, layers)
    }

    fn with_layers(quantized: &Quantized, isa: Isa, layers: Vec<PackedLayer>) -> Result<Self> {
        let plan = Arc::clone(&quantized.plan);
        let mixed_precision = quantized.mixed_precision();
        for step in mixed_precision.quantized_steps() {
            if quantized.edge_qparams[step].is_none() {
                let text = format!("{} has no scale and zero point for its output", plan.steps[step].name);
                return Err(Error::new(Kind::Data, text));
            }
        }
        let levels = plan.pooled_levels().count();
        if !(1..=MAX_LEVELS).contains(&levels) {
            let text = format!("RoIAlign reads {levels} levels, expected 1 to {MAX_LEVELS}");
            return Err(Error::new(Kind::Data, text));
        }
        let wide = (0..plan.steps.len()).map(|step| mixed_precision.is_wide(step, quantized));
        let mut model = Self {
            wide: wide.collect(),
            plan,
            isa,
            mixed_precision,
            edge_qparams: quantized.edge_qparams.clone(),
            layers,
            epilogues: Vec::new(),
            equalization: Arc::clone(&quantized.equalization),
        };
        for (id, step) in model.plan.steps.iter().enumerate() {
            let epilogue = model.epilogue(id, quantized).map_err(|error| error.at(&step.name))?;
            model.epilogues.push(epilogue);
        }
        Ok(model)
    }

    /// The network this model runs.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The fp32 reference from the `checkpoint` that this model was quantized from, for the kernels of `isa`. It has the
    /// same plan, and the same factors of channels folded into its weights.
    ///
    /// # Errors
    /// As [`Fp32Model::equalized`].
    pub fn reference(&self, checkpoint: &Checkpoint, isa: Isa) -> Result<Fp32Model> {
        let (tensors, eps) = (checkpoint.var_builder(), &checkpoint.header().batch_norm_eps);
        Fp32Model::equalized(Arc::clone(&self.plan), &tensors, eps, &self.equalization, isa)
    }

    /// The instruction set its panels are packed for.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Precision and storage of every step.
    pub fn mixed_precision(&self) -> &MixedPrecision {
        &self.mixed_precision
    }

    /// Quantization parameters of the output of `step`, if it is stored in bytes.
    pub fn qparams(&self, step: StepId) -> Option<QuantParams> {
        match self.mixed_precision.storage[step] {
            EdgeStorage::U8(owner) => self.edge_qparams[owner],
            _ => None,
        }
    }

    /// True if the output of `step` is wide: of two bytes a value.
    pub fn is_wide(&self, step: StepId) -> bool {
        self.wide[step]
    }

    /// Bytes, or floats, of the output of `step` in the shape `shape`: two bytes a value where it is wide.
    pub(super) fn stored_len(&self, step: StepId, shape: Shape) -> usize {
        let values = match self.mixed_precision.storage[step] {
            // A pixel of the canvas is RGBx.
            EdgeStorage::Pixels => shape.pixels() * 4,
            _ => shape.len(),
        };
        if self.wide[step] { 2 * values } else { values }
    }

    /// By step: bytes of maps and weights that it reads, and bytes that it writes, where its outputs have these `shapes`.
    pub fn traffic(&self, shapes: &[Shape]) -> Vec<[usize; 2]> {
        let map = |step: StepId| {
            let is_float = matches!(self.mixed_precision.storage[step], EdgeStorage::F32 | EdgeStorage::Boxes);
            self.stored_len(step, shapes[step]) * if is_float { size_of::<f32>() } else { 1 }
        };
        let weights = |layer: LayerId| {
            let weights = self.plan.layers[layer].geometry.weights();
            match &self.layers[layer] {
                PackedLayer::Int8(packed) if packed.low().is_some() => 2 * weights,
                PackedLayer::Int8(_) | PackedLayer::Dynamic { .. } => weights,
                PackedLayer::Fp32(_) => weights * size_of::<f32>(),
            }
        };
        let of_step = |(id, step): (StepId, &Step)| {
            let inputs: usize = step.inputs.iter().map(|&input| map(input)).sum();
            [inputs + step.layer().map_or(0, weights), map(id)]
        };
        self.plan.steps.iter().enumerate().map(of_step).collect()
    }

    /// An empty canvas of the type that this model reads.
    pub fn empty_canvas(&self) -> Canvas<u8> {
        Canvas { two_bytes: self.wide[self.plan.key_steps.image], ..Canvas::empty(4) }
    }

    /// The epilogue of a step in static int8; `None` for other steps.
    ///
    /// # Errors
    /// [`Kind::Data`] if a bias overflows its integer.
    fn epilogue(&self, id: StepId, quantized: &Quantized) -> Result<Option<Epilogue>> {
        let step = &self.plan.steps[id];
        let Op::Layer { layer, skip, .. } = step.op else { return Ok(None) };
        let PackedLayer::Int8(packed) = &self.layers[layer] else { return Ok(None) };
        let bias = &quantized.biases[id];
        let LayerWeights::S8 { scales, .. } = &quantized.layers[layer].weights else {
            return Err(Error::new(Kind::Internal, "an int8 layer without int8 weights"));
        };
        let reads_pixels = self.mixed_precision.storage[step.inputs[0]] == EdgeStorage::Pixels;
        let input = match self.qparams(step.inputs[0]) {
            Some(qparams) => qparams,
            None if reads_pixels => QuantParams::new(1.0, 0)?,
            None => return Err(Error::new(Kind::Internal, "an int8 step reads an output that is not stored in bytes")),
        };
        let output = self.qparams(id);
        let activation = step.activation();
        // A step of two bytes is one of the low byte.
        let step_of = |qparams: QuantParams| qparams.levels().0;
        let steps_per_unit = output.map_or(1.0, |qparams| 1.0 / step_of(qparams));
        let out_scale = output.filter(|_| !is_curved(activation)).map_or(1.0, step_of);
        let mut integer = Vec::with_capacity(bias.len());
        for ((&bias, &scale), &magnitude) in bias.iter().zip(scales).zip(packed.weight_magnitudes()) {
            integer.push(integer_bias(bias, input.scale, scale, magnitude)?);
        }
        let multipliers: Vec<f32> = scales.iter().map(|&scale| multiplier(input.scale, scale, out_scale)).collect();
        let skip = match skip.then(|| (self.mixed_precision.storage[step.inputs[1]], self.qparams(step.inputs[1]))) {
            None => SkipKind::None,
            Some((_, Some(qparams))) => {
                let (zero_point, multiplier) = (qparams.zero_point, multiplier(step_of(qparams), 1.0, out_scale));
                match qparams.two_bytes {
                    true => SkipKind::U16 { zero_point, multiplier },
                    false => SkipKind::U8 { zero_point, multiplier },
                }
            }
            Some((_, None)) => SkipKind::F32 { multiplier: multiplier(1.0, 1.0, out_scale) },
        };
        let input_has_low = self.wide[step.inputs[0]];
        let colour = mean_colour(self.plan.settings.transform.mean.map(|mean| mean as f32));
        let colour = if input_has_low { colour.as_flattened() } else { &colour[0][..] };
        let spec = EpilogueSpec {
            input_zero_point: input.zero_point,
            input_has_low,
            bias: &integer,
            multiplier: &multipliers,
            outside: reads_pixels.then_some(colour),
            skip,
            activation,
            steps_per_unit,
            output: match output {
                Some(qparams) if qparams.two_bytes => OutputKind::U16 { zero_point: qparams.zero_point },
                Some(qparams) => OutputKind::U8 { zero_point: qparams.zero_point },
                None => OutputKind::F32,
            },
        };
        Epilogue::new(packed, &spec).map(Some)
    }
}

/// Packs layer `id`.
fn pack_layer(quantized: &Quantized, id: LayerId, isa: Isa) -> Result<PackedLayer> {
    let plan = &quantized.plan;
    let layer = &plan.layers[id];
    pack(isa, layer, &quantized.layers[id], quantized.bias_of(id), reads_pixels(plan, id))
        .map_err(|error| error.at(&layer.name))
}

/// True if `layer` reads the canvas.
fn reads_pixels(plan: &Plan, layer: LayerId) -> bool {
    plan.steps.iter().any(|step| step.layer() == Some(layer) && step.inputs.contains(&plan.key_steps.image))
}

/// Packs a layer for its precision; `reads_pixels` is true for the layer that reads the canvas.
fn pack(isa: Isa, layer: &Layer, quantized: &QuantizedLayer, bias: &[f32], reads_pixels: bool) -> Result<PackedLayer> {
    let geometry = layer.geometry;
    match (&quantized.weights, quantized.precision) {
        (LayerWeights::S8 { values, low, .. }, Precision::Int8Static) => {
            let pack = |values| match reads_pixels {
                true => PackedU8::pixels(isa, geometry, values),
                false => PackedU8::new(isa, geometry, values),
            };
            let packed = pack(values)?;
            let packed = if low.is_empty() { packed } else { packed.with_low_digits(pack(low)?)? };
            Ok(PackedLayer::Int8(Arc::new(packed)))
        }
        (LayerWeights::S8 { values, low, scales }, Precision::Int8Dynamic)
            if layer.kind.is_linear() && low.is_empty() =>
        {
            let packed = Arc::new(PackedU8::new(isa, geometry, values)?);
            Ok(PackedLayer::Dynamic { packed, scales: scales.clone(), bias: bias.to_vec() })
        }
        (LayerWeights::F32(values), Precision::Fp32) => {
            Ok(PackedLayer::Fp32(Arc::new(ConvF32::new(isa, geometry, values, bias)?)))
        }
        (weights, precision) => {
            let stored = if matches!(weights, LayerWeights::S8 { .. }) { "s8" } else { "f32" };
            let text = format!("{stored} weights do not match precision {}", precision.name());
            Err(Error::new(Kind::Data, text))
        }
    }
}
