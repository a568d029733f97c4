//! Every stage from its golden input: relative L2 at most 1e-5.
//!
//! Stages cannot be chained at such a tolerance: a top-k or a suppression decides otherwise on the last bit. So each
//! one gets what torchvision's got, and only its own error counts.

use lookout::detector::detection::Detection;
use lookout::detector::fp32::{Fp32Model, Fp32Run, StepOutput};
use lookout::detector::plan::{Plan, StepId};
use lookout::detector::tap::NoTap;

use super::case::{self, Backend, Case, Weights};
use crate::golden;

const TOLERANCE: f64 = 1e-5;

/// ‖found − wanted‖ / ‖wanted‖; infinite where the sizes differ.
fn relative_l2(found: &[f32], wanted: &[f32]) -> f64 {
    if found.len() != wanted.len() {
        return f64::INFINITY;
    }
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let difference = norm(&mut found.iter().zip(wanted).map(|(&a, &b)| f64::from(a) - f64::from(b)));
    let reference = norm(&mut wanted.iter().map(|&value| f64::from(value)));
    if difference == 0.0 { 0.0 } else { difference / reference }
}

fn numbers(value: &StepOutput) -> Vec<f32> {
    match value {
        StepOutput::Map(map) => map.flatten_all().unwrap().to_vec1().unwrap(),
        StepOutput::Boxes(boxes) => boxes.as_flattened().to_vec(),
        StepOutput::Detections(found) => found.iter().flat_map(|d| d.bbox.into_iter().chain([d.score])).collect(),
    }
}

/// Runs what `target` needs beyond the values that are there.
fn compute(plan: &Plan, run: &mut Fp32Run<'_>, target: StepId) {
    if run.value(target).is_some() {
        return;
    }
    for &input in &plan.steps[target].inputs {
        compute(plan, run, input);
    }
    run.compute(target, &mut NoTap).unwrap();
}

/// One backend on one golden file.
struct Bench<'a> {
    case: &'a Case,
    model: &'a Fp32Model,
    backend: &'a str,
    failures: &'a mut Vec<String>,
    compared: usize,
}

impl Bench<'_> {
    /// Feeds `inputs`, and compares what each target becomes.
    fn stage(&mut self, inputs: Vec<(StepId, StepOutput)>, targets: &[(&str, StepId, StepOutput)]) {
        let mut run = Fp32Run::empty(self.model, self.case.fit());
        for (step, value) in inputs {
            run.put(step, value);
        }
        for (name, step, wanted) in targets {
            compute(&self.case.plan, &mut run, *step);
            let found = numbers(run.value(*step).unwrap());
            self.note(name, relative_l2(&found, &numbers(wanted)));
        }
    }

    fn note(&mut self, stage: &str, error: f64) {
        let line = format!("{:22} {:7} {stage:20} {error:.1e}", self.case.name, self.backend);
        println!("{line}");
        self.compared += 1;
        if error.is_nan() || error > TOLERANCE {
            self.failures.push(line);
        }
    }

    fn all(&mut self) {
        let (case, marks) = (self.case, &self.case.plan.key_steps);
        let maps = |prefix: &str, first: usize, steps: &[StepId]| -> Vec<(String, StepId, StepOutput)> {
            let named = steps.iter().enumerate().map(|(i, &step)| (format!("{prefix}{}", first + i), step));
            named
                .filter(|(name, ..)| case.has(name))
                .map(|(name, step)| (case.map(&name), name, step))
                .map(|(v, n, s)| (n, s, v))
                .collect()
        };
        let levels: Vec<StepId> = case.plan.levels.iter().map(|level| level.step).collect();
        let put = |values: &[(String, StepId, StepOutput)]| -> Vec<(StepId, StepOutput)> {
            values.iter().map(|(_, step, value)| (*step, value.clone())).collect()
        };
        let mut body = maps("c", 2, &marks.body);
        body.extend(maps("body.", 0, &marks.body));
        let mut pyramid = maps("p", 2, &levels);
        pyramid.extend(maps("level.", 0, &levels));
        let heads: Vec<_> = maps("objectness.", 0, &marks.objectness)
            .into_iter()
            .chain(maps("rpn_deltas.", 0, &marks.deltas))
            .collect();

        if case.has("transformed") {
            let wanted = case.map("transformed");
            self.note("transformed", relative_l2(&case.canvas().data, &numbers(&wanted)));
            self.inner(wanted.clone());
            let mut before = (marks.image, wanted);
            for (name, step, value) in &body {
                self.stage(vec![before], &[(name, *step, value.clone())]);
                before = (*step, value.clone());
            }
        }
        if !body.is_empty() && !pyramid.is_empty() {
            let targets: Vec<_> =
                pyramid.iter().map(|(name, step, value)| (name.as_str(), *step, value.clone())).collect();
            self.stage(put(&body), &targets);
        }
        if !pyramid.is_empty() && !heads.is_empty() {
            let targets: Vec<_> =
                heads.iter().map(|(name, step, value)| (name.as_str(), *step, value.clone())).collect();
            self.stage(put(&pyramid), &targets);
        }
        if !heads.is_empty() && case.has("proposals") {
            let wanted = StepOutput::Boxes(case.boxes("proposals"));
            self.stage(put(&heads), &[("proposals", marks.proposals, wanted)]);
        }
        let roi = case.golden.names().into_iter().find(|name| name.starts_with("roi_features_first"));
        if let Some(roi) = roi {
            let count: usize = roi.trim_start_matches("roi_features_first").parse().unwrap();
            let mut first = case.boxes("proposals");
            first.truncate(count);
            let mut inputs = put(&pyramid);
            inputs.push((marks.proposals, StepOutput::Boxes(first)));
            let wanted = case.windows(&roi);
            self.stage(inputs, &[("roi_features", marks.roi_features, wanted.clone())]);

            let (shape, mut head) = case.golden.floats("box_head");
            head.truncate(count * shape[1]);
            let head = candle_core::Tensor::from_vec(head, (count, 1, shape[1]), &candle_core::Device::Cpu).unwrap();
            self.stage(vec![(marks.roi_features, wanted)], &[("box_head", marks.box_head, StepOutput::Map(head))]);
        }
        if case.has("box_head") {
            let targets = [
                ("class_logits", marks.class_logits, case.table("class_logits")),
                ("box_deltas", marks.box_deltas, case.table("box_deltas")),
            ];
            self.stage(vec![(marks.box_head, case.table("box_head"))], &targets);
        }
        if case.has("class_logits") {
            self.detections();
        }
    }

    /// Modules inside of the body, from the canvas on.
    fn inner(&mut self, canvas: StepOutput) {
        let case = self.case;
        let names = case.golden.names();
        for name in names.iter().filter_map(|name| name.strip_prefix("inner.")) {
            // A gate is the output of fc2 with its function; a `Conv2dNormActivation` is named by its convolution.
            let gate = name.strip_suffix("scale_activation").map(|module| format!("{module}fc2"));
            let steps = [gate.unwrap_or_else(|| name.to_owned()), format!("{name}.0")];
            let step = steps.iter().find_map(|name| case.plan.find(name)).unwrap_or_else(|| panic!("no step {name}"));
            let value = case.map(&format!("inner.{name}"));
            self.stage(vec![(case.plan.key_steps.image, canvas.clone())], &[(name, step, value)]);
        }
    }

    /// Logits, deltas and proposals → detections in pixels of the picture.
    fn detections(&mut self) {
        let (case, marks) = (self.case, &self.case.plan.key_steps);
        let mut run = Fp32Run::empty(self.model, case.fit());
        run.put(marks.class_logits, case.table("class_logits"));
        run.put(marks.box_deltas, case.table("box_deltas"));
        run.put(marks.proposals, StepOutput::Boxes(case.boxes("proposals")));
        run.compute(marks.detections, &mut NoTap).unwrap();
        let Some(StepOutput::Detections(found)) = run.value(marks.detections) else { panic!("no detections") };
        let labels: Vec<usize> = found.iter().map(|detection| detection.class_id as usize).collect();
        let boxes: Vec<f32> = found.iter().flat_map(|detection| case.fit().to_frame(detection.bbox)).collect();
        let scores: Vec<f32> = found.iter().map(|detection: &Detection| detection.score).collect();
        self.note("labels", if labels == case.golden.integers("labels") { 0.0 } else { f64::INFINITY });
        self.note("boxes", relative_l2(&boxes, &case.golden.floats("boxes").1));
        self.note("scores", relative_l2(&scores, &case.golden.floats("scores").1));
    }
}

fn compare_all(weights: &Weights, cases: &[Case], backends: &[(&'static str, Backend)], at_least: usize) {
    let mut failures = Vec::new();
    for &(backend, choice) in backends {
        let mut compared = 0;
        for case in cases {
            let model = weights.model(&case.plan, choice);
            let mut bench = Bench { case, model: &model, backend, failures: &mut failures, compared: 0 };
            bench.all();
            compared += bench.compared;
        }
        assert!(compared >= at_least, "only {compared} stages compared");
    }
    assert!(failures.is_empty(), "beyond {TOLERANCE:.0e}:\n{}", failures.join("\n"));
}

#[test]
fn stages_of_a_narrow_resnet18() {
    let weights = case::committed_weights("r18");
    compare_all(&weights, &case::committed("r18", &weights), &case::backends(), 100);
}

#[test]
fn stages_of_a_narrow_resnet34() {
    let weights = case::committed_weights("r34");
    compare_all(&weights, &case::committed("r34", &weights), &case::backends(), 10);
}

#[test]
fn stages_of_a_narrow_resnet50() {
    let weights = case::committed_weights("r50");
    compare_all(&weights, &case::committed("r50", &weights), &case::backends(), 30);
}

#[test]
fn stages_of_every_network_that_torchvision_builds() {
    let names = golden::networks();
    assert!(names.len() >= 24, "{names:?}");
    for net in names {
        let (weights, cases) = case::network(&net);
        let stages = if cases.iter().any(|case| case.has("proposals")) { 10 } else { 0 };
        compare_all(&weights, &cases, &case::backends(), stages);
    }
}

#[test]
fn stages_of_the_trained_resnet50() {
    let Some(weights) = case::shared_weights() else { return };
    compare_all(&weights, &case::in_shared_folder(&weights), &case::fast_backends(), 56);
}
