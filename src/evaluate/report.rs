//! The result of an evaluation as one value, which is told as a table, as JSON and as CSV.

use std::collections::BTreeMap;

use serde::Serialize;

use super::bootstrap::{Draws, Estimate};
use super::cache::{Entry, Machine};
use super::figures::{Board, ClassFigures, Counts, FIGURES, Values};
use super::paper::PaperSums;
use super::problem::{Problem, Problems};
use crate::detector::detection::Detection;
use crate::detector::plan::Part;
use crate::measure::{Agreement, Coverage};
use crate::quantile::nearest_rank;

/// Score from which the tolerant agreement takes the other model's detections.
const TOLERANT: f32 = 0.3;

/// Everything an evaluation found. Figures are fractions of 1.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// As it was named on the command line.
    pub dataset: String,
    /// Which of its pictures.
    pub split: String,
    /// Pictures judged.
    pub pictures: usize,
    /// Labelled boxes to be found.
    pub truths: usize,
    /// Regions to ignore.
    pub regions: usize,
    /// Names of the judged classes.
    pub classes: Vec<String>,
    /// `class` or `ignore`: what the paper's figures take `DontCare` for.
    pub dont_care: &'static str,
    /// Score threshold of the paper's figures, of recall and precision, and of the agreement.
    pub score: f64,
    /// Draws behind every interval.
    pub resamples: usize,
    /// One a model, in the order of the command line.
    pub models: Vec<ModelReport>,
    /// One a pair of models.
    pub pairs: Vec<PairReport>,
    /// How many things were wrong with the labels and pictures, by kind.
    pub problem_counts: BTreeMap<&'static str, usize>,
    /// Each of them.
    pub problems: Vec<Problem>,
}

/// One model.
#[derive(Debug, Clone, Serialize)]
pub struct ModelReport {
    /// Its name.
    pub name: String,
    /// What it is; `None` for detections read from a file.
    pub model: Option<ModelFacts>,
    /// The sums behind the paper's figures.
    pub paper: PaperSums,
    /// The counts behind recall and precision.
    pub counts: Counts,
    /// Every figure with its interval.
    pub figures: BTreeMap<&'static str, Estimate>,
    /// By class.
    pub classes: Vec<ClassFigures>,
}

/// What a model is and costs.
#[derive(Debug, Clone, Serialize)]
pub struct ModelFacts {
    /// Its file.
    pub file: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// `fp32`, `int8` or `mixed`.
    pub precision: &'static str,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes of the parameters in fp32, for comparison.
    pub fp32_bytes: u64,
    /// By module.
    pub coverage: Vec<ModuleCoverage>,
    /// Times, by the machine they were taken on.
    pub timing: Vec<Timing>,
}

/// A module's coverage.
#[derive(Debug, Clone, Serialize)]
pub struct ModuleCoverage {
    /// torchvision's module, or `all`.
    pub module: &'static str,
    /// Its work and weights.
    #[serde(flatten)]
    pub coverage: Coverage,
}

/// Time from decoded picture to boxes.
#[derive(Debug, Clone, Serialize)]
pub struct Timing {
    /// Processor, threads, kernels.
    #[serde(flatten)]
    pub machine: Machine,
    /// Pictures timed.
    pub pictures: usize,
    /// Median wall time in ms.
    pub wall_ms_p50: f64,
    /// 99th percentile of wall time in ms.
    pub wall_ms_p99: f64,
    /// Median CPU time in ms.
    pub cpu_ms_p50: f64,
    /// 99th percentile of CPU time in ms.
    pub cpu_ms_p99: f64,
}

/// Two models on the same pictures.
#[derive(Debug, Clone, Serialize)]
pub struct PairReport {
    /// The reference.
    pub reference: String,
    /// The other.
    pub other: String,
    /// The other's figures less the reference's.
    pub differences: BTreeMap<&'static str, Estimate>,
    /// Both at the score threshold.
    pub strict: Agreement,
    /// The other's detections from score 0.3 on.
    pub tolerant: Agreement,
}

impl ModelFacts {
    /// Coverage with its sum, sizes, and times of `entries`.
    pub fn new(contender: &super::Contender, entries: &[Entry]) -> Self {
        let mut all = Coverage::default();
        contender.coverage.iter().for_each(|(_, row)| all.add(row));
        let row = |(part, coverage): &(Part, Coverage)| ModuleCoverage { module: part.name(), coverage: *coverage };
        let mut coverage: Vec<ModuleCoverage> = contender.coverage.iter().map(row).collect();
        coverage.push(ModuleCoverage { module: "all", coverage: all });
        Self {
            file: contender.path.display().to_string(),
            sha256: contender.sha256.clone(),
            precision: contender.precision,
            bytes: contender.bytes,
            fp32_bytes: 4 * all.parameters,
            coverage,
            timing: timing(entries),
        }
    }
}

/// Times by machine.
fn timing(entries: &[Entry]) -> Vec<Timing> {
    let mut by_machine: BTreeMap<&Machine, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
    for entry in entries {
        let (walls, cpus) = by_machine.entry(&entry.machine).or_default();
        walls.push(entry.wall_ms);
        cpus.push(entry.cpu_ms);
    }
    let row = |(machine, (mut walls, mut cpus)): (&Machine, (Vec<f64>, Vec<f64>))| Timing {
        machine: machine.clone(),
        pictures: walls.len(),
        wall_ms_p50: nearest_rank(&mut walls, 0.5).unwrap_or(0.0),
        wall_ms_p99: nearest_rank(&mut walls, 0.99).unwrap_or(0.0),
        cpu_ms_p50: nearest_rank(&mut cpus, 0.5).unwrap_or(0.0),
        cpu_ms_p99: nearest_rank(&mut cpus, 0.99).unwrap_or(0.0),
    };
    by_machine.into_iter().map(row).collect()
}

/// What is needed of a model to report on it.
pub struct Judged<'a> {
    /// Its name.
    pub name: String,
    /// What it is.
    pub facts: Option<ModelFacts>,
    /// Its results, judged.
    pub board: &'a Board,
    /// Its detections by picture, classes numbered as in the evaluation, best first.
    pub detections: &'a [Vec<Detection>],
}

/// The reports on every model and every pair of them.
pub fn compare(judged: &[Judged<'_>], draws: &Draws, score: f64) -> (Vec<ModelReport>, Vec<PairReport>) {
    let pictures = judged.first().map_or(0, |first| first.detections.len());
    let once = vec![1.0; pictures];
    let values: Vec<Values> = judged.iter().map(|judged| judged.board.figures(&once)).collect();
    let models = judged.iter().enumerate().map(|(at, judged)| ModelReport {
        name: judged.name.clone(),
        model: judged.facts.clone(),
        paper: judged.board.paper(),
        counts: judged.board.counts(),
        figures: named(|figure| draws.estimate(at, figure, values[at][figure])),
        classes: judged.board.classes(),
    });
    let mut pairs = Vec::new();
    for a in 0..judged.len() {
        for b in a + 1..judged.len() {
            let (mut strict, mut tolerant) = (Agreement::default(), Agreement::default());
            for (reference, other) in judged[a].detections.iter().zip(judged[b].detections) {
                strict.add(reference, other, score as f32, score as f32);
                tolerant.add(reference, other, score as f32, TOLERANT.min(score as f32));
            }
            let difference = |figure: usize| draws.difference(a, b, figure, values[b][figure] - values[a][figure]);
            pairs.push(PairReport {
                reference: judged[a].name.clone(),
                other: judged[b].name.clone(),
                differences: named(difference),
                strict,
                tolerant,
            });
        }
    }
    (models.collect(), pairs)
}

fn named(estimate: impl Fn(usize) -> Estimate) -> BTreeMap<&'static str, Estimate> {
    FIGURES.iter().enumerate().map(|(figure, name)| (*name, estimate(figure))).collect()
}

/// How many problems there are, by the name of their kind.
pub fn problem_counts(problems: &Problems) -> BTreeMap<&'static str, usize> {
    problems.counts().into_iter().map(|(kind, count)| (kind.name(), count)).collect()
}
