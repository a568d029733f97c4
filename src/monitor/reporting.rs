//! Reporting of a pass: log line, metrics, status, table, and the event when the verdict changes.
//!
//! In: a pass, its deviations and its verdict. Out: one log line, updated metrics and status, and the table for the page.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::drift::baseline::Baseline;
use super::drift::deviation::Deviations;
use super::drift::pass::Pass;
use super::drift::verdict::{DriftState, DriftVerdict};
use super::frames::sampler::Sample;
use super::host::{Host, details};
use super::numbers::rounded;
use super::view::{LatestPass, SeriesPoint};
use crate::detector::plan::Plan;
use crate::message::{EventName, Moment};
use crate::metrics::Metrics;
use crate::metrics::monitor::StepLabel;

/// Weight of the newest pass in the moving average of the agreement.
const AGREEMENT_WEIGHT: f64 = 0.1;

/// Reports passes.
pub struct Reporter {
    cameras: Arc<[String]>,
    host: Arc<dyn Host>,
    metrics: Arc<Metrics>,
    view: Arc<LatestPass>,
    /// The reason why there is no reference, where the owner wanted one.
    without_reference: Option<String>,
    /// Moving average of the matched share of the reference's detections.
    agreement: Option<f64>,
}

/// A pass to report.
pub struct PassReport<'a> {
    /// The sample.
    pub sample: &'a Sample,
    /// Its pass through the serving model.
    pub pass: &'a Pass,
    /// Duration of the pass, pauses included.
    pub milliseconds: f64,
    /// Deviations from the baseline.
    pub deviations: &'a Deviations,
    /// The verdict.
    pub verdict: &'a DriftVerdict,
    /// State of drift after this pass.
    pub drift: &'a DriftState,
    /// The calibration baseline.
    pub baseline: &'a Baseline,
    /// The network.
    pub plan: &'a Plan,
    /// The serving generation.
    pub generation: u32,
    /// True if the reference ran too.
    pub with_reference: bool,
    /// True if the serving generation is on probation.
    pub on_probation: bool,
    /// Count of frames in the reservoir.
    pub stored_frames: usize,
}

/// Figures of a pass.
#[derive(Serialize)]
struct PassFigures<'a> {
    /// Name of the worst step.
    worst: &'a str,
    by: Option<&'static str>,
    deviations: f64,
    sqnr_db: Option<f64>,
    calibrated_db: Option<f64>,
    clipped: Option<f64>,
    most_clipped: f64,
    agreement: Option<f64>,
    /// Mean grey level of the picture, from 0 to 255.
    brightness: Option<f64>,
    /// The same of the calibration pictures.
    calibrated_brightness: Option<f64>,
}

/// State of drift in the status message.
#[derive(Serialize)]
struct DriftStatus<'a> {
    #[serde(flatten)]
    figures: &'a PassFigures<'a>,
    verdict: &'static str,
    /// Deviations at which drift is raised.
    threshold: f64,
    generation: u32,
    reference: bool,
    passes: u64,
    #[serde(rename = "frames_kept")]
    stored_frames: usize,
    #[serde(rename = "on_trial")]
    on_probation: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    without_reference: Option<&'a str>,
}

/// Details of the events `drift.raised` and `drift.cleared`.
#[derive(Serialize)]
struct DriftEvent<'a> {
    generation: u32,
    steps: Vec<&'a str>,
    numbers: &'a PassFigures<'a>,
}

/// Figures of one step in the table.
#[derive(Serialize)]
struct StepRow<'a> {
    step: &'a str,
    sqnr_db: Option<f64>,
    calibrated_db: Option<f32>,
    mean_absolute: Option<f64>,
    relative: Option<f64>,
    cosine: Option<f64>,
    clipped: Option<f64>,
    used_range: Option<[f32; 2]>,
    distance: Option<f64>,
    deviations: Option<f64>,
    by: Option<&'static str>,
    average: Option<f64>,
}

impl Reporter {
    /// A reporter to `host`, `metrics` and `view`.
    pub fn new(
        cameras: Arc<[String]>,
        host: Arc<dyn Host>,
        metrics: Arc<Metrics>,
        view: Arc<LatestPass>,
        without_reference: Option<String>,
    ) -> Self {
        Self { cameras, host, metrics, view, without_reference, agreement: None }
    }

    /// Restarts the moving average for another serving generation, from the agreement at its calibration.
    pub fn restart(&mut self, agreement: Option<f64>) {
        self.agreement = agreement;
    }

    /// Name of the camera of `sample`.
    pub fn camera(&self, sample: &Sample) -> &str {
        self.cameras.get(sample.camera).map(String::as_str).unwrap_or_default()
    }

    /// Reports a pass.
    pub fn report(&mut self, report: &PassReport<'_>) {
        let PassReport { pass, verdict, .. } = report;
        if let Some(share) = pass.agreement.and_then(|agreement| agreement.matched_share()) {
            let before = self.agreement.unwrap_or(share);
            self.agreement = Some(before + AGREEMENT_WEIGHT * (share - before));
        }
        let figures = self.figures(report);
        self.log(report, &figures);
        self.count(report);
        if verdict.changed {
            self.publish_change(report, &figures);
        }
        let point = SeriesPoint {
            at: Moment(report.sample.frame.captured_at),
            camera: self.camera(report.sample).into(),
            deviations: figures.deviations,
            agreement: figures.agreement,
            brightness: figures.brightness,
            generation: report.generation,
            drifting: verdict.drifting,
            steps: report.drift.averages().iter().map(|average| average.map(|average| average as f32)).collect(),
        };
        let names = report.plan.steps.iter().map(|step| step.name.as_str());
        self.view.publish(pass.maps.clone(), table(report), point, names);
        self.publish_status(report, &figures);
    }

    fn figures<'a>(&self, report: &PassReport<'a>) -> PassFigures<'a> {
        let PassReport { pass, deviations, verdict, baseline, plan, .. } = report;
        let worst = verdict.worst_step;
        let by = deviations.steps.get(worst).copied().flatten().map(|step| step.kind.name());
        let sqnr_db = pass.errors.get(worst).and_then(|error| error.sqnr_db());
        let calibrated_db = baseline.sqnr_db.get(worst).copied().flatten().map(|spread| f64::from(spread.mean));
        PassFigures {
            worst: plan.steps.get(worst).map(|step| step.name.as_str()).unwrap_or_default(),
            by: if verdict.by_all_layers { Some("together") } else { by },
            deviations: rounded(verdict.score),
            sqnr_db: sqnr_db.map(rounded),
            calibrated_db: calibrated_db.map(rounded),
            clipped: pass.clipped.get(worst).copied().flatten(),
            most_clipped: pass.clipped.iter().flatten().copied().fold(0.0, f64::max),
            agreement: self.agreement.map(rounded),
            brightness: pass.input_means.image.map(|image| rounded(image.brightness())),
            calibrated_brightness: baseline
                .first_layer
                .as_ref()
                .map(|first| rounded(first.reference_image().brightness())),
        }
    }

    /// Logs a pass. A device compares thousands a day, so only those that change the verdict are worth a line by default.
    fn log(&self, report: &PassReport<'_>, figures: &PassFigures<'_>) {
        macro_rules! log_at {
            ($level:ident) => {
                tracing::$level!(
                    camera = self.camera(report.sample),
                    sequence = report.sample.frame.sequence,
                    generation = report.generation,
                    reference = report.with_reference,
                    worst = figures.worst,
                    by = figures.by,
                    deviations = figures.deviations,
                    sqnr_db = figures.sqnr_db,
                    calibrated_db = figures.calibrated_db,
                    clipped = figures.clipped.map(|share| (share * 1e6).round() / 1e6),
                    distance =
                        report.deviations.distances.get(report.verdict.worst_step).copied().flatten().map(rounded),
                    agreement = figures.agreement,
                    milliseconds = report.milliseconds.round(),
                    verdict = verdict_name(report.verdict),
                    "int8 compared"
                )
            };
        }
        if report.verdict.changed {
            log_at!(info);
        } else {
            log_at!(debug);
        }
    }

    fn count(&self, report: &PassReport<'_>) {
        let PassReport { pass, verdict, plan, .. } = report;
        let metrics = &self.metrics.monitor;
        metrics.passed("compared");
        metrics.pass_duration.observe(report.milliseconds * 1e-3);
        metrics.score.set(verdict.score);
        metrics.raised.set(i64::from(verdict.drifting));
        if let Some(share) = self.agreement {
            metrics.agreement.set(share);
        }
        for (step, planned) in plan.steps.iter().enumerate() {
            let label = StepLabel { step: planned.name.clone() };
            let error = pass.errors.get(step);
            if let Some(db) = error.and_then(|error| error.sqnr_db()).filter(|db| db.is_finite()) {
                metrics.sqnr.get_or_create(&label).set(db);
            }
            if let Some(ratio) = error.and_then(|error| error.relative()) {
                metrics.error.get_or_create(&label).set(ratio);
            }
            if let Some(share) = pass.clipped.get(step).copied().flatten() {
                metrics.clipped.get_or_create(&label).set(share);
            }
        }
    }

    fn publish_change(&self, report: &PassReport<'_>, figures: &PassFigures<'_>) {
        let is_raised = report.verdict.drifting;
        let event = if is_raised { EventName::DriftRaised } else { EventName::DriftCleared };
        let mut steps: Vec<&str> =
            report.drift.steps_over().map(|step| report.plan.steps[step].name.as_str()).collect();
        if is_raised && steps.is_empty() {
            // All layers together: none is over the threshold alone. The worst comes nearest.
            steps.push(figures.worst);
        }
        let about = DriftEvent { generation: report.generation, steps, numbers: figures };
        self.host.event(event, details(&about));
    }

    fn publish_status(&self, report: &PassReport<'_>, figures: &PassFigures<'_>) {
        let status = DriftStatus {
            figures,
            verdict: verdict_name(report.verdict),
            threshold: report.drift.raise_threshold(),
            generation: report.generation,
            reference: report.with_reference,
            passes: report.drift.passes(),
            stored_frames: report.stored_frames,
            on_probation: report.on_probation,
            without_reference: self.without_reference.as_deref(),
        };
        self.host.status(serde_json::to_value(&status).unwrap_or(Value::Null));
    }
}

fn verdict_name(verdict: &DriftVerdict) -> &'static str {
    if verdict.drifting { "drifting" } else { "steady" }
}

/// Figures of every step that was measured.
fn table(report: &PassReport<'_>) -> Value {
    let PassReport { pass, deviations, drift, baseline, plan, .. } = report;
    let row = |(step, planned): (usize, &crate::detector::plan::Step)| {
        let error = pass.errors.get(step).filter(|error| error.count() > 0);
        let clipped = pass.clipped.get(step).copied().flatten();
        if error.is_none() && clipped.is_none() {
            return None;
        }
        let histogram = pass.histograms.get(step).and_then(Option::as_ref);
        let row = StepRow {
            step: &planned.name,
            sqnr_db: error.and_then(|error| error.sqnr_db()),
            calibrated_db: baseline.sqnr_db[step].map(|spread| spread.mean),
            mean_absolute: error.map(|error| error.mean_absolute()),
            relative: error.and_then(|error| error.relative()),
            cosine: error.and_then(|error| error.cosine()),
            clipped,
            used_range: histogram.map(|histogram| [histogram.min(), histogram.max()]),
            distance: deviations.distances[step],
            deviations: deviations.steps[step].map(|step| step.spreads),
            by: deviations.steps[step].map(|step| step.kind.name()),
            average: drift.averages()[step],
        };
        serde_json::to_value(&row).ok()
    };
    plan.steps.iter().enumerate().filter_map(row).collect()
}
