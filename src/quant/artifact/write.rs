//! An artifact's bytes.
//!
//! In: the header and one [`StepWeights`] a step. Out: the file. The same model gives the same bytes; what the reader
//! would refuse is not written.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde_json::Value;

use super::header::Header;
use super::read::Artifact;
use crate::error::{Error, Kind, Result};
use crate::quant::container::{self, Tensor};
use crate::quant::{QuantizedWeights, Residual, StoredResponse};
use crate::tensor::atomic_file;

/// The tensors of one step.
#[derive(Debug, Clone, PartialEq)]
pub enum StepWeights {
    /// s8, for both int8 precisions.
    Int8 {
        /// Weights and their scales.
        weights: QuantizedWeights,
        /// One bias an output channel and run, runs outermost.
        bias: Vec<f32>,
        /// What rounding took from the weights, and for every run, outermost, the means and the mean squares of the input
        /// channels that the biases are for. Boxed: nearly all have none.
        residual: Option<Box<(Residual, Vec<f32>)>>,
        /// For every run the means of the input channels that its biases are for, and what they lack where those are
        /// others; empty where nothing is known of it.
        responses: Vec<(Vec<f32>, StoredResponse)>,
    },
    /// f32.
    Float {
        /// `[out][kh][kw][in]`.
        weights: Vec<f32>,
        /// One bias an output channel and run, runs outermost.
        bias: Vec<f32>,
    },
}

/// The bytes of the artifact: `weights` in the order of the header's steps, `histograms` in that of its edges (empty
/// where an edge has none).
///
/// # Errors
/// [`Kind::Internal`] where header, weights and histograms contradict each other or break a rule of the format.
pub fn encode(header: &Header, weights: &[StepWeights], histograms: &[Vec<u32>]) -> Result<Vec<u8>> {
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
    for (step, weights) in header.steps.iter().zip(weights) {
        let (weight, bias) = match weights {
            StepWeights::Int8 { weights, bias, residual, responses } => {
                let scale = Tensor::of_f32(vec![weights.scales.len()], &weights.scales);
                tensors.insert(format!("{}.scale", step.name), scale);
                if let Some((residual, moments)) = residual.as_deref() {
                    let [out, _, _, channels] = step.shape;
                    let rows = Tensor::of_f32(vec![out, channels], residual.rows());
                    tensors.insert(format!("{}.residual", step.name), rows);
                    let moments = Tensor::of_f32(vec![step.runs, 2, channels], moments);
                    tensors.insert(format!("{}.input_moments", step.name), moments);
                }
                if !responses.is_empty() {
                    let [out, _, _, channels] = step.shape;
                    let (runs, ways) = (step.runs, step.responses);
                    let stored = |part: fn(&StoredResponse) -> &Vec<i8>| -> Vec<i8> {
                        responses.iter().flat_map(|(_, stored)| part(stored)).copied().collect()
                    };
                    let made_for: Vec<f32> = responses.iter().flat_map(|(means, _)| means).copied().collect();
                    let scales: Vec<f32> = responses.iter().flat_map(|(_, stored)| &stored.scales).copied().collect();
                    let parts = [
                        ("input_means", Tensor::of_f32(vec![runs, channels], &made_for)),
                        ("response_scales", Tensor::of_f32(vec![runs, ways, 2], &scales)),
                        ("input_ways", Tensor::of_i8(vec![runs, ways, channels], &stored(|stored| &stored.inputs))),
                        ("bias_ways", Tensor::of_i8(vec![runs, ways, out], &stored(|stored| &stored.biases))),
                    ];
                    tensors.extend(parts.map(|(part, tensor)| (format!("{}.{part}", step.name), tensor)));
                }
                (Tensor::of_i8(step.shape.to_vec(), &weights.values), bias)
            }
            StepWeights::Float { weights, bias } => (Tensor::of_f32(step.shape.to_vec(), weights), bias),
        };
        tensors.insert(format!("{}.weight", step.name), weight);
        tensors.insert(format!("{}.bias", step.name), Tensor::of_f32(vec![step.runs, step.shape[0]], bias));
    }
    for (edge, counts) in header.edges.iter().zip(histograms) {
        if !counts.is_empty() {
            tensors.insert(format!("{}.histogram", edge.name), Tensor::of_u32(vec![counts.len()], counts));
        }
    }
    let metadata = serde_json::to_value(header).map_err(|e| fault("its header is no JSON".into()).because(e))?;
    let Value::Object(metadata) = metadata else { return Err(fault("its header is no JSON object".into())) };
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
