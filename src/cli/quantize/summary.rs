//! Summary of a quantization: size, coverage, errors and agreement.

use std::fmt;

use serde::Serialize;

use crate::calibrate::{AGREEMENT_SCORE, QuantizeOptions, QuantizeOutcome, Recipe, WidePart};
use crate::detector::checkpoint::Checkpoint;
use crate::detector::plan::{Part, Plan, StepId};
use crate::error::Result;
use crate::measure::Agreement;
use crate::preprocess::TransformParams;
use crate::quant::Precision;
use crate::tensor::digest::sha256;

/// Worst steps listed.
const WORST: usize = 8;

/// Summary of a quantization.
#[derive(Debug, Serialize)]
pub(super) struct QuantizeSummary {
    sha256: String,
    recipe: &'static str,
    observer: String,
    pictures: usize,
    pictures_unfit: Vec<String>,
    coverage: Vec<ModuleWork>,
    /// Size of the checkpoint's tensors in fp32.
    fp32_bytes: u64,
    bytes: u64,
    /// 1 − bytes / fp32_bytes.
    reduction: f64,
    /// Edges of two bytes a value, the largest effect for its cost first.
    wide_edges: Vec<String>,
    /// Layers with weights of two digits, in the same order.
    wide_weights: Vec<String>,
    stages: Vec<StepSqnr>,
    worst: Vec<StepSqnr>,
    /// int8 layers by the SQNR of their own error, worst first.
    sensitivity: Vec<StepSqnr>,
    agreement: Agreement,
    matched_share: Option<f64>,
    /// Share of fp32's detections that int8 matches at any score.
    found_again_share: Option<f64>,
    notes: Vec<&'static str>,
    seconds: f64,
}

/// Work and parameters of a module, and their part in int8.
#[derive(Debug, Serialize)]
struct ModuleWork {
    part: &'static str,
    gmac: f64,
    gmac_int8: f64,
    /// Of these, those that read two bytes a value or two digits a weight.
    gmac_wide: f64,
    parameters: u64,
    parameters_int8: u64,
}

/// A step and its SQNR.
#[derive(Debug, Serialize)]
struct StepSqnr {
    name: String,
    sqnr_db: f64,
}

impl QuantizeSummary {
    pub(super) fn new(
        checkpoint: &Checkpoint,
        outcome: &QuantizeOutcome,
        options: &QuantizeOptions,
        seconds: f64,
    ) -> Result<Self> {
        let plan = &outcome.quantized.plan;
        let figure = |step: StepId| {
            outcome.errors[step].sqnr_db().map(|sqnr_db| StepSqnr { name: plan.steps[step].name.clone(), sqnr_db })
        };
        let key_steps = &plan.key_steps;
        let levels = plan.pooled_levels().map(|level| &level.step);
        let ends = key_steps.body.iter().chain(levels).chain([
            &key_steps.objectness[0],
            &key_steps.roi_features,
            &key_steps.box_head,
            &key_steps.class_logits,
            &key_steps.box_deltas,
        ]);
        let stages = ends.filter_map(|&step| figure(step)).collect();
        let worst = outcome.worst_steps().into_iter().take(WORST).filter_map(|(step, _)| figure(step)).collect();
        let of_layer = |&(layer, sqnr_db): &(usize, f64)| StepSqnr { name: plan.layers[layer].name.clone(), sqnr_db };
        let fp32_bytes: u64 =
            checkpoint.tensors().map(|(_, shape, _)| 4 * shape.iter().product::<usize>() as u64).sum();
        let bytes = outcome.bytes.len() as u64;
        let notes = match options.recipe {
            Recipe::Lookout => Vec::new(),
            Recipe::Paper => vec![
                "unlike the paper's code, batch norm is folded into the convolutions and ReLU and residuals are fused",
                "unlike the paper's code, weights are pair-safe in [-127, 127] and sums are exact on every CPU",
            ],
        };
        Ok(Self {
            sha256: sha256(&outcome.bytes),
            recipe: options.recipe.name(),
            observer: options.observer.to_string(),
            pictures: outcome.selection.pictures.len(),
            pictures_unfit: outcome.selection.unusable_reasons.clone(),
            coverage: coverage(plan, outcome)?,
            fp32_bytes,
            bytes,
            wide_edges: names(outcome, |part| match part {
                WidePart::Edge(step) => Some(&plan.steps[step].name),
                WidePart::Weights(_) => None,
            }),
            wide_weights: names(outcome, |part| match part {
                WidePart::Edge(_) => None,
                WidePart::Weights(layer) => Some(&plan.layers[layer].name),
            }),
            reduction: 1.0 - bytes as f64 / fp32_bytes.max(1) as f64,
            stages,
            worst,
            sensitivity: outcome.sensitivity.iter().map(of_layer).collect(),
            agreement: outcome.agreement,
            matched_share: outcome.agreement.matched_share(),
            found_again_share: outcome.found_again(),
            notes,
            seconds,
        })
    }
}

fn names<'a>(outcome: &QuantizeOutcome, name: impl Fn(WidePart) -> Option<&'a String>) -> Vec<String> {
    outcome.wide.0.iter().filter_map(|&part| name(part).cloned()).collect()
}

/// MACs and parameters of each module, for a KITTI picture of 1242 × 375 and the largest number of proposals.
fn coverage(plan: &Plan, outcome: &QuantizeOutcome) -> Result<Vec<ModuleWork>> {
    let fit = TransformParams::from(&plan.settings.transform).fit(1242, 375)?;
    let shapes = plan.shapes(fit.canvas_height, fit.canvas_width, plan.settings.rpn.post_nms_top_n);
    let macs = plan.macs(&shapes);
    let quantized = &outcome.quantized;
    let mixed_precision = quantized.mixed_precision();
    let is_int8 = |layer: usize| quantized.layers[layer].precision != Precision::Fp32;
    let mut rows: Vec<ModuleWork> = Part::ALL
        .iter()
        .map(|part| ModuleWork {
            part: part.name(),
            gmac: 0.0,
            gmac_int8: 0.0,
            gmac_wide: 0.0,
            parameters: 0,
            parameters_int8: 0,
        })
        .collect();
    let mut counted = vec![false; plan.layers.len()];
    for (id, step) in plan.steps.iter().enumerate() {
        let (Some(layer), Some(row)) = (step.layer(), rows.iter_mut().find(|row| row.part == step.part.name())) else {
            continue;
        };
        let gmac = macs[id] as f64 / 1e9;
        row.gmac += gmac;
        row.gmac_int8 += if is_int8(layer) { gmac } else { 0.0 };
        let is_wide = outcome.wide.has_weights(layer) || mixed_precision.is_wide(step.inputs[0], quantized);
        row.gmac_wide += if is_wide { gmac } else { 0.0 };
        if !std::mem::replace(&mut counted[layer], true) {
            let parameters = plan.layers[layer].parameters();
            row.parameters += parameters;
            row.parameters_int8 += if is_int8(layer) { parameters } else { 0 };
        }
    }
    Ok(rows)
}

impl fmt::Display for QuantizeSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "sha256      {}", self.sha256)?;
        writeln!(f, "recipe      {}, observer {}, {} pictures", self.recipe, self.observer, self.pictures)?;
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        let (before, after) = (megabytes(self.fp32_bytes), megabytes(self.bytes));
        writeln!(f, "size        {before:.1} MB in fp32, {after:.1} MB now: {:.1} % smaller", self.reduction * 100.0)?;
        let percent_of =
            |share: Option<f64>| share.map_or("none".to_owned(), |share| format!("{:.1} %", share * 100.0));
        let Agreement { matched, shifted, vanished, appeared } = self.agreement;
        writeln!(
            f,
            "agreement   int8 matches {} of fp32's detections of score ≥ {AGREEMENT_SCORE}, {} with such a score: \
             {matched} matched ({shifted} with IoU < 0.9), {vanished} vanished, {appeared} appeared",
            percent_of(self.found_again_share),
            percent_of(self.matched_share)
        )?;
        let listed = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        writeln!(f, "two bytes   edges: {}", listed(&self.wide_edges))?;
        writeln!(f, "            weights: {}", listed(&self.wide_weights))?;
        writeln!(
            f,
            "\n{:<16} {:>9} {:>8} {:>9} {:>12} {:>8}",
            "module", "GMAC", "int8", "two bytes", "parameters", "int8"
        )?;
        let percent = |part: f64, whole: f64| if whole > 0.0 { 100.0 * part / whole } else { 0.0 };
        let total = |value: fn(&ModuleWork) -> f64| self.coverage.iter().map(value).sum::<f64>();
        for row in &self.coverage {
            writeln!(
                f,
                "{:<16} {:>9.3} {:>6.1} % {:>7.1} % {:>12} {:>6.1} %",
                row.part,
                row.gmac,
                percent(row.gmac_int8, row.gmac),
                percent(row.gmac_wide, row.gmac),
                row.parameters,
                percent(row.parameters_int8 as f64, row.parameters as f64)
            )?;
        }
        writeln!(
            f,
            "{:<16} {:>9.3} {:>6.1} % {:>7.1} % {:>12} {:>6.1} %",
            "all",
            total(|row| row.gmac),
            percent(total(|row| row.gmac_int8), total(|row| row.gmac)),
            percent(total(|row| row.gmac_wide), total(|row| row.gmac)),
            total(|row| row.parameters as f64),
            percent(total(|row| row.parameters_int8 as f64), total(|row| row.parameters as f64))
        )?;
        writeln!(f, "\nSQNR at the end of each stage")?;
        for step in &self.stages {
            writeln!(f, "{:<44} {:>6.1} dB", step.name, step.sqnr_db)?;
        }
        writeln!(f, "\nworst steps")?;
        for step in &self.worst {
            writeln!(f, "{:<44} {:>6.1} dB", step.name, step.sqnr_db)?;
        }
        for reason in &self.pictures_unfit {
            writeln!(f, "unusable picture: {reason}")?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        write!(f, "\n{:.1} s", self.seconds)
    }
}
