//! Pictures from end to end: the same set of detections as torchvision's.
//!
//! Near a threshold the last bit decides. So detections within 1e-4 of the score threshold are left out on both sides,
//! and so are those near the lowest score of the best hundred. Every other miss must hang on a boundary of a choice
//! ([`super::trace`]): what no boundary explains fails, however few they are.

use std::path::PathBuf;

use lookout::detector::detection::Detection;
use lookout::detector::fp32::{Fp32Model, Fp32Run};
use lookout::detector::settings::Settings;
use lookout::detector::tap::NoTap;
use lookout::frame::Picture;
use lookout::kernel::isa::Isa;

use super::case::{self, Backend, Case, Weights};
use super::trace::{Miss, explain};
use crate::golden::{self, shared};

/// Largest differences between two detections that are the same.
#[derive(Clone, Copy)]
pub struct Tolerance {
    pixels: f32,
    score: f32,
}

impl Tolerance {
    /// True if two detections are the same.
    pub fn same(self, a: &Detection, b: &Detection) -> bool {
        a.class_id == b.class_id
            && (a.score - b.score).abs() <= self.score
            && a.bbox.iter().zip(&b.bbox).all(|(a, b)| (a - b).abs() <= self.pixels)
    }
}

const EXACT: Tolerance = Tolerance { pixels: 0.05, score: 1e-4 };

/// Sums of a comparison over pictures.
#[derive(Default)]
struct Tally {
    wanted: usize,
    found: usize,
    matched: usize,
    /// Detections that one side alone has, with the reason.
    misses: Vec<String>,
    unexplained: Vec<String>,
}

impl Tally {
    /// Pairs detections of one picture, best first, and returns what is left over.
    fn add(&mut self, found: &[Detection], wanted: &[Detection], tolerance: Tolerance) -> Vec<Miss> {
        let mut free: Vec<&Detection> = found.iter().collect();
        let mut misses = Vec::new();
        for reference in wanted {
            match free.iter().position(|other| tolerance.same(other, reference)) {
                Some(at) => {
                    free.remove(at);
                    self.matched += 1;
                }
                None => misses.push(Miss { detection: *reference, ours: false }),
            }
        }
        misses.extend(free.into_iter().map(|alone| Miss { detection: *alone, ours: true }));
        self.wanted += wanted.len();
        self.found += found.len();
        misses
    }

    /// Writes down why there are these misses of the picture called `name`.
    fn note(&mut self, name: &str, misses: &[Miss], reasons: Vec<Option<String>>) {
        for (miss, reason) in misses.iter().zip(reasons) {
            let side = if miss.ours { "torchvision lacks" } else { "torchvision alone has" };
            let line = format!("{name}: {side} {:?}", miss.detection);
            match reason {
                Some(reason) => self.misses.push(format!("{line}: {reason}")),
                None => self.unexplained.push(line),
            }
        }
    }

    /// The share matched and the numbers of detections, against what is asked.
    fn check(&self, share: f64, numbers_within: f64) {
        let matched = self.matched as f64 / self.wanted.max(1) as f64;
        println!("{} of {} detections matched, {} found", self.matched, self.wanted, self.found);
        self.misses.iter().for_each(|miss| println!("{miss}"));
        assert!(self.unexplained.is_empty(), "no boundary explains\n{}", self.unexplained.join("\n"));
        let misses = self.misses.join("\n");
        assert!(matched >= share, "{:.2} % matched\n{misses}", matched * 100.0);
        let numbers = (self.found as f64 - self.wanted as f64).abs() / self.wanted.max(1) as f64;
        assert!(numbers <= numbers_within, "{} found, {} wanted\n{misses}", self.found, self.wanted);
    }
}

/// Without what lies within 1e-4 of a cut.
fn away_from_cuts(detections: &[Detection], threshold: f32, limit: usize) -> Vec<Detection> {
    let rank_cut = if detections.len() == limit { detections.last().map(|last| last.score) } else { None };
    let clear = |score: f32, cut: f32| (score - cut).abs() > 1e-4;
    let away =
        detections.iter().filter(|d| clear(d.score, threshold) && rank_cut.is_none_or(|cut| clear(d.score, cut)));
    away.copied().collect()
}

/// The detections of `picture`, in its pixels.
fn detect(model: &Fp32Model, picture: &Picture) -> Vec<Detection> {
    let canvas = case::canvas(model.plan(), picture);
    let mut found = Fp32Run::new(model, &canvas).unwrap().finish(&mut NoTap).unwrap();
    found.iter_mut().for_each(|detection| detection.bbox = canvas.fit.to_frame(detection.bbox));
    found
}

fn golden_detections(case: &Case) -> Vec<Detection> {
    let (labels, scores) = (case.golden.integers("labels"), case.golden.floats("scores").1);
    let rows = case.boxes("boxes").into_iter().zip(labels).zip(scores);
    rows.map(|((bbox, label), score)| Detection { class_id: label as u32, score, bbox }).collect()
}

fn compare_all(tally: &mut Tally, weights: &Weights, cases: &[Case], backend: Backend) {
    for case in cases {
        let model = weights.model(&case.plan, backend);
        let roi = &case.plan.settings.roi;
        let clear = |all: &[Detection]| away_from_cuts(all, roi.score_threshold as f32, roi.max_detections);
        let (found, wanted) = (detect(&model, &case.picture()), golden_detections(case));
        let misses = tally.add(&clear(&found), &clear(&wanted), EXACT);
        let reasons = explain(weights, &case.plan, backend, &case.canvas(), &misses, EXACT);
        tally.note(&case.name, &misses, reasons);
    }
}

#[test]
fn random_networks_detect_what_torchvision_does() {
    for (name, backend) in case::backends() {
        let mut tally = Tally::default();
        for net in ["r18", "r34", "r50"] {
            let weights = case::committed_weights(net);
            compare_all(&mut tally, &weights, &case::committed(net, &weights), backend);
        }
        println!("{name}:");
        assert!(tally.wanted > 400, "only {} detections to compare", tally.wanted);
        tally.check(0.98, 0.02);
    }
}

#[test]
fn every_network_that_torchvision_builds_detects_what_it_does() {
    let mut networks = Vec::new();
    for net in golden::networks() {
        let (weights, cases) = case::network(&net);
        assert!(!cases.is_empty(), "{net} has no picture");
        networks.push((weights, cases));
    }
    for (name, backend) in case::backends() {
        let mut tally = Tally::default();
        for (weights, cases) in &networks {
            compare_all(&mut tally, weights, cases, backend);
        }
        println!("{name}:");
        assert!(tally.wanted > 800, "only {} detections to compare", tally.wanted);
        tally.check(0.98, 0.02);
    }
}

#[test]
fn the_goldens_cover_what_they_are_named_for() {
    let weights = case::committed_weights("r18");
    let cases = case::committed("r18", &weights);
    let case = |name: &str| cases.iter().find(|case| case.name == name).unwrap();
    assert!(golden_detections(case("r18-nothing")).is_empty());
    let crowded = case("r18-crowded");
    assert_eq!(golden_detections(crowded).len(), 100);
    assert!(crowded.golden.note("candidates").unwrap().parse::<usize>().unwrap() > 100);
    let fit = case("r18-stride59").fit();
    assert_eq!(fit.canvas_height / fit.canvas_height.div_ceil(64), 59);
    let fit = case("r18-upright").fit();
    assert!(fit.height > fit.width && fit.height < fit.frame_height);
    let fit = case("r18-wide").fit();
    assert!(fit.width > fit.height && fit.height > fit.frame_height);
    let wide = golden_detections(case("r18-wide"));
    assert!(wide.iter().any(|detection| detection.bbox[0] == 0.0 || detection.bbox[2] == fit.frame_width as f32));
}

#[test]
fn the_trained_network_detects_what_torchvision_does() {
    let Some(weights) = case::shared_weights() else { return };
    let cases = case::in_shared_folder(&weights);
    for (name, backend) in case::fast_backends() {
        let mut tally = Tally::default();
        compare_all(&mut tally, &weights, &cases, backend);
        println!("{name}:");
        tally.check(0.995, 0.005);
    }
}

/// torchvision's detections on the shared road pictures with a score of at least a half, against ours. They are JPEGs
/// and decoders differ by a level or two, so boxes may lie a pixel apart and scores 0.01. Every `step`-th picture.
fn road_pictures(step: usize) {
    let Some(weights) = case::shared_weights() else { return };
    let Some(path) = shared("models/golden/road-r50-fpn-road-test.json") else { return };
    let Some(folder) = shared("data/road-test/image_2") else { return };
    let reference: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut settings = Settings::default();
    settings.transform.min_size = vec![400];
    let plan = weights.plan(settings);
    let backend = Backend::Kernel(Isa::best());
    let model = weights.model(&plan, backend);

    let tolerance = Tolerance { pixels: 1.0, score: 0.01 };
    let mut tally = Tally::default();
    let mut missed = Vec::new();
    for (file, golden) in reference.as_object().unwrap().iter().step_by(step) {
        let path: PathBuf = folder.join(file);
        let picture = Picture::open(&path).unwrap();
        let found = detect(&model, &picture);
        let list = |key: &str| golden[key].as_array().unwrap().iter();
        let number = |value: &serde_json::Value| value.as_f64().unwrap() as f32;
        let class = |name: &str| ["Person", "TwoWheeler", "Vehicle"].iter().position(|&known| known == name);
        let rows = list("boxes").zip(list("scores")).zip(list("labels"));
        let wanted: Vec<Detection> = rows
            .map(|((corners, score), label)| Detection {
                class_id: class(label.as_str().unwrap()).unwrap() as u32 + 1,
                score: number(score),
                bbox: std::array::from_fn(|i| number(&corners[i])),
            })
            .filter(|detection| detection.score >= 0.5)
            .collect();
        let mut misses = tally.add(&found, &wanted, tolerance);
        // Only torchvision's strong ones were asked for: what else we have is no miss.
        misses.retain(|miss| !miss.ours);
        missed.push((file, picture, misses));
    }
    println!("{} of {} detections matched", tally.matched, tally.wanted);
    if tally.wanted == 0 || (tally.matched as f64) < 0.98 * tally.wanted as f64 {
        for (file, picture, misses) in missed {
            let canvas = case::canvas(&plan, &picture);
            tally.note(file, &misses, explain(&weights, &plan, backend, &canvas, &misses, tolerance));
        }
        panic!("{:#?}", tally.misses.iter().chain(&tally.unexplained).collect::<Vec<_>>());
    }
}

#[test]
fn some_road_pictures() {
    road_pictures(12);
}

#[test]
#[ignore = "minutes: all 84 pictures at full size"]
fn all_road_pictures() {
    road_pictures(1);
}
