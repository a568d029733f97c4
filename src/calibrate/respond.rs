//! What the biases lack where the layers' inputs are others.
//!
//! In: calibration pictures, altered in several ways, through the reference. Out: a [`Response`] for every int8 step: by
//! how much each way moves the means of what the step reads, and what its rounded weights make of that. The device that
//! has no checkpoint measures the means and knows what the biases lack.

use super::alter::ALTERATIONS;
use super::observe::EdgeWatcher;
use crate::detector::fp32::Fp32Model;
use crate::detector::int8::{Edge, LayerWeights, Quantized};
use crate::detector::plan::StepId;
use crate::detector::weights::Folded;
use crate::error::Result;
use crate::frame::Picture;
use crate::preprocess::Transform;
use crate::quant::{FilterBank, Precision, QuantizedWeights, Residual, Response};
use crate::tensor::{Canvas, Fit};

/// Pictures that are altered. What moves the means moves the shifts with them, picture by picture, so few will do.
pub const ALTERED: usize = 4;

/// The responses of `quantized`, by step; `folded` are its layers before they were rounded. `done` is told how many
/// passes are done of how many.
pub(super) fn responses(
    reference: &Fp32Model,
    transform: &mut Transform,
    (quantized, folded): (&Quantized, &[Folded]),
    pictures: &[Picture],
    done: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Option<Response>>> {
    let plan = &quantized.plan;
    let mixture = quantized.mixture();
    let reads = |step: StepId| -> Option<StepId> {
        let layer = plan.steps[step].layer()?;
        let is_int8 = quantized.layers[layer].precision == Precision::Int8Static;
        plan.steps[step].inputs.first().copied().filter(|&input| is_int8 && matches!(mixture.edges[input], Edge::U8(_)))
    };
    let mut inputs: Vec<StepId> = (0..plan.steps.len()).filter_map(reads).collect();
    inputs.sort_unstable();
    inputs.dedup();
    let mut watcher = EdgeWatcher::new(plan, &inputs);
    let mut canvas = Canvas { fit: Fit::default(), channels: 3, data: Vec::new() };
    let passes = pictures.len() * (ALTERATIONS.len() + 1);
    let mut passed = 0;
    let mut means = |picture: &Picture| -> Result<Vec<f32>> {
        done(passed, passes);
        passed += 1;
        transform.to_f32(picture, &mut canvas)?;
        Ok(watcher.observe(reference, &canvas)?.means)
    };
    let plain: Vec<Vec<f32>> = pictures.iter().map(&mut means).collect::<Result<_>>()?;
    let mut moved: Vec<Vec<f64>> = Vec::with_capacity(ALTERATIONS.len());
    for way in ALTERATIONS {
        let mut movement = vec![0.0; plain.first().map_or(0, Vec::len)];
        for (picture, plain) in pictures.iter().zip(&plain) {
            let altered = means(&way.of(picture))?;
            for (sum, (altered, plain)) in movement.iter_mut().zip(altered.iter().zip(plain)) {
                *sum += (f64::from(*altered) - f64::from(*plain)) / pictures.len() as f64;
            }
        }
        moved.push(movement);
    }
    // Where each watched edge begins among the means.
    let mut begins = Vec::with_capacity(inputs.len());
    let mut end = 0;
    for edge in watcher.edges() {
        begins.push(end..end + edge.channels);
        end += edge.channels;
    }
    let residuals: Vec<Option<Residual>> = (0..plan.layers.len()).map(|id| residual(quantized, folded, id)).collect();
    let of_step = |step: StepId| {
        let layer = plan.steps[step].layer()?;
        let (residual, channels) = (residuals[layer].as_ref()?, plan.layers[layer].geometry.in_channels);
        let place = begins.get(inputs.binary_search(&reads(step)?).ok()?)?.clone();
        let way = |movement: &Vec<f64>| {
            // As `InputMeans::of_outputs` gives them.
            let movement: Vec<f64> = movement[place.clone()].iter().copied().cycle().take(channels).collect();
            let shift = residual.shift(&movement);
            (movement, shift)
        };
        Some(Response::of(&moved.iter().map(way).collect::<Vec<_>>()))
    };
    Ok((0..plan.steps.len()).map(of_step).collect())
}

/// What rounding took from the weights of a layer; `None` where they are not rounded.
fn residual(quantized: &Quantized, folded: &[Folded], id: usize) -> Option<Residual> {
    let LayerWeights::S8 { values, scales } = &quantized.layers[id].weights else { return None };
    let geometry = quantized.plan.layers[id].geometry;
    let bank = FilterBank { values: &folded[id].weights, out: geometry.out_channels, channels: geometry.in_channels };
    Some(Residual::of(&bank, &QuantizedWeights { values: values.clone(), scales: scales.clone() }))
}
