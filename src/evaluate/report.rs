//! Report of an evaluation, written as a table, JSON or CSV.

use std::collections::BTreeMap;

use serde::Serialize;

use super::bootstrap::{BootstrapSamples, Estimate};
use super::cache::{CachedResult, TimingMachine};
use super::figures::{ClassFigures, DetectionCounts, FIGURES, FigureValues, ModelScores};
use super::paper::PaperSums;
use super::problem::{Problem, Problems};
use super::run::EvaluatedModel;
use crate::detector::detection::Detection;
use crate::detector::plan::Part;
use crate::measure::{Agreement, Coverage};
use crate::quantile::nearest_rank;

/// Score threshold of the other model in the tolerant agreement.
const TOLERANT_SCORE: f32 = 0.3;

/// Results of an evaluation. Metrics are fractions of 1.
#[derive(Debug, Clone, Serialize)]
pub struct EvaluationReport {
    /// Layout and path of the dataset.
    pub dataset: String,
    /// Name of the split.
    pub split: String,
    /// Evaluated pictures.
    pub pictures: usize,
    /// Ground-truth boxes.
    pub truths: usize,
    /// Regions to ignore.
    pub regions: usize,
    /// Names of the evaluated classes.
    pub classes: Vec<String>,
    /// Treatment of `DontCare` in the paper's metrics: `class` or `ignore`.
    pub dont_care: &'static str,
    /// Score threshold of the paper's metrics, of recall and precision, and of the agreement.
    pub score: f64,
    /// BootstrapSamples behind every interval.
    pub resamples: usize,
    /// Each model, in the order of the command line.
    pub models: Vec<ModelReport>,
    /// Each pair of models.
    pub pairs: Vec<PairReport>,
    /// Number of problems of labels and pictures, by kind.
    pub problem_counts: BTreeMap<&'static str, usize>,
    /// The problems.
    pub problems: Vec<Problem>,
}

/// Results of one model.
#[derive(Debug, Clone, Serialize)]
pub struct ModelReport {
    /// Its name.
    pub name: String,
    /// Facts about the model; `None` for detections from a file.
    pub model: Option<EvaluatedModelInfo>,
    /// Sums of the paper's metrics.
    pub paper: PaperSums,
    /// Counts of recall and precision.
    pub counts: DetectionCounts,
    /// Every metric with its interval.
    pub figures: BTreeMap<&'static str, Estimate>,
    /// Metrics by class.
    pub classes: Vec<ClassFigures>,
}

/// File, precision, size and times of a model.
#[derive(Debug, Clone, Serialize)]
pub struct EvaluatedModelInfo {
    /// Path of its file.
    pub file: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// `fp32`, `int8` or `mixed`.
    pub precision: &'static str,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Size of the parameters in fp32, in bytes.
    pub fp32_bytes: u64,
    /// Coverage by module, then of all.
    pub coverage: Vec<ModuleCoverage>,
    /// Times by machine.
    pub timing: Vec<ModelTiming>,
}

/// Coverage of one module.
#[derive(Debug, Clone, Serialize)]
pub struct ModuleCoverage {
    /// torchvision's module, or `all`.
    pub module: &'static str,
    /// Work and parameters.
    #[serde(flatten)]
    pub coverage: Coverage,
}

/// Time from decoded picture to boxes on one machine.
#[derive(Debug, Clone, Serialize)]
pub struct ModelTiming {
    /// Processor, threads and kernel.
    #[serde(flatten)]
    pub machine: TimingMachine,
    /// Timed pictures.
    pub pictures: usize,
    /// Median of the wall time, in milliseconds.
    pub wall_ms_p50: f64,
    /// 99th percentile of the wall time, in milliseconds.
    pub wall_ms_p99: f64,
    /// Median of the CPU time, in milliseconds.
    pub cpu_ms_p50: f64,
    /// 99th percentile of the CPU time, in milliseconds.
    pub cpu_ms_p99: f64,
}

/// Comparison of two models.
#[derive(Debug, Clone, Serialize)]
pub struct PairReport {
    /// Name of the reference.
    pub reference: String,
    /// Name of the other model.
    pub other: String,
    /// Metrics of the other model minus those of the reference.
    pub differences: BTreeMap<&'static str, Estimate>,
    /// Agreement with the score threshold for both.
    pub strict: Agreement,
    /// Agreement with score 0.3 for the other model.
    pub tolerant: Agreement,
}

impl EvaluatedModelInfo {
    /// Facts about `model`, with the times of `results`.
    pub fn new(model: &EvaluatedModel, results: &[CachedResult]) -> Self {
        let mut all = Coverage::default();
        model.coverage.iter().for_each(|(_, row)| all.add(row));
        let row = |(part, coverage): &(Part, Coverage)| ModuleCoverage { module: part.name(), coverage: *coverage };
        let mut coverage: Vec<ModuleCoverage> = model.coverage.iter().map(row).collect();
        coverage.push(ModuleCoverage { module: "all", coverage: all });
        Self {
            file: model.path.display().to_string(),
            sha256: model.sha256.clone(),
            precision: model.precision,
            bytes: model.bytes,
            fp32_bytes: 4 * all.parameters,
            coverage,
            timing: timing(results),
        }
    }
}

/// Times of all pictures on one machine.
#[derive(Default)]
struct MachineTimes {
    wall_ms: Vec<f64>,
    cpu_ms: Vec<f64>,
}

/// Times by machine.
fn timing(results: &[CachedResult]) -> Vec<ModelTiming> {
    let mut by_machine: BTreeMap<&TimingMachine, MachineTimes> = BTreeMap::new();
    for result in results {
        let times = by_machine.entry(&result.machine).or_default();
        times.wall_ms.push(result.wall_ms);
        times.cpu_ms.push(result.cpu_ms);
    }
    let row = |(machine, MachineTimes { mut wall_ms, mut cpu_ms }): (&TimingMachine, MachineTimes)| ModelTiming {
        machine: machine.clone(),
        pictures: wall_ms.len(),
        wall_ms_p50: nearest_rank(&mut wall_ms, 0.5).unwrap_or(0.0),
        wall_ms_p99: nearest_rank(&mut wall_ms, 0.99).unwrap_or(0.0),
        cpu_ms_p50: nearest_rank(&mut cpu_ms, 0.5).unwrap_or(0.0),
        cpu_ms_p99: nearest_rank(&mut cpu_ms, 0.99).unwrap_or(0.0),
    };
    by_machine.into_iter().map(row).collect()
}

/// A model with its scores, as input of the report.
pub struct ScoredModel<'a> {
    /// Name.
    pub name: String,
    /// Facts about the model; `None` for detections from a file.
    pub info: Option<EvaluatedModelInfo>,
    /// Scores.
    pub scores: &'a ModelScores,
    /// Detections by picture, with the evaluation's class numbers, by descending score.
    pub detections: &'a [Vec<Detection>],
}

/// Results of every model, and comparisons of every pair.
pub fn compare(
    scored: &[ScoredModel<'_>],
    samples: &BootstrapSamples,
    score: f64,
) -> (Vec<ModelReport>, Vec<PairReport>) {
    let pictures = scored.first().map_or(0, |first| first.detections.len());
    let equal_weights = vec![1.0; pictures];
    let values: Vec<FigureValues> = scored.iter().map(|scored| scored.scores.figures(&equal_weights)).collect();
    let models = scored.iter().enumerate().map(|(at, scored)| ModelReport {
        name: scored.name.clone(),
        model: scored.info.clone(),
        paper: scored.scores.paper(),
        counts: scored.scores.counts(),
        figures: named(|figure| samples.estimate(at, figure, values[at][figure])),
        classes: scored.scores.class_figures(),
    });
    let mut pairs = Vec::new();
    for a in 0..scored.len() {
        for b in a + 1..scored.len() {
            let (mut strict, mut tolerant) = (Agreement::default(), Agreement::default());
            for (reference, other) in scored[a].detections.iter().zip(scored[b].detections) {
                strict.add(reference, other, score as f32, score as f32);
                tolerant.add(reference, other, score as f32, TOLERANT_SCORE.min(score as f32));
            }
            let difference = |figure: usize| samples.difference(a, b, figure, values[b][figure] - values[a][figure]);
            pairs.push(PairReport {
                reference: scored[a].name.clone(),
                other: scored[b].name.clone(),
                differences: named(difference),
                strict,
                tolerant,
            });
        }
    }
    (models.collect(), pairs)
}

/// Estimates of every metric by its name.
fn named(estimate: impl Fn(usize) -> Estimate) -> BTreeMap<&'static str, Estimate> {
    FIGURES.iter().enumerate().map(|(figure, name)| (*name, estimate(figure))).collect()
}

/// Number of problems by the name of their kind.
pub fn problem_counts(problems: &Problems) -> BTreeMap<&'static str, usize> {
    problems.counts().into_iter().map(|(kind, count)| (kind.name(), count)).collect()
}
