//! Bias shift models of a network: measures the effect of every perturbation on every int8 step.
//!
//! In: calibration pictures, plain and perturbed, through the fp32 network. Out: a [`BiasShiftModel`] for every step in
//! static int8 that reads bytes: for each perturbation the change of the step's mean input, and the bias shift that the
//! rounding residual of its weights gives for it.

use super::perturbations::PERTURBATIONS;
use crate::calibrate::collectors::Fp32Collector;
use crate::detector::fp32::Fp32Model;
use crate::detector::int8::{EdgeStorage, InputMeans, LayerWeights, Quantized};
use crate::detector::plan::StepId;
use crate::detector::weights::FoldedLayer;
use crate::error::Result;
use crate::frame::Picture;
use crate::preprocess::Transform;
use crate::quant::{BiasShiftModel, FilterBank, PerturbationEffect, Precision, QuantizedWeights, RoundingResidual};
use crate::tensor::{Canvas, ImageMoments};

/// Pictures that are perturbed. A perturbation changes the means of all pictures alike, so few are enough.
pub(in crate::calibrate) const PERTURBED_PICTURES: usize = 4;

/// A quantized network and its layers before rounding.
pub(in crate::calibrate) struct RoundedNetwork<'a> {
    /// The network.
    pub(in crate::calibrate) quantized: &'a Quantized,
    /// FoldedLayer f32 weights, one a layer.
    pub(in crate::calibrate) folded: &'a [FoldedLayer],
}

/// The bias shift models of `network`, by step. `progress` receives the number of passes done and of all passes.
pub(in crate::calibrate) fn shift_models(
    reference: &Fp32Model,
    transform: &mut Transform,
    network: &RoundedNetwork<'_>,
    pictures: &[Picture],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Option<BiasShiftModel>>> {
    let plan = &network.quantized.plan;
    let mut collector = Fp32Collector::new(plan, &plan.read_by_layers());
    let mut canvas = Canvas::empty(3);
    let passes = pictures.len() * (PERTURBATIONS.len() + 1);
    let mut passed = 0;
    let mut input_means = |picture: &Picture| -> Result<InputMeans> {
        progress(passed, passes);
        passed += 1;
        transform.to_f32(picture, &mut canvas)?;
        let statistics = collector.observe(reference, &canvas)?;
        Ok(InputMeans::from_outputs(plan, ImageMoments::default(), &collector.means_by_step(&statistics)))
    };

    // Input means of every plain picture.
    let plain: Vec<InputMeans> = pictures.iter().map(&mut input_means).collect::<Result<_>>()?;

    // Change of the input means, by perturbation and step, averaged over the pictures.
    let mut input_changes: Vec<Vec<Vec<f64>>> = Vec::with_capacity(PERTURBATIONS.len());
    for perturbation in PERTURBATIONS {
        let mut changes = vec![Vec::new(); plan.steps.len()];
        for (picture, plain) in pictures.iter().zip(&plain) {
            let perturbed = input_means(&perturbation.apply(picture))?;
            for (step, sums) in changes.iter_mut().enumerate() {
                let change = perturbed.difference(plain, step).unwrap_or_default();
                sums.resize(change.len().max(sums.len()), 0.0);
                sums.iter_mut().zip(change).for_each(|(sum, change)| *sum += change / pictures.len() as f64);
            }
        }
        input_changes.push(changes);
    }

    // The rounding residual turns every change into a bias shift.
    let mixed_precision = network.quantized.mixed_precision();
    let residuals: Vec<Option<RoundingResidual>> = (0..plan.layers.len()).map(|id| network.residual(id)).collect();
    let of_step = |step: StepId| {
        let layer = plan.steps[step].layer()?;
        let reads_bytes = matches!(mixed_precision.storage[*plan.steps[step].inputs.first()?], EdgeStorage::U8(_));
        let has_model = reads_bytes && network.quantized.layers[layer].precision == Precision::Int8Static;
        let residual = residuals[layer].as_ref().filter(|_| has_model)?;
        let effect = |changes: &Vec<Vec<f64>>| PerturbationEffect {
            input_change: changes[step].clone(),
            bias_shift: residual.bias_shift(&changes[step]),
        };
        Some(BiasShiftModel::new(&input_changes.iter().map(effect).collect::<Vec<_>>()))
    };
    Ok((0..plan.steps.len()).map(of_step).collect())
}

impl RoundedNetwork<'_> {
    /// Rounding residual of a layer; `None` where its weights are f32.
    fn residual(&self, id: usize) -> Option<RoundingResidual> {
        let LayerWeights::S8 { values, low, scales } = &self.quantized.layers[id].weights else { return None };
        let geometry = self.quantized.plan.layers[id].geometry;
        let weights = &self.folded[id].weights;
        let bank = FilterBank { values: weights, out: geometry.out_channels, channels: geometry.group_channels() };
        let quantized = QuantizedWeights { values: values.clone(), low: low.clone(), scales: scales.clone() };
        Some(RoundingResidual::of(&bank, &quantized))
    }
}
