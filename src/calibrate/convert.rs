//! Conversion of f32 weights to the quantized network.
//!
//! In: the folded weights and the recipe of every layer, and the quantization parameters of every output stored in
//! bytes. Out: a [`Quantized`] network. The same inputs give the same bytes with any number of threads.

use std::sync::Arc;

use rayon::prelude::*;

use crate::detector::int8::{EdgeStorage, InputMeans, LayerWeights, MixedPrecision, Quantized, QuantizedLayer};
use crate::detector::plan::{LayerId, Plan, Step};
use crate::detector::settings::BatchNormEps;
use crate::detector::weights::FoldedLayer;
use crate::error::{Error, Kind, Result};
use crate::quant::{
    Digits, FilterBank, Granularity, MAX_SCALE, Precision, QuantParams, RoundingResidual, ScaleRule, input_scale_floor,
    largest_magnitude, scale_floor,
};

/// Smallest input scale that dynamic quantization computes at run time. It bounds the integer bias of such a layer.
const MIN_DYNAMIC_SCALE: f32 = 1e-4;

/// Recipe of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerRecipe {
    /// The arithmetic.
    pub precision: Precision,
    /// Weights that share a scale.
    pub granularity: Granularity,
    /// Rule that chooses the weight scales.
    pub rule: ScaleRule,
    /// Signed bytes of a weight; two for static int8 only.
    pub digits: Digits,
}

impl Default for LayerRecipe {
    /// Static int8 with a weight scale for each output channel.
    fn default() -> Self {
        Self {
            precision: Precision::Int8Static,
            granularity: Granularity::default(),
            rule: ScaleRule::default(),
            digits: Digits::default(),
        }
    }
}

/// Quantizes the weights of `plan`. `folded` and `recipes` hold one a layer, `edge_qparams` one a step that the mixed
/// precision stores in bytes; `wide_canvas` is true for a canvas of two bytes a value.
///
/// # Errors
/// [`Kind::Data`] naming the layer that cannot be quantized or the step without quantization parameters.
pub fn convert(
    plan: &Arc<Plan>,
    folded: &[FoldedLayer],
    recipes: &[LayerRecipe],
    edge_qparams: Vec<Option<QuantParams>>,
    wide_canvas: bool,
) -> Result<Quantized> {
    let precisions: Vec<Precision> = recipes.iter().map(|recipe| recipe.precision).collect();
    let mixed_precision = MixedPrecision::new(plan, &precisions);
    if let Some(step) = mixed_precision.quantized_steps().find(|&step| edge_qparams[step].is_none()) {
        let text = format!("{} has no range: was it observed?", plan.steps[step].name);
        return Err(Error::new(Kind::Data, text));
    }
    let layers = (0..plan.layers.len())
        .into_par_iter()
        .map(|id| {
            let inputs = input_scales(plan, &mixed_precision, &edge_qparams, id);
            let correction = output_range(plan, &edge_qparams, id);
            layer(plan, id, &folded[id], recipes[id], &inputs, correction)
                .map_err(|error| error.at(&plan.layers[id].name))
        })
        .collect::<Result<Vec<(QuantizedLayer, Vec<f32>)>>>()?;
    let bias = |step: &Step| step.layer().map(|layer| layers[layer].1.clone()).unwrap_or_default();
    let biases = plan.steps.iter().map(bias).collect();
    let layers = layers.into_iter().map(|(layer, _)| layer).collect();
    Ok(Quantized {
        plan: Arc::clone(plan),
        layers,
        biases,
        reference_means: InputMeans::default(),
        bias_shift_models: Vec::new(),
        edge_qparams,
        wide_canvas,
        equalization: Arc::default(),
    })
}

/// By step: the smallest scale of its output with which all layers that read it still resolve their weights; 0 where any
/// will do. `edge_qparams` as for [`convert`].
///
/// A layer on several levels has one set of weights, whose scales must leave room for its biases in steps of every level
/// ([`scale_floor`]). A level without signal has a tiny scale, with which all weights would become 0, on the other levels,
/// too. A coarser scale of such a level shows nowhere ([`input_scale_floor`]), and no level needs a coarser one than the
/// coarsest has. Filters with weights below a step of the largest one do not matter.
pub(super) fn least_scales(
    plan: &Plan,
    folded: &[FoldedLayer],
    recipes: &[LayerRecipe],
    edge_qparams: &[Option<QuantParams>],
) -> Vec<f32> {
    let precisions: Vec<Precision> = recipes.iter().map(|recipe| recipe.precision).collect();
    let mixed_precision = MixedPrecision::new(plan, &precisions);
    let mut least = vec![0.0f32; plan.steps.len()];
    for (id, folded) in folded.iter().enumerate().filter(|(id, _)| precisions[*id] == Precision::Int8Static) {
        let readers = plan.steps.iter().filter(|step| step.layer() == Some(id));
        let owners: Vec<(usize, f32)> = readers
            .filter_map(|step| match mixed_precision.storage[step.inputs[0]] {
                EdgeStorage::U8(owner) => Some((owner, edge_qparams[owner]?.scale)),
                EdgeStorage::Pixels | EdgeStorage::F32 | EdgeStorage::Boxes => None,
            })
            .collect();
        if owners.len() < 2 {
            continue;
        }
        let geometry = plan.layers[id].geometry;
        let filters = || folded.weights.chunks_exact(geometry.taps() * geometry.group_channels()).zip(&folded.bias);
        let largest = largest_magnitude(&folded.weights);
        let correction = output_range(plan, edge_qparams, id);
        let floor = filters()
            .filter(|(weights, _)| largest_magnitude(weights) * 127.0 >= largest)
            .map(|(weights, &bias)| input_scale_floor(weights, bias, correction))
            .fold(0.0, f32::max);
        let floor = owners.iter().fold(0.0f32, |most, &(_, scale)| most.max(scale)).min(floor);
        owners.into_iter().for_each(|(owner, _)| least[owner] = least[owner].max(floor));
    }
    least
}

/// Scales of the inputs of all steps that use `layer`. The scale of the canvas is one grey level.
fn input_scales(
    plan: &Plan,
    mixed_precision: &MixedPrecision,
    edge_qparams: &[Option<QuantParams>],
    layer: LayerId,
) -> Vec<f32> {
    let readers = plan.steps.iter().filter(|step| step.layer() == Some(layer));
    readers
        .map(|step| match mixed_precision.storage[step.inputs[0]] {
            EdgeStorage::U8(owner) => edge_qparams[owner].map_or(MIN_DYNAMIC_SCALE, |qparams| qparams.scale),
            EdgeStorage::Pixels => 1.0,
            EdgeStorage::F32 | EdgeStorage::Boxes => MIN_DYNAMIC_SCALE,
        })
        .collect()
}

/// Quantizes one layer: its weights, and its bias in the units of the network. `edge_qparams` as for [`convert`].
///
/// # Errors
/// As [`convert`].
pub(super) fn convert_layer(
    plan: &Plan,
    id: LayerId,
    folded: &FoldedLayer,
    recipes: &[LayerRecipe],
    edge_qparams: &[Option<QuantParams>],
) -> Result<(QuantizedLayer, Vec<f32>)> {
    let precisions: Vec<Precision> = recipes.iter().map(|recipe| recipe.precision).collect();
    let inputs = input_scales(plan, &MixedPrecision::new(plan, &precisions), edge_qparams, id);
    let correction = output_range(plan, edge_qparams, id);
    layer(plan, id, folded, recipes[id], &inputs, correction).map_err(|error| error.at(&plan.layers[id].name))
}

/// The widest range of the outputs of all steps that use `layer`: a larger correction of a bias would be none.
fn output_range(plan: &Plan, edge_qparams: &[Option<QuantParams>], layer: LayerId) -> f32 {
    let steps = plan.steps.iter().zip(edge_qparams).filter(|(step, _)| step.layer() == Some(layer));
    steps.filter_map(|(_, qparams)| Some(255.0 * (*qparams)?.scale)).fold(0.0, f32::max)
}

fn layer(
    plan: &Plan,
    id: LayerId,
    folded: &FoldedLayer,
    recipe: LayerRecipe,
    inputs: &[f32],
    correction: f32,
) -> Result<(QuantizedLayer, Vec<f32>)> {
    let LayerRecipe { precision, granularity, rule, digits } = recipe;
    if precision == Precision::Fp32 {
        let weights = LayerWeights::F32(folded.weights.clone());
        return Ok((QuantizedLayer { weights, precision, residual: None }, folded.bias.clone()));
    }
    let geometry = plan.layers[id].geometry;
    let reads_pixels =
        plan.steps.iter().any(|step| step.layer() == Some(id) && step.inputs.contains(&plan.key_steps.image));
    let FoldedLayer { weights, bias } = if reads_pixels { in_pixels(plan, folded) } else { folded.clone() };
    let filter = geometry.taps() * geometry.group_channels();
    let mut floors = Vec::with_capacity(bias.len());
    for (filter, &bias) in weights.chunks_exact(filter).zip(&bias) {
        let mut floor = 0.0f32;
        for &input in inputs {
            floor = floor.max(scale_floor(filter, bias, correction, input)?);
        }
        floors.push(floor);
    }
    let bank = FilterBank { values: &weights, out: geometry.out_channels, channels: geometry.group_channels() };
    let quantized = bank.quantize(rule, granularity, digits, &floors)?;
    if let Some(channel) = quantized.scales.iter().position(|scale| *scale > MAX_SCALE) {
        let weights = weights.chunks_exact(filter).nth(channel).unwrap_or_default();
        let text = format!(
            "channel {channel} has weights up to {:e} and a bias of {:e}, batch norm included; numbers that large cannot be \
             quantized: check the checkpoint, or name the layer in --keep-float",
            largest_magnitude(weights),
            bias.get(channel).copied().unwrap_or_default()
        );
        return Err(Error::new(Kind::Data, text));
    }
    let residual =
        (reads_pixels && precision == Precision::Int8Static).then(|| RoundingResidual::of(&bank, &quantized));
    let weights = LayerWeights::S8 { values: quantized.values, low: quantized.low, scales: quantized.scales };
    Ok((QuantizedLayer { weights, precision, residual }, bias))
}

/// The first layer in units of raw pixels: w′ = w / (255 · std), b′ = b − Σ w · mean / std.
fn in_pixels(plan: &Plan, folded: &FoldedLayer) -> FoldedLayer {
    let transform = &plan.settings.transform;
    let filter = folded.weights.len() / folded.bias.len().max(1);
    let mut weights = Vec::with_capacity(folded.weights.len());
    let mut bias = Vec::with_capacity(folded.bias.len());
    for (values, &constant) in folded.weights.chunks_exact(filter.max(1)).zip(&folded.bias) {
        let mut shift = 0.0;
        for (index, &weight) in values.iter().enumerate() {
            let (mean, std) = (transform.mean[index % 3], transform.std[index % 3]);
            weights.push((f64::from(weight) / (255.0 * std)) as f32);
            shift += f64::from(weight) * mean / std;
        }
        bias.push((f64::from(constant) - shift) as f32);
    }
    FoldedLayer { weights, bias }
}

/// Reads every layer of `plan` and folds batch norm into its weights.
///
/// # Errors
/// As [`FoldedLayer::read`].
pub fn fold_all(plan: &Plan, tensors: &candle_nn::VarBuilder<'_>, eps: &BatchNormEps) -> Result<Vec<FoldedLayer>> {
    plan.layers.iter().map(|layer| FoldedLayer::read(layer, tensors, eps)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::network::Architecture;
    use crate::detector::settings::Settings;

    #[test]
    fn the_first_layer_reads_pixels() {
        let plan = Plan::new(Architecture::resnet50_fpn(2), Settings::default());
        let folded = FoldedLayer { weights: vec![0.5, -0.25, 1.0], bias: vec![0.125] };
        let pixels = in_pixels(&plan, &folded);
        let levels = [200.0f64, 17.0, 90.0];
        let transform = &plan.settings.transform;
        let normalized = |c: usize| (levels[c] / 255.0 - transform.mean[c]) / transform.std[c];
        let expected: f64 = 0.125 + (0..3).map(|c| f64::from(folded.weights[c]) * normalized(c)).sum::<f64>();
        let found: f64 =
            f64::from(pixels.bias[0]) + (0..3).map(|c| f64::from(pixels.weights[c]) * levels[c]).sum::<f64>();
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
}
