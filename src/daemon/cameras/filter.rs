//! The one place where detections are judged by the camera's rules, before tracks, watchers and sinks see them.
//!
//! In: what the network found in a frame. Out: what is reported, each box with the zones it stands in, and beside it
//! what was removed and by which rule. A box stands where the middle of its lower edge is: that is where an object
//! touches the ground.

use std::collections::BTreeMap;

use crate::config::document::Polygon;
use crate::config::{CameraSettings, Limits};
use crate::message::{Detection, Removed};

/// The label of limits that hold for every other label.
const ANY: &str = "*";

/// The rules of one camera.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    zones: BTreeMap<String, Polygon>,
    include: Vec<Polygon>,
    masks: Vec<Polygon>,
    limits: BTreeMap<String, Limits>,
    explain: bool,
}

impl Filter {
    /// The rules that a camera's settings give.
    pub fn new(camera: &CameraSettings) -> Self {
        Self {
            zones: camera.zones.clone(),
            include: camera.include.clone(),
            masks: camera.masks.clone(),
            limits: camera.limits.clone(),
            explain: camera.explain,
        }
    }

    /// Labels that limits name, and that the model should know.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.limits.keys().map(String::as_str).filter(|label| *label != ANY)
    }

    /// Takes out of `detections` what the rules forbid and fills in the zones of the rest. `size` is the frame's width
    /// and height in pixels. Calls `removed` with the rule's kind for each box taken out; returns those boxes if the
    /// owner asked to see them.
    pub fn apply(
        &self,
        size: (usize, usize),
        detections: &mut Vec<Detection>,
        mut removed: impl FnMut(&'static str),
    ) -> Vec<Removed> {
        let mut explained = Vec::new();
        let (width, height) = (size.0.max(1) as f32, size.1.max(1) as f32);
        detections.retain_mut(|found| {
            let [x0, _, x1, y1] = found.bbox;
            let place = [(x0 + x1) / 2.0 / width, y1 / height];
            let verdict =
                self.beyond(found, (width, height)).or_else(|| self.outside(place)).or_else(|| self.masked(place));
            let Some((kind, rule)) = verdict else {
                let standing = self.zones.iter().filter(|(_, corners)| contains(corners, place));
                found.zones = standing.map(|(name, _)| name.clone()).collect();
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

    /// The limit that a box lies beyond: of its own label where one is set, else of every label.
    fn beyond(&self, found: &Detection, (width, height): (f32, f32)) -> Option<(&'static str, String)> {
        let [x0, y0, x1, y1] = found.bbox;
        let area = (x1 - x0) * (y1 - y0) / (width * height);
        let aspect = (x1 - x0) / (y1 - y0).max(f32::MIN_POSITIVE);
        let of = |label: &'static str, pick: &dyn Fn(&Limits) -> Option<f32>| {
            let own = self.limits.get(&found.label).and_then(pick).map(|limit| (found.label.clone(), limit));
            own.or_else(|| self.limits.get(ANY).and_then(pick).map(|limit| (ANY.to_owned(), limit)))
                .map(|(name, limit)| (format!("limits.{name}.{label}"), limit))
        };
        let below = |kind, value: f32, limit: Option<(String, f32)>| {
            limit.filter(|(_, limit)| value < *limit).map(|(rule, _)| (kind, rule))
        };
        let above = |kind, value: f32, limit: Option<(String, f32)>| {
            limit.filter(|(_, limit)| value > *limit).map(|(rule, _)| (kind, rule))
        };
        below("score", found.score, of("min_score", &|limits| limits.min_score))
            .or_else(|| below("area", area, of("min_area", &|limits| limits.min_area)))
            .or_else(|| above("area", area, of("max_area", &|limits| limits.max_area)))
            .or_else(|| below("aspect", aspect, of("min_aspect", &|limits| limits.min_aspect)))
            .or_else(|| above("aspect", aspect, of("max_aspect", &|limits| limits.max_aspect)))
    }

    fn outside(&self, place: [f32; 2]) -> Option<(&'static str, String)> {
        let inside = self.include.is_empty() || self.include.iter().any(|corners| contains(corners, place));
        (!inside).then(|| ("outside", "include".to_owned()))
    }

    fn masked(&self, place: [f32; 2]) -> Option<(&'static str, String)> {
        let mask = self.masks.iter().position(|corners| contains(corners, place))?;
        Some(("mask", format!("masks[{mask}]")))
    }
}

/// Whether `corners`, joined in their order and back to the first, enclose the point: the even-odd rule, by counting
/// the edges that a ray to the right crosses. Each edge holds its upper end and not its lower one, so that a ray
/// through a corner crosses once. The lower border of the frame belongs to what touches it: boxes end there.
fn contains(corners: &[[f32; 2]], [x, y]: [f32; 2]) -> bool {
    // A box that is cut off by the frame ends on its last row.
    let y = y.min(1.0 - f32::EPSILON);
    let next = corners.iter().cycle().skip(1);
    let crossed = corners
        .iter()
        .zip(next)
        .filter(|([x0, y0], [x1, y1])| (*y0 > y) != (*y1 > y) && x < x0 + (y - y0) / (y1 - y0) * (x1 - x0));
    crossed.count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEFT: &[[f32; 2]] = &[[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]];

    fn found(label: &str, score: f32, bbox: [f32; 4]) -> Detection {
        Detection { label: label.into(), class_id: 1, score, bbox, track: None, zones: Vec::new() }
    }

    /// Labels kept with their zones, and rules of those removed, in a frame of 100 × 100.
    fn judged(filter: &Filter, mut detections: Vec<Detection>) -> (Vec<(String, Vec<String>)>, Vec<String>) {
        let filter = Filter { explain: true, ..filter.clone() };
        let mut kinds = Vec::new();
        let removed = filter.apply((100, 100), &mut detections, |kind| kinds.push(kind));
        assert_eq!(kinds.len(), removed.len());
        let kept = detections.into_iter().map(|found| (found.label, found.zones)).collect();
        (kept, removed.into_iter().map(|removed| removed.rule).collect())
    }

    #[test]
    fn a_point_is_inside_by_the_even_odd_rule() {
        assert!(contains(LEFT, [0.25, 0.5]) && !contains(LEFT, [0.75, 0.5]));
        assert!(contains(LEFT, [0.25, 1.0]), "the last row belongs to the frame");
        let arrow = [[0.1, 0.1], [0.9, 0.5], [0.1, 0.9], [0.4, 0.5]];
        assert!(contains(&arrow, [0.5, 0.5]) && !contains(&arrow, [0.2, 0.5]), "a dent is outside");
        // A ray through a corner crosses once.
        let diamond = [[0.5, 0.0], [1.0, 0.5], [0.5, 1.0], [0.0, 0.5]];
        assert!(contains(&diamond, [0.25, 0.5]) && !contains(&diamond, [0.1, 0.1]));
        assert!(!contains(&[], [0.5, 0.5]));
    }

    #[test]
    fn a_box_stands_where_its_foot_is() {
        let filter = Filter { zones: BTreeMap::from([("gate".into(), LEFT.to_vec())]), ..Filter::default() };
        let boxes = vec![found("a", 0.9, [10.0, 0.0, 40.0, 50.0]), found("b", 0.9, [40.0, 0.0, 90.0, 50.0])];
        let (kept, removed) = judged(&filter, boxes);
        assert_eq!(kept, [("a".into(), vec!["gate".into()]), ("b".into(), vec![])]);
        assert!(removed.is_empty());
    }

    #[test]
    fn masks_and_inclusions_remove_and_say_so() {
        let both = || vec![found("a", 0.9, [10.0, 0.0, 40.0, 50.0]), found("b", 0.9, [60.0, 0.0, 90.0, 50.0])];
        let filter = Filter { masks: vec![vec![[0.0, 0.0]; 3], LEFT.to_vec()], ..Filter::default() };
        assert_eq!(judged(&filter, both()), (vec![("b".into(), vec![])], vec!["masks[1]".into()]));
        let filter = Filter { include: vec![LEFT.to_vec()], ..Filter::default() };
        assert_eq!(judged(&filter, both()), (vec![("a".into(), vec![])], vec!["include".into()]));
    }

    #[test]
    fn limits_of_a_label_go_before_those_of_all() {
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
    fn nothing_is_explained_unasked() {
        let filter = Filter { masks: vec![LEFT.to_vec()], ..Filter::default() };
        let mut boxes = vec![found("a", 0.9, [10.0, 0.0, 40.0, 50.0])];
        let mut count = 0;
        assert!(filter.apply((100, 100), &mut boxes, |_| count += 1).is_empty());
        assert_eq!((boxes.len(), count), (0, 1));
    }
}
