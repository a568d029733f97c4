//! What the biases lack where the layers' inputs are others.
//!
//! In: calibration pictures, altered in several ways, through the reference. Out: a [`Response`] for every int8 step: by
//! how much each way moves the means of what the step reads, and what its rounded weights make of that. The device that
//! has no checkpoint measures the means and knows what the biases lack.

use super::alter::ALTERATIONS;
use super::observe::EdgeWatcher;
use crate::detector::fp32::Fp32Model;
use crate::detector::int8::{Edge, InputMeans, LayerWeights, Quantized};
use crate::detector::plan::StepId;
use crate::detector::weights::Folded;
use crate::error::Result;
use crate::frame::Picture;
use crate::preprocess::Transform;
use crate::quant::{FilterBank, Precision, QuantizedWeights, Residual, Response};
use crate::tensor::{Canvas, Fit, ImageMoments};

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
    let mut watcher = EdgeWatcher::new(plan, &plan.read_by_layers());
    let mut canvas = Canvas { fit: Fit::default(), channels: 3, data: Vec::new() };
    let passes = pictures.len() * (ALTERATIONS.len() + 1);
    let mut passed = 0;
    let mut means = |picture: &Picture| -> Result<InputMeans> {
        done(passed, passes);
        passed += 1;
        transform.to_f32(picture, &mut canvas)?;
        let seen = watcher.observe(reference, &canvas)?;
        Ok(InputMeans::of_outputs(plan, ImageMoments::default(), &watcher.means_by_step(&seen)))
    };
    let plain: Vec<InputMeans> = pictures.iter().map(&mut means).collect::<Result<_>>()?;
    // By way and step, the mean over the pictures.
    let mut moved: Vec<Vec<Vec<f64>>> = Vec::with_capacity(ALTERATIONS.len());
    for way in ALTERATIONS {
        let mut movements = vec![Vec::new(); plan.steps.len()];
        for (picture, plain) in pictures.iter().zip(&plain) {
            let altered = means(&way.of(picture))?;
            for (step, sums) in movements.iter_mut().enumerate() {
                let movement = altered.beyond(plain, step).unwrap_or_default();
                sums.resize(movement.len().max(sums.len()), 0.0);
                sums.iter_mut().zip(movement).for_each(|(sum, moved)| *sum += moved / pictures.len() as f64);
            }
        }
        moved.push(movements);
    }
    let mixture = quantized.mixture();
    let residuals: Vec<Option<Residual>> = (0..plan.layers.len()).map(|id| residual(quantized, folded, id)).collect();
    let of_step = |step: StepId| {
        let layer = plan.steps[step].layer()?;
        let reads_bytes = matches!(mixture.edges[*plan.steps[step].inputs.first()?], Edge::U8(_));
        let is_told = reads_bytes && quantized.layers[layer].precision == Precision::Int8Static;
        let residual = residuals[layer].as_ref().filter(|_| is_told)?;
        let way = |movements: &Vec<Vec<f64>>| (movements[step].clone(), residual.shift(&movements[step]));
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
