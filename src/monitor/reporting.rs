//! What is said of a pass: the log line, the metrics, the status, the table, and the event when the verdict changes.
//!
//! In: a [`Pass`] and the evidence. Out: by how many spreads each step is off, and all of the above.

use std::sync::Arc;

use serde_json::{Value, json};

use super::host::details;
use super::monitor::{Monitor, rounded};
use crate::calibrate::{Histogram, distance, mean};
use crate::message::EventName;
use crate::metrics::monitor::Step;
use crate::monitor::drift::pass::Pass;
use crate::monitor::drift::verdict::DriftVerdict;
use crate::monitor::frames::sampler::Sample;

/// Weight of the newest pass in the average of the agreement.
const AGREEMENT_WEIGHT: f64 = 0.1;
/// By how many deviations the layers' distributions are off on average counts so many times, since it varies less than
/// each. What is as calibrated keeps it below 0.4: see the scenarios of a week and of every day.
const DISTANCES: f64 = 6.0;
/// The same for how far the picture is from every scene: single pictures of a scene are seldom beyond 2.3, and never
/// for long.
const SCENE: f64 = 1.75;

impl Monitor {
    /// By how many spreads each step is off, and what shows it most: its error (with the reference), what its range
    /// could not hold, or how its values are distributed. Error alone would not do: sums that grew noisier can be off
    /// the evidence far enough to be no longer what was calibrated, and err no more than before. Without the reference
    /// only the error that a light brings to the first layer is known.
    fn off(&self, look: &Pass, distances: &[Option<f64>]) -> Vec<Option<(f64, &'static str)>> {
        let plan = self.looker.plan();
        let light = || self.evidence.light_off(plan, &look.means.image?, &look.histograms);
        let light = look.errors.is_empty().then(light).flatten();
        let of_step = |step: usize| {
            let light = light.filter(|(first, _)| *first == step).map(|(_, off)| off);
            let error = look.errors.get(step).and_then(|error| error.sqnr_db());
            let error = error.and_then(|db| self.evidence.sqnr_off(step, db));
            let values = look.histograms.get(step).and_then(Option::as_ref).map(Histogram::total);
            let clipped = look.clipped.get(step).copied().flatten().zip(values);
            let clipped = clipped.and_then(|(share, values)| self.evidence.clipped_off(step, share, values));
            let distance = distances[step].and_then(|distance| self.evidence.distance_off(step, distance));
            let signs = [(error, "error"), (light, "light"), (clipped, "clipping"), (distance, "distribution")];
            signs.into_iter().filter_map(|(off, by)| Some((off?, by))).max_by(|a, b| a.0.total_cmp(&b.0))
        };
        (0..plan.steps.len()).map(of_step).collect()
    }

    /// How far the distribution of each layer is from the evidence's. What is no layer (a pool) is counted as it is
    /// stored, on the levels of its bytes: evidence of finer values is far from that whatever the picture. It computes
    /// nothing new either; the layers that it is fed by are counted themselves.
    fn distances(&self, look: &Pass) -> Vec<Option<f64>> {
        let plan = self.looker.plan();
        let of_step = |step: usize| {
            plan.steps[step].layer()?;
            let histogram = look.histograms.get(step)?.as_ref().filter(|histogram| !histogram.is_empty())?;
            Some(distance(histogram, self.evidence.histogram[step].as_ref()?))
        };
        (0..plan.steps.len()).map(of_step).collect()
    }

    /// By how many deviations all layers together are off: how their values are distributed, on average, and how strong
    /// they are.
    fn together(&self, look: &Pass, distances: &[Option<f64>]) -> Option<f64> {
        let distances = distances.iter().enumerate();
        let off = distances.filter_map(|(step, distance)| self.evidence.distance_off(step, (*distance)?));
        let distances = mean(off).map(|off| DISTANCES * off);
        let scene = self.evidence.scene_off(&look.histograms).map(|off| SCENE * off);
        distances.into_iter().chain(scene).max_by(f64::total_cmp)
    }

    pub(super) fn report_pass(&mut self, sample: &Sample, look: &Pass, milliseconds: f64) -> DriftVerdict {
        let distances = self.distances(look);
        let signs = self.off(look, &distances);
        let off: Vec<Option<f64>> = signs.iter().map(|sign| sign.map(|(off, _)| off)).collect();
        let verdict = self.drift.update(&off, self.together(look, &distances));
        let plan = Arc::clone(self.looker.plan());
        let worst = verdict.worst;
        let name = plan.steps.get(worst).map(|step| step.name.clone()).unwrap_or_default();
        let by = signs.get(worst).copied().flatten().map(|(_, by)| by);
        let by = if verdict.together { Some("together") } else { by };
        let sqnr_db = look.errors.get(worst).and_then(|error| error.sqnr_db());
        let calibrated_db = self.evidence.sqnr_db.get(worst).copied().flatten().map(|spread| f64::from(spread.mean));
        let clipped = look.clipped.get(worst).copied().flatten();
        let largest = look.clipped.iter().flatten().copied().fold(0.0, f64::max);
        if let Some(share) = look.agreement.and_then(|agreement| agreement.matched_share()) {
            let before = self.agreement.unwrap_or(share);
            self.agreement = Some(before + AGREEMENT_WEIGHT * (share - before));
        }
        let verdict_word = if verdict.drifting { "drifting" } else { "steady" };
        tracing::info!(
            camera = self.camera(sample),
            sequence = sample.frame.sequence,
            generation = self.served.generation,
            reference = self.looker.has_reference(),
            worst = name,
            by,
            deviations = rounded(verdict.score),
            sqnr_db = sqnr_db.map(rounded),
            calibrated_db = calibrated_db.map(rounded),
            clipped = clipped.map(|share| (share * 1e6).round() / 1e6),
            distance = distances.get(worst).copied().flatten().map(rounded),
            agreement = self.agreement.map(rounded),
            milliseconds = milliseconds.round(),
            verdict = verdict_word,
            "int8 compared"
        );
        let metrics = &self.setup.metrics.monitor;
        metrics.passed("compared");
        metrics.pass_duration.observe(milliseconds * 1e-3);
        metrics.score.set(verdict.score);
        metrics.raised.set(i64::from(verdict.drifting));
        if let Some(share) = self.agreement {
            metrics.agreement.set(share);
        }
        for (step, planned) in plan.steps.iter().enumerate() {
            let label = Step { step: planned.name.clone() };
            let error = look.errors.get(step);
            if let Some(db) = error.and_then(|error| error.sqnr_db()).filter(|db| db.is_finite()) {
                metrics.sqnr.get_or_create(&label).set(db);
            }
            if let Some(ratio) = error.and_then(|error| error.relative()) {
                metrics.error.get_or_create(&label).set(ratio);
            }
            if let Some(share) = look.clipped.get(step).copied().flatten() {
                metrics.clipped.get_or_create(&label).set(share);
            }
        }
        let figures = json!({
            "worst": name,
            "by": by,
            "deviations": rounded(verdict.score),
            "sqnr_db": sqnr_db.map(rounded),
            "calibrated_db": calibrated_db.map(rounded),
            "clipped": clipped,
            "most_clipped": largest,
            "agreement": self.agreement.map(rounded),
        });
        if verdict.changed {
            let event = if verdict.drifting { EventName::DriftRaised } else { EventName::DriftCleared };
            let mut over: Vec<&str> = self.drift.steps_over().map(|step| plan.steps[step].name.as_str()).collect();
            if verdict.drifting && over.is_empty() {
                // All together: none is over by itself, this one comes nearest.
                over.push(&name);
            }
            let generation = self.served.generation;
            self.setup.host.event(
                event,
                details([("generation", generation.into()), ("steps", json!(over)), ("numbers", figures.clone())]),
            );
        }
        let mut status = figures;
        if let Value::Object(fields) = &mut status {
            fields.insert("verdict".into(), verdict_word.into());
            fields.insert("generation".into(), self.served.generation.into());
            fields.insert("reference".into(), self.looker.has_reference().into());
            fields.insert("passes".into(), self.drift.passes().into());
            fields.insert("frames_kept".into(), self.reservoir.frames().len().into());
            fields.insert("on_trial".into(), self.trial.is_some().into());
            if let Some(reason) = &self.setup.without {
                fields.insert("without_reference".into(), reason.as_str().into());
            }
        }
        self.setup.view.publish(look.maps.clone(), self.table(look, &signs, &distances));
        self.setup.host.status(status);
        verdict
    }

    /// Every step's figures, for the page that shows them.
    fn table(&self, look: &Pass, signs: &[Option<(f64, &str)>], distances: &[Option<f64>]) -> Value {
        let row = |(step, planned): (usize, &crate::detector::plan::Step)| {
            let error = look.errors.get(step).filter(|error| error.count() > 0);
            let clipped = look.clipped.get(step).copied().flatten();
            if error.is_none() && clipped.is_none() {
                return None;
            }
            let histogram = look.histograms.get(step).and_then(Option::as_ref);
            Some(json!({
                "step": planned.name,
                "sqnr_db": error.and_then(|error| error.sqnr_db()),
                "calibrated_db": self.evidence.sqnr_db[step].map(|spread| spread.mean),
                "mean_absolute": error.map(|error| error.mean_absolute()),
                "relative": error.and_then(|error| error.relative()),
                "cosine": error.and_then(|error| error.cosine()),
                "clipped": clipped,
                "used_range": histogram.map(|histogram| [histogram.min(), histogram.max()]),
                "distance": distances[step],
                "deviations": signs[step].map(|(off, _)| off),
                "by": signs[step].map(|(_, by)| by),
                "average": self.drift.averages()[step],
            }))
        };
        self.looker.plan().steps.iter().enumerate().filter_map(row).collect()
    }
}
