//! Detection filter: the zones, masks and limits of one camera.
//!
//! In: the detections of a frame, before tracking and before any sink. Out: the detections that are reported, each with
//! the zones it is in, and the removed ones with the rule that removed them. The position of a box is the middle of its
//! lower edge, where an object touches the ground.

use std::collections::BTreeMap;

use crate::config::document::Polygon;
use crate::config::{CameraSettings, Limits};
use crate::message::{Detection, Removed};
use crate::rules::geometry::contains;

/// The label of limits that apply to every label without its own.
const ANY: &str = "*";

/// The filter of one camera.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    zones: BTreeMap<String, Polygon>,
    include: Vec<Polygon>,
    masks: Vec<Polygon>,
    limits: BTreeMap<String, Limits>,
    explain: bool,
}

/// Width and height of a frame in pixels.
#[derive(Debug, Clone, Copy)]
pub struct FrameSize {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// Kind of a rule that removed a detection: label value of `lookout_detections_removed_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleKind {
    /// `min_score`.
    Score,
    /// `min_area` or `max_area`.
    Area,
    /// `min_aspect` or `max_aspect`.
    Aspect,
    /// `include`: the position is in none of its polygons.
    Outside,
    /// `masks`.
    Mask,
}

impl RuleKind {
    /// The label value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Score => "score",
            Self::Area => "area",
            Self::Aspect => "aspect",
            Self::Outside => "outside",
            Self::Mask => "mask",
        }
    }
}

/// The rule that removes a detection.
struct Violation {
    kind: RuleKind,
    /// The rule, as the camera's configuration names it.
    rule: String,
}

impl Filter {
    /// The filter that a camera's settings describe.
    pub fn new(camera: &CameraSettings) -> Self {
        Self {
            zones: camera.zones.iter().map(|(name, zone)| (name.clone(), zone.polygon.clone())).collect(),
            include: camera.include.clone(),
            masks: camera.masks.clone(),
            limits: camera.limits.clone(),
            explain: camera.explain,
        }
    }

    /// Removes from `detections` those that violate a rule, and fills in the zones of the rest. Calls `removed` with
    /// the kind of rule for each removed detection. Returns the removed detections if the camera's settings ask for
    /// them (`explain`).
    pub fn apply(
        &self,
        size: FrameSize,
        detections: &mut Vec<Detection>,
        mut removed: impl FnMut(RuleKind),
    ) -> Vec<Removed> {
        let mut explained = Vec::new();
        let (width, height) = (size.width.max(1) as f32, size.height.max(1) as f32);
        detections.retain_mut(|found| {
            let [x0, _, x1, y1] = found.bbox;
            let position = [(x0 + x1) / 2.0 / width, y1 / height];
            let violation = self
                .violated_limit(found, width * height)
                .or_else(|| self.outside_include(position))
                .or_else(|| self.inside_mask(position));
            let Some(Violation { kind, rule }) = violation else {
                let zones = self.zones.iter().filter(|(_, corners)| contains(corners, position));
                found.zones = zones.map(|(name, _)| name.clone()).collect();
                return true;
            };
            removed(kind);
            if self.explain {
                let Detection { label, class_id, score, bbox, .. } = found.clone();
                explained.push(Removed { label, class_id, score, bbox, rule });
            }
            false
        });
        explained
    }

    /// The first limit that a detection violates. A limit of the detection's own label replaces that of [`ANY`].
    fn violated_limit(&self, found: &Detection, frame_area: f32) -> Option<Violation> {
        let [x0, y0, x1, y1] = found.bbox;
        let area = (x1 - x0) * (y1 - y0) / frame_area;
        let aspect = (x1 - x0) / (y1 - y0).max(f32::MIN_POSITIVE);
        let limit = |key: &'static str, pick: &dyn Fn(&Limits) -> Option<f32>| {
            let own = self.limits.get(&found.label).and_then(pick).map(|limit| (found.label.as_str(), limit));
            own.or_else(|| self.limits.get(ANY).and_then(pick).map(|limit| (ANY, limit)))
                .map(|(label, limit)| (format!("limits.{label}.{key}"), limit))
        };
        let below = |kind, value: f32, limit: Option<(String, f32)>| {
            limit.filter(|(_, limit)| value < *limit).map(|(rule, _)| Violation { kind, rule })
        };
        let above = |kind, value: f32, limit: Option<(String, f32)>| {
            limit.filter(|(_, limit)| value > *limit).map(|(rule, _)| Violation { kind, rule })
        };
        below(RuleKind::Score, found.score, limit("min_score", &|limits| limits.min_score))
            .or_else(|| below(RuleKind::Area, area, limit("min_area", &|limits| limits.min_area)))
            .or_else(|| above(RuleKind::Area, area, limit("max_area", &|limits| limits.max_area)))
            .or_else(|| below(RuleKind::Aspect, aspect, limit("min_aspect", &|limits| limits.min_aspect)))
            .or_else(|| above(RuleKind::Aspect, aspect, limit("max_aspect", &|limits| limits.max_aspect)))
    }

    fn outside_include(&self, position: [f32; 2]) -> Option<Violation> {
        let inside = self.include.is_empty() || self.include.iter().any(|corners| contains(corners, position));
        (!inside).then(|| Violation { kind: RuleKind::Outside, rule: "include".to_owned() })
    }

    fn inside_mask(&self, position: [f32; 2]) -> Option<Violation> {
        let mask = self.masks.iter().position(|corners| contains(corners, position))?;
        Some(Violation { kind: RuleKind::Mask, rule: format!("masks[{mask}]") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: FrameSize = FrameSize { width: 100, height: 100 };
    const LEFT: &[[f32; 2]] = &[[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]];

    fn found(label: &str, score: f32, bbox: [f32; 4]) -> Detection {
        Detection { label: label.into(), class_id: 1, score, bbox, track: None, zones: Vec::new() }
    }

    /// Labels kept with their zones, and rules of those removed, in a frame of 100 × 100.
    fn judged(filter: &Filter, mut detections: Vec<Detection>) -> (Vec<(String, Vec<String>)>, Vec<String>) {
        let filter = Filter { explain: true, ..filter.clone() };
        let mut kinds = Vec::new();
        let removed = filter.apply(FRAME, &mut detections, |kind| kinds.push(kind));
        assert_eq!(kinds.len(), removed.len());
        let kept = detections.into_iter().map(|found| (found.label, found.zones)).collect();
        (kept, removed.into_iter().map(|removed| removed.rule).collect())
    }

    #[test]
    fn the_position_of_a_box_is_the_middle_of_its_lower_edge() {
        let filter = Filter { zones: BTreeMap::from([("gate".into(), LEFT.to_vec())]), ..Filter::default() };
        let boxes = vec![found("a", 0.9, [10.0, 0.0, 40.0, 50.0]), found("b", 0.9, [40.0, 0.0, 90.0, 50.0])];
        let (kept, removed) = judged(&filter, boxes);
        assert_eq!(kept, [("a".into(), vec!["gate".into()]), ("b".into(), vec![])]);
        assert!(removed.is_empty());
    }

    #[test]
    fn masks_and_inclusions_remove_and_name_their_rule() {
        let both = || vec![found("a", 0.9, [10.0, 0.0, 40.0, 50.0]), found("b", 0.9, [60.0, 0.0, 90.0, 50.0])];
        let filter = Filter { masks: vec![vec![[0.0, 0.0]; 3], LEFT.to_vec()], ..Filter::default() };
        assert_eq!(judged(&filter, both()), (vec![("b".into(), vec![])], vec!["masks[1]".into()]));
        let filter = Filter { include: vec![LEFT.to_vec()], ..Filter::default() };
        assert_eq!(judged(&filter, both()), (vec![("a".into(), vec![])], vec!["include".into()]));
    }

    #[test]
    fn limits_of_a_label_replace_those_of_all_labels() {
        let limits = |min_score| Limits { min_score: Some(min_score), ..Limits::default() };
        let wide = Limits { max_aspect: Some(2.0), min_area: Some(0.01), ..Limits::default() };
        let filter = Filter {
            limits: BTreeMap::from([("*".into(), limits(0.5)), ("a".into(), limits(0.3)), ("w".into(), wide)]),
            ..Filter::default()
        };
        let square = [0.0, 0.0, 20.0, 20.0];
        let boxes = vec![
            found("a", 0.4, square),
            found("b", 0.4, square),
            found("w", 0.9, [0.0, 0.0, 50.0, 10.0]),
            found("w", 0.9, [0.0, 0.0, 5.0, 5.0]),
            found("w", 0.4, square),
            found("w", 0.9, square),
        ];
        let (kept, removed) = judged(&filter, boxes);
        assert_eq!(kept.iter().map(|(label, _)| label.as_str()).collect::<Vec<_>>(), ["a", "w"]);
        assert_eq!(removed, ["limits.*.min_score", "limits.w.max_aspect", "limits.w.min_area", "limits.*.min_score"]);
    }

    #[test]
    fn removed_boxes_are_returned_only_on_request() {
        let filter = Filter { masks: vec![LEFT.to_vec()], ..Filter::default() };
        let mut boxes = vec![found("a", 0.9, [10.0, 0.0, 40.0, 50.0])];
        let mut count = 0;
        assert!(filter.apply(FRAME, &mut boxes, |_| count += 1).is_empty());
        assert_eq!((boxes.len(), count), (0, 1));
    }
}
