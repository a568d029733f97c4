//! Writer of artifacts.
//!
//! In: the header and the [`StepTensors`] of every step. Out: the bytes of the file. The same model gives the same
//! bytes. The result is read back and checked, so nothing is written that the reader would refuse.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde_json::Value;

use super::header::Header;
use super::read::Artifact;
use super::tensors::{StepResidual, StepTensors};
use crate::error::{Error, Kind, Result};
use crate::quant::StoredBiasShiftModel;
use crate::quant::container::{self, EQUALIZATION, Tensor};
use crate::tensor::atomic_file;

/// Encodes an artifact: `weights` in the order of the header's steps, the factors of `equalization`, `histograms` in the
/// order of its edges (empty where an edge has none).
///
/// # Errors
/// [`Kind::Internal`] where header, weights and histograms contradict each other or break a rule of the format.
pub fn encode(
    header: &Header,
    weights: &[StepTensors],
    equalization: &[f32],
    histograms: &[Vec<u32>],
) -> Result<Vec<u8>> {
    let fault = |what: String| Error::new(Kind::Internal, format!("artifact to write: {what}"));
    if (weights.len(), histograms.len()) != (header.steps.len(), header.edges.len()) {
        return Err(fault(format!(
            "{} steps with {} weights, {} edges with {} histograms",
            header.steps.len(),
            weights.len(),
            header.edges.len(),
            histograms.len()
        )));
    }
    let mut tensors = BTreeMap::new();
    if !equalization.is_empty() {
        tensors.insert(EQUALIZATION.to_owned(), Tensor::of_f32(vec![equalization.len()], equalization));
    }
    for (step, weights) in header.steps.iter().zip(weights) {
        let (weight, bias) = match weights {
            StepTensors::Int8 { weights, bias, residual, bias_shifts } => {
                let [out, _, _, channels] = step.shape;
                let mut add = |part: &str, tensor| tensors.insert(format!("{}.{part}", step.name), tensor);
                if !weights.low.is_empty() {
                    add("weight_low", Tensor::of_i8(step.shape.to_vec(), &weights.low));
                }
                add("scale", Tensor::of_f32(vec![weights.scales.len()], &weights.scales));
                if let Some(StepResidual { residual, input_moments }) = residual.as_deref() {
                    add("residual", Tensor::of_f32(vec![out, channels], residual.rows()));
                    add("input_moments", Tensor::of_f32(vec![step.runs, 2, channels], input_moments));
                }
                if !bias_shifts.is_empty() {
                    let (runs, perturbations, channels) = (step.runs, step.perturbations, step.in_channels());
                    let mut means = Vec::new();
                    let mut model = StoredBiasShiftModel::default();
                    for run in bias_shifts {
                        means.extend_from_slice(&run.reference_means);
                        model.scales.extend_from_slice(&run.model.scales);
                        model.input_changes.extend_from_slice(&run.model.input_changes);
                        model.bias_shifts.extend_from_slice(&run.model.bias_shifts);
                    }
                    add("input_means", Tensor::of_f32(vec![runs, channels], &means));
                    add("response_scales", Tensor::of_f32(vec![runs, perturbations, 2], &model.scales));
                    add("input_ways", Tensor::of_i8(vec![runs, perturbations, channels], &model.input_changes));
                    add("bias_ways", Tensor::of_i8(vec![runs, perturbations, out], &model.bias_shifts));
                }
                (Tensor::of_i8(step.shape.to_vec(), &weights.values), bias)
            }
            StepTensors::Float { weights, bias } => (Tensor::of_f32(step.shape.to_vec(), weights), bias),
        };
        tensors.insert(format!("{}.weight", step.name), weight);
        tensors.insert(format!("{}.bias", step.name), Tensor::of_f32(vec![step.runs, step.shape[0]], bias));
    }
    for (edge, counts) in header.edges.iter().zip(histograms) {
        if !counts.is_empty() {
            tensors.insert(format!("{}.histogram", edge.name), Tensor::of_u32(vec![counts.len()], counts));
        }
    }
    let metadata =
        serde_json::to_value(header).map_err(|e| fault("its header cannot be written as JSON".into()).because(e))?;
    let Value::Object(metadata) = metadata else { return Err(fault("its header is not a JSON object".into())) };
    let mut bytes = Vec::new();
    container::write(&mut bytes, &metadata, &tensors).map_err(|e| fault("its tensors do not fit".into()).because(e))?;
    Artifact::parse(&bytes).map_err(|e| fault(e.chain()))?;
    Ok(bytes)
}

/// Writes the bytes of an artifact to `path`, whole or not at all.
///
/// # Errors
/// As [`atomic_file::write`].
pub fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    atomic_file::write(path, |out: &mut dyn Write| out.write_all(bytes))
}
