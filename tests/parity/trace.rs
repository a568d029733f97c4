//! Reason why one side alone has a detection.
//!
//! Two right executors differ in their last bits. A choice that depends on these bits (a top k, a suppression, a
//! threshold) may fall either way. In: a detection that one side lacks. Out: the boundary that it depends on. Moved by
//! little more than the rounding of the compared value, that boundary makes the difference vanish.

use std::sync::Arc;

use lookout::detector::detection::Detection;
use lookout::detector::fp32::Fp32Run;
use lookout::detector::plan::Plan;
use lookout::detector::settings::Settings;
use lookout::detector::tap::NoTap;
use lookout::tensor::Canvas;

use super::case::{Backend, Weights};
use super::detections::Tolerance;

/// A detection of one side that the other has not.
pub struct Miss {
    pub detection: Detection,
    /// Ours and not torchvision's, rather than the other way round.
    pub ours: bool,
}

/// A boundary moved a little: its name, the settings with it moved, and what the canvas is multiplied by.
type Nudge = (String, Settings, f32);

fn nudges(settings: &Settings) -> Vec<Nudge> {
    let mut all: Vec<Nudge> = Vec::new();
    let mut add = |name: String, change: &dyn Fn(&mut Settings)| {
        let mut moved = settings.clone();
        change(&mut moved);
        all.push((name, moved, 1.0));
    };
    for by in [-1e-5, 1e-5, -1e-4, 1e-4, -1e-3, 1e-3] {
        add(format!("RPN NMS, threshold moved by {by:e}"), &|s| s.rpn.nms_threshold += by);
        add(format!("class NMS, threshold moved by {by:e}"), &|s| s.roi.nms_threshold += by);
    }
    for by in [-1, 1, -3, 3] {
        let add_to = |count: usize| count.saturating_add_signed(by);
        add(format!("RPN best of a level, {by:+}"), &|s| s.rpn.pre_nms_top_n = add_to(s.rpn.pre_nms_top_n));
        add(format!("RPN best of all levels, {by:+}"), &|s| s.rpn.post_nms_top_n = add_to(s.rpn.post_nms_top_n));
        add(format!("best detections, {by:+}"), &|s| s.roi.max_detections = add_to(s.roi.max_detections));
    }
    for by in [-1e-4, 1e-4] {
        add(format!("score threshold moved by {by:e}"), &|s| s.roi.score_threshold += by);
        add(format!("RoIAlign level, by {by:e}"), &|s| s.roi.canonical_scale *= 1.0 + by / 100.0);
    }
    for factor in [1.0 - 1e-6, 1.0 + 1e-6, 1.0 - 3e-6, 1.0 + 3e-6] {
        all.push((format!("order of nearly equal scores, picture × {factor}"), settings.clone(), factor));
    }
    all
}

/// The boundary behind each miss of one picture, in order; `None` where no nudge explains it. Every nudge is run at
/// most once.
pub fn explain(
    weights: &Weights,
    plan: &Arc<Plan>,
    backend: Backend,
    canvas: &Canvas<f32>,
    misses: &[Miss],
    tolerance: Tolerance,
) -> Vec<Option<String>> {
    let mut reasons: Vec<Option<String>> = misses.iter().map(|_| None).collect();
    for (name, settings, factor) in nudges(&plan.settings) {
        if reasons.iter().all(Option::is_some) {
            break;
        }
        let model = weights.model(&weights.plan(settings), backend);
        let data = canvas.data.iter().map(|value| value * factor).collect();
        let canvas = Canvas { data, ..*canvas };
        let mut found = Fp32Run::new(&model, &canvas).unwrap().finish(&mut NoTap).unwrap();
        found.iter_mut().for_each(|detection| detection.bbox = canvas.fit.to_frame(detection.bbox));
        for (reason, miss) in reasons.iter_mut().zip(misses) {
            let there = found.iter().any(|other| tolerance.same(other, &miss.detection));
            if reason.is_none() && there != miss.ours {
                *reason = Some(name.clone());
            }
        }
    }
    reasons
}
